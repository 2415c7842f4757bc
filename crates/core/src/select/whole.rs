//! Families that are taken as a whole, because no file in them is an alternative of another: every
//! file of the family by its name, with the files that its loader needs beside it. The files'
//! content is not read; rules about files that must be together are checked.

use std::collections::{BTreeMap, BTreeSet};

use super::PIPELINE_INDEXES;
use super::alike::{says_how, without_how};
use super::classify::{self, has_ext};
use super::picks::{Picks, unclaimed, weights_of};
use super::sets::{Found, Query, Set};
use super::view::{View, inside};
use crate::finding::ChooseBy;
use crate::model::{Entry, Family, Purpose, RepoPath};

/// Whether this module has the rules for the family.
pub(super) fn knows(family: Family) -> bool {
    use Family as F;
    matches!(
        family,
        F::Meta
            | F::OpenVino
            | F::CoreMl
            | F::Mlx
            | F::Rust
            | F::CTranslate2
            | F::DiffusersSingle
            | F::TfLite
            | F::TfJs
            | F::Other
    )
}

/// Every weight file of the family in `dir`, if the files that belong together are there.
pub(super) fn resolve(view: &View<'_>, query: Query<'_>) -> Found {
    let all = members(view, query.dir, query.family);
    let files: Vec<&Entry> = match query.variant {
        None => all,
        Some(variant) => all.into_iter().filter(|e| has_token(e.path.as_str(), variant)).collect(),
    };
    if files.is_empty() {
        return Found::Absent;
    }
    let files = match (query.variant, one_variant(view, query.family, &files)) {
        (None, Err(choices)) => {
            let at = files[0].path.clone();
            return Found::Several { at, choices, by: ChooseBy::Variant };
        }
        (None, Ok(one)) => one,
        (Some(_), _) => files,
    };
    if let Some(broken) = broken(view, query.family, &files) {
        return Found::Incomplete(vec![broken]);
    }
    let paths = files.iter().map(|e| e.path.clone()).collect();
    Found::Complete(Set::new(query.family, query.variant, paths, format!("the {} family, as a whole", query.family)))
}

/// The files of one variant of every model: the plain variant, or the only one. Files belong to one model if their
/// names are equal without the words for how they were saved. The error has several variants, none of them plain.
fn one_variant<'v>(view: &View<'_>, family: Family, files: &[&'v Entry]) -> Result<Vec<&'v Entry>, Vec<(String, u64)>> {
    if !matches!(family, Family::OpenVino | Family::TfLite | Family::CoreMl | Family::Mlx | Family::TfJs) {
        return Ok(files.to_vec());
    }
    let mut models: BTreeMap<String, BTreeMap<&str, Vec<&'v Entry>>> = BTreeMap::new();
    for entry in files {
        let unit = unit(view, family, entry);
        models.entry(without_how(unit)).or_default().entry(unit).or_default().push(entry);
    }
    let mut taken = Vec::new();
    for (_, mut variants) in models {
        if variants.len() > 1 {
            let plain = variants.keys().copied().filter(|unit| !says_how(unit)).min_by_key(|unit| unit.len());
            let Some(plain) = plain else {
                let size = |files: &[&Entry]| files.iter().fold(0u64, |sum, e| sum.saturating_add(e.size));
                let name = |unit: &str| unit.rsplit('/').next().unwrap_or(unit).to_owned();
                return Err(variants.iter().map(|(unit, files)| (name(unit), size(files))).collect());
            };
            variants.retain(|unit, _| *unit == plain || !says_how(unit));
        }
        taken.extend(variants.into_values().flatten());
    }
    taken.sort_by_key(|entry| &entry.path);
    Ok(taken)
}

/// The part of a path that names a model: a package, the folder of shards, or a file without its ending.
fn unit<'p>(view: &View<'_>, family: Family, entry: &'p Entry) -> &'p str {
    let rel = view.rel(&entry.path).unwrap_or("");
    if family == Family::CoreMl {
        let ends = rel.match_indices('/').map(|(at, _)| at).chain([rel.len()]);
        let package =
            |end: &usize| has_ext(rel[..*end].rsplit('/').next().unwrap_or(""), &["mlpackage", "mlmodelc", "mlmodel"]);
        return ends.clone().find(package).map_or(rel, |end| &rel[..end]);
    }
    if family == Family::TfJs && has_ext(rel, &["bin"]) {
        // `model.json` names the shards, and the shards of all models have the same names.
        return rel.rsplit_once('/').map_or("", |(dir, _)| dir);
    }
    rel.rsplit_once('.').map_or(rel, |(stem, _)| stem)
}

/// Whether `token` is a word of its own in a path, in any case.
fn has_token(path: &str, token: &str) -> bool {
    let (path, token) = (path.to_ascii_lowercase(), token.to_ascii_lowercase());
    let edge = |c: Option<&u8>| c.is_none_or(|c| !c.is_ascii_alphanumeric());
    let bytes = path.as_bytes();
    !token.is_empty()
        && path
            .match_indices(&token)
            .any(|(at, _)| edge(at.checked_sub(1).and_then(|i| bytes.get(i))) && edge(bytes.get(at + token.len())))
}

/// The files with weights.
fn members<'v>(view: &View<'v>, dir: &str, family: Family) -> Vec<&'v Entry> {
    let is = |entry: &&Entry| weights_of(view, entry) == Some(family);
    match family {
        Family::DiffusersSingle => single_files(view, dir),
        // Meta's own files at the root, otherwise those in the folder for them beside a converted model.
        Family::Meta => {
            let here: Vec<&Entry> = view.files(dir).iter().copied().filter(is).collect();
            if here.is_empty() { view.tree(&inside(dir, "original")).filter(is).collect() } else { here }
        }
        // A folder has one model, so other folders are other models.
        Family::CTranslate2 | Family::Rust => view.files(dir).iter().copied().filter(is).collect(),
        // All files in a package belong to it.
        Family::CoreMl => view
            .tree(dir)
            .filter(|e| {
                is(e)
                    || view
                        .rel(&e.path)
                        .is_some_and(|rel| rel.split('/').any(|s| has_ext(s, &["mlpackage", "mlmodelc"])))
            })
            .collect(),
        Family::Other => view.tree(dir).filter(|e| is(e) || unclaimed(view, e)).collect(),
        _ => view.tree(dir).filter(is).collect(),
    }
}

/// A pipeline in one file, beside its components' folders.
fn single_files<'v>(view: &View<'v>, dir: &str) -> Vec<&'v Entry> {
    let pipeline = PIPELINE_INDEXES.iter().any(|n| view.find(dir, n).is_some());
    let standard = |name: &str| name.starts_with("diffusion_pytorch_model") || name.starts_with("model.");
    let is = |entry: &&Entry| {
        let name = entry.path.file_name();
        has_ext(name, &["safetensors", "ckpt"]) && !standard(name) && !name.contains("lora")
    };
    if pipeline { view.files(dir).iter().copied().filter(is).collect() } else { Vec::new() }
}

/// A file that is missing although the loader needs it.
fn broken(view: &View<'_>, family: Family, files: &[&Entry]) -> Option<(RepoPath, String)> {
    match family {
        // `X.xml` is the graph of the weights `X.bin`.
        Family::OpenVino => {
            let names: BTreeSet<&str> = files.iter().map(|e| e.path.as_str()).collect();
            files.iter().find_map(|entry| {
                let (stem, ending) = entry.path.as_str().rsplit_once('.')?;
                let other = match ending {
                    "xml" => "bin",
                    "bin" => "xml",
                    _ => return None,
                };
                let absent = !names.contains(format!("{stem}.{other}").as_str());
                absent.then(|| (entry.path.clone(), format!("its .{other} file is not in the repo")))
            })
        }
        // `consolidated.00.pth` and so on, one for each GPU.
        Family::Meta => {
            let number = |e: &&&Entry| {
                e.path.file_name().strip_prefix("consolidated.")?.strip_suffix(".pth")?.parse::<usize>().ok()
            };
            let numbers: BTreeMap<usize, &Entry> = files.iter().filter_map(|e| Some((number(&e)?, *e))).collect();
            let (at, (_, entry)) = numbers.iter().enumerate().find(|(at, (no, _))| at != *no)?;
            Some((entry.path.clone(), format!("consolidated.{at:02}.pth is not in the repo")))
        }
        // `Manifest.json` names the parts; without it nothing opens the package.
        Family::CoreMl => files.iter().find_map(|entry| {
            let path = entry.path.as_str();
            let end = path.match_indices(".mlpackage/").next().map(|(at, dot)| at + dot.len())?;
            let manifest = format!("{}Manifest.json", &path[..end]);
            let absent = view.listing().get(&manifest).is_none();
            absent.then(|| (entry.path.clone(), "its package has no Manifest.json".to_owned()))
        }),
        _ => None,
    }
}

/// Takes the files that the family's loader needs beside the weights.
pub(super) fn beside(view: &View<'_>, dir: &str, set: &Set, picks: &mut Picks) {
    let take = |entry: &Entry, picks: &mut Picks| {
        let purpose = match entry.path.file_name() {
            "tokenizer.model" => Purpose::Tokenizer,
            _ => Purpose::Config,
        };
        picks.take(entry, purpose, format!("part of the {} layout", set.family));
    };
    let folders: BTreeSet<&str> = set.files.iter().map(RepoPath::dir).collect();
    match set.family {
        Family::Meta => {
            for entry in view.tree(dir).filter(|e| folders.contains(e.path.dir())) {
                if matches!(
                    entry.path.file_name(),
                    "params.json" | "checklist.chk" | "tokenizer.model" | "dtypes.json" | "config.json"
                ) || entry.path.file_name().ends_with(".safetensors.index.json")
                {
                    take(entry, picks);
                }
            }
        }
        Family::CTranslate2 => {
            for entry in view.files(dir) {
                let name = entry.path.file_name();
                if name.starts_with("vocabulary.") || name.contains("_vocabulary.") {
                    picks.take(entry, Purpose::Tokenizer, "CTranslate2's vocabulary");
                }
            }
        }
        // Files that are not weights and belong to no other family, in folders of this family alone.
        family => {
            for entry in view.tree(dir) {
                let Some(rel) = view.rel(&entry.path) else { continue };
                let own =
                    rel.split('/').rev().skip(1).any(|s| classify::family_dir(s).is_some_and(|(f, _)| f == family));
                // Other weights in these folders are other variants, and so are the graphs beside them.
                let beside = format!("{}/", entry.path.dir());
                let others = family == Family::TfJs
                    && !folders.iter().any(|dir| *dir == entry.path.dir() || dir.starts_with(&beside));
                if own && !others && weights_of(view, entry).is_none() {
                    take(entry, picks);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::has_token;

    #[test]
    fn a_variant_is_a_word_of_the_path() {
        assert!(has_token("openvino/openvino_model_qint8_quantized.xml", "qint8"));
        assert!(has_token("64-fp16.tflite", "FP16") && has_token("fp16/a.tflite", "fp16"));
        assert!(!has_token("openvino_model_qint8.xml", "int8") && !has_token("a.bin", ""));
    }
}
