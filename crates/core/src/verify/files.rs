//! The files of a subject, for the checks of whole sets. `content` reads their bytes.

use std::collections::BTreeMap;
use std::io;

use hfget_formats::{Files, ReadSeek};

use super::{SubjectFile, Unread};
use crate::model::RepoPath;

/// The files that are here, by name.
pub(super) struct Here<'a> {
    files: BTreeMap<&'a str, &'a SubjectFile>,
    unread: &'a Unread,
}

impl<'a> Here<'a> {
    pub fn new(files: &BTreeMap<&'a RepoPath, &'a SubjectFile>, unread: &'a Unread) -> Self {
        Here { files: files.iter().map(|(path, file)| (path.as_str(), *file)).collect(), unread }
    }
}

impl Files for Here<'_> {
    fn open(&self, name: &str) -> Option<io::Result<(Box<dyn ReadSeek>, u64)>> {
        self.files.get(name).map(|file| self.unread.open(&file.content))
    }

    fn length(&self, name: &str) -> Option<io::Result<u64>> {
        self.files.get(name).map(|file| file.content.size())
    }

    fn join(&self, folder: &str, name: &str) -> Result<String, &'static str> {
        RepoPath::join(folder, name).map(|path| path.as_str().to_owned()).map_err(|error| error.reason)
    }
}
