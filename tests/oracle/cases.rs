//! The recorded cases as repos for selection. `main.rs` judges the results.

use std::collections::BTreeSet;

use hfget_core::model::{Options, RepoType};
use serde_json::Value;

use crate::support::Repo;

/// A repo, the options, and the expected result.
#[derive(Clone, Default)]
pub struct Case {
    pub name: String,
    pub repo: Repo,
    pub options: Options,
    pub needs: BTreeSet<String>,
    pub may: BTreeSet<String>,
    pub must_not: BTreeSet<String>,
    pub waste_over: u64,
    pub ask: bool,
    pub exit: i32,
    pub prefer_bin: Option<BTreeSet<String>>,
    pub variant_fp16: Option<BTreeSet<String>>,
}

/// The recorded repos.
pub fn repos() -> Vec<Case> {
    let all: Value = serde_json::from_str(include_str!("../data/oracle.json")).unwrap();
    let cases = all.as_object().unwrap().iter().map(|(name, value)| {
        let mut case = case(name, value, |path| value["sizes"][path].as_u64().unwrap_or(1000));
        case.repo.id.clone_from(name);
        case.needs = names(&value["needs"]);
        case.may = names(&value["may"]);
        case.waste_over = value["waste_over"].as_u64().unwrap();
        case.prefer_bin = value.get("prefer_bin").map(names);
        case.variant_fp16 = value.get("variant_fp16").map(names);
        if value["type"] == "dataset" {
            case.repo.kind = RepoType::Dataset;
        }
        case
    });
    cases.collect()
}

/// The layouts.
pub fn layouts() -> Vec<Case> {
    let all: Value = serde_json::from_str(include_str!("../data/layouts.json")).unwrap();
    let cases = all.as_object().unwrap().iter().map(|(name, value)| {
        let mut case = case(name, value, crate::support::size_of);
        case.needs = names(&value["must"]);
        case.must_not = names(&value["must_not"]);
        case.waste_over = u64::MAX;
        case.exit = value["exit"].as_i64().unwrap_or(0).try_into().unwrap();
        let args: Vec<&str> = value["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for pair in args.chunks(2) {
            let text = pair[1];
            match pair[0] {
                "--only" => case.options.only = Some(text.parse().unwrap()),
                "--variant" => case.options.variant = Some(text.to_owned()),
                "--subfolder" => case.options.subfolder = Some(text.parse().unwrap()),
                other => panic!("{name} has an argument that no case has: {other}"),
            }
        }
        case
    });
    cases.collect()
}

fn case(name: &str, value: &Value, size: impl Fn(&str) -> u64) -> Case {
    let mut case = Case { name: name.to_owned(), ask: value["ask"] == true, ..Case::default() };
    "org/repo".clone_into(&mut case.repo.id);
    for path in names(&value["files"]) {
        let size = size(&path);
        case.repo.files.insert(path, size);
    }
    for (path, text) in value["documents"].as_object().into_iter().flatten() {
        case.repo = case.repo.with(path, text.as_str().unwrap());
    }
    for (path, data) in value["onnx_external"].as_object().into_iter().flatten() {
        let large = case.repo.files[path] > 100 << 20 && value.get("sizes").is_some();
        let graph = graph(&names(data));
        if large {
            case.repo.documents.insert(path.clone(), graph);
        } else {
            case.repo = case.repo.with(path, graph);
        }
    }
    case
}

fn names(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// An ONNX graph with one initializer in each of these files.
pub fn graph(external: &BTreeSet<String>) -> Vec<u8> {
    let mut graph = Vec::new();
    for location in external {
        let pair = [field(1, b"location"), field(2, location.as_bytes())].concat();
        // data_location = EXTERNAL.
        let tensor = [field(8, location.as_bytes()), field(13, &pair), vec![14 << 3, 1]].concat();
        graph.extend(field(5, &tensor));
    }
    field(7, &graph)
}

/// A length-delimited field of a protobuf message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap());
    out.extend(bytes);
    out
}
