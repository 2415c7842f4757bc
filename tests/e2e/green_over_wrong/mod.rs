//! Regression tests: one for each way in which a run ended with exit 0 although bytes were wrong, missing or never
//! read, with honest twins. `bucket_proof` has those of buckets.

mod folders;
mod listings;
mod locks;
mod offline;
mod records;
mod selection;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use hfget_loopback_hub::Repo;

use super::support::{Machine, Run, safetensors};

pub(super) const ID: &str = "org/m";
pub(super) const FIRST: &str = "model-00001-of-00002.safetensors";
pub(super) const SECOND: &str = "model-00002-of-00002.safetensors";
pub(super) const INDEX: &str =
    r#"{"metadata":{},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;

/// A small sharded model.
pub(super) fn model() -> Repo {
    Repo::new(ID)
        .file("config.json", r#"{"model_type":"x"}"#)
        .file("model.safetensors.index.json", INDEX)
        .lfs(FIRST, safetensors("a", 100))
        .lfs(SECOND, safetensors("b", 100))
}

/// Flips the last byte in place: inode and size stay. With `kept` the modification time is restored.
pub(super) fn flip(path: &Path, kept: bool) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let meta = file.metadata().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, meta.len() - 1).unwrap();
    file.write_all_at(&[byte[0] ^ 1], meta.len() - 1).unwrap();
    if kept {
        file.set_modified(meta.modified().unwrap()).unwrap();
    }
}

/// Replaces `path` by a rename, as editors and `rsync` do.
pub(super) fn exchange(path: &Path, content: &[u8]) {
    let beside = path.with_extension("exchanged");
    fs::write(&beside, content).unwrap();
    fs::rename(beside, path).unwrap();
}

/// The words of each repo's line, such as `verified`.
pub(super) fn results(run: &Run) -> Vec<&str> {
    let lines = run.err.lines().filter_map(|line| line.strip_prefix("hfget: result="));
    lines.filter_map(|line| line.split(' ').next()).collect()
}

impl Run {
    /// Checks the exit code and the only word of the result.
    #[track_caller]
    pub(super) fn is(self, code: i32, word: &str) -> Self {
        let run = self.ends_with(code);
        assert_eq!(results(&run), [word], "stdout:\n{}\nstderr:\n{}", run.out, run.err);
        run
    }

    /// Checks that the result is `verified`, and against what.
    #[track_caller]
    pub(super) fn ends_against(self, origin: &str) -> Self {
        self.is(0, "verified").says(&format!("result=verified against={origin} "))
    }

    #[track_caller]
    pub(super) fn ends_not_green(&self) {
        assert!(self.code != Some(0) && !self.err.contains("result=verified"), "{}\n{}", self.out, self.err);
    }
}

/// The blob of a name in the cache's only snapshot.
pub(super) fn blob(machine: &Machine, folder: &str, name: &str) -> PathBuf {
    let snapshots = machine.cache().join(folder).join("snapshots");
    let commit = fs::read_dir(snapshots).unwrap().next().unwrap().unwrap().path();
    fs::canonicalize(commit.join(name)).unwrap()
}

/// Makes the cache one of `huggingface_hub`: blobs, pointers and refs, without our own records.
pub(super) fn forget_notes(repo: &Path) {
    for name in [".hfget", "trees"] {
        let _ = fs::remove_dir_all(repo.join(name));
    }
}

/// A folder with these files.
pub(super) fn folder(machine: &Machine, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let root = machine.home.path().join(name);
    fs::create_dir_all(&root).unwrap();
    for (name, content) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

/// Touches a file: it gets another modification time and keeps its bytes.
pub(super) fn touch(path: &Path) {
    File::options().write(true).open(path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
}
