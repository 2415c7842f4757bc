//! What a complete set of weights is, and which rules look for a family's set in one folder. The
//! rules have modules of their own; `choose` decides which set is taken.

use std::collections::BTreeSet;

use super::names::lookup;
use super::view::View;
use super::{graphs, mistral, packed, pickled, shards, standard, tensorflow, whole};
use crate::finding::{ChooseBy, Finding};
use crate::model::{Entry, Family, INDEX_LIMIT, RepoPath};
use crate::text::printable;

/// A complete set of weights in one folder.
#[derive(Debug, Clone)]
pub(super) struct Set {
    pub family: Family,
    pub variant: Option<String>,
    pub index: Option<RepoPath>,
    /// Sorted, each once; empty only if the index must still be read.
    pub files: Vec<RepoPath>,
    /// Whether the set has no standard name or index, so that only some loaders read it.
    pub loose: bool,
    /// The rule that took it, for people.
    pub reason: String,
    /// Findings that are reported if it is taken.
    pub notes: Vec<Finding>,
    /// Indexes that were skipped for it, each with the reason.
    pub passed: Vec<(RepoPath, String)>,
}

impl Set {
    /// A set without an index.
    pub fn new(family: Family, variant: Option<&str>, mut files: Vec<RepoPath>, reason: impl Into<String>) -> Self {
        files.sort();
        files.dedup();
        Set {
            family,
            variant: variant.map(str::to_owned),
            index: None,
            files,
            loose: false,
            reason: reason.into(),
            notes: Vec::new(),
            passed: Vec::new(),
        }
    }

    /// The shards that an index names.
    pub fn indexed(query: Query<'_>, index: &Entry, files: Vec<RepoPath>, notes: Vec<Finding>) -> Self {
        let reason = format!("named by {}", printable(index.path.file_name()));
        Set { index: Some(index.path.clone()), notes, ..Set::new(query.family, query.variant, files, reason) }
    }
}

/// The weights of a family in a folder.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Complete(Set),
    /// The set is incomplete: the paths, and what is wrong.
    Incomplete(Vec<(RepoPath, String)>),
    /// There are several sets, and none is better than the others.
    Several {
        /// A file of one of them.
        at: RepoPath,
        /// Their names, with their bytes.
        choices: Vec<(String, u64)>,
        /// How the user can name one.
        by: ChooseBy,
    },
    Absent,
}

/// The description of a set to look for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'q> {
    /// The folder, below the view's root.
    pub dir: &'q str,
    pub family: Family,
    pub variant: Option<&'q str>,
    /// Stems of names, best first.
    pub stems: &'q [&'q str],
    /// Stems that are not standard here: their sets count as loose.
    pub loose_stems: &'q [&'q str],
    /// Whether an index may name shards in folders below its own; diffusers refuses them.
    pub nested: bool,
    /// Whether files with names of their own count if there are no standard ones.
    pub any_name: bool,
}

/// Looks for the set that a loader would take: `transformers/modeling_utils.py` (single file, then
/// index), `diffusers` likewise per component.
pub(super) fn resolve(view: &View<'_>, query: Query<'_>) -> Found {
    if query.family == Family::Mistral {
        return mistral::resolve(view, query);
    }
    if pickled::knows(query.family) {
        return pickled::resolve(view, query);
    }
    if whole::knows(query.family) {
        return whole::resolve(view, query);
    }
    match query.family {
        Family::Gguf => return packed::gguf(view, query),
        Family::Onnx => return graphs::onnx(view, query),
        Family::TfCheckpoint => return tensorflow::checkpoint(view, query),
        Family::SavedModel => return tensorflow::saved_model(view, query),
        Family::Safetensors | Family::Bin | Family::Tf | Family::Flax => {}
        _ => return Found::Absent,
    }
    let query = with_stems(query);
    let mut broken = Vec::new();
    let mut indexed = BTreeSet::new();
    for (stem, loose) in stems(query) {
        if let Some(mut set) = standard::named(view, query, stem, &mut broken, &mut indexed) {
            set.loose = loose;
            return Found::Complete(set);
        }
    }
    // An index that was copied from another repo does not describe the files here.
    let (stale, mut kept): (Vec<_>, Vec<_>) =
        std::mem::take(&mut broken).into_iter().partition(|(index, _)| shards::stale(view, index));
    let found = match standard::unindexed(view, query, &indexed, &mut kept) {
        Some(set) => Found::Complete(set),
        None if query.any_name && kept.is_empty() => standard::own_names(view, query, &mut kept),
        None => Found::Absent,
    };
    match found {
        Found::Complete(mut set) => {
            set.passed = stale;
            return Found::Complete(set);
        }
        several @ Found::Several { .. } => return several,
        Found::Incomplete(_) | Found::Absent => {}
    }
    broken.extend(stale);
    broken.extend(kept);
    if !broken.is_empty() {
        return Found::Incomplete(broken);
    }
    let own = query.any_name && tensorflow::stems(query.family).is_some();
    if own { tensorflow::own_name(view, query) } else { Found::Absent }
}

/// The query with the stems of a family that has its own, for any model.
fn with_stems(query: Query<'_>) -> Query<'_> {
    match tensorflow::stems(query.family) {
        Some(stems) => Query { stems, loose_stems: &[], ..query },
        None => query,
    }
}

/// Asks for the index files that [`resolve`] would read.
pub(super) fn want_indexes(view: &View<'_>, query: Query<'_>) {
    let by_index = matches!(query.family, Family::Safetensors | Family::Bin | Family::Tf | Family::Flax);
    if !by_index {
        return;
    }
    let query = with_stems(query);
    for (stem, _) in stems(query) {
        let names = lookup(stem, query.family, query.variant);
        if view.find(query.dir, &names.single).is_none() {
            for entry in names.indexes.iter().filter_map(|name| view.find(query.dir, name)) {
                view.want(entry, INDEX_LIMIT);
            }
        }
    }
}

/// The stems to look for, and whether their sets are loose.
pub(super) fn stems(query: Query<'_>) -> impl Iterator<Item = (&str, bool)> {
    query.stems.iter().map(|s| (*s, false)).chain(query.loose_stems.iter().map(|s| (*s, true)))
}
