//! Listings that are kept for later runs, each with the endpoint that gave it. `tree` defines their form on disk.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use url::Url;

use super::within::Folder;
use super::{Store, StoreError, StoreErrorKind, tree};
use crate::model::{CommitId, Entry, Listing};

impl Store {
    /// The listing of this endpoint that an earlier run kept. Listings from another endpoint or another tool do
    /// not count.
    pub(crate) fn read_listing(&self, commit: &CommitId, endpoint: &str) -> Option<Vec<Entry>> {
        self.listing_in(&self.trees_of(endpoint), commit)
    }

    /// The listing to use offline: of any endpoint, otherwise `huggingface_hub`'s. If two endpoints differ about a
    /// file, neither is used.
    pub(crate) fn read_listing_offline(&self, commit: &CommitId) -> Option<Vec<Entry>> {
        let trees = self.own_trees();
        let names = Folder::find(self.layout.anchor(), &trees).ok().flatten().map_or_else(Vec::new, |f| f.names());
        let kept = names.iter().filter_map(|name| self.listing_in(&trees.join(name), commit));
        let mut kept: Vec<Vec<Entry>> = kept.collect();
        if kept.iter().skip(1).any(|other| kept.first().is_some_and(|first| !agree(first, other))) {
            return None;
        }
        if kept.is_empty() {
            // Earlier versions kept listings without their endpoint.
            let older = self.listing_in(&trees, commit);
            return older.or_else(|| self.listing_in(&self.layout.shared_trees(), commit));
        }
        Some(kept.swap_remove(0))
    }

    /// Keeps this endpoint's listing for later runs. With `whole` (every file of the repo was taken) it is also
    /// kept where `huggingface_hub` looks. For a partial selection that would make
    /// `snapshot_download(local_files_only=True)` call the snapshot incomplete.
    pub(crate) fn write_listing(&self, listing: &Listing, whole: bool, endpoint: &str) -> Result<(), StoreError> {
        // A listing from headers is not kept: the headers are asked for again.
        if !listing.rejected.is_empty() || listing.by_headers {
            return Ok(());
        }
        let Some(text) = tree::text(&listing.entries) else { return Ok(()) };
        let name = format!("{}.json", listing.info.commit);
        let ours = self.trees_of(endpoint).join(&name);
        if self.layout.read(&ours, tree::SIZE_LIMIT).as_ref() != Some(&text) {
            self.keep(&ours, &text)?;
        }
        // A listing that cannot be read counts as missing.
        let shared = self.layout.shared_trees();
        if whole && tree::is_shareable(&listing.entries) && self.listing_in(&shared, &listing.info.commit).is_none() {
            self.keep(&shared.join(&name), &text)?;
        }
        Ok(())
    }

    /// Removes this endpoint's kept listing, because it proved wrong.
    pub(crate) fn forget_listing(&self, commit: &CommitId, endpoint: &str) -> Result<(), StoreError> {
        self.layout.remove_own(&self.trees_of(endpoint).join(format!("{commit}.json")))
    }

    fn keep(&self, below: &Path, text: &[u8]) -> Result<(), StoreError> {
        match self.layout.write(below, text, false) {
            // A run on a read-only cache must not fail because it cannot keep a listing.
            Err(error) if matches!(error.kind(), StoreErrorKind::ReadOnly | StoreErrorKind::Permission) => Ok(()),
            done => done,
        }
    }

    fn own_trees(&self) -> PathBuf {
        self.layout.own().join("trees")
    }

    fn trees_of(&self, endpoint: &str) -> PathBuf {
        self.own_trees().join(folder_of(endpoint))
    }

    fn listing_in(&self, trees: &Path, commit: &CommitId) -> Option<Vec<Entry>> {
        tree::parse(&self.layout.read(&trees.join(format!("{commit}.json")), tree::SIZE_LIMIT)?)
    }
}

/// Whether two listings agree about each file that both have. A mirror may lack the facts for a file's transfer.
fn agree(one: &[Entry], other: &[Entry]) -> bool {
    // Both come from a map by path, so they are sorted.
    one.iter().all(|entry| {
        other.binary_search_by(|o| o.path.cmp(&entry.path)).ok().and_then(|at| other.get(at)).is_none_or(|o| {
            let content = |e: &Entry| (e.size, e.oid, e.lfs.map(|lfs| lfs.sha256));
            content(entry) == content(o)
        })
    })
}

/// A folder's name for an endpoint, from its scheme, host, port and prefix, and nothing else. Two endpoints never
/// have the same name, even if case is ignored.
fn folder_of(endpoint: &str) -> String {
    let mut name = String::new();
    for byte in origin_of(endpoint).bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'.' if !name.is_empty() => name.push('.'),
            _ => {
                // Writing into a string cannot fail.
                let _ = write!(name, "%{byte:02x}");
            }
        }
    }
    if name.is_empty() {
        name.push('%');
    }
    // File systems do not allow much longer names.
    if name.len() > 200 {
        let mut hasher = crate::model::Hasher::sha256();
        hasher.update(name.as_bytes());
        name = format!("%%{}", hasher.finish().digest());
    }
    name
}

/// `scheme://host[:port]/prefix` in one spelling. The Hub's short host name counts as the Hub.
fn origin_of(endpoint: &str) -> String {
    let Ok(mut url) = Url::parse(endpoint) else { return endpoint.to_owned() };
    url.set_query(None);
    url.set_fragment(None);
    // These calls fail only for a URL without a host, which has no user to remove.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if matches!(url.host_str(), Some("hf.co" | "www.hf.co" | "www.huggingface.co")) {
        let _ = url.set_host(Some("huggingface.co"));
    }
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_endpoint_has_one_folder_however_it_is_spelt() {
        let hub = folder_of("https://huggingface.co");
        assert_eq!(hub, "https%3a%2f%2fhuggingface.co");
        for same in ["https://huggingface.co/", "HTTPS://HuggingFace.co:443", "https://hf.co", "https://u:p@hf.co/?a#b"]
        {
            assert_eq!(folder_of(same), hub, "{same}");
        }
        assert_eq!(folder_of("http://mirror:8080/a/"), folder_of("http://mirror:8080/a"));
    }

    #[test]
    fn two_endpoints_have_two_folders() {
        let long = format!("https://host/{}", "a".repeat(300));
        let longer = format!("{long}b");
        let all = [
            "https://huggingface.co",
            "http://huggingface.co",
            "https://huggingface.co:8443",
            "https://huggingface.co/a",
            "https://huggingface.co/A",
            "https://huggingface.co/a/b",
            "https://huggingface.co/a%2fb",
            "https://hf.co.example",
            "s3://bucket/a",
            "",
            ".",
            "..",
            "../x",
            &long,
            &longer,
        ];
        let names: std::collections::BTreeSet<String> = all.iter().map(|e| folder_of(e).to_lowercase()).collect();
        assert_eq!(names.len(), all.len(), "{names:?}");
        for name in names {
            assert!(!name.contains('/') && !name.starts_with('.') && !name.is_empty() && name.len() < 255, "{name}");
        }
    }
}
