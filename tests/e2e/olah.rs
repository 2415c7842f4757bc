//! `hfget compare` on a real mirror: `olah` in front of the loopback Hub. `.ci/run` installs it; without
//! it these tests print that they were skipped.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hfget_loopback_hub::Repo;

use super::support::{CHATGLM, Machine, Run, fixture, safetensors, tree};

const FILE: &str = "model.safetensors";
/// The unit of olah's own checksums.
const CHUNK: usize = 1 << 20;

fn repo() -> Repo {
    Repo::new("org/one").file("config.json", "{}").lfs(FILE, safetensors("w", 5 * CHUNK / 2))
}

/// A running olah; it ends with the test.
struct Olah {
    child: Child,
    port: u16,
    home: PathBuf,
}

impl Drop for Olah {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Olah {
    /// Prints a line and returns `None` if it is not installed.
    fn start(machine: &Machine) -> Option<Self> {
        let bin = std::env::var_os("HFGET_PYTHON_BIN")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin"), PathBuf::from);
        let program = bin.join("olah-cli");
        assert!(program.exists() || std::env::var_os("CI").is_none(), "CI needs olah in {}", bin.display());
        if !program.exists() {
            eprintln!("skipped: no olah in {} (.ci/run installs it)", bin.display());
            return None;
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let home = machine.home.path().join("olah");
        std::fs::create_dir_all(&home).unwrap();
        let upstream = machine.hub.endpoint().replace("http://", "");
        let bytes = machine.hub.cdn().replace("http://", "");
        let own = format!("127.0.0.1:{port}");
        let mut command = Command::new(program);
        machine.environment(&mut command);
        let child = command
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--hf-scheme", "http", "--hf-netloc", &upstream, "--hf-lfs-netloc", &bytes])
            .args(["--mirror-scheme", "http", "--mirror-netloc", &own, "--mirror-lfs-netloc", &own])
            .args(["--repos-path", "repos", "--log-path", "logs", "--metadata-cache-ttl", "0"])
            .current_dir(&home)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(home.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut olah = Olah { child, port, home };
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = olah.child.try_wait().unwrap();
            assert!(ended.is_none() && started.elapsed() < Duration::from_mins(1), "olah: {}", olah.said());
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(olah)
    }

    fn said(&self) -> String {
        let mut text = String::new();
        let _ = std::fs::File::open(self.home.join("stderr")).and_then(|mut f| f.read_to_string(&mut text));
        text
    }

    fn compare(&self, machine: &Machine, more: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
        machine.environment(&mut command);
        let url = format!("http://127.0.0.1:{}", self.port);
        command.args(["compare", "--retry-base-ms", "50", "--mirror", &url]).args(more);
        command.output().unwrap().into()
    }
}

#[test]
fn olah_matches_when_its_cache_is_empty_and_when_it_is_full() {
    let machine = Machine::new([repo(), fixture(CHATGLM)]);
    let Some(olah) = Olah::start(&machine) else { return };
    for level in ["metadata", "sample", "full", "full"] {
        let run = olah.compare(&machine, &["org/one", CHATGLM, "--level", level]).ends_with(0);
        let line = format!(" level={level} ");
        assert_eq!(
            run.out.lines().filter(|l| l.contains(&line) && l.ends_with("result=true")).count(),
            2,
            "{}",
            run.out
        );
    }
    machine.hub.forget();
    let before = machine.hub.bytes_sent();
    olah.compare(&machine, &["org/one", "--level", "full", "--seed", "1"]).ends_with(0);
    assert!(machine.hub.bytes_sent() - before < CHUNK as u64, "the mirror's bytes came from its cache");
}

#[test]
fn a_tampered_olah_cache_is_found() {
    let machine = Machine::new([repo()]);
    let Some(olah) = Olah::start(&machine) else { return };
    olah.compare(&machine, &["org/one", "--level", "full"]).ends_with(0);
    // A byte in the ranges of seed 5, but not of seed 6.
    let ranges = |seed: &str| {
        let value = olah.compare(&machine, &["org/one", "--json", "--seed", seed]).ends_with(0).json();
        let ranges = value["comparisons"][0]["files"][1]["ranges"].as_array().unwrap().clone();
        ranges.iter().map(|r| [0, 1].map(|i| usize::try_from(r[i].as_u64().unwrap()).unwrap())).collect::<Vec<_>>()
    };
    let (hit, miss) = (ranges("5"), ranges("6"));
    let outside = |at: &usize| miss.iter().all(|[a, b]| !(*a..*b).contains(at));
    let at = hit.iter().flat_map(|[a, b]| *a..*b).find(|at| outside(at) && *at < 2 * CHUNK).unwrap();
    // A cached block of the file, with the checksum by which olah itself would notice a change.
    let place = olah.home.join("repos");
    let whole = repo().content(FILE).unwrap().to_vec();
    let names = tree(&place);
    let block = names.iter().find(|(name, content)| name.ends_with(".bin") && content.starts_with(&whole[..CHUNK]));
    let (name, content) = block.unwrap_or_else(|| panic!("no block in {:?}", names.keys()));
    let folder = place.join(name).parent().unwrap().parent().unwrap().to_path_buf();
    let mut content = content.clone();
    content[at] ^= 0x10;
    std::fs::write(place.join(name), &content).unwrap();
    let mut sums = std::fs::read(folder.join("chunks.crc")).unwrap();
    let chunk = at / CHUNK * CHUNK..(at / CHUNK + 1) * CHUNK;
    let sum = |bytes: &[u8]| u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes)).unwrap();
    let place_of_sum = at / CHUNK * 4..at / CHUNK * 4 + 4;
    let right = sum(&whole[chunk.clone()]).to_le_bytes();
    assert_eq!(sums[place_of_sum.clone()], right, "olah's checksums are what this test takes them for");
    sums[place_of_sum].copy_from_slice(&sum(&content[chunk]).to_le_bytes());
    std::fs::write(folder.join("chunks.crc"), sums).unwrap();
    olah.compare(&machine, &["org/one", "--level", "metadata"]).ends_with(0);
    let run = olah.compare(&machine, &["org/one", "--level", "full", "--seed", "6"]).ends_with(1);
    run.says("[checksum-mismatch] model.safetensors").shows(" findings=1 result=different");
    let run = olah.compare(&machine, &["org/one", "--seed", "5"]).ends_with(1);
    run.says("[bytes-differ] model.safetensors").shows(" findings=1 result=different");
    olah.compare(&machine, &["org/one", "--seed", "6"]).ends_with(0);
}
