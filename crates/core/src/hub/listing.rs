//! The files of a repo, in every dialect that servers list them in. `wire` reads the entries of a listing.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt as _};
use percent_encoding::utf8_percent_encode;
use reqwest::header::LINK;
use url::Url;

use super::claim::ListedClaim;
use super::client::{PAGE_LIMIT, SEGMENT, Told};
use super::headers::next_link;
use super::probe::{Ask, Hosts};
use super::siblings::By;
use super::wire::{Listed, TreeJson};
use super::{Hub, HubError};
use crate::model::{Entry, Lfs, Listing, Rejected, RepoInfo, RepoPath};
use crate::progress::{Event, Progress};

/// The most bytes of all pages of a listing; those of 100,000 files have about 30 MB.
const LISTING_LIMIT: usize = 512 << 20;
/// The most pages of one listing: ten million files.
const PAGES_LIMIT: usize = 10_000;

/// The most folders that are listed one by one, if a listing is not recursive.
const FOLDERS_ASKED: usize = 2000;

/// The most files whose digests are asked for one by one, if a listing has none.
const DIGESTS_ASKED: usize = 2000;
/// How many of these requests run at once.
pub(super) const AT_ONCE: usize = 8;

impl Hub {
    /// Every file at the pinned commit, page by page.
    pub async fn listing(&self, info: &RepoInfo, progress: &dyn Progress) -> Result<Listing, HubError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut rejected: Vec<Rejected> = Vec::new();
        // Some mirrors drop the query, and with it `recursive`. Then the listing has folders without their content.
        let mut asked: BTreeSet<RepoPath> = BTreeSet::new();
        let mut pending: BTreeSet<RepoPath> = BTreeSet::new();
        let mut next: Option<RepoPath> = None;
        loop {
            let mut folders: BTreeSet<RepoPath> = BTreeSet::new();
            let before = entries.len() + rejected.len();
            let by = self.rows(info, next.as_ref(), progress, |row| {
                match row.parse()? {
                    Listed::File(entry) => entries.push(entry),
                    Listed::Rejected(name) => rejected.push(name),
                    Listed::Folder(path) => drop(folders.insert(path)),
                    Listed::Other => {}
                }
                Ok(())
            });
            if by.await? == By::Headers {
                return Ok(Listing { by_headers: true, ..Listing::new(info.clone(), entries, rejected) });
            }
            if let Some(folder) = &next
                && folders.is_empty()
                && entries.len() + rejected.len() == before
            {
                return Err(self.unlisted(folder));
            }
            pending.extend(folders.into_iter().filter(|folder| !asked.contains(folder)));
            // A folder counts as listed if a file below it is: git has no empty folders.
            entries.sort_by(|a, b| a.path.cmp(&b.path));
            let bad: BTreeSet<&str> = rejected.iter().map(|name| name.error.text.as_str()).collect();
            let listed = |folder: &RepoPath| {
                let below = format!("{}/", folder.as_str());
                let at = entries.partition_point(|entry| entry.path.as_str() < below.as_str());
                entries.get(at).is_some_and(|entry| entry.path.as_str().starts_with(&below))
                    || bad.range(below.as_str()..).next().is_some_and(|name| name.starts_with(&below))
            };
            pending.retain(|folder| !listed(folder));
            let Some(folder) = pending.pop_first() else { break };
            if asked.len() + pending.len() >= FOLDERS_ASKED {
                return Err(self.unlisted(&folder));
            }
            asked.insert(folder.clone());
            next = Some(folder);
        }
        self.find_digests(info, &mut entries, progress).await?;
        Ok(Listing::new(info.clone(), entries, rejected))
    }

    /// The files as a mirror lists them, sorted by name. Facts that the mirror leaves out are `None`, not an error.
    pub(crate) async fn claims(&self, info: &RepoInfo, progress: &dyn Progress) -> Result<Vec<ListedClaim>, HubError> {
        let mut claims: Vec<ListedClaim> = Vec::new();
        self.rows(info, None, progress, |row| {
            claims.extend(row.claim());
            Ok(())
        })
        .await?;
        claims.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(claims)
    }

    /// The error for a folder that is listed but whose content is not available.
    fn unlisted(&self, folder: &RepoPath) -> HubError {
        let what = format!("the listing names the folder {}, but no file in it", folder.shown());
        HubError::Protocol { url: (&self.config.endpoint).into(), what }
    }

    /// All rows of a listing: of the whole repo, or below a folder.
    async fn rows(
        &self,
        info: &RepoInfo,
        folder: Option<&RepoPath>,
        progress: &dyn Progress,
        mut take: impl FnMut(TreeJson) -> Result<(), String>,
    ) -> Result<By, HubError> {
        let commit = info.commit.to_string();
        let mut below = String::new();
        for segment in folder.into_iter().flat_map(RepoPath::segments) {
            below.push('/');
            below.extend(utf8_percent_encode(segment, SEGMENT));
        }
        let (kind, id) = (info.repo_type.plural(), &info.canonical_id);
        let path = format!("/api/{kind}/{id}/tree/{commit}{below}?recursive=true");
        let asked = self.asked(info.repo_type, &info.id, &commit);
        let mut next = Some(self.config.url(&path));
        let first = next.clone();
        let mut seen = std::collections::HashSet::new();
        let mut left = LISTING_LIMIT;
        while let Some(page) = next.take() {
            let told = match self.get_json(&page, &asked, left.min(PAGE_LIMIT), progress).await {
                Err(HubError::NotServed { url, .. }) if Some(&page) == first.as_ref() && folder.is_none() => {
                    let (rows, by) = self.siblings(info, &url, progress).await?;
                    let protocol = |what: String| HubError::Protocol { url: url.clone(), what };
                    return rows.into_iter().try_for_each(|row| take(row).map_err(protocol)).map(|()| by);
                }
                other => other?,
            };
            let Told { url, headers, value: rows, length }: Told<Vec<TreeJson>> = told;
            let protocol = |what: String| HubError::Protocol { url: (&url).into(), what };
            if !seen.insert(page) || seen.len() > PAGES_LIMIT {
                return Err(protocol(format!("the listing does not end ({} pages so far)", seen.len())));
            }
            let link = headers.get_all(LINK).iter().filter_map(|v| v.to_str().ok()).find_map(next_link);
            left -= length;
            if rows.is_empty() && link.is_some() && seen.len() > 2 {
                return Err(protocol("the listing does not end (an empty page names a next one)".into()));
            }
            for row in rows {
                take(row).map_err(&protocol)?;
            }
            if let Some(link) = link {
                next = Some(
                    self.next_page(&url, &link)
                        .ok_or_else(|| protocol("its link to the next page is not the URL of a listing".into()))?,
                );
            }
        }
        Ok(By::Listing)
    }

    /// The URL of the next page. It is always at the endpoint, whatever host the link names: a server that passes
    /// on the Hub's answers passes on the Hub's name too.
    fn next_page(&self, url: &Url, link: &str) -> Option<String> {
        let target = url.join(link).ok()?;
        let at = target.path().find("/api/")?;
        let query = target.query().map_or(String::new(), |query| format!("?{query}"));
        Some(self.config.url(&format!("{}{query}", &target.path()[at..])))
    }

    /// Asks for the digests of large files one by one if the listing names none at all: some servers leave out the
    /// Hub's LFS fields.
    async fn find_digests(
        &self,
        info: &RepoInfo,
        entries: &mut [Entry],
        progress: &dyn Progress,
    ) -> Result<(), HubError> {
        if entries.iter().any(|entry| entry.lfs.is_some()) {
            return Ok(());
        }
        let mut hosts = Hosts::default();
        hosts.insert_server(&self.config.endpoint);
        let wanted: Vec<(usize, RepoPath)> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| is_usually_lfs(entry))
            .map(|(at, entry)| (at, entry.path.clone()))
            .take(DIGESTS_ASKED)
            .collect();
        let hosts = &hosts;
        let ask = |(at, path): (usize, RepoPath)| async move {
            let answer = self.ask(info, &path, &Ask::Head, hosts, progress).await;
            (at, answer.ok().and_then(|answer| Some((answer.linked_etag?, answer.size?))))
        };
        let found: Vec<_> = stream::iter(wanted.into_iter().map(ask)).buffer_unordered(AT_ONCE).collect().await;
        let mut files = 0;
        for (at, said) in found {
            if let Some((tag, size)) = said
                && let Ok(sha256) = tag.parse()
                && let Some(entry) = entries.get_mut(at)
            {
                (entry.lfs, entry.size) = (Some(Lfs { sha256, size }), size);
                files += 1;
            }
        }
        if files > 0 {
            let files = crate::text::many(files, "file");
            let text = format!("the listing has no LFS digests: those of {files} are taken from headers");
            progress.event(Event::Notice { text: &text });
        }
        Ok(())
    }
}

/// Whether the Hub usually has a file in LFS: it is larger than the Hub allows in git, or has a name that the Hub puts
/// into LFS.
fn is_usually_lfs(entry: &Entry) -> bool {
    const LARGE: u64 = 10 << 20;
    const ENDINGS: &[&str] = &[
        "safetensors",
        "bin",
        "pt",
        "pth",
        "ckpt",
        "h5",
        "msgpack",
        "onnx",
        "onnx_data",
        "gguf",
        "model",
        "pb",
        "tflite",
        "ot",
        "pkl",
        "pickle",
        "joblib",
        "npy",
        "npz",
        "arrow",
        "parquet",
        "zip",
        "tar",
        "gz",
        "tgz",
        "7z",
        "xz",
        "zst",
    ];
    let name = entry.path.file_name();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    entry.xet_hash.is_some() || entry.size >= LARGE || ENDINGS.contains(&ending)
}
