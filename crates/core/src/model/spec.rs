//! What a user types or pastes to name a repo: ids, `@revision`, `hf://` and page URLs.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::{PathError, RepoId, RepoIdError, RepoPath, RepoType, Revision, RevisionError};
use crate::text::printable;

/// A repo as asked for, before the Hub was asked anything.
///
/// ```
/// use hfget_core::model::{RepoSpec, RepoType};
///
/// let spec: RepoSpec = "THUDM/chatglm3-6b@main".parse()?;
/// assert_eq!(spec.id.as_str(), "THUDM/chatglm3-6b");
/// let spec: RepoSpec = "https://huggingface.co/datasets/rajpurkar/squad/tree/main/plain_text".parse()?;
/// assert_eq!(spec.repo_type, RepoType::Dataset);
/// assert!("../evil".parse::<RepoSpec>().is_err());
/// # Ok::<(), hfget_core::model::SpecError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepoSpec {
    /// Which name space.
    pub repo_type: RepoType,
    /// The id as typed; the Hub may answer with another, canonical one.
    pub id: RepoId,
    /// The revision, if one was named.
    pub revision: Option<Revision>,
    /// The folder or file that a pasted URL pointed into.
    pub path: Option<RepoPath>,
    /// Scheme, host and port of a pasted URL that is not the public Hub's, or that names a user; with the user.
    pub endpoint: Option<String>,
}

/// Why an argument names no repo.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum SpecError {
    #[error(transparent)]
    Id(#[from] RepoIdError),
    #[error(transparent)]
    Revision(#[from] RevisionError),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("\"{}\" names no repo: the form is https://HOST/[datasets/|spaces/]OWNER/NAME[/tree/REVISION[/PATH]]", printable(.0))]
    Url(String),
}

impl FromStr for RepoSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix("hf://") {
            return parse_plain(rest, true);
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return parse_url(text);
        }
        for host in ["huggingface.co/", "hf.co/", "www.huggingface.co/"] {
            if text.starts_with(host) {
                return parse_url(&format!("https://{text}"));
            }
        }
        parse_plain(text, false)
    }
}

/// Splits a leading `models/`, `datasets/` or `spaces/` off.
fn split_type<'a>(segments: &mut &[&'a str]) -> RepoType {
    let of = |segment: &'a str| match segment {
        "datasets" => Some(RepoType::Dataset),
        "spaces" => Some(RepoType::Space),
        "models" => Some(RepoType::Model),
        _ => None,
    };
    match segments.split_first() {
        Some((first, rest)) if !rest.is_empty() => of(first).map_or(RepoType::Model, |repo_type| {
            *segments = rest;
            repo_type
        }),
        _ => RepoType::Model,
    }
}

/// `[datasets/|spaces/]owner/name[@revision][/path]`; the path only for `hf://`, as in `HfFileSystem`.
fn parse_plain(text: &str, with_path: bool) -> Result<RepoSpec, SpecError> {
    let (before, after) = match text.split_once('@') {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    };
    let segments: Vec<&str> = before.split('/').collect();
    let mut rest = &segments[..];
    let repo_type = split_type(&mut rest);
    let (id, mut path) = if with_path && rest.len() > 2 {
        (rest[..2].join("/"), Some(rest[2..].join("/")))
    } else {
        (rest.join("/"), None)
    };
    let mut revision = None;
    if let Some(after) = after {
        let mut name = after;
        if with_path {
            // `refs/pr/1` is the one revision that holds slashes and needs no escaping in hf:// URLs.
            let skip = if after.starts_with("refs/") { 3 } else { 1 };
            if let Some((at, _)) = after.match_indices('/').nth(skip - 1) {
                name = &after[..at];
                path = Some(after[at + 1..].to_owned());
            }
        }
        let name = if with_path { decode(name) } else { name.to_owned() };
        revision = Some(name.parse()?);
    }
    let path = path.filter(|p| !p.is_empty()).map(|p| p.trim_end_matches('/').parse()).transpose()?;
    Ok(RepoSpec { repo_type, id: id.parse()?, revision, path, endpoint: None })
}

/// `name` or `name:password`, as it is encoded in the URL.
fn user_of(url: &url::Url) -> String {
    url.password().map_or(url.username().to_owned(), |password| format!("{}:{password}", url.username()))
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn parse_url(text: &str) -> Result<RepoSpec, SpecError> {
    let bad = || SpecError::Url(text.chars().take(200).collect());
    let url = url::Url::parse(text).map_err(|_| bad())?;
    let host = url.host_str().ok_or_else(bad)?;
    let public = matches!(host, "huggingface.co" | "www.huggingface.co" | "hf.co");
    let has_user = !url.username().is_empty() || url.password().is_some();
    // A user's name in a URL is kept, so that whoever asks the host can say what becomes of it.
    let endpoint = (!public || has_user).then(|| {
        let origin = url.origin().ascii_serialization();
        if has_user { origin.replacen("://", &format!("://{}@", user_of(&url)), 1) } else { origin }
    });
    let decoded: Vec<String> = url.path_segments().ok_or_else(bad)?.filter(|s| !s.is_empty()).map(decode).collect();
    let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let mut rest = &segments[..];
    if rest.first() == Some(&"api") {
        rest = &rest[1..];
    }
    let repo_type = split_type(&mut rest);
    let is_verb = |s: &str| matches!(s, "tree" | "blob" | "resolve" | "raw" | "commit" | "commits" | "discussions");
    // gpt2/tree/main is a short id followed by a verb; owner/tree would be a repo of that name.
    let id_len = if rest.len() >= 2 && is_verb(rest[1]) && rest.len() > 2 { 1 } else { rest.len().min(2) };
    if id_len == 0 {
        return Err(bad());
    }
    let id: RepoId = rest[..id_len].join("/").parse()?;
    let tail = &rest[id_len..];
    let (revision, path) = match tail {
        [] | ["discussions" | "commits", ..] => (None, &[][..]),
        ["tree" | "blob" | "resolve" | "raw", "refs", kind, name, path @ ..] => {
            (Some(format!("refs/{kind}/{name}")), path)
        }
        ["tree" | "blob" | "resolve" | "raw" | "commit", revision, path @ ..] => (Some((*revision).to_owned()), path),
        _ => return Err(bad()),
    };
    let revision = revision.map(|r| r.parse()).transpose()?;
    let path = if path.is_empty() { None } else { Some(path.join("/").parse()?) };
    Ok(RepoSpec { repo_type, id, revision, path, endpoint })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        match text.parse::<RepoSpec>() {
            Ok(spec) => {
                let mut out = format!("{} {}", spec.repo_type, spec.id);
                if let Some(revision) = spec.revision {
                    out.push_str(&[" @", revision.as_str()].concat());
                }
                if let Some(path) = spec.path {
                    out.push_str(&[" :", path.as_str()].concat());
                }
                if let Some(endpoint) = spec.endpoint {
                    out.push_str(&[" via ", endpoint.as_str()].concat());
                }
                out
            }
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn whatever_a_user_pastes_names_the_repo() {
        for (typed, meant) in [
            ("gpt2", "model gpt2"),
            ("THUDM/chatglm3-6b", "model THUDM/chatglm3-6b"),
            ("THUDM/chatglm3-6b@refs/pr/1", "model THUDM/chatglm3-6b @refs/pr/1"),
            ("datasets/squad", "dataset squad"),
            ("datasets/org/name@v1.0", "dataset org/name @v1.0"),
            ("spaces/org/app", "space org/app"),
            ("hf://org/name", "model org/name"),
            ("hf://datasets/org/name@main/data/train.csv", "dataset org/name @main :data/train.csv"),
            ("hf://org/name@refs%2Fpr%2F1/x.bin", "model org/name @refs/pr/1 :x.bin"),
            ("hf://org/name@refs/pr/1/x.bin", "model org/name @refs/pr/1 :x.bin"),
            ("https://huggingface.co/THUDM/chatglm3-6b", "model THUDM/chatglm3-6b"),
            ("https://huggingface.co/THUDM/chatglm3-6b/", "model THUDM/chatglm3-6b"),
            ("huggingface.co/THUDM/chatglm3-6b", "model THUDM/chatglm3-6b"),
            ("https://hf.co/gpt2/tree/main", "model gpt2 @main"),
            ("https://huggingface.co/a/b/tree/refs%2Fpr%2F1", "model a/b @refs/pr/1"),
            ("https://huggingface.co/a/b/tree/refs/pr/1/sub", "model a/b @refs/pr/1 :sub"),
            ("https://huggingface.co/a/b/tree/main/unet?x=1#y", "model a/b @main :unet"),
            ("https://huggingface.co/a/b/blob/main/config.json", "model a/b @main :config.json"),
            ("https://huggingface.co/a/b/resolve/main/x%20y.bin?download=true", "model a/b @main :x y.bin"),
            ("https://huggingface.co/datasets/squad/discussions/3", "dataset squad"),
            ("https://huggingface.co/api/models/a/b", "model a/b"),
            ("http://127.0.0.1:8080/a/b", "model a/b via http://127.0.0.1:8080"),
            ("https://me:pass@huggingface.co/a/b", "model a/b via https://me:pass@huggingface.co"),
        ] {
            assert_eq!(show(typed), meant, "{typed}");
        }
    }

    #[test]
    fn what_names_no_repo_says_why() {
        insta::assert_snapshot!(["", "a/b/c", "https://huggingface.co/", "a/b@", "a/b@../x", "https://huggingface.co/a/b/tree/main/..%2F..%2Fx", "a\x1b[31m/b"].map(show).join("\n"), @r#"
        error: "" is not a repo id: it is empty
        error: "a/b/c" is not a repo id: it has more than one '/'; the form is owner/name
        error: "https://huggingface.co/" names no repo: the form is https://HOST/[datasets/|spaces/]OWNER/NAME[/tree/REVISION[/PATH]]
        error: "" is not a revision: it is empty
        error: "../x" is not a revision: '..' and '@{' may not stand in it
        error: "../../x" is not a safe path: it holds a '.' or '..' segment
        error: "a\u{1b}[31m/b" is not a repo id: only letters, digits, '-', '_' and '.' may stand in it
        "#);
    }
}
