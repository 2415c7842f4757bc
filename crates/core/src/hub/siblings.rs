//! The files of a repo on a server without `/tree`: as the repo's own page lists them, otherwise by their names and
//! the headers of each file. `wire` reads entries; `listing` makes the listing.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::client::{PAGE_LIMIT, Told};
use super::error::ShownUrl;
use super::listing::AT_ONCE;
use super::probe::{Ask, Hosts};
use super::wire::{SiblingsJson, TreeJson};
use super::{Hub, HubError};
use crate::model::{Digest, RepoInfo, RepoPath};
use crate::progress::{Event, Progress};

/// The most files whose headers are asked for one by one.
const HEADERS_ASKED: usize = 10_000;
/// The largest file that is read to find out whether the server's tags are digests.
const READ: u64 = 1 << 20;

/// Where the digests of a listing come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The listing itself.
    Listing,
    /// The headers of each file.
    Headers,
}

/// A file as its headers describe it.
struct Headed {
    path: RepoPath,
    size: u64,
    digest: Digest,
    /// Whether the digest comes from the `ETag`, which differs between servers, and not from a header of the Hub's own.
    by_tag: bool,
}

impl Hub {
    /// The files as the repo's own page lists them. `tree` is the URL that the server does not have.
    pub(super) async fn siblings(
        &self,
        info: &RepoInfo,
        tree: &ShownUrl,
        progress: &dyn Progress,
    ) -> Result<(Vec<TreeJson>, By), HubError> {
        let commit = info.commit.to_string();
        let page = format!("/api/{}/{}/revision/{commit}", info.repo_type.plural(), info.canonical_id);
        let page = self.config.url(&page);
        let asked = self.asked(info.repo_type, &info.id, &commit);
        let missing = |what: String| HubError::NoListing { url: tree.clone(), what };
        let mut told = self.get_json(&format!("{page}?blobs=true"), &asked, PAGE_LIMIT, progress).await;
        if matches!(told, Err(HubError::NotServed { .. })) {
            told = self.get_json(&page, &asked, PAGE_LIMIT, progress).await;
        }
        let Told { value, .. }: Told<SiblingsJson> = match told {
            Err(HubError::NotServed { .. }) => {
                return Err(missing("it does not answer to ?blobs=true either".to_owned()));
            }
            other => other?,
        };
        let Some(names) = value.names() else {
            return Err(missing("its ?blobs=true names no files".to_owned()));
        };
        if let Some(rows) = value.rows() {
            progress.event(Event::Notice { text: "the server has no /tree API: its files are listed by ?blobs=true" });
            return Ok((rows, By::Listing));
        }
        if names.len() > HEADERS_ASKED {
            let what = format!(
                "its ?blobs=true names no digests of {} files, which is more than can be asked for one by one",
                names.len()
            );
            return Err(missing(what));
        }
        let files = crate::text::many(names.len() as u64, "file");
        let text =
            format!("the server has no /tree API and names no digests: the headers of {files} state their digests");
        progress.event(Event::Notice { text: &text });
        Ok((self.by_headers(info, names, &missing, progress).await?, By::Headers))
    }

    /// Asks for the headers of each file. All of them must name a digest; otherwise the repo's content is not known.
    async fn by_headers(
        &self,
        info: &RepoInfo,
        names: Vec<String>,
        missing: &impl Fn(String) -> HubError,
        progress: &dyn Progress,
    ) -> Result<Vec<TreeJson>, HubError> {
        let mut hosts = Hosts::default();
        hosts.insert_server(&self.config.endpoint);
        let mut rows: Vec<TreeJson> = Vec::new();
        let mut paths: Vec<RepoPath> = Vec::new();
        for name in names {
            match name.parse() {
                Ok(path) => paths.push(path),
                // This name is not safe to ask for; the listing says why.
                Err(_) => rows.push(TreeJson::file(name, 0, None)),
            }
        }
        let hosts = &hosts;
        let ask = |path: RepoPath| async move {
            let answer = self.ask(info, &path, &Ask::Head, hosts, progress).await?;
            let tag = answer.etag.as_deref().filter(|tag| answer.xet_hash.as_deref() != Some(*tag));
            let Some((digest, size)) = tag.and_then(digest_of).zip(answer.size) else {
                return Err(missing(format!(
                    "its ?blobs=true names no digests, and the headers of {} name no digest or no size",
                    path.shown()
                )));
            };
            Ok(Headed { path, size, digest, by_tag: answer.linked_etag.is_none() })
        };
        let headed: Vec<Headed> =
            stream::iter(paths.into_iter().map(ask)).buffer_unordered(AT_ONCE).try_collect().await?;
        for git in [true, false] {
            let kind = headed.iter().filter(|file| file.by_tag && matches!(file.digest, Digest::GitBlob(_)) == git);
            let Some(file) = kind.filter(|file| (1..=READ).contains(&file.size)).min_by_key(|file| file.size) else {
                continue;
            };
            if !self.is_tagged_by_digest(info, file, hosts, progress).await? {
                return Err(missing(format!(
                    "its ?blobs=true names no digests, and the ETag of {} is not a digest of its bytes",
                    file.path.shown()
                )));
            }
        }
        rows.extend(
            headed.into_iter().map(|file| TreeJson::file(file.path.as_str().to_owned(), file.size, Some(file.digest))),
        );
        Ok(rows)
    }

    /// Whether the `ETag` of a small file really is the digest of its bytes: on some servers it is not.
    async fn is_tagged_by_digest(
        &self,
        info: &RepoInfo,
        file: &Headed,
        hosts: &Hosts,
        progress: &dyn Progress,
    ) -> Result<bool, HubError> {
        let mut answer = self.ask(info, &file.path, &Ask::All, hosts, progress).await?;
        let mut hasher = file.digest.hasher(file.size);
        let mut got = 0;
        while let Some(bytes) = self.next_bytes(&mut answer).await? {
            got += bytes.len() as u64;
            if got > file.size {
                return Ok(false);
            }
            hasher.update(&bytes);
        }
        self.http.retries.answered();
        Ok(hasher.finish().digest() == file.digest)
    }
}

/// The digest that a tag has the form of: a git blob id or a SHA-256.
fn digest_of(tag: &str) -> Option<Digest> {
    tag.parse().map(Digest::Sha256).ok().or_else(|| tag.parse().map(Digest::GitBlob).ok())
}
