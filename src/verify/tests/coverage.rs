//! The index against the shards: every way in which they can disagree has its code.

use std::collections::BTreeMap;

use super::codes;
use crate::repo::RepoPath;
use crate::report::{Finding, Severity};
use crate::select::{Family, WeightIndex, WeightSet};
use crate::verify::coverage::{check, duplicates};
use crate::verify::{Tensor, TensorTable};

fn path(name: &str) -> RepoPath {
    name.parse().unwrap()
}

fn table(names: &[&str]) -> TensorTable {
    let tensor = |(i, name): (usize, &&str)| Tensor {
        name: (*name).into(),
        dtype: "U8".into(),
        shape: [10].into(),
        bytes: Some(i as u64 * 10..i as u64 * 10 + 10),
    };
    TensorTable { tensors: names.iter().enumerate().map(tensor).collect(), aliases: Vec::new() }
}

fn set(files: &[&str], tied: bool) -> WeightSet {
    WeightSet {
        scope: String::new(),
        family: Family::Safetensors,
        variant: None,
        index: Some(path("model.safetensors.index.json")),
        files: files.iter().map(|f| path(f)).collect(),
        tied_embeddings: tied,
    }
}

/// Checks an index with these entries against shards with those tensors.
fn compare(entries: &[(&str, &str)], shards: &[(&str, TensorTable)], tied: bool, size: u64) -> Vec<Finding> {
    let names: Vec<&str> = shards.iter().map(|(name, _)| *name).collect();
    let set = set(&names, tied);
    let map: serde_json::Map<String, serde_json::Value> =
        entries.iter().map(|(tensor, shard)| ((*tensor).to_owned(), (*shard).into())).collect();
    let json = serde_json::json!({"metadata": {"total_size": size}, "weight_map": map}).to_string();
    let index = WeightIndex::parse(json.as_bytes()).unwrap();
    let paths: Vec<RepoPath> = names.iter().map(|n| path(n)).collect();
    let tables: BTreeMap<&RepoPath, Option<&TensorTable>> =
        paths.iter().zip(shards).map(|(p, (_, t))| (p, Some(t))).collect();
    let mut findings = duplicates(&set, &tables);
    findings.extend(check(&set, set.index.as_ref().unwrap(), &index, &tables).0);
    findings
}

const A: &str = "a.safetensors";
const B: &str = "b.safetensors";

#[test]
fn agreement_is_silent() {
    let found = compare(&[("x", A), ("y", B)], &[(A, table(&["x"])), (B, table(&["y"]))], false, 20);
    assert_eq!(found, []);
}

#[test]
fn each_disagreement_has_its_code() {
    let both = || [(A, table(&["x"])), (B, table(&["y"]))];
    let judge = |entries: &[(&str, &str)], size| codes(&compare(entries, &both(), false, size));
    assert_eq!(judge(&[("x", A), ("y", B), ("z", B)], 20), ["tensor-missing"]);
    assert_eq!(judge(&[("x", B), ("y", B)], 20), ["tensor-misplaced"]);
    assert_eq!(judge(&[("x", A)], 20), ["tensor-unindexed"]);
    assert_eq!(judge(&[("x", A), ("y", B), ("z", "c.safetensors")], 20), ["shard-missing"]);
    assert_eq!(judge(&[("x", A), ("y", B)], 21), ["total-size-mismatch"]);
    assert_eq!(judge(&[("x", A), ("y", B), ("z", "../../etc/passwd")], 20), ["path-unsafe"]);
    let twice = compare(&[("x", A), ("y", B)], &[(A, table(&["x"])), (B, table(&["x", "y"]))], false, 30);
    assert_eq!(codes(&twice), ["tensor-duplicate"]);
}

/// A wrong total is a converter's slip that hurts nobody; a surplus tensor loads as well.
#[test]
fn what_loads_all_the_same_only_warns() {
    let found = compare(&[("x", A)], &[(A, table(&["x", "extra"]))], false, 1);
    assert!(found.iter().all(|f| f.severity == Severity::Warning), "{found:?}");
    assert_eq!(codes(&found), ["tensor-unindexed", "total-size-mismatch"]);
}

/// Names that transformers ties need not be stored twice, if the configuration ties them.
#[test]
fn tied_embeddings_stand_for_one_another() {
    let shards = || [(A, table(&["model.embed_tokens.weight"]))];
    let entries = [("model.embed_tokens.weight", A), ("lm_head.weight", A)];
    assert_eq!(compare(&entries, &shards(), true, 10), []);
    assert_eq!(codes(&compare(&entries, &shards(), false, 10)), ["tensor-missing"]);
    let other = [("model.embed_tokens.weight", A), ("model.layers.0.weight", A)];
    assert_eq!(codes(&compare(&other, &shards(), true, 10)), ["tensor-missing"], "only embeddings are tied");
}

#[test]
fn an_alias_that_the_writer_noted_is_not_missing() {
    let mut kept = table(&["x"]);
    kept.aliases.push(("dropped".into(), "x".into()));
    assert_eq!(compare(&[("x", A), ("dropped", A)], &[(A, kept)], false, 10), []);
}

/// Thousands of missing tensors are one screen, not thousands of lines.
#[test]
fn long_runs_are_cut() {
    let names: Vec<String> = (0..5000).map(|i| format!("t{i}")).collect();
    let entries: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), A)).collect();
    let found = compare(&entries, &[(A, table(&[]))], false, 0);
    assert!(found.len() < 30, "{}", found.len());
    assert!(found.iter().any(|f| f.message.contains("4980 more")), "{found:?}");
}
