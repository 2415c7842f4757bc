//! Runs selection over files that exist already: in a folder, an object store or a registry. The small files that it
//! must read are read from there. `documents` chooses the files of a download.

use std::collections::BTreeSet;

use super::Error;
use super::folder::Folder;
use crate::finding::{Finding, Severity};
use crate::model::{INDEX_LIMIT, Listing, Options, RepoPath};
use crate::select::{Budget, Documents, SelectError, Selection, Step, select};

/// The most bytes of a file that selection may read; such files are read whole.
pub(super) const DOCUMENT_LIMIT: u64 = INDEX_LIMIT;

/// Chooses all listed files. `read` gives the bytes of those that selection asks for, one after the other. `None`: the
/// file is wrong or too large for a document; another check reports that.
pub(super) async fn choose_far<R>(listing: &Listing, mut read: impl FnMut(RepoPath) -> R) -> Result<Selection, Error>
where
    R: Future<Output = Result<Option<Vec<u8>>, Error>>,
{
    let options = Options { all: true, ..Options::default() };
    let (mut documents, mut budget) = (Documents::new(), Budget::default());
    loop {
        match select(listing, &options, &documents).map_err(Error::Select)? {
            Step::Done(selection) => return Ok(*selection),
            Step::Need(paths) => {
                let sizes = paths.iter().filter_map(|path| Some(listing.get(path.as_str())?.size));
                budget.spend(sizes.filter(|size| *size <= DOCUMENT_LIMIT))?;
                for path in paths {
                    let text = read(path.clone()).await?;
                    documents.insert(path, text);
                }
            }
        }
    }
}

/// The files that must be here. With a trusted listing: the selection by the options, of the family that is here, and
/// every other complete set of weights. Without one: every set of weights among the files, and the files that the
/// repo's own documents name. Blocks.
pub(super) fn choose(
    listing: &Listing,
    folder: &Folder,
    mut options: Options,
    trusted: bool,
) -> Result<Selection, SelectError> {
    let everything = Options { all: true, ..Options::default() };
    if !trusted {
        let mut selection = select_here(listing, folder, &everything)?;
        // A file that an index or a pipeline names is missing if it is not here, even if other sets are complete.
        if let Ok(usual) = select_here(listing, folder, &options) {
            let missing = usual.findings.into_iter().filter(|f| f.severity == Severity::Error);
            let new: Vec<Finding> = missing.filter(|f| !selection.findings.contains(f)).collect();
            selection.findings.extend(new);
        }
        return Ok(selection);
    }
    if options.prefer.is_none() && options.only.is_none() && !options.all {
        options.prefer = folder.family();
    }
    let all = options.all;
    let mut selection = select_here(listing, folder, &options)?;
    if !all && let Ok(others) = select_here(listing, folder, &everything) {
        let chosen: BTreeSet<RepoPath> =
            selection.weights.iter().flat_map(|set| set.files.iter().chain(&set.index).cloned()).collect();
        let here = |path: &RepoPath| folder.find(path).is_some();
        selection.weights.extend(others.weights.into_iter().filter(|set| {
            set.files.iter().chain(&set.index).all(here) && !set.files.iter().all(|path| chosen.contains(path))
        }));
    }
    Ok(selection)
}

/// Runs selection with the documents that are here.
pub(super) fn select_here(listing: &Listing, folder: &Folder, options: &Options) -> Result<Selection, SelectError> {
    let mut documents = Documents::new();
    let mut budget = Budget::default();
    loop {
        match select(listing, options, &documents)? {
            Step::Done(selection) => return Ok(*selection),
            Step::Need(paths) => {
                budget.spend(paths.iter().filter_map(|path| folder.document_size(path)))?;
                documents.extend(paths.into_iter().map(|path| {
                    let content = folder.document(&path);
                    (path, content)
                }));
            }
        }
    }
}
