//! A user's machine: its own home folder, the binary, the Hub's URL, and ways to look at the files
//! on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use hfget_loopback_hub::{Hub, Repo};
use tempfile::TempDir;

pub const CHATGLM: &str = "THUDM/chatglm3-6b";

/// Every command that the help shows, in the order of the manual pages; the first is hfget itself.
pub const COMMANDS: [&str; 13] = [
    "",
    "plan",
    "verify",
    "publish",
    "storage-init",
    "inspect",
    "lock",
    "compare",
    "list",
    "remove",
    "clean",
    "completions",
    "man",
];

/// The committed miniature of a repo.
pub fn fixture(id: &str) -> Repo {
    Repo::new(id).dir(&fixture_dir(id))
}

pub fn fixture_dir(id: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/repos").join(id)
}

/// A safetensors file with one tensor of `bytes` bytes that differ from place to place.
pub fn safetensors(name: &str, bytes: usize) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[{bytes}],"data_offsets":[0,{bytes}]}}}}"#);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend((0..bytes).map(|i| u8::try_from((i.wrapping_mul(2_654_435_761) >> 13) & 0xff).unwrap()));
    file
}

/// A model of one safetensors file of `bytes` bytes and a configuration.
pub fn one_file(bytes: usize) -> Repo {
    Repo::new("org/one").file("config.json", "{}").lfs("model.safetensors", safetensors("w", bytes))
}

/// The binary under test: `$HFGET_TEST_BINARY` shows what an earlier build does with the same steps.
pub fn binary() -> PathBuf {
    std::env::var_os("HFGET_TEST_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_hfget").into(), PathBuf::from)
}

/// The result of a run of the binary.
pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Run {
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no {text:?} in stderr:\n{}\nstdout:\n{}", self.err, self.out);
        self
    }

    #[track_caller]
    pub fn shows(self, text: &str) -> Self {
        assert!(self.out.contains(text), "no {text:?} in stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// The path that the run printed.
    #[track_caller]
    pub fn path(&self) -> PathBuf {
        let path = PathBuf::from(self.out.trim_end());
        assert!(path.is_absolute() && path.exists(), "no path in stdout: {:?}\nstderr:\n{}", self.out, self.err);
        path
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}:\n{}\nstderr:\n{}", self.out, self.err))
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Run {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8 on stdout"),
            err: String::from_utf8(output.stderr).expect("UTF-8 on stderr"),
        }
    }
}

/// One user with one Hub.
pub struct Machine {
    pub hub: Hub,
    pub home: TempDir,
}

impl Machine {
    pub fn new(repos: impl IntoIterator<Item = Repo>) -> Self {
        Self::on(Hub::start(repos))
    }

    pub fn on(hub: Hub) -> Self {
        Machine { hub, home: TempDir::new().expect("a temporary folder") }
    }

    /// The same on a Hub over HTTPS, whose certificate the user trusts.
    pub fn trusting(hub: Hub) -> Self {
        let machine = Self::on(hub);
        std::fs::write(machine.trusted(), machine.hub.certificate().expect("HTTPS")).expect("a file");
        machine
    }

    /// The certificates that the user trusts, if there are any.
    pub fn trusted(&self) -> PathBuf {
        self.home.path().join("trusted.pem")
    }

    /// The binary in the user's environment, with no flags.
    pub fn bare(&self) -> Command {
        let mut command = Command::new(binary());
        self.environment(&mut command);
        command
    }

    pub fn command(&self) -> Command {
        let mut command = self.bare();
        // Short timeouts, since these tests are not about patience.
        command.args(["--retry-base-ms", "2", "--stall-timeout", "0.3", "--retry-for", "1"]);
        command
    }

    /// Only the user's own settings, and nothing from the machine's configuration.
    pub fn environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("HF_HOME", self.home.path().join("hf"))
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("TMPDIR", std::env::temp_dir())
            .stdin(Stdio::null())
            .current_dir(self.home.path());
        if self.trusted().exists() {
            command.env("SSL_CERT_FILE", self.trusted());
        }
    }

    pub fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Run {
        let mut command = self.command();
        // A subcommand comes first.
        let mut arguments: Vec<&str> = arguments.into_iter().collect();
        let mut words = vec![];
        if matches!(
            arguments.first(),
            Some(
                &("plan" | "publish" | "verify" | "inspect" | "lock" | "download" | "get" | "pull" | "fetch" | "clone")
            )
        ) {
            words.push(arguments.remove(0));
        }
        let mut whole = Command::new(command.get_program());
        self.environment(&mut whole);
        whole.args(words).args(command.get_args()).args(arguments);
        command = whole;
        command.output().expect("the binary runs").into()
    }

    pub fn hfget(&self, line: &str) -> Run {
        self.run(line.split_whitespace())
    }

    pub fn cache(&self) -> PathBuf {
        self.home.path().join("hf/hub")
    }

    /// The folder of a model in the cache.
    pub fn model(&self, id: &str) -> PathBuf {
        self.cache().join(format!("models--{}", id.replace('/', "--")))
    }

    /// Every file that a loader could see, with its content: snapshots and blobs, but no partial files.
    pub fn visible(&self, id: &str) -> BTreeMap<String, Vec<u8>> {
        let mut found = tree(&self.model(id));
        found.retain(|name, _| {
            (name.starts_with("snapshots/") || name.starts_with("blobs/")) && !name.ends_with(".incomplete")
        });
        found
    }

    /// Asserts that no file with wrong bytes is visible: every file in a snapshot is the repo's.
    #[track_caller]
    pub fn assert_nothing_wrong(&self, repo: &Repo) {
        for (name, content) in self.visible(repo.id()) {
            if let Some(path) = name.strip_prefix("snapshots/").and_then(|n| n.split_once('/')) {
                assert_eq!(Some(&content[..]), repo.content(path.1), "wrong bytes in place: {name}");
            } else {
                let right = repo.paths().any(|p| repo.content(p) == Some(&content[..]));
                assert!(right, "wrong bytes in place: {name}");
            }
        }
    }

    /// Asserts that the snapshot has exactly `paths`, with the repo's bytes.
    #[track_caller]
    pub fn assert_whole(snapshot: &Path, repo: &Repo, paths: &[&str]) {
        let found = tree(snapshot);
        let names: Vec<&str> = found.keys().map(String::as_str).collect();
        let mut wanted = paths.to_vec();
        wanted.sort_unstable();
        assert_eq!(names, wanted);
        for (name, content) in &found {
            assert_eq!(Some(&content[..]), repo.content(name), "{name}");
        }
    }

    /// Requests that carried bytes of files.
    pub fn byte_requests(&self) -> usize {
        self.hub
            .requests()
            .iter()
            .filter(|r| r.method == "GET" && (r.cdn || r.path.starts_with("/api/resolve-cache/")))
            .count()
    }
}

/// Every file below `root`, links followed.
pub fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, at: &Path, out: &mut BTreeMap<String, Vec<u8>>) {
        let Ok(items) = std::fs::read_dir(at) else { return };
        for item in items {
            let path = item.expect("a folder's entry").path();
            if path.is_dir() {
                walk(root, &path, out);
            } else {
                let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
                out.insert(name, std::fs::read(&path).unwrap_or_default());
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut out);
    out
}

/// The codes of a JSON report's findings.
pub fn codes(report: &serde_json::Value) -> Vec<&str> {
    report["findings"].as_array().into_iter().flatten().filter_map(|f| f["code"].as_str()).collect()
}
