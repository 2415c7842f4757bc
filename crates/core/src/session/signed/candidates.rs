//! Finds the files of a repo that may be signatures, and adds signatures to a selection. Reads no file.

use std::collections::BTreeMap;

use crate::model::{Entry, Listing, Purpose, RepoPath};
use crate::select::{Reason, Selected, Selection};

/// The usual names of signatures. A name only decides which file is read first.
const ENDINGS: &[&str] = &[".sig", ".sigstore", ".sigstore.json", ".oms", ".bundle", ".bundle.json"];
/// The most files that are read to find signatures.
const LOOKED_INTO: usize = 64;
/// The most bytes of a signature; one of ten thousand files has about 2 MB.
const SIZE_LIMIT: u64 = 16 << 20;
/// The most bytes of all of them together.
const BYTES_LOOKED_INTO: u64 = 64 << 20;

/// Whether a file may be a signature, by its name and size.
fn may_be_one(path: &RepoPath, size: u64, purpose: Option<Purpose>, required: bool) -> bool {
    if !(2..=SIZE_LIMIT).contains(&size) || purpose.is_some_and(|purpose| purpose != Purpose::Other) {
        return false;
    }
    let name = path.file_name().to_ascii_lowercase();
    let named = ENDINGS.iter().any(|ending| name.ends_with(ending));
    // If a signature is required, a file of any name at the root may be it.
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    named || required && path.dir().is_empty() && ending.is_none_or(|ending| ending == "json")
}

/// The files to read, those with a usual name first.
pub(in crate::session) fn candidates<'a>(
    files: impl IntoIterator<Item = (&'a RepoPath, u64)>,
    selection: &Selection,
    required: bool,
) -> Vec<RepoPath> {
    let purposes: BTreeMap<&RepoPath, Purpose> = selection.files.iter().map(|f| (&f.path, f.purpose)).collect();
    let mut found: Vec<(&RepoPath, u64)> = files
        .into_iter()
        .filter(|(path, size)| {
            let purpose = purposes.get(path).copied();
            (required || purpose.is_some()) && may_be_one(path, *size, purpose, required)
        })
        .collect();
    found.sort_by_key(|(path, _)| {
        (!ENDINGS.iter().any(|ending| path.as_str().ends_with(ending)), path.as_str().to_owned())
    });
    let mut room = BYTES_LOOKED_INTO;
    let fits = |(_, size): &(&RepoPath, u64)| {
        let left = room.checked_sub(*size);
        room = left.unwrap_or(room);
        left.is_some()
    };
    found.into_iter().filter(fits).take(LOOKED_INTO).map(|(path, _)| path.clone()).collect()
}

/// Adds a file to a selection that left it out, unless a pattern of the user's did.
pub(super) fn take(selection: &mut Selection, path: &RepoPath, listing: &Listing) {
    let Err(at) = selection.files.binary_search_by(|file| file.path.cmp(path)) else { return };
    let excluded = |reason: &Reason| matches!(reason, Reason::Excluded(_));
    if selection.left_out.iter().any(|group| excluded(&group.reason) && group.paths.contains(path)) {
        return;
    }
    let size = listing.get(path.as_str()).map_or(0, |entry: &Entry| entry.size);
    for group in &mut selection.left_out {
        if let Some(place) = group.paths.iter().position(|other| other == path) {
            group.paths.remove(place);
            group.bytes = group.bytes.saturating_sub(size);
        }
    }
    selection.left_out.retain(|group| !group.paths.is_empty());
    selection.files.insert(at, Selected::new(path.clone(), Purpose::Other, "it is a signature"));
}
