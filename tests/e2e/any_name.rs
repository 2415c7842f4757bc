//! A name is an identity: every name that a repo may have survives each destination unchanged. The tests of
//! `RepoPath` cover refused names; the tests of the store cover names that a file system treats as equal.

use std::collections::BTreeMap;
use std::path::Path;

use hfget_core::model::RepoPath;
use hfget_loopback_hub::Repo;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::objects::S3;
use super::support::{Machine, safetensors, tree};

const SNAPSHOTS: &str = "models--org--odd/snapshots";

/// A segment of characters that a program on the way may misread: separators of URLs, joiners, marks of
/// direction, tags, private use, letters that compose, and text like an escape.
fn segment() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[ -.0-\\[\\]-~]{1,4}",
        2 => "[\u{a0}-\u{24f}\u{300}-\u{36f}\u{391}-\u{3c9}]{1,3}",
        2 => "[\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{2069}\u{feff}\u{fff0}-\u{fffd}]{1,2}",
        1 => "[\u{4e00}-\u{4e20}\u{ac00}-\u{ac20}\u{1f600}-\u{1f610}\u{e0001}-\u{e007f}\u{e000}-\u{e010}\u{10fffe}]{1,2}",
        1 => proptest::sample::select(vec!["%2F", "%00", "%25", "..", "+", "?", "#", "&x=1", "u{200c}", "//"])
            .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat())
}

/// Safe names, each in a folder of its own, so that none is the folder of another.
fn names() -> impl Strategy<Value = Vec<String>> {
    let name = proptest::collection::vec(segment(), 1..3).prop_map(|segments| segments.join("/"));
    proptest::collection::vec(name, 20..40).prop_map(|names| {
        let numbered = names.into_iter().enumerate().map(|(at, name)| format!("{at}/{name}"));
        numbered.filter(|name| name.parse::<RepoPath>().is_ok()).collect()
    })
}

/// A model, and the names.
fn repo(names: &[String]) -> Repo {
    let model = Repo::new("org/odd").file("config.json", "{}").lfs("model.safetensors", safetensors("w", 8));
    names.iter().enumerate().fold(model, |repo, (at, name)| {
        let content = format!("{name} {at}");
        if at % 2 == 0 { repo.file(name, content) } else { repo.lfs(name, content) }
    })
}

/// The expected files, by name.
fn wanted(repo: &Repo) -> BTreeMap<String, Vec<u8>> {
    repo.paths().map(|name| (name.to_owned(), repo.content(name).unwrap_or_default().to_vec())).collect()
}

/// The files of a folder, without a tool's own notes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = tree(folder);
    files.retain(|name, _| !name.starts_with(".cache/"));
    files
}

fn check(cases: u32, test: impl Fn(&[String])) {
    let mut runner =
        TestRunner::new(Config { cases, failure_persistence: None, max_shrink_iters: 40, ..Config::default() });
    runner
        .run(&names(), |names| {
            test(&names);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn every_name_survives_the_cache_and_a_local_dir() {
    check(6, |names| {
        let repo = repo(names);
        let machine = Machine::new([repo.clone()]);
        let total = repo.paths().count();
        let proven = format!("{total} of {total} digests right");
        let path = machine.hfget("org/odd --all").ends_with(0).path();
        assert_eq!(files(&path), wanted(&repo));
        machine.hfget("org/odd --all").ends_with(0).says("already verified");
        machine.hfget("verify org/odd --all").ends_with(0).says(&proven);
        machine.hfget("verify org/odd --all --offline").ends_with(0).says(&proven);
        let path = machine.hfget("org/odd --all --local-dir here").ends_with(0).path();
        assert_eq!(files(&path), wanted(&repo));
        machine.hfget("org/odd --all --local-dir here").ends_with(0).says("already verified");
        machine.hfget("verify org/odd --all --local-dir here").ends_with(0).says(&proven);
        machine.hfget("verify ./here").ends_with(0).says(&proven);
    });
}

#[test]
fn every_name_survives_the_way_to_a_bucket_and_back() {
    check(3, |names| {
        let repo = repo(names);
        let machine = Machine::new([repo.clone()]);
        let Some(s3) = S3::start(&machine) else { return };
        let total = repo.paths().count();
        s3.hfget(&machine, "org/odd --all --to s3://fleet/a").ends_with(0);
        let keys = s3.keys();
        for name in repo.paths() {
            let key = format!("{SNAPSHOTS}/{}/{name}", repo.commit());
            assert!(keys.iter().any(|k| k.ends_with(&key)), "{key:?} is not in {keys:?}");
        }
        s3.hfget(&machine, "org/odd --all --to s3://fleet/a").ends_with(0).says("already verified");
        s3.hfget(&machine, "verify s3://fleet/a").ends_with(0).says(&format!("{total} of {total} digests right"));
        let back = s3.hfget(&machine, "org/odd --all --endpoint s3://fleet/a --local-dir back").ends_with(0).path();
        assert_eq!(files(&back), wanted(&repo));
    });
}
