//! Sets of GGUF and ONNX files in one folder: one quantisation or graph variant, whole, with what
//! belongs to it. Taken on request only.

use std::collections::BTreeMap;

use super::sets::{Found, Query, Set};
use super::view::View;
use super::{Family, names};
use crate::hub::Entry;
use crate::repo::RepoPath;

/// Names that are no model for llama.cpp (`common/download.cpp`).
const NO_MODEL: &[&str] = &["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];
/// What llama.cpp takes when no tag is given, before the first file.
const DEFAULT_TAGS: &[&str] = &["q4_k_m", "q8_0"];

fn set(query: Query<'_>, mut files: Vec<RepoPath>, reason: &str) -> Found {
    files.sort();
    files.dedup();
    Found::Complete(Set {
        family: query.family,
        variant: query.variant.map(str::to_owned),
        index: None,
        files,
        loose: false,
        reason: reason.to_owned(),
        notes: Vec::new(),
    })
}

/// Entries of `dir` and below whose names end so.
fn ending<'v>(view: &View<'v>, dir: &str, ending: &str) -> Vec<&'v Entry> {
    view.tree(dir).filter(|e| e.path.file_name().to_ascii_lowercase().ends_with(ending)).collect()
}

/// Whether `tag` stands in the path before a `.` or `-`, as llama.cpp's `{tag}[.-]`.
fn tagged(path: &str, tag: &str) -> bool {
    let (path, tag) = (path.to_ascii_lowercase(), tag.to_ascii_lowercase());
    path.match_indices(&tag).any(|(at, _)| matches!(path.as_bytes().get(at + tag.len()), Some(b'.' | b'-')))
}

/// One quantisation: the variant asked for, else llama.cpp's default; a split set whole; and the
/// `mmproj` beside it.
pub(super) fn gguf(view: &View<'_>, query: Query<'_>) -> Found {
    let all = ending(view, query.dir, ".gguf");
    let is_model = |e: &&&Entry| {
        let name = e.path.file_name().to_ascii_lowercase();
        !NO_MODEL.iter().any(|word| name.contains(word))
    };
    let models: Vec<&Entry> = all.iter().filter(is_model).copied().collect();
    let by = |tag: &str| models.iter().find(|e| tagged(e.path.as_str(), tag));
    let first = match query.variant {
        Some(variant) => by(variant),
        None => DEFAULT_TAGS.iter().find_map(|tag| by(tag)).or(models.first()),
    };
    let Some(first) = first else { return Found::Absent };
    let mut files = vec![first.path.clone()];
    let split = |e: &Entry| {
        let stem = e.path.file_name().rsplit_once('.').map_or("", |(stem, _)| stem);
        names::split_shard(stem).map(|(x, (no, total))| (x.to_owned(), no, total))
    };
    if let Some((prefix, _, total)) = split(first) {
        let parts: BTreeMap<u32, RepoPath> = models
            .iter()
            .filter(|e| e.path.dir() == first.path.dir())
            .filter_map(|e| split(e).filter(|s| s.0 == prefix && s.2 == total).map(|s| (s.1, e.path.clone())))
            .collect();
        // A number beyond the files there are is not counted to.
        if parts.len() as u64 != u64::from(total) || !(1..=total).all(|no| parts.contains_key(&no)) {
            let why = format!("{} of the {total} parts of the split set are in the repo", parts.len());
            return Found::Incomplete(vec![(first.path.clone(), why)]);
        }
        files.extend(parts.into_values());
    }
    // llama.cpp takes the nearest projector: the deepest folder shared with the model.
    let projector = all
        .iter()
        .filter(|e| e.path.file_name().to_ascii_lowercase().contains("mmproj"))
        .filter(|e| {
            e.path.dir().is_empty() || format!("{}/", first.path.dir()).starts_with(&format!("{}/", e.path.dir()))
        })
        .max_by_key(|e| (e.path.dir().len(), tagged(e.path.file_name(), "f16"), std::cmp::Reverse(&e.path)));
    files.extend(projector.map(|e| e.path.clone()));
    let reason =
        if query.variant.is_some() { "the quantisation asked for" } else { "llama.cpp's default quantisation" };
    set(query, files, reason)
}

/// `(stem, variant)` of a graph: `model_fp16.onnx`, `model.fp16.onnx`, as optimum and transformers.js write them.
fn graph(name: &str) -> (&str, Option<&str>) {
    const VARIANTS: &[&str] =
        &["fp16", "fp32", "int8", "uint8", "q8", "q4", "q4f16", "bnb4", "quantized", "q8f16", "int4", "optimized"];
    let stem = name.get(..name.len().saturating_sub(5)).unwrap_or(name);
    match stem.rsplit_once(['_', '.']) {
        Some((left, v)) if !left.is_empty() && VARIANTS.contains(&v) => (left, Some(v)),
        _ => (stem, None),
    }
}

/// The graphs of one variant in one folder (the root, else `onnx/`), each with its external files by
/// name. Graphs that stand for one another by variant are alternatives; different stems are parts.
pub(super) fn onnx(view: &View<'_>, query: Query<'_>) -> Found {
    let nested = if query.dir.is_empty() { "onnx".to_owned() } else { format!("{}/onnx", query.dir) };
    for dir in [query.dir, &nested] {
        let here = view.files(dir);
        let graphs: Vec<&&Entry> = here
            .iter()
            .filter(|e| e.path.file_name().to_ascii_lowercase().ends_with(".onnx"))
            .filter(|e| graph(e.path.file_name()).1 == query.variant)
            .collect();
        if graphs.is_empty() {
            continue;
        }
        let mut files = Vec::new();
        for entry in graphs {
            files.push(entry.path.clone());
            let name = entry.path.file_name();
            let data = |other: &str| {
                let rest = other.strip_prefix(name);
                rest.is_some_and(|r| r == ".data" || r == "_data" || r.strip_prefix("_data_").is_some_and(digits))
            };
            files.extend(here.iter().filter(|e| data(e.path.file_name())).map(|e| e.path.clone()));
        }
        // diffusers' converter puts all of a graph's weights here.
        files.extend(here.iter().filter(|e| e.path.file_name() == "weights.pb").map(|e| e.path.clone()));
        return set(query, files, "the graph and its external data");
    }
    Found::Absent
}

/// What `--variant` would have to say for this file.
pub(super) fn variant(name: &str) -> Option<&str> {
    let (stem, ending) = name.rsplit_once('.')?;
    if ending.eq_ignore_ascii_case("onnx") {
        return graph(name).1;
    }
    if !ending.eq_ignore_ascii_case("gguf") {
        return None;
    }
    let stem = names::split_shard(stem).map_or(stem, |(x, _)| x);
    stem.rsplit(['-', '.']).next().filter(|tag| tag.len() < stem.len())
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether [`Family`] is told by this file's rules.
pub(super) fn knows(family: Family) -> bool {
    matches!(family, Family::Gguf | Family::Onnx | Family::TfCheckpoint | Family::SavedModel)
}

#[cfg(test)]
mod tests {
    use super::{graph, tagged, variant};

    #[test]
    fn variants_are_read_off_names() {
        assert_eq!(graph("model_fp16.onnx"), ("model", Some("fp16")));
        assert_eq!(graph("decoder_model_merged.onnx"), ("decoder_model_merged", None));
        assert_eq!(graph("model.q4.onnx"), ("model", Some("q4")));
        assert!(tagged("a-Q4_K_M.gguf", "q4_k_m") && tagged("Q8_0/a-Q8_0-00001-of-00002.gguf", "Q8_0"));
        assert_eq!(variant("Wan2.1_14B-Q4_K_M.gguf"), Some("Q4_K_M"));
        assert_eq!(variant("a-Q8_0-00001-of-00002.gguf"), Some("Q8_0"));
        assert_eq!((variant("model_fp16.onnx"), variant("model.gguf"), variant("a.bin")), (Some("fp16"), None, None));
        assert!(!tagged("a-Q4_K_M.gguf", "Q4_K"));
    }
}
