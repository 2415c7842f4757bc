//! The lockfile's text. Our own code writes it, so that each file is one line. The TOML library
//! reads it, into the same checked types for names and digests as everywhere else.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use toml::Value;

use super::{Lock, LockedFile, LockedRepo, VERSION};
use crate::model::{Digest, Options, RepoPath, RepoType};

/// A text in TOML's quotes.
fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn list(texts: &[String]) -> String {
    Value::Array(texts.iter().cloned().map(Value::String).collect()).to_string()
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Made by `hfget lock`. `hfget --locked` fetches exactly this, or fails.")?;
        writeln!(f, "version = {VERSION}")?;
        for repo in &self.repos {
            writeln!(f, "\n[[repo]]")?;
            writeln!(f, "id = {}", quoted(repo.id.as_str()))?;
            writeln!(f, "type = \"{}\"", kind(repo.repo_type))?;
            writeln!(f, "revision = {}", quoted(repo.revision.as_str()))?;
            writeln!(f, "commit = \"{}\"", repo.commit)?;
            options(f, &repo.options)?;
            writeln!(f, "files = [")?;
            for file in &repo.files {
                let algorithm = match file.digest {
                    Digest::Sha256(_) => "sha256",
                    Digest::GitBlob(_) => "git",
                };
                write!(f, "  {{ path = {}, size = {}", quoted(file.path.as_str()), file.size)?;
                write!(f, ", {algorithm} = \"{}\"", file.digest)?;
                if let Some(hash) = &file.xet_hash {
                    write!(f, ", xet = {}", quoted(hash))?;
                }
                writeln!(f, " }},")?;
            }
            writeln!(f, "]")?;
        }
        Ok(())
    }
}

fn kind(repo_type: RepoType) -> &'static str {
    match repo_type {
        RepoType::Model => "model",
        RepoType::Dataset => "dataset",
        RepoType::Space => "space",
        RepoType::Kernel => "kernel",
    }
}

/// Writes the selection options that differ from the default.
fn options(f: &mut fmt::Formatter<'_>, options: &Options) -> fmt::Result {
    let mut texts: Vec<String> = Vec::new();
    texts.extend(options.prefer.map(|family| format!("prefer = \"{family}\"")));
    texts.extend(options.only.map(|family| format!("only = \"{family}\"")));
    texts.extend(options.variant.as_ref().map(|v| format!("variant = {}", quoted(v))));
    texts.extend((!options.include.is_empty()).then(|| format!("take = {}", list(&options.include))));
    texts.extend((!options.with.is_empty()).then(|| format!("with = {}", list(&options.with))));
    texts.extend((!options.exclude.is_empty()).then(|| format!("exclude = {}", list(&options.exclude))));
    texts.extend(options.subfolder.as_ref().map(|folder| format!("subfolder = {}", quoted(folder.as_str()))));
    texts.extend(options.all.then(|| "all = true".to_owned()));
    texts.extend(options.no_code.then(|| "no-code = true".to_owned()));
    if texts.is_empty() { Ok(()) } else { writeln!(f, "select = {{ {} }}", texts.join(", ")) }
}

/// Read first: another version may have other keys.
#[derive(Deserialize)]
struct Versioned {
    version: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LockText {
    #[serde(rename = "version")]
    _version: i64,
    #[serde(default)]
    repo: Vec<RepoText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RepoText {
    id: String,
    #[serde(rename = "type")]
    repo_type: RepoType,
    revision: String,
    commit: String,
    #[serde(default)]
    select: SelectText,
    files: Vec<FileText>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SelectText {
    prefer: Option<String>,
    only: Option<String>,
    variant: Option<String>,
    /// Only these files.
    #[serde(default)]
    take: Vec<String>,
    /// These files in addition to the others; earlier versions wrote `include`.
    #[serde(default, alias = "include")]
    with: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    subfolder: Option<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    no_code: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    path: String,
    size: u64,
    sha256: Option<String>,
    git: Option<String>,
    xet: Option<String>,
}

/// Reads a lockfile's text; the error is a sentence about it.
pub(super) fn parse(text: &str) -> Result<Lock, String> {
    let said = |error: &toml::de::Error| format!("not a lockfile: {}", error.to_string().trim_end());
    match toml::from_str::<Versioned>(text).map_err(|e| said(&e))?.version {
        Some(VERSION) => {}
        Some(other) => {
            return Err(format!("it is of version {other}, and this hfget reads version {VERSION}: use another hfget"));
        }
        None => return Err("not a lockfile: it has no version".to_owned()),
    }
    let text: LockText = toml::from_str(text).map_err(|e| said(&e))?;
    let mut lock = Lock::default();
    for repo in text.repo {
        let id = repo.id.clone();
        let repo = parse_repo(repo).map_err(|why| format!("repo {id:?}: {why}"))?;
        if lock.get(repo.repo_type, &repo.id).is_some() {
            return Err(format!("repo {id:?} occurs twice"));
        }
        lock.put(repo);
    }
    Ok(lock)
}

fn parse_repo(text: RepoText) -> Result<LockedRepo, String> {
    let mut files = Vec::with_capacity(text.files.len());
    let mut seen = HashSet::new();
    for file in text.files {
        let shown = file.path.clone();
        let file = parse_file(file).map_err(|why| format!("file {shown:?}: {why}"))?;
        if !seen.insert(file.path.clone()) {
            return Err(format!("file {shown:?} occurs twice"));
        }
        files.push(file);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(LockedRepo {
        repo_type: text.repo_type,
        id: text.id.parse().map_err(|e| format!("{e}"))?,
        revision: text.revision.parse().map_err(|e| format!("{e}"))?,
        commit: text.commit.parse().map_err(|e| format!("commit: {e}"))?,
        options: parse_options(text.select)?,
        files,
    })
}

fn parse_options(text: SelectText) -> Result<Options, String> {
    let family = |name: Option<String>| name.map(|n| n.parse()).transpose().map_err(|e| format!("select: {e}"));
    let subfolder = text.subfolder.map(|s| s.parse::<RepoPath>()).transpose().map_err(|e| format!("select: {e}"))?;
    Ok(Options {
        prefer: family(text.prefer)?,
        only: family(text.only)?,
        variant: text.variant,
        include: text.take,
        with: text.with,
        exclude: text.exclude,
        all: text.all,
        subfolder,
        no_code: text.no_code,
    })
}

fn parse_file(text: FileText) -> Result<LockedFile, String> {
    let digest = match (&text.sha256, &text.git) {
        (Some(sum), None) => sum.parse().map(Digest::Sha256).map_err(|e| format!("sha256: {e}"))?,
        (None, Some(id)) => id.parse().map(Digest::GitBlob).map_err(|e| format!("git: {e}"))?,
        _ => return Err("it needs either sha256 or git".to_owned()),
    };
    if let Some(hash) = &text.xet
        && !(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Err("xet: it is not 64 hex digits".to_owned());
    }
    let path = text.path.parse::<RepoPath>().map_err(|e| format!("{e}"))?;
    Ok(LockedFile { path, size: text.size, digest, xet_hash: text.xet })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Family;

    fn locked() -> Lock {
        let file = |path: &str, digest: &str, xet: Option<&str>| LockedFile {
            path: path.parse().unwrap(),
            size: 7,
            digest: Digest::from_etag(digest).unwrap(),
            xet_hash: xet.map(str::to_owned),
        };
        let repo = |id: &str, options| LockedRepo {
            repo_type: RepoType::Model,
            id: id.parse().unwrap(),
            revision: "main".parse().unwrap(),
            commit: "103caa40027ebfd8450289ca2f278eac4ff26405".parse().unwrap(),
            options,
            files: vec![
                file("a \"quoted\" é.json", &"a".repeat(40), None),
                file("model.safetensors", &"b".repeat(64), Some(&"c".repeat(64))),
            ],
        };
        let options = Options {
            only: Some(Family::Safetensors),
            variant: Some("fp16".into()),
            with: vec!["*.md".into(), "\"x\\".into()],
            no_code: true,
            ..Options::default()
        };
        let mut lock = Lock::default();
        lock.put(repo("org/two", options));
        lock.put(repo("org/one", Options::default()));
        lock
    }

    #[test]
    fn a_lock_reads_well_and_reads_back() {
        let text = locked().to_string();
        insta::assert_snapshot!(text);
        assert_eq!(parse(&text).unwrap().to_string(), text);
        assert_eq!(parse("version = 1").unwrap().to_string(), Lock::default().to_string());
    }

    /// Earlier versions called the files that are added to the selection `include`. Now `take` means only these files.
    #[test]
    fn files_that_an_earlier_version_added_are_still_added() {
        let text = locked().to_string();
        let older = text.replace("with = [", "include = [");
        assert_ne!(older, text);
        assert_eq!(parse(&older).unwrap().to_string(), text);
        let mut named = locked();
        named.repos[0].options.include = vec!["config.json".into()];
        assert_eq!(parse(&named.to_string()).unwrap().repos[0].options, named.repos[0].options);
    }

    #[test]
    fn a_lockfile_that_is_not_fully_understood_is_refused_with_the_reason() {
        let text = locked().to_string();
        for (from, to, why) in [
            ("version = 1", "version = 2", "it is of version 2"),
            ("version = 1\n", "", "it has no version"),
            ("commit = \"103c", "commit = \"zzzz", "commit"),
            ("type = \"model\"", "type = \"module\"", "module"),
            ("only = \"safetensors\"", "only = \"safe\"", "safe"),
            ("path = \"model.safetensors\"", "path = \"../model.safetensors\"", ".."),
            ("size = 7, sha256", "size = 7, sha512", "sha512"),
            ("size = 7, sha256", "size = -7, sha256", "u64"),
            (", git = \"aaaa", ", sha256 = \"aaaa", "sha256"),
            ("id = \"org/two\"", "id = \"org/one\"", "twice"),
            ("no-code = true", "no-code = true, more = 1", "more"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = parse(&text.replace(from, to)).unwrap_err();
            assert!(error.contains(why), "{from} → {to}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = parse(&text);
            let _ = parse(&format!("version = 1\n[[repo]]\n{text}"));
        }
    }
}
