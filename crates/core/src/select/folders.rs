//! If the root has no weights that can be selected: finds the one folder that has, or asks which of several. The
//! same rules as at the root select a folder's files.

use std::collections::{BTreeMap, BTreeSet};

use super::filter::Globs;
use super::picks::{self, Wish};
use super::view::View;
use super::{Documents, MODULES, PIPELINE_INDEXES, SelectError, Step, classify, run};
use crate::finding::{Code, Finding, Severity};
use crate::model::{Family, Listing, Options};
use crate::text::printable;

/// Selects from a folder, since the root has no weights that can be selected.
pub(super) fn elsewhere(
    listing: &Listing,
    options: &Options,
    documents: &Documents,
    view: &View<'_>,
    wish: &Wish,
    globs: (&Globs, &Globs),
    error: SelectError,
) -> Result<Step, SelectError> {
    let at_root = view.files("").iter().any(|e| picks::weights_of(view, e).is_some());
    let pipeline = is_pipeline(view, "");
    let folders = folders(view, wish);
    let refused = matches!(error, SelectError::VariantAbsent { .. } | SelectError::Several { .. });
    match folders.as_slice() {
        _ if pipeline || refused || at_root && !folders.iter().any(|(_, good)| *good) => Err(error),
        [] => Err(error),
        [(folder, true)] if !at_root => {
            let mut step = run(listing, options, documents, &view.scope(folder), globs, Some(view))?;
            if let Step::Done(selection) = &mut step {
                let message = format!("there are no weights at the root: hfget takes those in {}/", printable(folder));
                selection.findings.insert(0, Finding::repo(Code::WeightsAbsent, message).severity(Severity::Note));
            }
            Ok(step)
        }
        all if all.iter().any(|(_, good)| *good) => Err(SelectError::Ambiguous {
            choices: all.iter().map(|(folder, _)| (view.scope(folder), view.bytes_of(folder))).take(100).collect(),
        }),
        _ => Err(error),
    }
}

/// Whether a file in `dir` says that its folders belong together.
fn is_pipeline(view: &View<'_>, dir: &str) -> bool {
    view.files(dir).iter().any(|e| PIPELINE_INDEXES.iter().chain(&[MODULES]).any(|name| e.path.file_name() == *name))
}

/// The folders with weights of their own, and whether any of these weights can be selected. Checkpoints
/// of a training count only if there are no other folders.
fn folders(view: &View<'_>, wish: &Wish) -> Vec<(String, bool)> {
    /// The most folders that are compared.
    const MOST: usize = 1000;
    let pipelines: BTreeSet<&str> = view.dirs().filter(|dir| is_pipeline(view, dir)).collect();
    let mut models: BTreeMap<&str, bool> = BTreeMap::new();
    let mut checkpoints: BTreeMap<&str, bool> = BTreeMap::new();
    for dir in view.dirs().filter(|d| !d.is_empty()) {
        if dir.split('/').any(|s| classify::family_dir(s).is_some()) {
            continue;
        }
        let families: Vec<Family> = view
            .files(dir)
            .iter()
            .map(|e| classify::classify(e.path.file_name()))
            .filter(|c| c.weights)
            .filter_map(|c| c.family)
            .collect();
        if families.is_empty() {
            continue;
        }
        // A pipeline's folder counts instead of its components' folders.
        let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        let top = match pipelines.len() {
            0 => dir,
            _ => ends.map(|end| &dir[..end]).find(|d| pipelines.contains(d)).unwrap_or(dir),
        };
        let training = dir.split('/').any(classify::training_dir);
        let found = if training { &mut checkpoints } else { &mut models };
        if found.len() < MOST || found.contains_key(top) {
            *found.entry(top).or_default() |= families.iter().any(|family| wish.order.contains(family));
        }
    }
    let found = if models.is_empty() { checkpoints } else { models };
    found.into_iter().map(|(dir, good)| (dir.to_owned(), good)).collect()
}
