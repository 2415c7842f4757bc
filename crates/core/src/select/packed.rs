//! Sets of GGUF and older ggml files: one complete quantisation of one model, with the files that belong to it. It is
//! taken on request, or if there are no weights that loaders take automatically. `quants` reads names of
//! quantisations.

use std::collections::{BTreeMap, BTreeSet};

use super::classify::has_ext;
use super::graphs::{graph, graph_dirs};
use super::names::{self, stem};
use super::picks::weights_of;
use super::quants::{base, bits, expert, tag, tagged};
use super::sets::{Found, Query, Set};
use super::view::View;
use crate::finding::ChooseBy;
use crate::model::{Entry, Family, RepoPath};

/// Names of files that llama.cpp does not treat as a model (`common/download.cpp`).
const NO_MODEL: &[&str] = &["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];
/// The tags that llama.cpp tries without a given tag, before it takes the first file.
const DEFAULT_TAGS: &[&str] = &["q4_k_m", "q8_0"];

fn set(query: Query<'_>, files: Vec<RepoPath>, reason: &str) -> Found {
    Found::Complete(Set::new(query.family, query.variant, files, reason))
}

/// Whether a GGUF file is a model, and not a file that belongs to one.
fn is_model(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !NO_MODEL.iter().any(|word| name.contains(word))
}

/// One quantisation of one model: the variant that the user asked for, otherwise llama.cpp's default; a complete
/// split set; and the `mmproj` beside it. If there are several models, the user must name one: llama.cpp would
/// take the first.
pub(super) fn gguf(view: &View<'_>, query: Query<'_>) -> Found {
    let (all, older): (Vec<&Entry>, Vec<&Entry>) = view
        .tree(query.dir)
        .filter(|e| weights_of(view, e) == Some(Family::Gguf))
        .partition(|e| has_ext(e.path.file_name(), &["gguf"]));
    if all.is_empty() {
        return ggml(query, &older);
    }
    let models: Vec<&Entry> = all.iter().filter(|e| is_model(e.path.file_name())).copied().collect();
    let matching: Vec<&Entry> = match query.variant {
        Some(variant) => models.iter().filter(|e| tagged(e.path.as_str(), variant)).copied().collect(),
        None => models.clone(),
    };
    let Some(one) = matching.first() else { return Found::Absent };
    let bases: BTreeSet<String> = matching.iter().map(|e| base(e.path.file_name())).collect();
    if bases.len() > 1 {
        let choices = sizes(&matching);
        return Found::Several { at: one.path.clone(), choices, by: ChooseBy::Variant };
    }
    let by = |tag: &str| matching.iter().find(|e| tagged(e.path.as_str(), tag));
    let first = DEFAULT_TAGS.iter().find_map(|tag| by(tag)).unwrap_or(one);
    let mut files = Vec::new();
    // A model with two experts needs both (Wan 2.2 14B: `HighNoise/` and `LowNoise/`).
    let twin = expert(first.path.as_str()).and_then(|own| {
        let same = |e: &&&Entry| tag(e.path.file_name()) == tag(first.path.file_name());
        models.iter().find(|e| same(e) && expert(e.path.as_str()).is_some_and(|other| other != own))
    });
    for chosen in [Some(first), twin].into_iter().flatten() {
        match split(&models, chosen) {
            Ok(parts) => files.extend(parts),
            Err(why) => return Found::Incomplete(vec![(chosen.path.clone(), why)]),
        }
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

/// The parts of the name `X-00001-of-00002.gguf`.
fn part(entry: &Entry) -> Option<(&str, u32, u32)> {
    names::split_shard(stem(entry.path.file_name())).map(|(x, (number, total))| (x, number, total))
}

/// The file, or all parts of its split set.
fn split(models: &[&Entry], chosen: &Entry) -> Result<Vec<RepoPath>, String> {
    let Some((prefix, _, total)) = part(chosen) else { return Ok(vec![chosen.path.clone()]) };
    let parts: BTreeMap<u32, RepoPath> = models
        .iter()
        .filter(|e| e.path.dir() == chosen.path.dir())
        .filter_map(|e| part(e).filter(|s| s.0 == prefix && s.2 == total).map(|s| (s.1, e.path.clone())))
        .collect();
    // llama.cpp counts from 1 only.
    if parts.contains_key(&0) || !names::whole(&parts, total) {
        return Err(format!("{} of the {total} parts of the split set are in the repo", parts.len()));
    }
    Ok(parts.into_values().collect())
}

/// The name of each file or split set, with its bytes.
fn sizes(models: &[&Entry]) -> Vec<(String, u64)> {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for entry in models {
        let name = part(entry).map_or(stem(entry.path.file_name()), |(prefix, ..)| prefix);
        let size = sizes.entry(name).or_default();
        *size = size.saturating_add(entry.size);
    }
    sizes.into_iter().map(|(name, size)| (name.to_owned(), size)).collect()
}

/// A ggml file from before GGUF (`ggml-base.en.bin` of whisper.cpp): the only one, or the one that the user asked for.
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
            choices: all.iter().map(|e| (called(e), e.size)).collect(),
            by: ChooseBy::Variant,
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

/// The value of `--variant` for this file, with its family.
fn variant(name: &str) -> Option<(Family, &str)> {
    if has_ext(name, &["onnx"]) {
        return graph(name).1.map(|v| (Family::Onnx, v));
    }
    if !has_ext(name, &["gguf"]) {
        return None;
    }
    tag(name).map(|tag| (Family::Gguf, tag))
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
        assert_eq!(variant("Wan2.1_14B-Q4_K_M.gguf"), Some((Family::Gguf, "Q4_K_M")));
        assert_eq!(variant("model_fp16.onnx"), Some((Family::Onnx, "fp16")));
        assert_eq!((variant("model.gguf"), variant("a.bin"), variant("model.onnx")), (None, None, None));
    }
}
