//! Compares a mirror's metadata: its commit, its listing, and the headers of each file. Bytes of files are compared in
//! `content`.

use super::{CompareConfig, Pair};
use crate::finding::{Code, Finding, Remedy, Severity};
use crate::hub::{Answer, Ask, ListedClaim, Stop};
use crate::model::{Entry, Listing, RepoInfo, RepoPath};

/// The most names that a message shows.
const SHOWN: usize = 3;

/// Checks that the revision is the same commit on both sides, and that the repo's access is the same.
pub(super) fn commits(reference: &RepoInfo, mirror: &RepoInfo) -> Vec<Finding> {
    let mut findings = Vec::new();
    if reference.commit != mirror.commit {
        let message = format!(
            "{} is {} on the mirror and {} on the endpoint",
            reference.revision.shown(),
            mirror.commit,
            reference.commit
        );
        findings.push(Finding::repo(Code::CommitStale, message).remedy(Remedy::RefreshMirror));
    }
    if (reference.gated, reference.private) != (mirror.gated, mirror.private) {
        let say = |info: &RepoInfo| format!("gated: {:?}, private: {}", info.gated, info.private).to_lowercase();
        let message = format!("the mirror says {}; the endpoint says {}", say(mirror), say(reference));
        findings.push(Finding::repo(Code::MetadataMismatch, message).severity(Severity::Warning));
    }
    findings
}

/// The finding that a mirror uses plain HTTP although the endpoint does not.
pub(super) fn downgrade(config: &CompareConfig) -> Option<Finding> {
    let (endpoint, mirror) = (&config.reference.endpoint, &config.mirror.endpoint);
    let host = mirror.host_str().unwrap_or_default();
    let local = host == "localhost" || host.starts_with("127.") || host == "[::1]";
    (endpoint.scheme() == "https" && mirror.scheme() == "http" && !local).then(|| {
        Finding::repo(Code::PlainHttp, "the mirror is asked over plain HTTP, the endpoint over HTTPS")
            .severity(Severity::Warning)
            .remedy(Remedy::MindPlainHttp)
    })
}

/// Compares two listings entry by entry.
pub(super) fn listings(reference: &Listing, claims: &[ListedClaim]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let claim = |path: &str| claims.binary_search_by(|c| c.path.as_str().cmp(path)).ok().map(|at| &claims[at]);
    let (mut bare, mut no_xet) = (Vec::new(), Vec::new());
    for entry in &reference.entries {
        let name = &entry.path;
        let Some(claim) = claim(name.as_str()) else {
            findings.push(Finding::new(Code::FileMissing, name, "the mirror does not list it"));
            continue;
        };
        if claim.size != entry.size {
            let message = format!("the mirror lists {} bytes, the endpoint {}", claim.size, entry.size);
            findings.push(Finding::new(Code::SizeMismatch, name, message));
        }
        match claim.digest {
            None => bare.push(name.as_str()),
            Some(digest) if digest != entry.digest() => {
                let message = format!("the mirror lists {digest:?}, the endpoint {:?}", entry.digest());
                findings.push(Finding::new(Code::MetadataMismatch, name, message));
            }
            Some(_) => {}
        }
        match (&claim.xet_hash, &entry.xet_hash) {
            (Some(there), Some(here)) if !there.eq_ignore_ascii_case(here) => {
                let message = format!("the mirror lists the Xet hash {there}, the endpoint {here}");
                findings.push(Finding::new(Code::MetadataMismatch, name, message));
            }
            (None, Some(_)) => no_xet.push(name.as_str()),
            _ => {}
        }
    }
    for claim in claims {
        let known =
            reference.get(&claim.path).is_some() || reference.rejected.iter().any(|r| r.error.text == claim.path);
        if !known {
            let (code, message) = match claim.path.parse::<RepoPath>() {
                Ok(_) => (Code::FileExtra, "the mirror lists it, the endpoint does not".to_owned()),
                Err(error) => (Code::PathUnsafe, format!("only the mirror lists it: {}", error.reason)),
            };
            findings.push(Finding::new(code, &claim.path, message).severity(Severity::Error));
        }
    }
    if let Some(names) = some(&bare) {
        let message = format!("the mirror's listing has no digest of {names}");
        findings.push(Finding::repo(Code::MetadataMissing, message).remedy(Remedy::MindMissingDigests));
    }
    if let Some(names) = some(&no_xet) {
        let message = format!("the mirror's listing has no Xet hash of {names}: they come over HTTP");
        findings.push(Finding::repo(Code::MetadataMissing, message).severity(Severity::Note));
    }
    findings
}

/// `3 files (a, b, c)`.
fn some(names: &[&str]) -> Option<String> {
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let files = if names.len() == 1 { "file" } else { "files" };
    (!names.is_empty()).then(|| format!("{} {files} ({shown}{more})", names.len()))
}

/// The headers that were missing for one file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    no_commit: bool,
    no_etag: bool,
    no_size: bool,
}

/// The numbers of files whose headers were missing.
#[derive(Debug, Default)]
pub(super) struct Said([usize; 3]);

impl Said {
    pub fn add(&mut self, heard: Heard) {
        for (n, missing) in self.0.iter_mut().zip([heard.no_commit, heard.no_etag, heard.no_size]) {
            *n += usize::from(missing);
        }
    }

    pub fn finding(&self, files: usize) -> Option<Finding> {
        let names = ["X-Repo-Commit", "an ETag that is a digest", "a size"];
        let parts = self.0.iter().zip(names).filter(|(n, _)| **n > 0).map(|(n, name)| format!("{n} without {name}"));
        let parts = parts.collect::<Vec<_>>().join(", ");
        (!parts.is_empty()).then(|| {
            let missing =
                Finding::repo(Code::MetadataMissing, format!("of {files} files the mirror answers for {parts}"));
            // Without these two headers huggingface_hub refuses a file; without a size it continues.
            let refuses = self.0.iter().take(2).any(|n| *n > 0);
            let severity = if refuses { Severity::Error } else { Severity::Warning };
            missing.severity(severity).remedy(Remedy::AnswerWithEtag)
        })
    }
}

impl Pair<'_> {
    /// Asks the mirror for a file's headers; also returns whether the file's bytes can be asked for.
    pub(super) async fn head(&self, entry: &Entry) -> (Vec<Finding>, Heard, bool) {
        match self.mirror.ask(&self.mirror_info, &entry.path, &Ask::Head, &self.hosts, self.watch).await {
            Err(error) => (vec![self.refused(entry, &error)], Heard::default(), false),
            Ok(answer) => {
                if let Some(finding) = stopped(entry, &answer) {
                    return (vec![finding], Heard::default(), false);
                }
                if is_page(entry, &answer) {
                    let message = format!("{} sends a web page instead of the file", answer.url);
                    let finding = Finding::new(Code::HtmlInsteadOfBytes, &entry.path, message);
                    return (vec![finding], Heard::default(), false);
                }
                let (findings, heard) = self.headers(entry, &answer);
                (findings, heard, true)
            }
        }
    }

    fn headers(&self, entry: &Entry, answer: &Answer) -> (Vec<Finding>, Heard) {
        let mut findings = Vec::new();
        let mut wrong = |code, message: String| findings.push(Finding::new(code, &entry.path, message));
        let mut heard = Heard::default();
        match &answer.commit {
            None => heard.no_commit = true,
            Some(commit) if commit.parse() != Ok(self.mirror_info.commit) => wrong(
                Code::MetadataMismatch,
                format!("the mirror answers for commit {commit}, having been asked for {}", self.mirror_info.commit),
            ),
            Some(_) => {}
        }
        match answer.size {
            None => heard.no_size = true,
            Some(size) if size != entry.size => {
                wrong(
                    Code::SizeMismatch,
                    format!("the mirror announces {size} bytes, the endpoint lists {}", entry.size),
                );
            }
            Some(_) => {}
        }
        // Mirrors make up their own tags: only a tag in the form of a digest counts as one.
        let digest = |tag: &&String| matches!(tag.len(), 40 | 64) && tag.bytes().all(|b| b.is_ascii_hexdigit());
        match answer.etag.as_ref().filter(digest) {
            None => heard.no_etag = true,
            Some(etag) if !etag.eq_ignore_ascii_case(&entry.digest().to_string()) => {
                wrong(
                    Code::MetadataMismatch,
                    format!("the mirror's ETag is {etag}, the endpoint lists {}", entry.digest()),
                );
            }
            Some(_) => {}
        }
        if let (Some(there), Some(here)) = (&answer.xet_hash, &entry.xet_hash)
            && !there.eq_ignore_ascii_case(here)
        {
            wrong(Code::MetadataMismatch, format!("the mirror's X-Xet-Hash is {there}, the endpoint lists {here}"));
        }
        (findings, heard)
    }
}

/// The finding about a redirect that must not be followed.
pub(super) fn stopped(entry: &Entry, answer: &Answer) -> Option<Finding> {
    let finding = |code, message: String| Some(Finding::new(code, &entry.path, message));
    match answer.stop.as_ref()? {
        Stop::Elsewhere => None,
        Stop::Foreign(to) => {
            let message =
                format!("the mirror redirects to {to}, which is neither the mirror's nor the endpoint's host");
            finding(Code::RedirectForeign, message).map(|f| f.remedy(Remedy::AllowHost))
        }
        Stop::PlainHttp(to) => finding(Code::PlainHttp, format!("the mirror redirects from HTTPS to {to}")),
        Stop::Nowhere(to) => {
            finding(Code::RedirectForeign, format!("the mirror redirects to \"{to}\", which is not an address"))
        }
    }
}

/// Whether a web page came although the file is not one.
pub(super) fn is_page(entry: &Entry, answer: &Answer) -> bool {
    let name = entry.path.file_name().to_ascii_lowercase();
    let of_web = [".html", ".htm", ".xhtml"].iter().any(|ending| name.ends_with(ending));
    answer.html && !of_web && answer.length != Some(entry.size) && !answer.status.is_redirection()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::HubConfig;

    #[test]
    fn a_plain_mirror_of_an_https_endpoint_is_warned_about_unless_it_is_this_machine() {
        let judged = |endpoint: &str, mirror: &str| {
            let config = CompareConfig::new(HubConfig::new(endpoint).unwrap(), HubConfig::new(mirror).unwrap());
            downgrade(&config).map(|f| (f.code, f.severity))
        };
        let warning = Some((Code::PlainHttp, Severity::Warning));
        assert_eq!(judged("https://huggingface.co", "http://mirror.corp"), warning);
        assert_eq!(judged("https://huggingface.co", "https://mirror.corp"), None);
        assert_eq!(judged("http://hub.corp", "http://mirror.corp"), None);
        assert_eq!(judged("https://huggingface.co", "http://127.0.0.1:8090"), None);
    }
}
