//! The attack sweep: every file of a clean run is damaged in every way, and every command runs on the result. A
//! command may print "verified" only if each selected byte on disk is the repo's afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hfget_loopback_hub::{Hub, Repo};

use super::green_over_wrong::model;
use super::support::{Run, binary};

/// Where the clean run put its files.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Cache,
    LocalDir,
    Locked,
}

impl Place {
    fn fill(self) -> &'static [&'static str] {
        match self {
            Place::Cache => &["lock org/m", "org/m"],
            Place::LocalDir => &["lock org/m", "org/m --local-dir here"],
            Place::Locked => &["lock org/m", "--locked"],
        }
    }

    fn commands(self) -> [&'static str; 7] {
        if self == Place::LocalDir {
            return [
                "org/m --local-dir here",
                "org/m --offline --local-dir here",
                "verify org/m --local-dir here",
                "verify ./here --offline",
                "--locked --local-dir here",
                "--locked --offline --local-dir here",
                "verify --lock hfget.lock ./here",
            ];
        }
        [
            "org/m",
            "org/m --offline",
            "verify org/m",
            "verify org/m --offline",
            "--locked",
            "--locked --offline",
            "verify --lock hfget.lock",
        ]
    }
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip,
    Cut,
    Empty,
    Swap,
    Replace,
    Delete,
}

const DAMAGES: [Damage; 6] = [Damage::Flip, Damage::Cut, Damage::Empty, Damage::Swap, Damage::Replace, Damage::Delete];

fn run(home: &Path, hub: &Hub, line: &str) -> Run {
    let mut command = Command::new(binary());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("HF_HOME", home.join("hf"))
        .env("HF_ENDPOINT", hub.endpoint())
        .current_dir(home)
        .args(line.split(' '));
    command.output().unwrap().into()
}

/// Every file and link below `root`, links not followed.
fn files(root: &Path) -> Vec<PathBuf> {
    let (mut folders, mut out) = (vec![root.to_path_buf()], Vec::new());
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder).unwrap().map(|item| item.unwrap()) {
            if item.file_type().unwrap().is_dir() {
                folders.push(item.path());
            } else {
                out.push(item.path().strip_prefix(root).unwrap().to_path_buf());
            }
        }
    }
    out.sort();
    out
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").args(["-a", "--"]).arg(from).arg(to).status().unwrap().success());
}

/// A file that can replace `path`: also a link, or also a file, in the same folder if there is one.
fn other(root: &Path, all: &[PathBuf], path: &Path) -> Option<PathBuf> {
    let is_link = |p: &Path| fs::symlink_metadata(root.join(p)).is_ok_and(|m| m.is_symlink());
    let fits = |p: &&PathBuf| {
        p.as_path() != path && is_link(p) == is_link(path) && (is_link(p) || root.join(p).metadata().unwrap().len() > 0)
    };
    let near = all.iter().filter(fits).find(|p| p.parent() == path.parent());
    near.or_else(|| all.iter().find(fits)).cloned()
}

/// Damages a file; `false` if the damage would have no effect.
fn damage(root: &Path, all: &[PathBuf], path: &Path, how: Damage, kept: bool) -> bool {
    let there = root.join(path);
    let meta = fs::symlink_metadata(&there).unwrap();
    if meta.is_symlink() && matches!(how, Damage::Flip | Damage::Cut | Damage::Empty) {
        // The target has its own turn, so here the link itself becomes a file.
        let mut content = fs::read(&there).unwrap();
        fs::remove_file(&there).unwrap();
        spoil(&mut content, how);
        fs::write(&there, content).unwrap();
        return true;
    }
    match how {
        Damage::Delete => fs::remove_file(&there).unwrap(),
        Damage::Swap | Damage::Replace => {
            let Some(other) = other(root, all, path) else { return false };
            let other = root.join(other);
            if meta.is_symlink() {
                let (a, b) = (fs::read_link(&there).unwrap(), fs::read_link(&other).unwrap());
                fs::remove_file(&there).unwrap();
                symlink(b, &there).unwrap();
                if matches!(how, Damage::Swap) {
                    fs::remove_file(&other).unwrap();
                    symlink(a, &other).unwrap();
                }
                return true;
            }
            let (a, b) = (fs::read(&there).unwrap(), fs::read(&other).unwrap());
            fs::write(&there, b).unwrap();
            if matches!(how, Damage::Swap) {
                fs::write(&other, a).unwrap();
            }
        }
        _ => {
            let mut content = fs::read(&there).unwrap();
            if content.is_empty() {
                return false;
            }
            spoil(&mut content, how);
            fs::write(&there, content).unwrap();
        }
    }
    if kept && let Ok(file) = fs::File::options().write(true).open(&there) {
        file.set_modified(meta.modified().unwrap()).unwrap();
    }
    true
}

fn spoil(content: &mut Vec<u8>, how: Damage) {
    let half = content.len() / 2;
    match how {
        Damage::Cut => content.truncate(half),
        Damage::Empty => content.clear(),
        _ => {
            if let Some(byte) = content.get_mut(half) {
                *byte ^= 1;
            }
        }
    }
}

/// The selected files whose content is not the repo's. All files are selected.
fn wrong(home: &Path, place: Place, repo: &Repo) -> Vec<String> {
    let root = if place == Place::LocalDir {
        home.join("here")
    } else {
        home.join("hf/hub/models--org--m/snapshots").join(repo.commit())
    };
    let bad = |name: &&str| fs::read(root.join(name)).ok().as_deref() != repo.content(name);
    repo.paths().filter(bad).map(str::to_owned).collect()
}

#[test]
fn no_damage_to_any_file_that_a_run_left_is_called_verified() {
    let repo = model();
    let hub = Hub::start([repo.clone()]);
    let scratch = tempfile::TempDir::new().unwrap();
    let whole = std::env::var_os("HFGET_SWEEP").is_some();
    let mut cases = Vec::new();
    let mut clean: BTreeMap<usize, (PathBuf, Vec<PathBuf>)> = BTreeMap::new();
    for (n, place) in [Place::Cache, Place::LocalDir, Place::Locked].into_iter().enumerate() {
        let home = scratch.path().join(format!("clean{n}"));
        fs::create_dir(&home).unwrap();
        for line in place.fill() {
            run(&home, &hub, line).ends_with(0);
        }
        assert_eq!(wrong(&home, place, &repo), [""; 0], "{place:?}: the clean run is right");
        let all = files(&home);
        for (i, path) in all.iter().enumerate() {
            for (j, how) in DAMAGES.into_iter().enumerate() {
                for kept in [false, true] {
                    // Each file is damaged in each way for each command; one half keeps its time, and the other half
                    // gets a new one.
                    for (k, line) in place.commands().into_iter().enumerate() {
                        if whole || ((i + j + k) % 2 == 0) == kept {
                            cases.push((n, place, path.clone(), how, kept, line));
                        }
                    }
                }
            }
        }
        clean.insert(n, (home, all));
    }
    let (next, ran, green) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((n, place, path, how, kept, line)) = cases.get(at) else { return };
                    let home = scratch.path().join(format!("case{at}"));
                    let (from, all) = &clean[n];
                    copy(from, &home);
                    // A fill writes the copies' stamps into the records, so that the test shows which damage the
                    // records let pass.
                    if let Some(line) = place.fill().last() {
                        run(&home, &hub, line).ends_with(0);
                    }
                    if damage(&home, all, path, *how, *kept) {
                        let run = run(&home, &hub, line);
                        ran.fetch_add(1, Ordering::Relaxed);
                        let bad = wrong(&home, *place, &repo);
                        let said = run.code == Some(0) || run.err.contains("result=verified");
                        let panicked = run.code.is_none() || run.code == Some(101);
                        if panicked || (said && !bad.is_empty()) {
                            let case = format!("{place:?}: {how:?} {} (kept {kept}): `{line}`", path.display());
                            green.lock().unwrap().push(format!("{case} ends {:?}; wrong: {bad:?}", run.code));
                        }
                    }
                    let _ = fs::remove_dir_all(home);
                }
            });
        }
    });
    let green = green.into_inner().unwrap();
    eprintln!("{} combinations swept, {} of them wrong", ran.into_inner(), green.len());
    assert!(green.is_empty(), "{} combinations:\n{}", green.len(), green.join("\n"));
}
