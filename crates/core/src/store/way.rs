//! Checks the folders that lead to a file's name: no link and no file may be in the way. Reads no content. Writes do
//! not rely on these checks, because the folders may have changed since: they enter the folders themselves.

use std::fs;
use std::path::{Path, PathBuf};

use super::layout::{Kind, Layout, split};
use super::within::Folder;
use super::{StoreError, error};
use crate::model::{CommitId, RepoPath};

/// The folders of one snapshot, for checks of one file after another. Files of one folder follow one another in
/// a listing, so each folder is entered once for all of them.
pub(super) struct Ways<'a> {
    layout: &'a Layout,
    commit: CommitId,
    walk: Walk,
    /// Whether `blobs` was looked at.
    blobs: bool,
}

impl<'a> Ways<'a> {
    pub fn new(layout: &'a Layout, commit: CommitId) -> Self {
        Ways { layout, commit, walk: Walk::default(), blobs: false }
    }

    /// Checks that nothing is in the file's way: links and files among its folders, a folder in its
    /// place, a name that no repo may use.
    pub fn check(&mut self, path: &RepoPath) -> Result<(), StoreError> {
        let layout = self.layout;
        if let Kind::Local { .. } = &layout.kind {
            // The comparison ignores case, so that a file system without case does not evade it.
            let mut folders = path.segments().map(str::to_ascii_lowercase);
            if folders.next().as_deref() == Some(".cache") && folders.next().is_none_or(|f| f == "huggingface") {
                return Err(StoreError::Reserved { path: path.clone() });
            }
        }
        if let Kind::Cache(cache) = &layout.kind
            && !self.blobs
        {
            // Files below blobs/ count as this cache's own, so it must not be a link.
            self.walk.find(&cache.root, &cache.below("blobs"))?;
            self.blobs = true;
        }
        let below = path.under(Path::new(""));
        let (folder, name) = split(&below);
        let Some(folder) = self.walk.find(layout.anchor(), &layout.snapshot_below(&self.commit).join(folder))? else {
            return Ok(());
        };
        let there = folder.path(name);
        if fs::symlink_metadata(&there).is_ok_and(|m| m.is_dir()) {
            return Err(error::file_needed(&there));
        }
        Ok(())
    }
}

/// A walk to one folder after another below a root. Parents that two of them share are entered once.
#[derive(Default)]
struct Walk {
    /// The open folders, from the root to the last one that was found, each with its path below the root.
    open: Vec<(PathBuf, Folder)>,
}

impl Walk {
    /// The folder `below` in `root`, if it exists. The root is the same each time.
    fn find(&mut self, root: &Path, below: &Path) -> Result<Option<&Folder>, StoreError> {
        self.open.truncate(self.open.iter().take_while(|(at, _)| below.starts_with(at)).count());
        if self.open.is_empty() {
            let Some(root) = Folder::find(root, Path::new(""))? else { return Ok(None) };
            self.open.push((PathBuf::new(), root));
        }
        if let Some((at, folder)) = self.open.last()
            && let Some(deep) = below.strip_prefix(at).ok().and_then(|rest| folder.enter_deep(rest))
        {
            self.open.push((below.to_path_buf(), deep));
        }
        while let Some((at, folder)) = self.open.last() {
            let Some(name) = below.strip_prefix(at).ok().and_then(|rest| rest.iter().next()) else { break };
            let Some(next) = folder.enter(Path::new(name))? else { return Ok(None) };
            let at = at.join(name);
            self.open.push((at, next));
        }
        Ok(self.open.last().map(|(_, folder)| folder))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::Walk;

    #[test]
    fn one_walk_finds_each_folder_that_exists_and_no_other() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["a/b/c", "a/bb", "d"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let mut walk = Walk::default();
        for (below, found) in [
            ("a/b/c", true),
            ("a/b/c", true),
            ("a/bb", true),
            ("a/b", true),
            ("a/b/x/y", false),
            ("", true),
            ("d/c", false),
            ("d", true),
            ("a/b/c", true),
        ] {
            let folder = walk.find(root.path(), Path::new(below)).unwrap();
            assert_eq!(
                folder.map(|folder| folder.path("")),
                found.then(|| root.path().join(below).join("")),
                "{below}"
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_an_error_also_where_the_walk_has_been_before() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["a/b", "a/c"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let mut walk = Walk::default();
        walk.find(root.path(), Path::new("a/b")).unwrap();
        fs::remove_dir(root.path().join("a/c")).unwrap();
        std::os::unix::fs::symlink("b", root.path().join("a/c")).unwrap();
        assert!(walk.find(root.path(), Path::new("a/c")).is_err());
        assert!(walk.find(root.path(), Path::new("a/b")).unwrap().is_some());
    }
}
