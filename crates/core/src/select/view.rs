//! The listing below one folder, and its small documents: which are known, which must be asked for.
//! It has no selection rule.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use super::Documents;
use crate::finding::{Code, Finding, Severity};
use crate::model::{Entry, IndexError, Listing, Parsed, RepoPath, WeightIndex};

/// The most bytes of a JSON or Python file that is read.
pub(super) const CONFIG_LIMIT: u64 = 64 << 20;

/// A document of the repo.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Doc<T> {
    /// It has been asked for; this pass's result will be discarded.
    Pending,
    /// It is not in the listing, is not available, or does not parse.
    Absent,
    /// Its content.
    Here(T),
}

impl<T> Doc<T> {
    pub fn here(self) -> Option<T> {
        match self {
            Doc::Here(value) => Some(value),
            Doc::Pending | Doc::Absent => None,
        }
    }
}

/// The listing below a root folder.
pub(super) struct View<'a> {
    root: &'a str,
    documents: &'a Documents,
    listing: &'a Listing,
    dirs: BTreeMap<&'a str, Vec<&'a Entry>>,
    needs: RefCell<BTreeSet<RepoPath>>,
    noted: RefCell<BTreeSet<RepoPath>>,
    findings: RefCell<Vec<Finding>>,
    quiet: Cell<bool>,
    /// The indexes that were parsed, each once.
    parsed: RefCell<BTreeMap<RepoPath, Arc<WeightIndex>>>,
}

impl<'a> View<'a> {
    /// `root` is empty, or a folder without a `/` at its end.
    pub fn new(listing: &'a Listing, root: &'a str, documents: &'a Documents) -> Self {
        let mut dirs: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in &listing.entries {
            if let Some(rel) = below(entry.path.as_str(), root) {
                let dir = rel.rsplit_once('/').map_or("", |(dir, _)| dir);
                dirs.entry(dir).or_default().push(entry);
            }
        }
        View {
            root,
            documents,
            listing,
            dirs,
            needs: RefCell::default(),
            noted: RefCell::default(),
            findings: RefCell::default(),
            quiet: Cell::new(false),
            parsed: RefCell::default(),
        }
    }

    /// The whole listing, also outside the root folder.
    pub fn listing(&self) -> &'a Listing {
        self.listing
    }

    /// The folder that selection starts from.
    pub fn root(&self) -> &'a str {
        self.root
    }

    /// The folder `dir` of the view as a folder of the repo.
    pub fn scope(&self, dir: &str) -> String {
        match (self.root, dir) {
            ("", dir) => dir.to_owned(),
            (root, "") => root.to_owned(),
            (root, dir) => format!("{root}/{dir}"),
        }
    }

    /// The path below the root folder, if it is there.
    pub fn rel<'p>(&self, path: &'p RepoPath) -> Option<&'p str> {
        below(path.as_str(), self.root)
    }

    /// The entry `name` of the folder `dir`; `name` may be any text from a document.
    pub fn find(&self, dir: &str, name: &str) -> Option<&'a Entry> {
        let path = RepoPath::join(&self.scope(dir), name).ok()?;
        self.listing.get(path.as_str())
    }

    /// The files directly in `dir`.
    pub fn files(&self, dir: &str) -> &[&'a Entry] {
        self.dirs.get(dir).map_or(&[], Vec::as_slice)
    }

    /// Every file in `dir` and below it.
    pub fn tree(&self, dir: &str) -> impl Iterator<Item = &'a Entry> {
        let below = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        // Sorted names: those that start with `dir/` are neighbours, `dir` itself may be elsewhere.
        let own = if dir.is_empty() { &[] } else { self.files(dir) };
        let from = (Bound::Included(below.as_str()), Bound::Unbounded);
        let nested = self.dirs.range::<str, _>(from).take_while(move |(d, _)| d.starts_with(&below));
        own.iter()
            .copied()
            .chain(nested.flat_map(|(_, entries)| entries.iter().copied()))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Every folder with a file directly in it; the root folder is "".
    pub fn dirs(&self) -> impl Iterator<Item = &'a str> {
        self.dirs.keys().copied()
    }

    /// Whether `dir` has any file, at any depth.
    pub fn has_dir(&self, dir: &str) -> bool {
        let below = inside(dir, "");
        let from = (Bound::Included(below.as_str()), Bound::Unbounded);
        let nested = || self.dirs.range::<str, _>(from).next().is_some_and(|(d, _)| d.starts_with(&below));
        if dir.is_empty() { !self.dirs.is_empty() } else { self.dirs.contains_key(dir) || nested() }
    }

    /// The bytes of all files in `dir`, at any depth.
    pub fn bytes_of(&self, dir: &str) -> u64 {
        self.tree(dir).fold(0, |sum, entry| sum.saturating_add(entry.size))
    }

    /// Whether a file's bytes are known.
    pub fn at_hand(&self, entry: &Entry) -> bool {
        self.documents.get(&entry.path).is_some_and(Option::is_some)
    }

    /// Whether a file's bytes are known, or known to be unavailable.
    pub fn is_known(&self, entry: &Entry) -> bool {
        self.documents.contains_key(&entry.path)
    }

    /// Asks for a file, if it is in the listing and not known yet.
    pub fn want(&self, entry: &Entry, limit: u64) {
        if entry.size <= limit && !self.is_known(entry) {
            self.needs.borrow_mut().insert(entry.path.clone());
        }
    }

    /// The bytes of a small file.
    pub fn bytes(&self, entry: &'a Entry, limit: u64) -> Doc<&'a [u8]> {
        if entry.size > limit {
            self.note_once(entry, format!("it has {} and was not read", crate::text::bytes(entry.size)));
            return Doc::Absent;
        }
        match self.documents.get(&entry.path) {
            None => {
                self.needs.borrow_mut().insert(entry.path.clone());
                Doc::Pending
            }
            Some(Some(bytes)) if u64::try_from(bytes.len()).is_ok_and(|n| n <= limit) => Doc::Here(bytes),
            Some(Some(_)) => {
                self.note_once(entry, "it is larger than listed and was not read".to_owned());
                Doc::Absent
            }
            Some(None) => {
                self.note_once(entry, "it was not available while choosing files".to_owned());
                Doc::Absent
            }
        }
    }

    /// A JSON document; one that does not parse is reported once and counts as absent.
    pub fn json(&self, dir: &str, name: &str) -> Doc<Value> {
        let Some(entry) = self.find(dir, name) else { return Doc::Absent };
        match self.bytes(entry, CONFIG_LIMIT) {
            Doc::Pending => Doc::Pending,
            Doc::Absent => Doc::Absent,
            Doc::Here(bytes) => match crate::text::json::read(bytes) {
                Ok(value @ Value::Object(_)) => Doc::Here(value),
                Ok(value @ Value::Array(_)) if name == "modules.json" => Doc::Here(value),
                Ok(_) => {
                    self.note_once(entry, "it is not a JSON object".to_owned());
                    Doc::Absent
                }
                Err(error) => {
                    self.note_once(entry, format!("it does not parse: {error}"));
                    Doc::Absent
                }
            },
        }
    }

    fn note_once(&self, entry: &Entry, message: String) {
        if !self.quiet.get() && self.noted.borrow_mut().insert(entry.path.clone()) {
            self.find_out(Finding::new(Code::ConfigInvalid, &entry.path, message).severity(Severity::Warning));
        }
    }

    /// Records a finding.
    pub fn find_out(&self, finding: Finding) {
        let mut findings = self.findings.borrow_mut();
        if !self.quiet.get() && !findings.contains(&finding) && findings.len() < 1000 {
            findings.push(finding);
        }
    }

    /// Whether one of these files was found to be of a family that is not complete.
    pub fn incomplete(&self, paths: &[RepoPath]) -> bool {
        let findings = self.findings.borrow();
        let broken = findings.iter().filter(|f| f.code == Code::FamilyIncomplete).filter_map(|f| f.path.as_deref());
        broken.into_iter().any(|path| paths.iter().any(|p| p.as_str() == path))
    }

    /// Runs `f` without recording its findings, to look ahead.
    pub fn quietly<T>(&self, f: impl FnOnce() -> T) -> T {
        let before = self.quiet.replace(true);
        let result = f();
        self.quiet.set(before);
        result
    }

    /// An index, parsed once.
    pub fn parse(&self, entry: &Entry, bytes: &[u8]) -> Result<Arc<WeightIndex>, IndexError> {
        if let Some(index) = self.parsed.borrow().get(&entry.path) {
            return Ok(Arc::clone(index));
        }
        let index = Arc::new(WeightIndex::parse(bytes)?);
        self.parsed.borrow_mut().insert(entry.path.clone(), Arc::clone(&index));
        Ok(index)
    }

    /// The parsed index, to be kept with its set.
    pub fn parsed(&self, index: &RepoPath) -> Parsed {
        self.parsed.borrow().get(index).cloned().map(Parsed::from).unwrap_or_default()
    }

    /// The files that were asked for so far.
    pub fn needs(&self) -> Vec<RepoPath> {
        self.needs.borrow().iter().cloned().collect()
    }

    /// The findings so far.
    pub fn take_findings(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.findings.borrow_mut())
    }
}

/// `name` in the folder `dir`; the root folder is "".
pub(super) fn inside(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// `path` relative to `root`.
fn below<'p>(path: &'p str, root: &str) -> Option<&'p str> {
    if root.is_empty() { Some(path) } else { path.strip_prefix(root)?.strip_prefix('/') }
}
