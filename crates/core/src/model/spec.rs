//! The texts that a user types or pastes to name a repo: ids, `@revision`, `:TAG`, `hf://`, git and page URLs.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::{Family, Options, PathError, RepoId, RepoIdError, RepoPath, RepoType, Revision, RevisionError};
use crate::text::printable;

/// A repo as the user asks for it, before any request.
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
    /// The repo's name space.
    pub repo_type: RepoType,
    /// The id as the user typed it; the Hub may answer with another, canonical one.
    pub id: RepoId,
    /// The revision, if one was named.
    pub revision: Option<Revision>,
    /// The folder or file that a pasted URL pointed into.
    pub path: Option<RepoPath>,
    /// The quantisation that a `:TAG` names, as ollama and llama.cpp write it. `:latest` names none.
    pub tag: Option<String>,
    /// Scheme, user, host and port of a pasted URL, if it has a user or is not the public Hub's.
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
    #[error("\"{}\" has a backslash, and repos have none", printable(.0))]
    Backslash(String),
    #[error("\"{}\" is a place on this machine, not a repo", printable(.0))]
    Place(String),
    #[error("\"{}\" is a page of the Hub that shows no repo", printable(.0))]
    Page(String),
    #[error("\"{}\" names no repo: the form is https://HOST/[datasets/|spaces/]OWNER/NAME[/tree/REVISION[/PATH]]", printable(.0))]
    Url(String),
}

/// How much of a text an error keeps.
const KEPT: usize = 200;

fn kept(text: &str) -> String {
    text.chars().take(KEPT).collect()
}

impl RepoSpec {
    /// The options for this repo: `options`, with the quantisation that the tag names.
    #[must_use]
    pub fn wish(&self, options: &Options) -> Options {
        match &self.tag {
            Some(tag) => {
                Options { prefer: None, only: Some(Family::Gguf), variant: Some(tag.clone()), ..options.clone() }
            }
            None => options.clone(),
        }
    }
}

impl FromStr for RepoSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let text = text.trim();
        if text.contains('\\') {
            return Err(SpecError::Backslash(kept(text)));
        }
        for scheme in ["hf://", "huggingface://"] {
            if let Some(rest) = text.strip_prefix(scheme) {
                return parse_plain(rest, true);
            }
        }
        // git's way to name a repo by SSH.
        for host in ["git@hf.co:", "git@huggingface.co:", "ssh://git@hf.co/", "ssh://git@huggingface.co/"] {
            if let Some(rest) = text.strip_prefix(host) {
                return parse_plain(rest.trim_start_matches('/'), false);
            }
        }
        if text.starts_with(['/', '~']) || text.starts_with("./") || text.starts_with("../") {
            return Err(SpecError::Place(kept(text)));
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

/// Splits a leading `models/`, `datasets/`, `spaces/` or `kernels/` off.
fn split_type<'a>(segments: &mut &[&'a str]) -> RepoType {
    let of = |segment: &'a str| RepoType::ALL.into_iter().find(|repo_type| repo_type.plural() == segment);
    match segments.split_first() {
        Some((first, rest)) if !rest.is_empty() => of(first).map_or(RepoType::Model, |repo_type| {
            *segments = rest;
            repo_type
        }),
        _ => RepoType::Model,
    }
}

/// `[datasets/|spaces/]owner/name[@revision][/path]`; the path is allowed only for `hf://`, as in `HfFileSystem`.
fn parse_plain(text: &str, with_path: bool) -> Result<RepoSpec, SpecError> {
    let text = if with_path { text } else { text.trim_end_matches('/') };
    let (before, after) = match text.split_once('@') {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    };
    let before = if before.ends_with("//") { before } else { before.strip_suffix('/').unwrap_or(before) };
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
            // `refs/pr/1` is the only revision with slashes that needs no escaping in hf:// URLs.
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
    let (id, tag) = tagged(&id)?;
    Ok(RepoSpec { repo_type, id, revision, path, tag, endpoint: None })
}

/// `owner/name[.git][:TAG]`.
fn tagged(text: &str) -> Result<(RepoId, Option<String>), RepoIdError> {
    let fits = |tag: &str| {
        !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let (id, tag) = match text.rsplit_once(':').filter(|(_, tag)| fits(tag)) {
        Some((id, tag)) => (id, Some(tag)),
        None => (text, None),
    };
    let id = id.strip_suffix(".git").unwrap_or(id).parse()?;
    Ok((id, tag.filter(|tag| *tag != "latest").map(str::to_owned)))
}

/// `name` or `name:password`, encoded as in the URL.
fn user_of(url: &url::Url) -> String {
    url.password().map_or(url.username().to_owned(), |password| format!("{}:{password}", url.username()))
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn parse_url(text: &str) -> Result<RepoSpec, SpecError> {
    let bad = || SpecError::Url(kept(text));
    let url = url::Url::parse(text).map_err(|_| bad())?;
    let host = url.host_str().ok_or_else(bad)?;
    let public = matches!(host, "huggingface.co" | "www.huggingface.co" | "hf.co");
    let has_user = !url.username().is_empty() || url.password().is_some();
    // The user in the URL is kept, so that a caller that sends requests to the host can decide what to do with it.
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
    if let [first, others @ ..] = rest
        && (PAGES.contains(first) || others.is_empty() && RepoType::ALL.iter().any(|t| t.plural() == *first))
    {
        return Err(SpecError::Page(kept(text)));
    }
    let repo_type = split_type(&mut rest);
    let is_verb = |s: &str| VERBS.contains(&s) || s == "discussions" || s == "commits";
    // gpt2/tree/main is a short id followed by a verb; owner/tree would be a repo of that name.
    let id_len = if rest.len() >= 2 && is_verb(rest[1]) && rest.len() > 2 { 1 } else { rest.len().min(2) };
    if id_len == 0 {
        return Err(bad());
    }
    let (id, tag) = tagged(&rest[..id_len].join("/"))?;
    let tail = &rest[id_len..];
    let (revision, path) = match tail {
        [] | ["discussions" | "commits" | "viewer" | "settings", ..] => (None, &[][..]),
        [verb, "refs", kind, name, path @ ..] if VERBS.contains(verb) => (Some(format!("refs/{kind}/{name}")), path),
        [verb, revision, path @ ..] if VERBS.contains(verb) => (Some((*revision).to_owned()), path),
        _ => return Err(bad()),
    };
    let revision = revision.map(|r| r.parse()).transpose()?;
    let path = if path.is_empty() { None } else { Some(path.join("/").parse()?) };
    Ok(RepoSpec { repo_type, id, revision, path, tag, endpoint })
}

/// The words before a revision in the URL of a repo's page.
const VERBS: [&str; 7] = ["tree", "blob", "resolve", "raw", "blame", "edit", "commit"];

/// First words of URLs that do not name a repo.
const PAGES: [&str; 17] = [
    "docs",
    "search",
    "papers",
    "collections",
    "blog",
    "join",
    "login",
    "settings",
    "pricing",
    "chat",
    "tasks",
    "learn",
    "posts",
    "enterprise",
    "organizations",
    "new",
    "inference",
];

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
                if let Some(tag) = spec.tag {
                    out.push_str(&[" tag ", tag.as_str()].concat());
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
    fn pasted_texts_and_urls_name_the_repo() {
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
            ("bartowski/x-GGUF:Q4_K_M", "model bartowski/x-GGUF tag Q4_K_M"),
            ("hf.co/bartowski/x-GGUF:IQ2_XS", "model bartowski/x-GGUF tag IQ2_XS"),
            ("https://huggingface.co/a/b:Q8_0", "model a/b tag Q8_0"),
            ("a/b:latest", "model a/b"),
            ("a/b:Q8_0@v1", "model a/b @v1 tag Q8_0"),
            ("hf.co/a/b", "model a/b"),
            ("huggingface://a/b", "model a/b"),
            ("kernels/a/b", "kernel a/b"),
            ("https://huggingface.co/kernels/a/b", "kernel a/b"),
            ("hf://kernels/a/b@v1/build/x.so", "kernel a/b @v1 :build/x.so"),
            ("https://huggingface.co/a/b.git", "model a/b"),
            ("git@hf.co:a/b.git", "model a/b"),
            ("git@hf.co:datasets/a/b", "dataset a/b"),
            ("ssh://git@hf.co/a/b", "model a/b"),
            ("a/b.git", "model a/b"),
            ("a/b/", "model a/b"),
            ("datasets/a/b//", "dataset a/b"),
            ("hf://a/b/", "model a/b"),
            ("hf://a/b/sub/", "model a/b :sub"),
            ("https://huggingface.co/datasets/a/b/viewer/default/train", "dataset a/b"),
            ("https://huggingface.co/a/b/blame/main/README.md", "model a/b @main :README.md"),
            ("http://127.0.0.1:8080/a/b", "model a/b via http://127.0.0.1:8080"),
            ("https://me:pass@huggingface.co/a/b", "model a/b via https://me:pass@huggingface.co"),
        ] {
            assert_eq!(show(typed), meant, "{typed}");
        }
    }

    #[test]
    fn a_tag_names_a_quantisation_and_keeps_the_other_options() {
        let options = Options { prefer: Some(Family::Bin), no_code: true, ..Options::default() };
        let spec: RepoSpec = "a/b:Q4_K_M".parse().unwrap();
        let wish =
            Options { only: Some(Family::Gguf), variant: Some("Q4_K_M".into()), no_code: true, ..Options::default() };
        assert_eq!(spec.wish(&options), wish);
        let latest: RepoSpec = "a/b:latest".parse().unwrap();
        assert_eq!(latest.wish(&options), options);
    }

    #[test]
    fn a_text_without_a_repo_is_refused_with_the_reason() {
        insta::assert_snapshot!(["", "a/b/c", "https://huggingface.co/", "a/b@", "a/b@../x", "https://huggingface.co/a/b/tree/main/..%2F..%2Fx", "a\x1b[31m/b"].map(show).join("\n"), @r#"
        error: "" is not a repo id: it is empty
        error: "a/b/c" is not a repo id: it has more than one '/'; the form is owner/name
        error: "https://huggingface.co/" names no repo: the form is https://HOST/[datasets/|spaces/]OWNER/NAME[/tree/REVISION[/PATH]]
        error: "" is not a revision: it is empty
        error: "../x" is not a revision: '..' and '@{' are not allowed
        error: "../../x" is not a safe path: it has a '.' or '..' segment
        error: "a\u{1b}[31m/b" is not a repo id: only letters, digits, '-', '_' and '.' are allowed
        "#);
    }
}
