//! Sets of `.pt`, `.pth` and `.ckpt` files in one folder, weights alone or `TorchScript`: the only one,
//! the parts of one, or the one that the user asked for. The files' content is not read here.

use std::collections::BTreeMap;

use super::classify::has_ext;
use super::names;
use super::names::stem;
use super::picks::weights_of;
use super::sets::{Found, Query, Set};
use super::view::View;
use crate::finding::ChooseBy;
use crate::model::{Entry, Family, RepoPath};

/// Stems of the model itself. Files of other names beside it are its parts (Coqui XTTS:
/// `model.pth`, `dvae.pth`, `mel_stats.pth`, `speakers_xtts.pth`).
const MAIN: &[&str] = &["model", "pytorch_model"];

/// Whether this module has the rules for the family.
pub(super) fn knows(family: Family) -> bool {
    matches!(family, Family::Pt | Family::TorchScript)
}

/// The files of the family in the folder, if they belong together.
pub(super) fn resolve(view: &View<'_>, query: Query<'_>) -> Found {
    let of = |family| view.files(query.dir).iter().copied().filter(move |e| weights_of(view, e) == Some(family));
    let mut all: Vec<&Entry> = of(query.family).collect();
    if all.is_empty() && query.family == Family::TorchScript {
        // Most TorchScript files have the names of ordinary pickles. Verification checks that their content is of the
        // family.
        all = of(Family::Pt).filter(|e| !has_ext(e.path.file_name(), &["ckpt"])).collect();
    }
    let Some(first) = all.first() else { return Found::Absent };
    let several = || Found::Several {
        at: first.path.clone(),
        choices: all.iter().map(|e| (stem(e.path.file_name()).to_owned(), e.size)).collect(),
        by: ChooseBy::Variant,
    };
    if let Some(variant) = query.variant {
        let by = |e: &&&Entry| stem(e.path.file_name()).eq_ignore_ascii_case(variant) || e.path.file_name() == variant;
        return match all.iter().find(by) {
            Some(entry) => set(query, vec![entry.path.clone()], "the file asked for"),
            None => several(),
        };
    }
    if let Some(found) = parts(query, &all) {
        return found;
    }
    let files = || all.iter().map(|e| e.path.clone()).collect();
    let main = all.iter().any(|e| MAIN.contains(&stem(e.path.file_name())));
    match all.len() {
        1 => set(query, files(), "the only file of its kind"),
        _ if main && view.find(query.dir, "config.json").is_some() => set(query, files(), "the model and its parts"),
        _ => several(),
    }
}

/// `X-00001-of-00002.pt`, if all are of one such set.
fn parts(query: Query<'_>, all: &[&Entry]) -> Option<Found> {
    let mut found: BTreeMap<(&str, u32), BTreeMap<u32, &RepoPath>> = BTreeMap::new();
    for entry in all {
        let (prefix, (number, total)) = names::split_shard(stem(entry.path.file_name()))?;
        found.entry((prefix, total)).or_default().insert(number, &entry.path);
    }
    let (((_, total), parts), 1) = (found.first_key_value()?, found.len()) else { return None };
    Some(if names::whole(parts, *total) {
        set(query, parts.values().map(|p| (*p).clone()).collect(), "the parts of the set")
    } else {
        let why = format!("{} of its {total} parts are in the repo", parts.len());
        Found::Incomplete(parts.values().take(1).map(|p| ((*p).clone(), why.clone())).collect())
    })
}

fn set(query: Query<'_>, files: Vec<RepoPath>, reason: &str) -> Found {
    Found::Complete(Set::new(query.family, query.variant, files, reason))
}
