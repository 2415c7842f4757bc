//! The loopback Hub as a program, for benchmarks: `loopback-hub ROOT BYTE_HOST [LATENCY_MS [CAS HASH]]`
//! serves every `ROOT/owner/name` folder; bytes of large files come from BYTE_HOST, and those of
//! `model.safetensors` also from CAS, if HASH is its Xet hash. Prints its address and then, for each line
//! on its input, how many requests came since the last one.
#![allow(clippy::unwrap_used)] // a benchmark that cannot start has failed

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use hfget_loopback_hub::{Hub, Options, Repo};
use sha2::Digest as _;

/// From this size on, bytes come from BYTE_HOST.
const LARGE: u64 = 1 << 20;

fn sha256(path: &Path) -> String {
    let mut hasher = sha2::Sha256::new();
    let mut file = std::fs::File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hasher.finalize().iter().map(|b| format!("{b:02x}")).collect(),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let latency = arguments.get(2).map_or(0, |ms| ms.parse().unwrap());
    let mut repos = Vec::new();
    let list = |dir: &Path| std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path()).collect::<Vec<_>>();
    for owner in list(Path::new(&arguments[0])) {
        for folder in list(&owner) {
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            let mut repo = Repo::new(&format!("{}/{}", name(&owner), name(&folder)));
            let mut paths = list(&folder);
            while let Some(path) = paths.pop() {
                if path.is_dir() {
                    paths.extend(list(&path));
                    continue;
                }
                let size = path.metadata().unwrap().len();
                let file = path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned();
                repo = if size >= LARGE {
                    let xet = arguments.get(4).filter(|_| file == "model.safetensors");
                    repo.elsewhere(&file, size, &sha256(&path), xet.map(String::as_str))
                } else {
                    repo.file(&file, std::fs::read(&path).unwrap())
                };
            }
            repos.push(repo);
        }
    }
    let options = Options {
        byte_host: arguments[1].clone(),
        latency: Duration::from_millis(latency),
        cas: arguments.get(3).cloned(),
        ..Options::default()
    };
    let hub = Hub::with(options, repos);
    println!("{}", hub.endpoint());
    for _ in std::io::stdin().lines() {
        println!("{}", hub.requests().len());
        hub.forget();
    }
    loop {
        std::thread::park();
    }
}
