//! Tests that the index and its shards must agree, and that an index never leads out of its folder.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::codes;
use crate::finding::{Code, Finding, Severity};
use crate::model::{Family, RepoPath, WeightIndex, WeightSet};
use crate::verify::{CompactTable, Names, TensorTable, coverage};
use hfget_formats::Tensor;

const INDEX: &str = "model.safetensors.index.json";

/// Two shards of two tensors of four bytes each.
struct Case {
    set: WeightSet,
    index: String,
    tables: Vec<(RepoPath, Option<TensorTable>)>,
}

fn table(names: &[&str]) -> TensorTable {
    let tensor = |(i, name): (u64, &&str)| Tensor {
        name: (*name).into(),
        dtype: "F32".into(),
        shape: [1].into(),
        bytes: Some(i * 4..i * 4 + 4),
    };
    TensorTable { tensors: (0..).zip(names).map(tensor).collect(), aliases: Vec::new() }
}

impl Case {
    fn new(map: &[(&str, &str)], shards: &[(&str, &[&str])]) -> Self {
        let tables: Vec<(RepoPath, _)> =
            shards.iter().map(|(p, names)| (p.parse().unwrap(), Some(table(names)))).collect();
        let map: BTreeMap<&str, &str> = map.iter().copied().collect();
        let total: usize = shards.iter().map(|(_, names)| names.len() * 4).sum();
        Case {
            set: WeightSet {
                scope: String::new(),
                family: Family::Safetensors,
                variant: None,
                index: Some(INDEX.parse().unwrap()),

                parsed: crate::model::Parsed::default(),
                files: tables.iter().map(|(p, _)| p.clone()).collect(),
                tied_embeddings: false,
            },
            index: serde_json::json!({"metadata": {"total_size": total}, "weight_map": map}).to_string(),
            tables,
        }
    }

    fn check(&self) -> (Vec<Finding>, u64) {
        let index = WeightIndex::parse(self.index.as_bytes()).unwrap();
        let mut names = Names::of(Some(Arc::new(index.clone())));
        let mut compact = |table: TensorTable| CompactTable::new(table, &mut names);
        let held: Vec<Option<CompactTable>> =
            self.tables.iter().map(|(_, table)| table.clone().map(&mut compact)).collect();
        let tables = self.tables.iter().zip(&held).map(|((path, _), held)| (path, held.as_ref())).collect();
        let mut findings = coverage::duplicates(&self.set, &names, &tables);
        let (more, compared) = coverage::check(&self.set, self.set.index.as_ref().unwrap(), &index, &names, &tables);
        findings.extend(more);
        (crate::verify::problems::found(findings), compared)
    }
}

fn good() -> Case {
    Case::new(&[("a", "1.s"), ("b", "1.s"), ("c", "2.s"), ("d", "2.s")], &[("1.s", &["a", "b"]), ("2.s", &["c", "d"])])
}

#[test]
fn shards_that_match_the_index_have_no_findings() {
    assert_eq!(good().check(), (vec![], 4));
}

#[test]
fn a_missing_shard_is_named_once() {
    let mut case = good();
    case.tables.remove(1);
    let (findings, compared) = case.check();
    let missing: Vec<_> = findings.iter().filter(|f| f.code == Code::ShardMissing).collect();
    assert_eq!((missing.len(), missing[0].path.as_deref(), compared), (1, Some("2.s"), 2));
    assert!(!codes(&findings).contains(&Code::TensorMissing), "{findings:?}");
}

#[test]
fn a_shard_that_could_not_be_read_makes_no_tensor_missing() {
    let mut case = good();
    case.tables[1].1 = None;
    assert_eq!(case.check(), (vec![], 2));
}

#[test]
fn a_tensor_that_no_shard_contains_is_missing_from_the_named_one() {
    let mut case = good();
    case.tables[1].1 = Some(table(&["c"]));
    let (findings, _) = case.check();
    assert_eq!(codes(&findings), [Code::TensorMissing, Code::TotalSizeMismatch]);
    assert_eq!(findings.iter().find(|f| f.code == Code::TensorMissing).unwrap().path.as_deref(), Some("2.s"));
}

#[test]
fn a_tensor_in_another_shard_is_misplaced() {
    let mut case = good();
    case.tables[0].1 = Some(table(&["a"]));
    case.tables[1].1 = Some(table(&["b", "c", "d"]));
    let (findings, _) = case.check();
    assert_eq!(codes(&findings), [Code::TensorMisplaced]);
    assert_eq!(findings[0].path.as_deref(), Some("2.s"));
}

#[test]
fn a_tensor_that_the_index_does_not_name_is_a_warning() {
    let mut case = good();
    case.tables[0].1 = Some(table(&["a", "b", "stale"]));
    let (findings, _) = case.check();
    assert_eq!(codes(&findings), [Code::TensorUnindexed, Code::TotalSizeMismatch]);
    assert!(findings.iter().all(|f| f.severity == Severity::Warning));
}

#[test]
fn a_tensor_in_two_shards_is_an_error_and_not_misplaced() {
    let mut case = good();
    case.tables[0].1 = Some(table(&["a", "b", "c"]));
    let (findings, _) = case.check();
    assert_eq!(codes(&findings), [Code::TensorDuplicate, Code::TotalSizeMismatch]);
}

#[test]
fn many_tensors_in_two_shards_take_no_quadratic_time() {
    let names: Vec<String> = (0..50_000).map(|i| i.to_string()).collect();
    let names: Vec<&str> = names.iter().map(|n| &**n).collect();
    let map: Vec<(&str, &str)> = names.iter().map(|n| (*n, "2.s")).collect();
    let started = std::time::Instant::now();
    let (findings, compared) = Case::new(&map, &[("1.s", &names), ("2.s", &names)]).check();
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert_eq!((codes(&findings), compared), (vec![Code::TensorDuplicate], 50_000));
    assert!(findings.len() < 50);
}

#[test]
fn a_dropped_alias_that_the_header_notes_is_not_missing() {
    let mut case = good();
    let mut held = table(&["c"]);
    held.aliases = vec![("d".into(), "c".into())];
    case.tables[1].1 = Some(held);
    assert_eq!(codes(&case.check().0), [Code::TotalSizeMismatch]);
}

#[test]
fn tied_embeddings_may_be_absent_only_when_the_config_ties_them() {
    let map = [("model.embed_tokens.weight", "1.s"), ("lm_head.weight", "1.s"), ("model.norm.weight", "1.s")];
    let mut case = Case::new(&map, &[("1.s", &["model.embed_tokens.weight", "model.norm.weight"])]);
    assert_eq!(codes(&case.check().0), [Code::TensorMissing]);
    case.set.tied_embeddings = true;
    assert_eq!(case.check().0, []);
    // One of the tied tensors must exist, and no other tensor may be missing because of them.
    case.tables[0].1 = Some(table(&["model.norm.weight"]));
    assert!(codes(&case.check().0).contains(&Code::TensorMissing));
    case.tables[0].1 = Some(table(&["model.embed_tokens.weight"]));
    let (findings, _) = case.check();
    let missing = findings.iter().filter(|f| f.code == Code::TensorMissing).count();
    assert_eq!(missing, 1, "{findings:?}");
}

#[test]
fn a_wrong_total_size_only_warns() {
    let mut case = good();
    case.index = case.index.replace("\"total_size\":16", "\"total_size\":17");
    let (findings, _) = case.check();
    assert_eq!(codes(&findings), [Code::TotalSizeMismatch]);
    assert_eq!(findings[0].severity, Severity::Warning);
}

#[test]
fn an_index_without_metadata_warns() {
    let mut case = good();
    case.index = r#"{"weight_map": {"a": "1.s", "b": "1.s", "c": "2.s", "d": "2.s"}}"#.into();
    let (findings, _) = case.check();
    assert_eq!(codes(&findings), [Code::IndexInvalid]);
    assert_eq!(findings[0].severity, Severity::Warning);
}

#[test]
fn a_name_that_the_index_gives_twice_is_an_error() {
    let mut case = good();
    case.index = case.index.replacen(r#""a":"#, r#""b":"2.s","a":"#, 1);
    assert!(codes(&case.check().0).contains(&Code::IndexInvalid));
}

#[test]
fn shards_are_relative_to_the_index_and_may_be_below_it() {
    let mut case = Case::new(&[("a", "sub/1.s")], &[("unet/sub/1.s", &["a"])]);
    case.set.index = Some("unet/model.safetensors.index.json".parse().unwrap());
    assert_eq!(case.check(), (vec![], 1));
}

#[test]
fn a_shard_outside_the_folder_is_unsafe_and_never_looked_for() {
    for name in ["../../etc/passwd", "/etc/passwd", "..", ".", "", "a/../../b", "a\\b", "C:x", "a\0b", "git~1"] {
        let (findings, compared) = Case::new(&[("a", name)], &[]).check();
        assert_eq!(codes(&findings), [Code::PathUnsafe], "{name:?}: {findings:?}");
        assert_eq!(compared, 0);
    }
}

#[test]
fn an_index_of_nonsense_makes_no_endless_report() {
    let names: Vec<String> = (0..5_000).map(|i| format!("../{i}")).collect();
    let missing: Vec<String> = (0..5_000).map(|i| format!("{i}.s")).collect();
    let long = "x".repeat(1 << 20);
    let map: Vec<(&str, &str)> = names.iter().map(|n| (&**n, &**n)).collect();
    assert!(Case::new(&map, &[]).check().0.len() < 50);
    let map: Vec<(&str, &str)> = missing.iter().map(|n| (&**n, &**n)).collect();
    // Each missing shard is a file of its own, and may have a line of its own.
    assert!(Case::new(&map, &[]).check().0.len() <= 5_000);
    let (findings, _) = Case::new(&[(&long, "1.s")], &[("1.s", &["a"])]).check();
    assert!(findings.iter().all(|f| f.message.len() < 2_000));
}
