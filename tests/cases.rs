//! Judges every case that `tests/fixtures/cases/make.py` writes: hostile files and their honest twins, each with
//! the expected findings. The script needs only Python; none of its files is run.

#![allow(clippy::unwrap_used)] // tests, but outside `#[cfg(test)]`

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use hfget_core::finding::{Code, Finding, Severity};
use hfget_core::hub::HubConfig;
use hfget_core::model::Options;
use hfget_core::progress::Silent;
use hfget_core::session::{Config, DestinationConfig, Session};
use hfget_core::unstable::session::inspect_path;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    path: PathBuf,
    how: String,
    right: Right,
    why: String,
}

#[derive(Deserialize)]
struct Right {
    error: Option<String>,
    names: Option<String>,
    #[serde(default)]
    clean: bool,
}

/// Writes the cases once.
fn cases() -> &'static (PathBuf, Vec<Case>) {
    static CASES: OnceLock<(PathBuf, Vec<Case>)> = OnceLock::new();
    CASES.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cases");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cases/make.py");
        let ran = Command::new("python3").arg(script).arg(&place).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let listed = serde_json::from_slice(&std::fs::read(place.join("cases.json")).unwrap()).unwrap();
        (place, listed)
    })
}

/// The findings about a case's file or folder, without `digests-unknown`.
fn findings(place: &Path, case: &Case, runtime: &tokio::runtime::Runtime, session: &Session) -> Vec<Finding> {
    let path = place.join(&case.path);
    let inspected = |path: &Path| inspect_path(path).unwrap().into_iter().flat_map(|file| file.findings).collect();
    let folder = |path: &Path| runtime.block_on(session.verify_dir(path, &Options::default())).unwrap().findings;
    let mut found: Vec<Finding> = match &*case.how {
        "inspect" => inspected(&path),
        "folder" => folder(&path),
        // The file is inspected, and also verified in its folder as after a fetch.
        _ => [inspected(&path), folder(path.parent().unwrap())].concat(),
    };
    found.retain(|finding| finding.code != Code::DigestsUnknown);
    found
}

/// Why the findings of a case are wrong.
fn wrong(case: &Case, found: &[Finding]) -> Option<String> {
    let errors: Vec<&Finding> = found.iter().filter(|f| f.severity == Severity::Error).collect();
    let right = match &case.right {
        Right { error: Some(code), .. } if code == "*" => !errors.is_empty(),
        Right { error: Some(code), .. } => errors.iter().any(|f| f.code.as_str() == code),
        Right { names: Some(name), .. } => found.iter().any(|f| f.message.contains(name.as_str())),
        Right { clean, .. } => *clean && errors.is_empty(),
    };
    (!right).then(|| format!("{} ({}):\n    {found:?}", case.name, case.why))
}

/// Judges the cases of a group, and prints those with wrong findings.
fn judge(group: &str, at_least: usize) {
    let (place, cases) = cases();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let hub = HubConfig::new("http://127.0.0.1:9").unwrap();
    let mut config = Config::new(hub, DestinationConfig::LocalDir(place.clone()));
    config.offline = true;
    let session = Session::new(config, Arc::new(Silent)).unwrap();
    let of_group: Vec<&Case> = cases.iter().filter(|case| case.name.split('/').next() == Some(group)).collect();
    assert!(of_group.len() >= at_least, "{group}: {} cases", of_group.len());
    let wrong: Vec<String> =
        of_group.iter().filter_map(|case| wrong(case, &findings(place, case, &runtime, &session))).collect();
    assert!(wrong.is_empty(), "{} of {} cases are judged wrong:\n{}", wrong.len(), of_group.len(), wrong.join("\n"));
}

#[test]
fn hostile_pickles_in_an_archive_are_found() {
    judge("pickle", 19);
}

#[test]
fn hostile_pickles_without_an_archive_are_found() {
    judge("pickle-bare", 11);
}

#[test]
fn calls_that_public_scanners_list_are_unsafe() {
    judge("called", 157);
}

#[test]
fn zip_archives_that_torch_reads_in_another_way_are_refused() {
    judge("zip", 4);
}

#[test]
fn tar_archives_that_are_something_else_too_are_refused() {
    judge("tar", 1);
}

#[test]
fn pickles_are_judged_whatever_their_files_are_called() {
    judge("unread", 9);
}

#[test]
fn external_data_of_graphs_may_have_any_name_and_each_key_once() {
    judge("onnx", 4);
}

/// Selection decides which files such a document makes a repo need.
#[test]
fn documents_that_python_reads_have_no_error() {
    judge("documents", 5);
}

#[test]
fn honest_files_have_no_error() {
    judge("honest", 18);
}
