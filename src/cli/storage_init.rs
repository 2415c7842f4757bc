//! `hfget storage-init`: `KServe`'s storage initializer. The contract is `KServe`'s, not ours: pairs of arguments,
//! variables of its own, exit code 1 for every failure, and one sentence for the pod's status.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hfget_core::finding::{Finding, Severity};
use hfget_core::model::{Options, RepoId, RepoSpec};
use hfget_core::report::Report;
use hfget_core::session::{Config, DestinationConfig, Session, SourceConfig};
use hfget_core::unstable::select::any_matches;
use hfget_core::unstable::text::{hidden, printable};

use super::advice::Advisor;
use super::args::{Reports, StorageInitArgs};
use super::outcomes::Outcomes;
use super::screen::Screen;
use crate::exit::{Ends as _, ExitCode};
use crate::render::remedies::{of_config, words};

/// Kubernetes cuts the message at 4,096 bytes.
const MESSAGE: usize = 3000;
/// The file that `KServe` mounts where `CA_BUNDLE_VOLUME_MOUNT_POINT` says.
const BUNDLE: &str = "cabundle.crt";

/// The options for all sources.
struct Wish {
    allow: Vec<String>,
    ignore: Vec<String>,
}

pub(super) async fn storage_init(args: &StorageInitArgs) -> ExitCode {
    let screen = Screen::new(&args.plain.output(), Advisor::new(None));
    let Err(sentence) = run(args, &screen).await else { return ExitCode::Verified };
    say(&args.termination_log, &sentence);
    ExitCode::VerificationFailed
}

/// Does the whole job, or returns the sentence about its error. Other output is for the log.
async fn run(args: &StorageInitArgs, screen: &Screen) -> Result<(), String> {
    let fail = |sentence: String| {
        screen.fail("", &sentence, None);
        sentence
    };
    let env = |name: &str| std::env::var_os(name);
    let pairs = pairs(&args.pairs).map_err(fail)?;
    let wish = Wish {
        allow: patterns("STORAGE_ALLOW_PATTERNS", env).map_err(fail)?,
        ignore: patterns("STORAGE_IGNORE_PATTERNS", env).map_err(fail)?,
    };
    let certificates = certificates(env).map_err(fail)?;
    let reports = Reports::default();
    let mut outcomes =
        Outcomes::new(screen, &reports, "storage-init").map_err(|_| "the log cannot be written".to_owned())?;
    screen.expect(pairs.len());
    let mut first: Option<String> = None;
    for (spec, folder) in pairs {
        let name = spec.repo_type.qualify(&spec.id);
        let known = certificates.clone();
        let session = match session(args, &folder, known, screen) {
            Ok(session) => session,
            Err(sentence) => {
                outcomes.worsen(ExitCode::VerificationFailed);
                first.get_or_insert(fail(format!("{name}: {sentence}")));
                continue;
            }
        };
        let sentence = match options(&session, &spec, &wish).await {
            Ok(Ok(options)) => match session.get(&spec, &options).await {
                Ok(report) => {
                    let wrong = (report.exit_code() != ExitCode::Verified).then(|| wrong_sentence(&name, &report));
                    outcomes.report(&name, report);
                    wrong
                }
                Err(error) => {
                    outcomes.error(&name, &error);
                    Some(error_sentence(&name, &error))
                }
            },
            Ok(Err(why)) => Some(fail(format!("{name}: {why}"))),
            Err(error) => {
                outcomes.error(&name, &error);
                Some(error_sentence(&name, &error))
            }
        };
        if let Some(sentence) = sentence {
            first.get_or_insert(sentence);
        }
    }
    outcomes.finish();
    first.map_or(Ok(()), Err)
}

/// Parses the pairs of source and target.
fn pairs(words: &[String]) -> Result<Vec<(RepoSpec, PathBuf)>, String> {
    let (pairs, rest) = words.as_chunks::<2>();
    if pairs.is_empty() || !rest.is_empty() {
        let last = match words.last() {
            Some(word) => format!("{} has no folder after it", printable(word)),
            None => "there are none".to_owned(),
        };
        return Err(format!("storage-init takes pairs of a source and a folder: {last}"));
    }
    pairs.iter().map(|[source, target]| Ok((spec(source)?, PathBuf::from(target)))).collect()
}

/// `hf://OWNER/MODEL[:REVISION]`.
fn spec(source: &str) -> Result<RepoSpec, String> {
    let malformed = || format!("{} is not of the form hf://OWNER/MODEL[:REVISION]", printable(source));
    let rest = source.strip_prefix("hf://").ok_or_else(malformed)?;
    let (owner, rest) = rest.split_once('/').ok_or_else(malformed)?;
    // A branch may have a slash; a name has none.
    let (name, revision) = rest.split_once(':').map_or((rest, None), |(name, revision)| (name, Some(revision)));
    if owner.is_empty() || name.contains('/') {
        return Err(malformed());
    }
    let id: RepoId = format!("{owner}/{name}").parse().map_err(|_| malformed())?;
    let mut spec: RepoSpec = id.as_str().parse().map_err(|_| malformed())?;
    spec.revision = revision.map(str::parse).transpose().map_err(|_| malformed())?;
    Ok(spec)
}

/// A list of globs: JSON, or separated by commas.
fn patterns(name: &str, env: impl Fn(&str) -> Option<OsString>) -> Result<Vec<String>, String> {
    let Some(text) = env(name) else { return Ok(Vec::new()) };
    let text = text.into_string().map_err(|_| format!("{name} is not UTF-8"))?;
    let text = text.trim();
    // `[ab]*` is a glob.
    if text == "[]" || text.starts_with('[') && text.ends_with(']') && text.contains('"') {
        return serde_json::from_str(text).map_err(|error| format!("{name} is not a JSON list of texts: {error}"));
    }
    Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
}

/// The certificates that `KServe` mounts for all storage.
fn certificates(env: impl Fn(&str) -> Option<OsString>) -> Result<Option<PathBuf>, String> {
    let Some(folder) = env("CA_BUNDLE_VOLUME_MOUNT_POINT").filter(|folder| !folder.is_empty()) else { return Ok(None) };
    let file = Path::new(&folder).join(BUNDLE);
    match std::fs::File::open(&file) {
        Ok(_) => Ok(Some(file)),
        Err(error) => {
            let shown = file.display().to_string();
            Err(format!("CA_BUNDLE_VOLUME_MOUNT_POINT is set, but {} cannot be read: {error}", printable(&shown)))
        }
    }
}

/// A session that fills a folder and writes nowhere else.
fn session(
    args: &StorageInitArgs,
    folder: &Path,
    certificates: Option<PathBuf>,
    screen: &Screen,
) -> Result<Session, String> {
    let env = move |name: &str| match (name, &certificates) {
        ("SSL_CERT_FILE", Some(file)) => Some(file.clone().into_os_string()),
        _ => std::env::var_os(name),
    };
    let mut source = SourceConfig::from_env(None, env, std::iter::empty()).map_err(|error| {
        let advice = of_config(&error).map_or(String::new(), |advice| format!("; {advice}"));
        format!("{error}{advice}")
    })?;
    args.patience.apply(source.timing_mut());
    let mut config = Config::new(source, DestinationConfig::LocalDir(folder.to_path_buf()));
    config.scratch = Some(folder.join(".cache").join("huggingface"));
    Session::new(config, Arc::clone(&screen.progress)).map_err(|error| error.to_string())
}

/// The options for a repo that follow from the patterns. An allowed pattern without a matching file is ignored, as in
/// `huggingface_hub`; if all are ignored, that is an error.
async fn options(
    session: &Session,
    spec: &RepoSpec,
    wish: &Wish,
) -> Result<Result<Options, String>, hfget_core::session::Error> {
    let mut options = Options { exclude: wish.ignore.clone(), ..Options::default() };
    if wish.allow.is_empty() {
        return Ok(Ok(options));
    }
    let listing = session.listing(spec).await?;
    let paths = listing.entries.iter().map(|entry| entry.path.as_str());
    for pattern in &wish.allow {
        if any_matches(pattern, &paths)? {
            options.include.push(pattern.clone());
        }
    }
    if options.include.is_empty() {
        return Ok(Err("no file of it matches STORAGE_ALLOW_PATTERNS".to_owned()));
    }
    Ok(Ok(options))
}

/// The error as one sentence.
fn wrong_sentence(name: &str, report: &Report) -> String {
    let errors: Vec<&Finding> = report.findings.iter().filter(|f| f.severity == Severity::Error).collect();
    let first = errors.first().map_or("there was nothing to verify".to_owned(), |finding| match &finding.path {
        Some(path) => format!("{}: {}", printable(path), printable(&finding.message)),
        None => printable(&finding.message).into_owned(),
    });
    let more = match errors.len() {
        0 | 1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    format!("{name} is not verified: {first}{more}")
}

fn error_sentence(name: &str, error: &hfget_core::session::Error) -> String {
    let text = printable(&error.to_string()).into_owned();
    let text = if text.contains(name) { text } else { format!("{name}: {text}") };
    error.remedy().map_or(text.clone(), |remedy| format!("{text}; {}", printable(&words(&remedy))))
}

/// Writes the sentence to the file that Kubernetes reads. Kubernetes creates the file; without it nothing is written.
fn say(file: &Path, sentence: &str) {
    let text = hidden(sentence).replace(['\n', '\r'], " ");
    let end = text.floor_char_boundary(MESSAGE.min(text.len()));
    let opened = std::fs::OpenOptions::new().write(true).truncate(true).open(file);
    if let Ok(mut file) = opened {
        // An error is ignored, since the log has the sentence too.
        let _ = file.write_all(text.get(..end).unwrap_or_default().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{pairs, patterns, spec};

    #[test]
    fn a_source_has_two_parts_and_perhaps_a_revision() {
        let read = |text: &str| spec(text).map(|s| (s.id.to_string(), s.revision.map(|r| r.as_str().to_owned())));
        assert_eq!(read("hf://org/model"), Ok(("org/model".into(), None)));
        assert_eq!(read("hf://org/model:v1.0"), Ok(("org/model".into(), Some("v1.0".into()))));
        assert_eq!(read("hf://org/model:refs/pr/3"), Ok(("org/model".into(), Some("refs/pr/3".into()))));
        for bad in ["org/model", "hf://model", "hf:///model", "hf://a/b/c", "hf://a/b:", "s3://a/b", "hf://a/../b", ""]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn arguments_come_in_pairs() {
        let words = |n| vec!["hf://org/model".to_owned(); n];
        for (n, right) in [(0, false), (1, false), (2, true), (3, false), (4, true)] {
            assert_eq!(pairs(&words(n)).is_ok(), right, "{n}");
        }
    }

    #[test]
    fn patterns_are_a_json_list_or_have_commas_between_them() {
        let read = |text: &'static str| patterns("X", move |_| Some(text.into()));
        assert_eq!(read(r#"["*.json", "a,b"]"#), Ok(vec!["*.json".into(), "a,b".into()]));
        assert_eq!(read(" *.json , [ab]*.bin,"), Ok(vec!["*.json".into(), "[ab]*.bin".into()]));
        assert_eq!(read("[ab]"), Ok(vec!["[ab]".into()]));
        assert_eq!(read("[]"), Ok(vec![]));
        assert_eq!(read(""), Ok(vec![]));
        assert!(read(r#"["a", 3]"#).is_err());
    }
}
