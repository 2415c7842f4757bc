//! What was left out: the flag that takes each group after all, and the warning for parts that are no other format of
//! the model. Why a file is left out is decided in `picks`.

use std::collections::BTreeSet;

use super::classify::classify;
use super::names;
use super::picks::{Picks, weights_of};
use super::view::View;
use super::{LeftOut, Selection};
use crate::finding::{Code, Finding};
use crate::model::{Family, RepoPath};
use crate::text::{bytes, few, printable};

/// The words to add to the command so that it takes a group of files: what takes the group alone where there is such a
/// flag, else `--all`.
pub(super) fn flag(view: &View<'_>, picks: &Picks, family: Option<Family>, reason: &str, paths: &[RepoPath]) -> String {
    if let Some(pattern) = reason.strip_prefix("--exclude ") {
        return format!("leave out --exclude {}", quoted(pattern));
    }
    if reason == "--no-code" {
        return "leave out --no-code".to_owned();
    }
    if reason == super::picks::NO_VARIANT {
        return "leave out --variant".to_owned();
    }
    if reason.starts_with("outside ") {
        return "leave out --subfolder".to_owned();
    }
    let chosen = |family: Family| picks.weights.iter().any(|set| set.family == family);
    if let Some(family) = family.filter(|family| *family != Family::Other) {
        // A pipeline's other family need not have the variant in every component.
        let variant = reason.strip_suffix(" variant").filter(|_| !picks.pipeline || chosen(family));
        if let Some(variant) = variant {
            let only = if chosen(family) { String::new() } else { format!("--only {family} ") };
            return format!("{only}--variant {}", quoted(variant));
        }
        // An index alone is no family, and one that is not complete is no choice.
        let weights =
            paths.iter().filter_map(|p| view.listing().get(p.as_str())).any(|e| weights_of(view, e).is_some());
        let whole = weights && !view.incomplete(paths) && reason == format!("{family} family");
        if whole && !chosen(family) && !picks.pipeline {
            return format!("--only {family}{}", one_variant(family, paths));
        }
    }
    with(view, paths).unwrap_or_else(|| "--all".to_owned())
}

/// The variant to name where a family is there as variants only, or as several models.
fn one_variant(family: Family, paths: &[RepoPath]) -> String {
    let of = |path: &RepoPath| match family {
        Family::Pt | Family::TorchScript | Family::Tf | Family::Flax => Some(names::stem(path.file_name()).to_owned()),
        _ => None,
    };
    let stems: BTreeSet<String> = paths.iter().filter_map(of).collect();
    match stems.first() {
        Some(first) if stems.len() > 1 && !paths.iter().any(|p| classify(p.file_name()).family != Some(family)) => {
            format!(" --variant {}", quoted(first))
        }
        _ => String::new(),
    }
}

/// The file, or all that lies in the one folder, in words that mean nothing but that.
fn with(view: &View<'_>, paths: &[RepoPath]) -> Option<String> {
    let literal = |text: &str| !text.contains(['*', '?', '[', ']', '\'']) && !text.chars().any(char::is_control);
    if let [one] = paths {
        return literal(one.as_str()).then(|| format!("--with {}", quoted(one.as_str())));
    }
    let first = paths.first()?.as_str().split('/').next()?;
    let together = paths.iter().all(|path| path.as_str().strip_prefix(first).is_some_and(|rest| rest.starts_with('/')));
    // The whole folder must be what was left out, or it takes more than is said.
    let whole = view.listing().entries.iter().filter(|e| e.path.as_str().starts_with(&format!("{first}/"))).count();
    (together && literal(first) && whole == paths.len()).then(|| format!("--with {}", quoted(&format!("{first}/*"))))
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/+=,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Warns of weights that were left out though they are no other format of the model, nor a variant, nor of a training:
/// a part that somebody may miss.
pub(super) fn warn(view: &View<'_>, pipeline: bool, selection: &Selection) {
    let torch = |family: Family| matches!(family, Family::Safetensors | Family::Bin);
    let chosen = selection.weights.iter().any(|set| torch(set.family));
    // A pipeline says itself what its parts are.
    if pipeline || !chosen {
        return;
    }
    selection.left_out.iter().filter_map(|group| part_left_out(view, selection, group)).for_each(|f| view.find_out(f));
}

fn part_left_out(view: &View<'_>, selection: &Selection, group: &LeftOut) -> Option<Finding> {
    let family = group.family?;
    let same = selection.weights.iter().any(|set| set.family == family);
    let part = same
        && ["weights in other folders", "files that the index does not name", "other safetensors files"]
            .iter()
            .any(|end| group.reason.ends_with(end));
    // Shards of a standard name are the same weights once more, which is said elsewhere.
    let again = |path: &&RepoPath| {
        view.rel(path).is_some_and(|rel| !rel.contains('/')) && names::parse(path.file_name()).is_some()
    };
    let entries: Vec<_> = group
        .paths
        .iter()
        .filter(|path| !again(path))
        .filter_map(|path| view.listing().get(path.as_str()))
        .filter(|entry| part && weights_of(view, entry).is_some())
        .collect();
    let first = entries.first()?;
    let sum = entries.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.size));
    let names: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    let what =
        if names.len() == 1 { "a weight file was".to_owned() } else { format!("{} weight files were", names.len()) };
    let message = format!(
        "{what} left out ({}), though no other format of the model: {}",
        bytes(sum),
        printable(&few(&names, 3))
    );
    Some(Finding::new(Code::PartLeftOut, &first.path, message).hint(format!("to take it, add {}", group.take)))
}
