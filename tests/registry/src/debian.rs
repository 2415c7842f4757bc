//! Debian's `docker-registry` as a child process, with or without tokens: an independent implementation. It has
//! no list of referrers, answers with whole and signed locations, and does not check the sizes of layers. If it is
//! not installed, a message says so.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::jwt::Signer;

/// A running registry; it ends when dropped.
pub struct Debian {
    child: Child,
    config: PathBuf,
    port: u16,
    /// Signs tokens until the registry is dropped.
    _signer: Option<Signer>,
}

fn program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

impl Debian {
    /// Starts a registry that keeps its data below `folder`. With tokens, each token is valid for the given time. If it
    /// is not installed, prints that and returns `None`.
    ///
    /// # Panics
    /// If it does not start, or if it is not installed in CI.
    #[must_use]
    pub fn start(folder: &Path, tokens: Option<Duration>) -> Option<Self> {
        let found = program("docker-registry");
        assert!(found.is_some() || std::env::var_os("CI").is_none(), "CI needs docker-registry");
        if found.is_none() {
            eprintln!("skipped: no docker-registry (.ci/run installs it)");
            return None;
        }
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("an address").port();
        let signer = tokens.map(|lifetime| Signer::start(folder, lifetime));
        let config = folder.join("registry.yml");
        let mut text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {0}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:{port}', secret: of-a-test}}\n",
            folder.join("registry").display(),
        );
        if let Some(signer) = &signer {
            text += &format!(
                "auth: {{token: {{realm: 'http://{}/token', service: debian, issuer: of-a-test, rootcertbundle: '{}'}}}}\n",
                signer.address,
                signer.certificate.display(),
            );
        }
        std::fs::write(&config, text).expect("its configuration");
        let child = spawn(&config, port);
        Some(Debian { child, config, port, _signer: signer })
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it, and starts it again at the same port with the same data.
    pub fn restart(&mut self) {
        self.stop();
        self.child = spawn(&self.config, self.port);
    }

    /// Kills it.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(config: &Path, port: u16) -> Child {
    let log = std::fs::File::create(config.with_extension("log")).expect("its log");
    let mut child = Command::new("docker-registry")
        .arg("serve")
        .arg(config)
        .env("OTEL_TRACES_EXPORTER", "none")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("docker-registry");
    let started = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        let ended = child.try_wait().expect("its state");
        if ended.is_some() || started.elapsed() > Duration::from_secs(30) {
            let said = std::fs::read_to_string(config.with_extension("log")).unwrap_or_default();
            let _ = std::io::stderr().write_all(said.as_bytes());
            panic!("docker-registry does not start");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

/// Runs `skopeo`, another reader of registries, and returns its output. If it is not installed, prints that and
/// returns `None`.
///
/// # Panics
/// If it fails, or if it is not installed in CI.
#[must_use]
pub fn skopeo(arguments: &[&str]) -> Option<String> {
    let found = program("skopeo");
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "CI needs skopeo");
    if found.is_none() {
        eprintln!("skipped: no skopeo (.ci/run installs it)");
        return None;
    }
    let output = Command::new("skopeo").args(["--insecure-policy"]).args(arguments).output().expect("skopeo runs");
    assert!(output.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
