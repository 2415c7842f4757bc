//! Repos that the Hub serves: files with their digests, revisions, access.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use sha2::Digest as _;

/// Who may see a repo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Clients with the token.
    Private,
    /// Everybody sees it; clients with the token, which has access, get files.
    Gated,
    /// Gated, and the token has no access.
    GatedAway,
    /// No client.
    Disabled,
}

/// One file.
#[derive(Debug, Clone)]
pub struct File {
    pub content: Bytes,
    /// The listed size. It differs from the content's if the listing is wrong.
    pub size: u64,
    pub lfs: bool,
    pub oid: String,
    pub sha256: String,
    pub xet: Option<String>,
    /// Whether its bytes come from [`crate::Options::byte_host`], not from here.
    pub elsewhere: bool,
}

/// A repo at one commit.
#[derive(Debug, Clone)]
pub struct Repo {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    pub(crate) files: BTreeMap<String, File>,
    pub(crate) access: Access,
    pub(crate) issues: Vec<(String, String)>,
    pub(crate) old_names: Vec<String>,
    pub(crate) revisions: Vec<String>,
    pub(crate) raw: Vec<(String, u64)>,
    pub(crate) pinned: Option<String>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn git_oid(content: &[u8]) -> String {
    let mut hasher = sha1::Sha1::new();
    hasher.update(format!("blob {}\0", content.len()));
    hasher.update(content);
    hex(&hasher.finalize())
}

impl File {
    fn new(content: Bytes, lfs: bool) -> Self {
        let sha256 = hex(&sha2::Sha256::digest(&content));
        let size = content.len() as u64;
        let oid = if lfs {
            git_oid(
                format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n").as_bytes(),
            )
        } else {
            git_oid(&content)
        };
        File { content, size, lfs, oid, sha256, xet: None, elsewhere: false }
    }

    /// The `ETag` without quotes: the SHA-256 of an LFS file, the git oid of any other.
    pub fn etag(&self) -> &str {
        if self.lfs { &self.sha256 } else { &self.oid }
    }
}

/// Whether the Hub's default `.gitattributes` puts the name into LFS.
fn is_lfs_name(name: &str) -> bool {
    const ENDINGS: &[&str] = &[
        ".7z",
        ".arrow",
        ".bin",
        ".bz2",
        ".ckpt",
        ".ftz",
        ".gz",
        ".h5",
        ".joblib",
        ".mlmodel",
        ".model",
        ".msgpack",
        ".npy",
        ".npz",
        ".onnx",
        ".ot",
        ".parquet",
        ".pb",
        ".pickle",
        ".pkl",
        ".pt",
        ".pth",
        ".rar",
        ".safetensors",
        ".tar",
        ".tflite",
        ".tgz",
        ".wasm",
        ".xz",
        ".zip",
        ".zst",
        ".gguf",
        ".onnx_data",
        ".spm",
    ];
    ENDINGS.iter().any(|e| name.ends_with(e))
}

impl Repo {
    /// An empty public model.
    pub fn new(id: &str) -> Self {
        Repo {
            id: id.to_owned(),
            kind: "models",
            files: BTreeMap::new(),
            access: Access::Public,
            issues: Vec::new(),
            old_names: Vec::new(),
            revisions: vec!["main".into()],
            raw: Vec::new(),
            pinned: None,
        }
    }

    /// Adds a regular git file.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), File::new(Bytes::from(content.into()), false));
        self
    }

    /// Adds a file in LFS.
    #[must_use]
    pub fn lfs(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), File::new(Bytes::from(content.into()), true));
        self
    }

    /// Adds a file in Xet storage with the hash from the CAS; it is served over HTTP too.
    #[must_use]
    pub fn xet_at(mut self, path: &str, content: impl Into<Vec<u8>>, hash: &str) -> Self {
        self = self.xet(path, content);
        if let Some(file) = self.files.get_mut(path) {
            file.xet = Some(hash.to_owned());
        }
        self
    }

    /// Adds a file in Xet storage, which is served over HTTP too.
    #[must_use]
    pub fn xet(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        let mut file = File::new(Bytes::from(content.into()), true);
        file.xet = Some(hex(&sha2::Sha256::digest(file.sha256.as_bytes())));
        self.files.insert(path.into(), file);
        self
    }

    /// Adds a file in LFS whose bytes another server has: `{byte_host}/{repo id}/{path}`; with a hash,
    /// in Xet storage.
    #[must_use]
    pub fn elsewhere(mut self, path: &str, size: u64, sha256: &str, xet: Option<&str>) -> Self {
        let mut file = File::new(Bytes::new(), true);
        file.size = size;
        sha256.clone_into(&mut file.sha256);
        file.elsewhere = true;
        file.xet = xet.map(str::to_owned);
        self.files.insert(path.into(), file);
        self
    }

    /// Adds every file below a folder; large formats go to LFS as on the Hub.
    ///
    /// # Panics
    /// If the folder cannot be read: a test must not run without its repo.
    #[must_use]
    pub fn dir(mut self, root: &Path) -> Self {
        fn walk(root: &Path, at: &Path, out: &mut Vec<String>) {
            for item in std::fs::read_dir(at).unwrap_or_else(|e| panic!("{}: {e}", at.display())) {
                let path = item.expect("readable folder").path();
                if path.is_dir() {
                    walk(root, &path, out);
                } else if let Ok(below) = path.strip_prefix(root) {
                    out.push(below.to_string_lossy().into_owned());
                }
            }
        }
        let mut names = Vec::new();
        walk(root, root, &mut names);
        for name in names {
            let content = std::fs::read(root.join(&name)).expect("readable file");
            self = if is_lfs_name(&name) || content.len() > 10 << 20 {
                self.lfs(&name, content)
            } else {
                self.file(&name, content)
            };
        }
        self
    }

    /// Adds files by name, each with a few bytes of its own: a real listing in miniature.
    #[must_use]
    pub fn names<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        for name in names {
            let content = format!("stand-in for {name}\n");
            self = if is_lfs_name(name) { self.lfs(name, content) } else { self.file(name, content) };
        }
        self
    }

    /// Makes it a dataset or space instead of a model.
    #[must_use]
    pub fn kind(mut self, plural: &'static str) -> Self {
        self.kind = plural;
        self
    }

    /// Adds a file that the Hub's scan objects to.
    #[must_use]
    pub fn issue(mut self, path: &str, level: &str) -> Self {
        self.issues.push((path.to_owned(), level.to_owned()));
        self
    }

    /// Sets who may see it.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Adds an id that it once had: a request for it is redirected.
    #[must_use]
    pub fn once_named(mut self, id: &str) -> Self {
        self.old_names.push(id.into());
        self
    }

    /// Adds a branch or tag that points at the same commit.
    #[must_use]
    pub fn revision(mut self, name: &str) -> Self {
        self.revisions.push(name.into());
        self
    }

    /// Adds a name to the listing that no file has: `../x`, escapes, NUL.
    #[must_use]
    pub fn raw_entry(mut self, name: &str, size: u64) -> Self {
        self.raw.push((name.into(), size));
        self
    }

    /// Lists a file with a wrong size or digest.
    ///
    /// # Panics
    /// If there is no such file.
    #[must_use]
    pub fn lie(mut self, path: &str, size: Option<u64>, digest: Option<&str>) -> Self {
        let file = self.files.get_mut(path).expect("the file with the wrong entry");
        if let Some(size) = size {
            file.size = size;
        }
        if let Some(digest) = digest {
            if file.lfs {
                file.sha256 = digest.into();
            } else {
                file.oid = digest.into();
            }
        }
        self
    }

    /// Makes it claim this commit, whatever its content: a mirror that was tampered with.
    #[must_use]
    pub fn at(mut self, commit: &str) -> Self {
        self.pinned = Some(commit.into());
        self
    }

    /// Computes its commit once, since every answer names it.
    pub(crate) fn settled(mut self) -> Self {
        self.pinned = Some(self.commit());
        self
    }

    /// Removes a file.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        self.files.remove(path);
        self
    }

    /// Its commit: a hash of everything in it.
    pub fn commit(&self) -> String {
        if let Some(commit) = &self.pinned {
            return commit.clone();
        }
        let mut hasher = sha1::Sha1::new();
        for (path, file) in &self.files {
            hasher.update(format!("{path}\0{}\0", file.etag()));
        }
        for (name, size) in &self.raw {
            hasher.update(format!("{name}\0{size}\0"));
        }
        hex(&hasher.finalize())
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How a user names it: a dataset is `datasets/OWNER/NAME`.
    pub fn name(&self) -> String {
        if self.kind == "models" { self.id.clone() } else { format!("{}/{}", self.kind, self.id) }
    }

    /// A file's content.
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|f| &f.content[..])
    }

    /// The SHA-256 of a file in LFS; `None` for a regular git file.
    pub fn lfs_sha256(&self, path: &str) -> Option<&str> {
        self.files.get(path).filter(|f| f.lfs).map(|f| f.sha256.as_str())
    }

    /// Paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}
