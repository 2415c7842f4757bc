//! Files that the user named, by `--include` or by a pasted link: only these are taken. A part of a set of weights
//! brings the rest of the set. Other files that a loader needs do not matter here.

use std::collections::BTreeSet;

use super::Reason;
use super::Selection;
use super::companions::companion;
use super::everything;
use super::filter::Globs;
use super::names;
use super::picks::{Picks, weights_of};
use super::view::View;
use crate::finding::{Code, Finding};
use crate::model::{Entry, Listing, Purpose, RepoPath, RepoType};
use crate::text::printable;

/// Takes the files that the patterns match.
pub(super) fn select(view: &View<'_>, include: &Globs, picks: &mut Picks) {
    let matched: Vec<(&Entry, &str)> =
        view.tree("").filter_map(|entry| Some((entry, include.matching(entry.path.as_str())?))).collect();
    if view.listing().info.repo_type == RepoType::Model {
        sets(view, &matched, include, picks);
    }
    for (entry, pattern) in matched {
        let (purpose, _) = companion(entry.path.file_name()).unwrap_or((Purpose::Other, ""));
        picks.take(entry, purpose, format!("named by {}", printable(pattern)));
    }
    for entry in view.tree("") {
        picks.leave(entry, None, Reason::NotAsked);
    }
}

/// Takes the sets of weights with a file that was named, and those whose files all match a pattern.
fn sets(view: &View<'_>, matched: &[(&Entry, &str)], include: &Globs, picks: &mut Picks) {
    let is_weights =
        |entry: &Entry| weights_of(view, entry).is_some() || names::parse(entry.path.file_name()).is_some();
    let paths: BTreeSet<&RepoPath> = matched.iter().map(|(entry, _)| &entry.path).collect();
    let rels: Vec<&str> =
        matched.iter().filter(|(entry, _)| is_weights(entry)).filter_map(|(entry, _)| view.rel(&entry.path)).collect();
    // An index may name shards in folders below its own.
    let holds =
        |dir: &&str| rels.iter().any(|rel| dir.is_empty() || rel.strip_prefix(dir).is_some_and(|r| r.starts_with('/')));
    for dir in view.dirs().filter(holds) {
        // Sets that the user did not ask for must not have findings.
        let (sets, tied) = view.quietly(|| everything::folder(view, dir));
        for set in sets {
            let parts = || set.files.iter().chain(&set.index);
            let part_named = set.files.iter().any(|path| include.names(path.as_str()));
            if part_named || parts().all(|path| paths.contains(path)) {
                picks.take_set(view, dir, &set, tied);
            }
        }
    }
}

/// Adds the finding that only the named files are checked.
pub(super) fn say(listing: &Listing, mut selection: Selection) -> Selection {
    selection.named = true;
    // A user who names files has not asked for the weights.
    selection.weights_excluded = false;
    if listing.info.repo_type == RepoType::Model {
        let message = if selection.weights.is_empty() {
            "only the files that were asked for were taken: no weight set was checked"
        } else {
            "only the files that were asked for were taken: other files that a loader needs were not checked"
        };
        selection.findings.push(Finding::repo(Code::FilesOnly, message));
    }
    selection
}
