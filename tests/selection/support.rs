//! Listings with made-up sizes and documents, and the loop that gives `select` the documents that it asks for.

use std::collections::{BTreeMap, BTreeSet};

use hfget_core::finding::{Code, Take};
use hfget_core::model::{Digest, Entry, GitOid, Listing, Options, RepoInfo, RepoPath, RepoType, Sha256};
use hfget_core::select::{Documents, SelectError, Selection, Step, select};

/// A repo: its files by name, and the content of those that matter.
#[derive(Debug, Clone, Default)]
pub struct Repo {
    pub id: String,
    pub files: BTreeMap<String, u64>,
    pub documents: BTreeMap<String, Vec<u8>>,
    pub kind: RepoType,
}

impl Repo {
    /// A repo with these files. Sizes are a function of the name: weights are large.
    pub fn of<S: AsRef<str>>(files: impl IntoIterator<Item = S>) -> Self {
        let files = files.into_iter().map(|f| (f.as_ref().to_owned(), size_of(f.as_ref()))).collect();
        Repo { id: "org/repo".to_owned(), files, ..Repo::default() }
    }

    /// A repo from one text, with names separated by white space.
    pub fn parse(files: &str) -> Self {
        Repo::of(files.split_whitespace())
    }

    /// Adds a file with content.
    pub fn with(mut self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.files.insert(path.to_owned(), content.as_ref().len() as u64);
        self.documents.insert(path.to_owned(), content.as_ref().to_vec());
        self
    }

    /// Adds an index that spreads tensors over these shards.
    pub fn index(self, path: &str, shards: &[&str]) -> Self {
        let map: BTreeMap<String, &str> = shards.iter().enumerate().map(|(i, s)| (format!("layer.{i}"), *s)).collect();
        let text = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
        self.with(path, text)
    }

    pub fn listing(&self) -> Listing {
        let entries = self.files.iter().map(|(path, size)| {
            let lfs = *size > 1_000_000;
            let digest = if lfs { Digest::Sha256(Sha256([9; 32])) } else { Digest::GitBlob(GitOid([7; 20])) };
            Entry::new(path.parse().expect("test paths are safe"), *size, digest)
        });
        let id = self.id.parse().expect("test ids are valid");
        let revision = "main".parse().expect("valid");
        let commit = "0123456789012345678901234567890123456789".parse().expect("valid");
        let info = RepoInfo::new(self.kind, id, revision, commit);
        Listing::new(info, entries.collect(), Vec::new())
    }

    /// Selects; files without content read as `{}`.
    pub fn select(&self, options: &Options) -> Result<Outcome, SelectError> {
        let listing = self.listing();
        let mut documents = Documents::new();
        let mut asked = 0;
        for rounds in 0..=4 {
            match select(&listing, options, &documents)? {
                Step::Done(selection) => return Ok(Outcome { selection: *selection, rounds, asked, listing }),
                Step::Need(paths) => {
                    assert!(!paths.is_empty(), "asked for nothing");
                    asked += paths.len();
                    for path in paths {
                        assert!(listing.get(path.as_str()).is_some(), "{} is not in the listing", path.shown());
                        let content = self.documents.get(path.as_str()).cloned().unwrap_or_else(|| b"{}".to_vec());
                        assert!(
                            documents.insert(path.clone(), Some(content)).is_none(),
                            "{} was asked for twice",
                            path.shown()
                        );
                    }
                }
            }
        }
        panic!("more than four rounds");
    }

    pub fn taken(&self, options: &Options) -> Outcome {
        self.select(options).unwrap_or_else(|error| panic!("{error:?}"))
    }
}

/// Deterministic sizes: gigabytes for weights, kilobytes for the rest.
pub fn size_of(path: &str) -> u64 {
    let hash = path.bytes().fold(17u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b))) % 1000;
    let weights =
        ["safetensors", "bin", "msgpack", "h5", "onnx", "onnx_data", "pt", "pth", "ckpt", "gguf", "ot", "tflite"];
    let ext = path.rsplit('.').next().unwrap_or("");
    if weights.contains(&ext) { 1_000_000_000 + hash * 1_000_000 } else { 1000 + hash }
}

pub struct Outcome {
    pub selection: Selection,
    pub rounds: usize,
    /// How many documents were asked for; the oracle's budget uses it.
    #[allow(dead_code)]
    pub asked: usize,
    pub listing: Listing,
}

impl Outcome {
    /// Paths taken, in order.
    pub fn paths(&self) -> Vec<&str> {
        self.selection.files.iter().map(|f| f.path.as_str()).collect()
    }

    /// Weight files and indexes, in order.
    pub fn weights(&self) -> Vec<&str> {
        let sets = self.selection.weights.iter().flat_map(|set| set.files.iter().chain(&set.index));
        sets.map(RepoPath::as_str).collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub fn codes(&self) -> Vec<Code> {
        self.selection.findings.iter().map(|f| f.code).collect()
    }

    pub fn has(&self, code: Code) -> bool {
        self.codes().contains(&code)
    }

    pub fn takes(&self, path: &str) -> bool {
        self.paths().contains(&path)
    }

    /// The reason for leaving out `path`.
    pub fn left(&self, path: &str) -> Option<String> {
        let group = self.selection.left_out.iter().find(|g| g.paths.iter().any(|p| p.as_str() == path));
        group.map(|group| group.reason.to_string())
    }

    /// Checks that every file is taken or left out, once, with its bytes counted.
    pub fn check(&self) {
        let left = self.selection.left_out.iter().flat_map(|g| &g.paths);
        let mut all: Vec<&str> =
            self.selection.files.iter().map(|f| &f.path).chain(left).map(RepoPath::as_str).collect();
        let taken = self.paths();
        assert!(taken.windows(2).all(|w| w[0] < w[1]), "sorted, each once");
        all.sort_unstable();
        let listed: Vec<&str> = self.listing.entries.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(all, listed);
        for group in &self.selection.left_out {
            let bytes: u64 = group.paths.iter().map(|p| self.listing.get(p.as_str()).expect("listed").size).sum();
            assert_eq!(bytes, group.bytes);
        }
        let taken: BTreeSet<&str> = taken.into_iter().collect();
        for set in &self.selection.weights {
            assert!(!set.files.is_empty());
            assert!(set.files.windows(2).all(|w| w[0] < w[1]), "sorted, each once");
            for path in set.files.iter().chain(&set.index) {
                assert!(taken.contains(path.as_str()), "{} is in a set but not taken", path.shown());
            }
        }
    }
}

/// The choices of an error, without the sizes.
pub fn names(choices: &[(String, u64)]) -> Vec<&str> {
    choices.iter().map(|(name, _)| name.as_str()).collect()
}

pub fn prefer(family: &str) -> Options {
    Options { prefer: Some(family.parse().expect("a family")), ..Options::default() }
}

pub fn only(family: &str) -> Options {
    Options { only: Some(family.parse().expect("a family")), ..Options::default() }
}

pub fn variant(name: &str) -> Options {
    Options { variant: Some(name.to_owned()), ..Options::default() }
}

/// The options with the change that takes a group.
pub fn with(options: &Options, take: &Take) -> Options {
    let mut options = options.clone();
    take.apply(&mut options);
    options
}

/// The groups whose change does not take their files: all of them, if the change adds to the selection.
pub fn idle_flags(repo: &Repo, options: &Options) -> Vec<String> {
    let Ok(outcome) = repo.select(options) else { return Vec::new() };
    let mut said = Vec::new();
    for group in &outcome.selection.left_out {
        let (take, reason) = (&group.take, &group.reason);
        if !matches!(take, Take::All | Take::Files { .. } | Take::Weights { .. }) {
            continue;
        }
        match repo.select(&with(options, take)) {
            Ok(after) => {
                let taken = group.paths.iter().filter(|path| after.takes(path.as_str())).count();
                let adds = matches!(take, Take::All | Take::Files { .. });
                if taken == 0 || adds && taken < group.paths.len() {
                    said.push(format!("{take:?} takes {taken} files of {reason}: {:?}", group.paths));
                }
            }
            Err(error) => said.push(format!("{take:?} for {reason}: {error:?}")),
        }
    }
    said
}
