//! Sets of GGUF and ONNX files in one folder: one quantisation or graph variant, whole, with what
//! belongs to it. Taken on request, or where there is nothing that loaders take by themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::classify::has_ext;
use super::names::{self, stem};
use super::picks::weights_of;
use super::sets::{Found, Query, Set};
use super::view::{View, inside};
use crate::model::{Entry, Family, RepoPath};

/// Names that are no model for llama.cpp (`common/download.cpp`).
const NO_MODEL: &[&str] = &["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];
/// What llama.cpp takes when no tag is given, before the first file.
const DEFAULT_TAGS: &[&str] = &["q4_k_m", "q8_0"];

fn set(query: Query<'_>, files: Vec<RepoPath>, reason: &str) -> Found {
    Found::Complete(Set::new(query.family, query.variant, files, reason))
}

/// Whether a GGUF file holds a model, and not what goes with one.
fn is_model(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !NO_MODEL.iter().any(|word| name.contains(word))
}

/// Whether `tag` stands in the path as a word of its own, whatever the case: before a `.` or `-`, as
/// llama.cpp's `{tag}[.-]`, or as a folder; but not at the end of another tag, as `F16` is of `BF16`.
fn tagged(path: &str, tag: &str) -> bool {
    let (path, tag) = (path.to_ascii_lowercase(), tag.to_ascii_lowercase());
    let byte = |at: usize| path.as_bytes().get(at);
    !tag.is_empty()
        && path.match_indices(&tag).any(|(at, _)| {
            matches!(byte(at + tag.len()), Some(b'.' | b'-' | b'/'))
                && at.checked_sub(1).and_then(byte).is_none_or(|c| !c.is_ascii_alphanumeric())
        })
}

/// The bits of a quantisation, as llama.cpp reads them off a name: the first number of the last part,
/// 4 in `a-Q4_K_M.gguf`.
fn bits(name: &str) -> u32 {
    let tag = variant(name).map_or("", |(_, tag)| tag);
    let digits = tag.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// One quantisation: the variant asked for, else llama.cpp's default; a split set whole; and the
/// `mmproj` beside it.
pub(super) fn gguf(view: &View<'_>, query: Query<'_>) -> Found {
    let (all, older): (Vec<&Entry>, Vec<&Entry>) = view
        .tree(query.dir)
        .filter(|e| weights_of(view, e) == Some(Family::Gguf))
        .partition(|e| has_ext(e.path.file_name(), &["gguf"]));
    if all.is_empty() {
        return ggml(query, &older);
    }
    let models: Vec<&Entry> = all.iter().filter(|e| is_model(e.path.file_name())).copied().collect();
    let by = |tag: &str| models.iter().find(|e| tagged(e.path.as_str(), tag));
    let first = match query.variant {
        Some(variant) => by(variant),
        None => DEFAULT_TAGS.iter().find_map(|tag| by(tag)).or(models.first()),
    };
    let Some(first) = first else { return Found::Absent };
    let mut files = vec![first.path.clone()];
    let split = |e: &'_ Entry| {
        names::split_shard(stem(e.path.file_name())).map(|(x, (number, total))| (x.to_owned(), number, total))
    };
    if let Some((prefix, _, total)) = split(first) {
        let parts: BTreeMap<u32, RepoPath> = models
            .iter()
            .filter(|e| e.path.dir() == first.path.dir())
            .filter_map(|e| split(e).filter(|s| s.0 == prefix && s.2 == total).map(|s| (s.1, e.path.clone())))
            .collect();
        // llama.cpp counts from 1 only.
        if parts.contains_key(&0) || !names::whole(&parts, total) {
            let why = format!("{} of the {total} parts of the split set are in the repo", parts.len());
            return Found::Incomplete(vec![(first.path.clone(), why)]);
        }
        files.extend(parts.into_values());
    }
    // llama.cpp's `find_best_mmproj`: the deepest folder shared with the model, then the nearest bits.
    let wanted = bits(first.path.file_name());
    let projector = all
        .iter()
        .filter(|e| e.path.file_name().to_ascii_lowercase().contains("mmproj"))
        .filter(|e| {
            e.path.dir().is_empty() || format!("{}/", first.path.dir()).starts_with(&format!("{}/", e.path.dir()))
        })
        .min_by_key(|e| (std::cmp::Reverse(e.path.dir().len()), bits(e.path.file_name()).abs_diff(wanted), &e.path));
    files.extend(projector.map(|e| e.path.clone()));
    let reason =
        if query.variant.is_some() { "the quantisation asked for" } else { "llama.cpp's default quantisation" };
    set(query, files, reason)
}

/// A ggml file of before GGUF (`ggml-base.en.bin` of whisper.cpp): the only one, or the one asked for.
fn ggml(query: Query<'_>, all: &[&Entry]) -> Found {
    let Some(first) = all.first() else { return Found::Absent };
    let called = |e: &Entry| {
        let stem = stem(e.path.file_name());
        stem.strip_prefix("ggml-").unwrap_or(stem).to_owned()
    };
    match query.variant {
        None if all.len() == 1 => set(query, vec![first.path.clone()], "the only file of its kind"),
        None => Found::Several {
            at: first.path.clone(),
            choices: all.iter().map(|e| called(e)).collect(),
            how: "name one with --variant",
        },
        Some(variant) => match all
            .iter()
            .find(|e| called(e).eq_ignore_ascii_case(variant) || stem(e.path.file_name()).eq_ignore_ascii_case(variant))
        {
            Some(entry) => set(query, vec![entry.path.clone()], "the file asked for"),
            None => Found::Absent,
        },
    }
}

/// `(stem, variant)` of a graph: `model_fp16.onnx`, `model.fp16.onnx`, `model_O2.onnx`,
/// `model_qint8_avx512_vnni.onnx`, as optimum, transformers.js and sentence-transformers write them.
fn graph(name: &str) -> (&str, Option<&str>) {
    const VARIANTS: &[&str] = &[
        "fp16",
        "fp32",
        "bf16",
        "int8",
        "uint8",
        "q8",
        "q4",
        "q4f16",
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
    // The processor follows the type.
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

/// The folders whose graphs are a model's: its own, else `onnx/`.
fn graph_dirs(dir: &str) -> [String; 2] {
    [dir.to_owned(), inside(dir, "onnx")]
}

/// The graphs of one variant in one folder (the root, else `onnx/`), each with its external files by
/// name. Graphs that stand for one another by variant are alternatives; different stems are parts.
pub(super) fn onnx(view: &View<'_>, query: Query<'_>) -> Found {
    for dir in graph_dirs(query.dir) {
        let here = view.files(&dir);
        let graphs: BTreeSet<&str> = here
            .iter()
            .map(|e| e.path.file_name())
            .filter(|name| has_ext(name, &["onnx"]) && graph(name).1 == query.variant)
            .collect();
        if graphs.is_empty() {
            continue;
        }
        let belongs = |name: &str| {
            // diffusers' converter puts all of a graph's weights in the last one.
            graphs.contains(name) || external_of(name).is_some_and(|g| graphs.contains(g)) || name == "weights.pb"
        };
        let files = here.iter().filter(|e| belongs(e.path.file_name())).map(|e| e.path.clone()).collect();
        return set(query, files, "the graph and its external data");
    }
    Found::Absent
}

/// The graph whose external data this is: of `X.onnx_data`, `X.onnx_data_1` and `X.onnx.data` it is `X.onnx`.
fn external_of(name: &str) -> Option<&str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.strip_suffix(".data")
        .or_else(|| name.strip_suffix("_data"))
        .or_else(|| name.rsplit_once("_data_").filter(|(_, n)| digits(n)).map(|(graph, _)| graph))
}

/// What `--variant` would have to say for this file, and for which family.
fn variant(name: &str) -> Option<(Family, &str)> {
    if has_ext(name, &["onnx"]) {
        return graph(name).1.map(|v| (Family::Onnx, v));
    }
    if !has_ext(name, &["gguf"]) {
        return None;
    }
    let stem = stem(name);
    let stem = names::split_shard(stem).map_or(stem, |(x, _)| x);
    stem.rsplit(['-', '.']).next().filter(|tag| tag.len() < stem.len()).map(|tag| (Family::Gguf, tag))
}

/// The variants that [`gguf`] and [`onnx`] find from `dir`, each with its family.
pub(super) fn variants<'a>(view: &View<'a>, dir: &str) -> Vec<(Family, &'a str)> {
    let graphs = graph_dirs(dir);
    view.tree(dir)
        .filter_map(|e| {
            let (family, variant) = variant(e.path.file_name())?;
            let found = match family {
                Family::Gguf => is_model(e.path.file_name()),
                _ => view.rel(&e.path).is_some_and(|rel| {
                    let dir = rel.rsplit_once('/').map_or("", |(dir, _)| dir);
                    graphs.iter().any(|g| g == dir)
                }),
            };
            found.then_some((family, variant))
        })
        .collect()
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
        assert_eq!(variant("Wan2.1_14B-Q4_K_M.gguf"), Some((Family::Gguf, "Q4_K_M")));
        assert_eq!(variant("a-Q8_0-00001-of-00002.gguf"), Some((Family::Gguf, "Q8_0")));
        assert_eq!(variant("model_fp16.onnx"), Some((Family::Onnx, "fp16")));
        assert_eq!((variant("model.gguf"), variant("a.bin"), variant("model.onnx")), (None, None, None));
    }

    #[test]
    fn a_tag_is_a_word_of_the_path() {
        assert!(tagged("a-Q4_K_M.gguf", "q4_k_m") && tagged("Q8_0/a-Q8_0-00001-of-00002.gguf", "Q8_0"));
        assert!(tagged("UD-Q4_K_XL/a-00001-of-00002.gguf", "ud-q4_k_xl"));
        assert!(!tagged("a-Q4_K_M.gguf", "Q4_K") && !tagged("a-BF16.gguf", "F16") && !tagged("a.gguf", ""));
    }

    #[test]
    fn bits_are_read_off_the_last_part_of_a_name() {
        assert_eq!(["a7-IQ2_XS.gguf", "mmproj-BF16.gguf", "Q8_0/a-Q8_0-00001-of-00002.gguf"].map(bits), [2, 16, 8]);
        assert_eq!(bits("model.gguf"), 0);
    }

    #[test]
    fn external_data_names_its_graph() {
        for name in ["m.onnx_data", "m.onnx_data_12", "m.onnx.data"] {
            assert_eq!(external_of(name), Some("m.onnx"), "{name}");
        }
        assert_eq!((external_of("m.onnx_data_x"), external_of("m.onnx")), (None, None));
    }
}
