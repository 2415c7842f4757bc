//! Sets of ONNX graphs in one folder: the graphs of one variant, each with its external data files. They are taken
//! on request, or if there are no weights that loaders take automatically.

use std::collections::{BTreeMap, BTreeSet};

use super::Reason;
use super::classify::has_ext;
use super::companions::companion;
use super::external::locations;
use super::names::stem;
use super::picks::{Picks, class_of};
use super::sets::{Found, Query, Set};
use super::view::{CONFIG_LIMIT, Doc, View, inside};
use crate::finding::ChooseBy;
use crate::model::{Entry, Family, Purpose, RepoPath};

/// `(stem, variant)` of a graph: `model_fp16.onnx`, `model.fp16.onnx`, `model_O2.onnx`,
/// `model_qint8_avx512_vnni.onnx`, as optimum, transformers.js and sentence-transformers write them.
pub(super) fn graph(name: &str) -> (&str, Option<&str>) {
    const VARIANTS: &[&str] = &[
        "fp16",
        "fp32",
        "bf16",
        "int8",
        "uint8",
        "q8",
        "q4",
        "q4f16",
        "q2",
        "q2f16",
        "q1",
        "q1f16",
        "bnb4",
        "quantized",
        "q8f16",
        "int4",
        "uint4",
        "optimized",
        "O1",
        "O2",
        "O3",
        "O4",
    ];
    let stem = stem(name);
    // The name of a processor may follow the type.
    for kind in ["_qint8", "_quint8"] {
        if let Some(at) = stem.rfind(kind).filter(|at| *at > 0)
            && stem[at + kind.len()..].chars().next().is_none_or(|c| c == '_')
        {
            return (&stem[..at], Some(&stem[at + 1..]));
        }
    }
    match stem.rsplit_once(['_', '.']) {
        Some((left, v)) if !left.is_empty() && VARIANTS.contains(&v) => (left, Some(v)),
        _ => (stem, None),
    }
}

/// The folders with a model's graphs: its own folder, and `onnx/`.
pub(super) fn graph_dirs(dir: &str) -> [String; 2] {
    [dir.to_owned(), inside(dir, "onnx")]
}

/// The graphs of one variant in one folder (the model's own, otherwise `onnx/`), each with its external files.
/// Graphs with one stem and different variants are alternatives; graphs with different stems are parts. If a graph
/// has only one variant, that is taken; if it has several, the user must name one.
pub(super) fn onnx(view: &View<'_>, query: Query<'_>) -> Found {
    for dir in graph_dirs(query.dir) {
        let all: Vec<&Entry> =
            view.files(&dir).iter().copied().filter(|e| has_ext(e.path.file_name(), &["onnx"])).collect();
        let of = |variant: Option<&str>| -> Vec<&Entry> {
            all.iter().copied().filter(|e| graph(e.path.file_name()).1 == variant).collect()
        };
        let (mut graphs, mut variant, mut reason) =
            (of(query.variant), query.variant, "the graph and its external data");
        if query.variant.is_none() {
            let plain: BTreeSet<&str> = graphs.iter().map(|e| graph(e.path.file_name()).0).collect();
            let mut rest: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
            for entry in &all {
                if let (stem, Some(v)) = graph(entry.path.file_name())
                    && !plain.contains(stem)
                {
                    rest.entry(v).or_default().push(entry);
                }
            }
            let several = rest.len() > 1;
            if let Some((only, entries)) = rest.pop_first() {
                if several {
                    return several_variants(view, &dir, &all);
                }
                variant = if graphs.is_empty() { Some(only) } else { None };
                reason = "the only variant of the graph, and its external data";
                graphs.extend(entries);
            }
        }
        if graphs.is_empty() {
            continue;
        }
        let mut files: Vec<RepoPath> = graphs.iter().map(|e| e.path.clone()).collect();
        files.extend(external(view, &dir, &graphs));
        // diffusers' converter puts all weights of a graph into this file.
        files.extend(view.find(&dir, "weights.pb").map(|e| e.path.clone()));
        return Found::Complete(Set::new(query.family, variant, files, reason));
    }
    Found::Absent
}

/// Asks the user for the variant, if there are several and no plain graph.
fn several_variants(view: &View<'_>, dir: &str, all: &[&Entry]) -> Found {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in view.files(dir) {
        let name = entry.path.file_name();
        let of = external_of(name).unwrap_or(name);
        if let Some(variant) = graph(of).1.filter(|_| has_ext(of, &["onnx"])) {
            let size = sizes.entry(variant).or_default();
            *size = size.saturating_add(entry.size);
        }
    }
    let choices = sizes.into_iter().map(|(variant, size)| (variant.to_owned(), size)).collect();
    match all.first() {
        Some(first) => Found::Several { at: first.path.clone(), choices, by: ChooseBy::Variant },
        None => Found::Absent,
    }
}

/// The external data of graphs that are in the repo: by the names in a graph, if the graph is small enough to read
/// and its folder has files that the usual names do not explain; otherwise by the usual names.
fn external(view: &View<'_>, dir: &str, graphs: &[&Entry]) -> Vec<RepoPath> {
    let mut by_custom: BTreeMap<&str, Vec<&RepoPath>> = BTreeMap::new();
    for entry in view.files(dir) {
        if let Some(graph) = external_of(entry.path.file_name()) {
            by_custom.entry(graph).or_default().push(&entry.path);
        }
    }
    // A graph with external tensors is small. It is read only if the folder has a file that may contain them.
    let asks = view.tree(dir).any(|e| unexplained(view, e));
    let mut files = Vec::new();
    for graph in graphs {
        match if asks { given(view, graph) } else { None } {
            Some(given) => files.extend(given),
            None => files.extend(by_custom.get(graph.path.file_name()).into_iter().flatten().copied().cloned()),
        }
    }
    files
}

/// The files of the repo that a graph names; `None` if the graph is not read.
fn given(view: &View<'_>, graph: &Entry) -> Option<Vec<RepoPath>> {
    let entry = view.listing().get(graph.path.as_str()).filter(|e| e.size <= CONFIG_LIMIT)?;
    match view.quietly(|| view.bytes(entry, CONFIG_LIMIT)) {
        Doc::Pending => Some(Vec::new()),
        Doc::Absent => None,
        Doc::Here(bytes) => {
            let path = |location: &String| {
                let path = RepoPath::join(graph.path.dir(), location.strip_prefix("./").unwrap_or(location)).ok()?;
                view.listing().get(path.as_str()).map(|e| e.path.clone())
            };
            Some(locations(bytes).iter().filter_map(path).collect())
        }
    }
}

/// Whether this may be a graph's data although its name does not say so.
fn unexplained(view: &View<'_>, entry: &Entry) -> bool {
    const TEXT: &[&str] =
        &["json", "jsonl", "txt", "yaml", "yml", "toml", "csv", "tsv", "xml", "log", "jinja", "lock", "zip"];
    let name = entry.path.file_name();
    let Some(rel) = view.rel(&entry.path) else { return false };
    let class = class_of(view, rel);
    let unknown = match class.family {
        None => class.reason == Reason::Unneeded,
        Some(Family::Onnx) => !class.weights && !has_ext(name, TEXT),
        Some(family) => family == Family::Other && class.weights,
    };
    unknown && !name.starts_with('.') && !has_ext(name, TEXT) && companion(name).is_none()
}

/// Takes the files that belong to the graphs of a set: piper's `X.onnx.json`, and the files that sherpa-onnx reads
/// beside `tokens.txt` (piper1-gpl `voice.py:144`; sherpa-onnx `offline-tts-vits-model-config.cc`).
pub(super) fn beside(view: &View<'_>, dir: &str, set: &Set, picks: &mut Picks) {
    if set.family != Family::Onnx {
        return;
    }
    for path in &set.files {
        if let Some(entry) = view.listing().get(&format!("{}.json", path.as_str())) {
            picks.take(entry, Purpose::Config, "the graph's settings");
        }
    }
    // kokoro reads these in the browser (`kokoro.js/src/voices.js:425`).
    for entry in view.tree(&inside(dir, "voices")) {
        picks.take(entry, Purpose::Processor, "the voices of a speech model");
    }
    if view.find(dir, "tokens.txt").is_none() {
        return;
    }
    for folder in ["espeak-ng-data", "dict"] {
        for entry in view.tree(&inside(dir, folder)) {
            picks.take(entry, Purpose::Tokenizer, "sherpa-onnx needs it to read text");
        }
    }
    for entry in view.files(dir) {
        if has_ext(entry.path.file_name(), &["fst", "far"]) || entry.path.file_name() == "voices.bin" {
            picks.take(entry, Purpose::Tokenizer, "sherpa-onnx needs it to read text");
        }
    }
}

/// The graph that has this file as its external data: `X.onnx` for `X.onnx_data`, `X.onnx_data_1` and `X.onnx.data`.
fn external_of(name: &str) -> Option<&str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.strip_suffix(".data")
        .or_else(|| name.strip_suffix("_data"))
        .or_else(|| name.rsplit_once("_data_").filter(|(_, n)| digits(n)).map(|(graph, _)| graph))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_are_read_off_names() {
        assert_eq!(graph("model_fp16.onnx"), ("model", Some("fp16")));
        assert_eq!(graph("decoder_model_merged.onnx"), ("decoder_model_merged", None));
        assert_eq!(graph("model.q4.onnx"), ("model", Some("q4")));
        assert_eq!(graph("model_O3.onnx"), ("model", Some("O3")));
        assert_eq!(graph("model_qint8_avx512_vnni.onnx"), ("model", Some("qint8_avx512_vnni")));
        assert_eq!(graph("model_quint8_avx2.onnx"), ("model", Some("quint8_avx2")));
    }

    #[test]
    fn external_data_names_its_graph() {
        for name in ["m.onnx_data", "m.onnx_data_12", "m.onnx.data"] {
            assert_eq!(external_of(name), Some("m.onnx"), "{name}");
        }
        assert_eq!((external_of("m.onnx_data_x"), external_of("m.onnx")), (None, None));
    }
}
