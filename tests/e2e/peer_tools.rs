//! The other downloaders of the README's table: where each is found, how it is run, and where its files are.
//! `peers.rs` has the assertions.
//!
//! `hf` comes from `.venv` (`.ci/run` makes it), hf-hub from `examples/hf_hub_get.rs`. The others are optional; if
//! they are missing, their tests print "skipped":
//!
//! ```sh
//! apt-get install aria2 git-lfs
//! python3 -m venv .venv-peers && .venv-peers/bin/pip install hubdl==0.1.2 model-mirror-cli==0.3.2
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hfget_loopback_hub::Repo;
use serde_json::{Value, json};

use super::interop::python;
use super::support::{Machine, Run, tree};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// `hf download` of `huggingface_hub`.
    HfDownload,
    /// `snapshot_download` of the Rust client hf-hub.
    HfHub,
    /// `aria2c -i LIST`, as scripts use it.
    Aria2,
    /// The same with `checksum=` beside each file whose SHA-256 the Hub lists.
    Aria2Checksum,
    /// `git lfs pull` in a clone without its large files.
    GitLfs,
    /// `hubdl hf`.
    Hubdl,
    /// `model-mirror mirror`.
    ModelMirror,
}

/// A repo that a peer must fetch, on a machine with this peer.
pub struct Task<'a> {
    peer: Peer,
    program: PathBuf,
    machine: &'a Machine,
    repo: &'a Repo,
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn in_venv(name: &str) -> Option<PathBuf> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-peers/bin").join(name);
    file.exists().then_some(file)
}

/// `cargo test` builds it.
fn hf_hub_get() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_hfget")).parent()?.join("examples/hf_hub_get");
    program.exists().then_some(program)
}

impl Peer {
    pub const ALL: [Peer; 7] =
        [Peer::HfDownload, Peer::HfHub, Peer::Aria2, Peer::Aria2Checksum, Peer::GitLfs, Peer::Hubdl, Peer::ModelMirror];

    /// The peer's task to fetch `repo`. Prints a line and returns `None` if the peer is not installed.
    pub fn with<'a>(self, machine: &'a Machine, repo: &'a Repo) -> Option<Task<'a>> {
        let program = match self {
            Peer::HfDownload => python().map(|bin| bin.join("hf")),
            Peer::HfHub => hf_hub_get(),
            Peer::Aria2 | Peer::Aria2Checksum => on_path("aria2c"),
            Peer::GitLfs => on_path("git-lfs"),
            // hubdl runs aria2c.
            Peer::Hubdl => on_path("aria2c").and(in_venv("hubdl")),
            Peer::ModelMirror => in_venv("model-mirror"),
        };
        if program.is_none() {
            eprintln!("skipped: {self:?} is not installed");
        }
        let task = Task { peer: self, program: program?, machine, repo };
        if self == Peer::GitLfs {
            task.clone_pointers();
        }
        Some(task)
    }
}

impl Task<'_> {
    /// The folder of the fetched files.
    fn root(&self) -> PathBuf {
        let home = self.machine.home.path();
        match self.peer {
            Peer::HfDownload | Peer::HfHub => {
                self.machine.model(self.repo.id()).join("snapshots").join(self.repo.commit())
            }
            Peer::ModelMirror => home.join("archive/models").join(self.repo.id()),
            _ => home.join("here"),
        }
    }

    fn command(&self) -> Command {
        let id = self.repo.id();
        let mut command = Command::new(&self.program);
        self.machine.environment(&mut command);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        match self.peer {
            // The loopback Hub serves these files only over HTTP.
            Peer::HfDownload => command.args(["download", id]).env("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
            Peer::HfHub => command.arg(id),
            Peer::Aria2 | Peer::Aria2Checksum => {
                let list = self.machine.home.path().join("list");
                std::fs::write(&list, self.aria2_list()).unwrap();
                command.args(["-q", "-c", "-x4", "-s4", "-j5", "--file-allocation=none", "-d", "here", "-i"]).arg(list)
            }
            Peer::GitLfs => command.arg("pull").current_dir(self.root()),
            Peer::Hubdl => command.args(["hf", id, "--local-dir", "here", "--allow-http", "--progress", "none"]),
            Peer::ModelMirror => command.args(["mirror", id]).env("MODEL_MIRROR_DIRECTORY", "archive"),
        };
        command
    }

    /// Runs the peer to its end.
    pub fn run(&self) -> Run {
        self.command().output().unwrap().into()
    }

    /// Starts the peer, with all its processes in one group.
    pub fn start(&self) -> Running {
        let mut command = self.command();
        Running(command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap())
    }

    /// The repo's files that have their final names, with their content. A pointer does not count as the file.
    pub fn landed(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = tree(&self.root());
        found.retain(|name, content| self.repo.content(name).is_some() && !content.starts_with(b"version https://git"));
        found
    }

    /// The names whose content is not the repo's.
    pub fn wrong(&self) -> Vec<String> {
        let landed = self.landed().into_iter();
        landed.filter(|(name, content)| self.repo.content(name) != Some(content)).map(|(name, _)| name).collect()
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{}/resolve/main/{path}", self.machine.hub.endpoint(), self.repo.id())
    }

    fn aria2_list(&self) -> String {
        let mut list = String::new();
        for path in self.repo.paths() {
            writeln!(list, "{}\n  out={path}", self.url(path)).unwrap();
            if let (Peer::Aria2Checksum, Some(digest)) = (self.peer, self.repo.lfs_sha256(path)) {
                writeln!(list, "  checksum=sha-256={digest}").unwrap();
            }
        }
        list
    }

    /// Clones a git repo with the pointers that the Hub's repo would have, and starts a batch server that names
    /// the loopback Hub's URLs, as the real one names its CDN's.
    fn clone_pointers(&self) {
        let home = self.machine.home.path();
        let mut objects = BTreeMap::new();
        let mut attributes = String::new();
        std::fs::create_dir(home.join("origin")).unwrap();
        for path in self.repo.paths() {
            let content = self.repo.content(path).unwrap();
            let stored = match self.repo.lfs_sha256(path) {
                None => content.to_vec(),
                Some(oid) => {
                    objects.insert(oid.to_owned(), self.url(path));
                    writeln!(attributes, "{path} filter=lfs diff=lfs merge=lfs -text").unwrap();
                    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", content.len())
                        .into_bytes()
                }
            };
            std::fs::write(home.join("origin").join(path), stored).unwrap();
        }
        if self.repo.content(".gitattributes").is_none() {
            std::fs::write(home.join("origin/.gitattributes"), attributes).unwrap();
        }
        let batch = format!("lfs.url={}", serve_batches(objects));
        let git = |line: &[&str]| {
            let mut command = Command::new("git");
            self.machine.environment(&mut command);
            let run: Run = command.env("GIT_LFS_SKIP_SMUDGE", "1").args(line).output().unwrap().into();
            run.ends_with(0);
        };
        git(&["init", "-q", "origin"]);
        git(&["-C", "origin", "add", "."]);
        git(&["-C", "origin", "-c", "user.name=me", "-c", "user.email=me@here", "commit", "-qm", "all"]);
        git(&["clone", "-q", "-c", &batch, "origin", "here"]);
        git(&["-C", "here", "lfs", "install", "--local"]);
    }
}

/// A running peer; it ends with the test.
pub struct Running(Child);

impl Running {
    /// `kill -9` for the peer and all its processes.
    pub fn kill(&mut self) {
        // After its end, another process may have its id.
        if let Ok(None) = self.0.try_wait() {
            let group = rustix::process::Pid::from_child(&self.0);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = self.0.wait();
        }
    }

    /// Its exit code, if it ends within this time.
    pub fn ends_within(&mut self, time: Duration) -> Option<i32> {
        let start = Instant::now();
        while start.elapsed() < time {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts an LFS server for downloads that knows the URL of each object; returns its own URL.
fn serve_batches(objects: BTreeMap<String, String>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = answer_batch(stream.unwrap(), &objects);
        }
    });
    url
}

fn answer_batch(mut stream: TcpStream, objects: &BTreeMap<String, String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let answers: Vec<Value> = asked["objects"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|object| {
            let url = &objects[object["oid"].as_str().unwrap()];
            json!({"oid": object["oid"], "size": object["size"], "actions": {"download": {"href": url}}})
        })
        .collect();
    let answer = json!({"transfer": "basic", "objects": answers}).to_string();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.git-lfs+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    )
}
