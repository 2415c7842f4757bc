//! Disks that lose power, fill up or report wrong facts, and file systems on which locks have no effect.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hfget_loopback_hub::{Hub, Options, Repo};

use super::disk::in_namespace;
use super::resume::{SIZE, half_way, slow};
use super::support::{Machine, Run, one_file, tree};

/// The kinds of file system for power cuts, each with its smallest image in megabytes and its mount options. If
/// possible, the options delay writes to the disk for minutes, so that only flushed bytes reach it.
pub(super) const KINDS: [(&str, u64, &str); 3] =
    [("ext4", 0, "loop,commit=900"), ("xfs", 300, "loop,nouuid"), ("btrfs", 128, "loop,commit=900")];

/// A file system in a file, mounted.
pub(super) struct Disk {
    kind: &'static str,
    image: PathBuf,
    pub at: PathBuf,
}

impl Disk {
    /// Makes a disk of this kind; `None` if this machine has no loop devices for us, or not this file system.
    pub fn new(machine: &Machine, name: &str, megabytes: u64) -> Option<Self> {
        Disk::of("ext4", machine, name, megabytes)
    }

    pub fn of(kind: &'static str, machine: &Machine, name: &str, megabytes: u64) -> Option<Self> {
        let image = machine.home.path().join(format!("{name}.img"));
        let least = KINDS.iter().find(|(known, ..)| *known == kind).map_or(0, |(_, least, _)| *least);
        std::fs::File::create(&image).unwrap().set_len(megabytes.max(least) << 20).unwrap();
        let mut make = Command::new(format!("mkfs.{kind}"));
        make.arg("-q").args(if kind == "ext4" { &["-m", "0"][..] } else { &[] });
        if !quiet(make.arg(&image)) {
            eprintln!("skipped: no mkfs.{kind} here");
            return None;
        }
        Disk::mount(kind, image, &machine.home.path().join(name))
    }

    fn mount(kind: &'static str, image: PathBuf, at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let options = KINDS.iter().find(|(known, ..)| *known == kind).map_or("loop", |(.., options)| *options);
        if !quiet(Command::new("mount").args(["-t", kind, "-o", options]).arg(&image).arg(at)) {
            eprintln!("skipped: this machine does not let us mount {kind} on a loop device");
            return None;
        }
        Some(Disk { kind, image, at: at.to_path_buf() })
    }

    /// The disk as it would be after a power cut at this moment. `stop` ends all work on the disk.
    pub fn cut(self, machine: &Machine, name: &str, stop: impl FnOnce()) -> Disk {
        let image = machine.home.path().join(format!("{name}.img"));
        assert!(quiet(Command::new("cp").args(["--sparse=always"]).arg(&self.image).arg(&image)));
        stop();
        let kind = self.kind;
        assert!(quiet(Command::new("umount").arg(&self.at)), "no process works on it any more");
        drop(self);
        if kind == "btrfs" {
            // btrfs would treat the copy as an older state of the same disk.
            assert!(quiet(Command::new("btrfs").args(["device", "scan", "--forget"])));
        }
        Disk::mount(kind, image, &machine.home.path().join(name)).expect("it was mounted once")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = quiet(Command::new("umount").arg("-l").arg(&self.at));
    }
}

fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn on(disk: &Disk) -> String {
    format!("--cache-dir {}", disk.at.join("hub").display())
}

/// After a power cut directly after exit code 0, files, names and the ref are there.
#[test]
fn files_of_a_run_with_exit_0_survive_a_power_cut() {
    let repo = one_file(3 << 20).file("sub/tokenizer.json", "{}");
    let each = KINDS.iter().flat_map(|(kind, ..)| [(*kind, "hub"), (*kind, "folder")]);
    for (kind, flags) in each {
        let machine = Machine::new([repo.clone()]);
        let Some(disk) = Disk::of(kind, &machine, "disk", 64) else { continue };
        let place = |disk: &Disk| match flags {
            "hub" => on(disk),
            _ => format!("--local-dir {}", disk.at.join("new/below/folder").display()),
        };
        machine.hfget(&format!("org/one --all {}", place(&disk))).ends_with(0);
        let after = disk.cut(&machine, "after", || {});
        let root = match flags {
            "hub" => after.at.join("hub/models--org--one/snapshots").join(repo.commit()),
            _ => after.at.join("new/below/folder"),
        };
        for name in repo.paths() {
            assert_eq!(std::fs::read(root.join(name)).ok().as_deref(), repo.content(name), "{kind} {flags} {name}");
        }
        if flags == "hub" {
            let commit = std::fs::read_to_string(after.at.join("hub/models--org--one/refs/main")).ok();
            assert_eq!(commit, Some(repo.commit()), "{kind}: the ref exists");
        }
        // The next run has nothing to fetch.
        machine.hub.forget();
        machine.hfget(&format!("org/one --all {}", place(&after))).ends_with(0);
        assert_eq!(machine.byte_requests(), 0, "{kind} {flags}");
        if flags == "folder" {
            // The record still knows the files, so the next commit is an update.
            machine.hub.replace(one_file(4 << 20));
            machine.hfget(&format!("org/one {}", place(&after))).ends_with(0);
        }
    }
}

/// Files of another tool may be only in the machine's memory: they are flushed before they count as verified.
#[test]
fn files_taken_over_from_another_tool_survive_a_power_cut() {
    let repo = one_file(3 << 20);
    for (kind, ..) in KINDS {
        let machine = Machine::new([repo.clone()]);
        let Some(disk) = Disk::of(kind, &machine, "disk", 64) else { continue };
        machine.hfget("org/one --local-dir other").ends_with(0);
        std::fs::create_dir(disk.at.join("folder")).unwrap();
        for name in repo.paths() {
            std::fs::copy(machine.home.path().join("other").join(name), disk.at.join("folder").join(name)).unwrap();
        }
        machine.hub.forget();
        machine.hfget(&format!("org/one --local-dir {}", disk.at.join("folder").display())).ends_with(0);
        assert_eq!(machine.byte_requests(), 0, "{kind}");
        let after = disk.cut(&machine, "after", || {});
        for name in repo.paths() {
            let there = std::fs::read(after.at.join("folder").join(name)).ok();
            assert_eq!(there.as_deref(), repo.content(name), "{kind} {name}");
        }
    }
}

/// After a power cut in the middle of a large file, the flushed bytes are not fetched again.
#[test]
fn a_power_cut_in_the_middle_costs_only_unflushed_bytes() {
    for (kind, ..) in KINDS {
        cut_in_the_middle(kind);
    }
}

fn cut_in_the_middle(kind: &'static str) {
    const LARGE: usize = 330 << 20;
    let repo = || Repo::new("org/data").kind("datasets").lfs("a.bin", vec![7; LARGE]);
    let machine = Machine::on(Hub::with(Options { rate: Some(60 << 20), ..Options::default() }, [repo()]));
    let Some(disk) = Disk::of(kind, &machine, "disk", 800) else { return };
    let mut child = machine
        .command()
        .args(["datasets/org/data", "--connections", "4", "--cache-dir"])
        .arg(disk.at.join("hub"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let books = disk.at.join("hub/datasets--org--data/.hfget/partial");
    // The first flush comes after half of so small a file, and the second one after three quarters.
    let flushed_twice = |text: String| text.matches("synced").count() > 1;
    while !journal(&books).is_some_and(|path| std::fs::read_to_string(path).is_ok_and(flushed_twice)) {
        assert!(start.elapsed() < Duration::from_mins(2), "{} bytes came", machine.hub.bytes_sent());
        std::thread::sleep(Duration::from_millis(20));
    }
    // The line is written, and flushed directly after. A copy of the disk takes a moment, unlike a power cut, so
    // nothing must be written meanwhile.
    std::thread::sleep(Duration::from_millis(100));
    assert!(quiet(Command::new("kill").args(["-STOP", &child.id().to_string()])));
    let tasks = PathBuf::from(format!("/proc/{}/task", child.id()));
    let stopped = |task: PathBuf| {
        let text = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
        text.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('T'))
    };
    while !std::fs::read_dir(&tasks).unwrap().all(|task| stopped(task.unwrap().path())) {
        assert!(start.elapsed() < Duration::from_mins(4), "it does not stop");
        std::thread::sleep(Duration::from_millis(20));
    }
    let after = disk.cut(&machine, "after", || {
        child.kill().unwrap();
        child.wait().unwrap();
    });
    // Makes the journal one of another boot.
    let partial = after.at.join("hub/datasets--org--data/.hfget/partial");
    let journal = journal(&partial).expect("a journal is on the disk");
    let text = std::fs::read_to_string(&journal).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    std::fs::write(&journal, text.replace(boot.trim(), "the-boot-before")).unwrap();
    let before = machine.hub.bytes_sent();
    machine.hfget(&format!("datasets/org/data --connections 4 {}", on(&after))).ends_with(0);
    let again = machine.hub.bytes_sent() - before;
    assert!(again < (120 << 20), "{kind}: {again} bytes came again");
}

/// The journal in a folder of partial files.
fn journal(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.flatten().map(|file| file.path());
    files.into_iter().find(|path| path.extension().is_some_and(|end| end == "journal"))
}

/// A library that replaces a system call.
pub(super) fn instead(machine: &Machine, name: &str, code: &str) -> PathBuf {
    let (source, library) =
        (machine.home.path().join(format!("{name}.c")), machine.home.path().join(format!("{name}.so")));
    std::fs::write(&source, code).unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
    assert!(compiled.expect("a C compiler").success());
    library
}

/// After a failed flush the system may report bytes as written that it has dropped.
#[test]
fn after_a_failed_flush_no_byte_of_the_file_counts() {
    let machine = Machine::new([one_file(SIZE)]);
    let library = instead(
        &machine,
        "no_flush",
        "#include <errno.h>\n#include <sys/stat.h>\n\
         int fdatasync(int fd) { struct stat s; if (!fstat(fd, &s) && s.st_size > 1000000) { errno = EIO; return -1; } return 0; }\n",
    );
    let mut command = machine.command();
    let run: Run = command.arg("org/one").env("LD_PRELOAD", &library).output().unwrap().into();
    run.ends_with(5).says("cannot flush");
    assert!(!machine.visible("org/one").keys().any(|name| name.ends_with("model.safetensors")));
    let before = machine.hub.bytes_sent();
    machine.hfget("org/one").ends_with(0);
    assert!(machine.hub.bytes_sent() - before >= SIZE as u64, "all of it came again");
    machine.assert_nothing_wrong(&one_file(SIZE));
}

/// For any answer of a file system to a request for a lock, simultaneous runs all succeed, and so does the next run.
#[test]
fn runs_at_once_end_right_where_locks_do_not_work() {
    let equal = || {
        let mut repo = one_file(6 << 20);
        for n in 0..6 {
            repo = repo
                .lfs(&format!("model-copy-{n}.safetensors"), one_file(6 << 20).content("model.safetensors").unwrap());
        }
        repo
    };
    let machine = Machine::on(Hub::with(Options { rate: Some(40 << 20), ..Options::default() }, [equal()]));
    for (n, answer) in ["0", "ENOSYS", "ENOLCK", "EOPNOTSUPP", "EPERM", "EACCES", "EBADF", "EINVAL"].iter().enumerate()
    {
        let fails = if *answer == "0" { "return 0;".to_owned() } else { format!("errno = {answer}; return -1;") };
        let code = format!("#include <errno.h>\nint flock(int fd, int how) {{ (void)fd; (void)how; {fails} }}\n");
        let library = instead(&machine, &format!("lock{n}"), &code);
        for flags in ["", "--local-dir here"] {
            let runs: Vec<_> = (0..3)
                .map(|_| {
                    let mut command = machine.command();
                    command.env("LD_PRELOAD", &library).args(["org/one", "--all", "--connections", "2"]);
                    command
                        .args(flags.split_whitespace())
                        .stdout(Stdio::piped())
                        .stderr(Stdio::piped())
                        .spawn()
                        .unwrap()
                })
                .collect();
            for run in runs {
                let run = Run::from(run.wait_with_output().unwrap());
                assert_eq!(run.code, Some(0), "{answer} {flags}: {}", run.err);
                assert!(!run.err.contains("waiting"), "{answer}: {}", run.err);
            }
            if flags.is_empty() {
                machine.assert_nothing_wrong(&equal());
                let left = tree(&machine.model("org/one").join(".hfget/partial"));
                assert_eq!(left.len(), 0, "{answer}: {:?}", left.keys());
                std::fs::remove_dir_all(machine.cache()).unwrap();
            } else {
                std::fs::remove_dir_all(machine.home.path().join("here")).unwrap();
            }
        }
    }
}

/// Without locks, a killed run's partial has the process in its name, and the next run continues with it.
#[test]
fn a_killed_run_is_resumed_where_locks_do_not_work() {
    let machine = slow();
    let library = instead(&machine, "no_lock", "int flock(int fd, int how) { (void)fd; (void)how; return 0; }\n");
    let mut first = machine.command();
    first
        .env("LD_PRELOAD", &library)
        .args(["org/one", "--connections", "1"])
        .stderr(Stdio::null())
        .stdout(Stdio::null());
    let mut child = first.spawn().unwrap();
    let start = Instant::now();
    while super::resume::partial(&machine).and_then(|p| p.metadata().ok()).is_none_or(|m| m.len() < SIZE as u64 / 2) {
        assert!(start.elapsed() < Duration::from_mins(1), "no partial file");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    for preload in [true, false] {
        let before = machine.hub.bytes_sent();
        let mut command = machine.command();
        if preload {
            command.env("LD_PRELOAD", &library);
        }
        let run: Run = command.args(["org/one", "--connections", "1"]).output().unwrap().into();
        run.ends_with(0);
        let again = machine.hub.bytes_sent() - before;
        assert!(again < SIZE as u64 * 3 / 4, "{again} bytes came again");
    }
    machine.assert_nothing_wrong(&one_file(SIZE));
}

/// A lock that is never released, as by a process that hangs on another machine.
#[test]
fn a_lock_that_is_never_released_is_waited_for_and_then_ignored() {
    let machine = Machine::new([one_file(5000)]);
    let locks = machine.cache().join(".locks/models--org--one");
    std::fs::create_dir_all(&locks).unwrap();
    let digest = one_file(5000).lfs_sha256("model.safetensors").unwrap().to_owned();
    let lock = std::fs::File::create(locks.join(format!("{digest}.lock"))).unwrap();
    lock.lock().unwrap();
    let start = Instant::now();
    machine
        .hfget("org/one --lock-wait 1s")
        .ends_with(0)
        .says("model.safetensors: another process is fetching this file");
    assert!(start.elapsed() >= Duration::from_secs(1));
    machine.assert_nothing_wrong(&one_file(5000));
    assert_eq!(tree(&machine.model("org/one").join(".hfget/partial")).len(), 0);
    machine.hfget("org/one --lock-wait soon").ends_with(2);
}

/// A wait of minutes, with a clock that runs fifty times as fast.
#[test]
fn a_wait_for_a_lock_names_the_file_and_the_time_each_minute() {
    let machine = Machine::new([one_file(5000)]);
    let library = instead(
        &machine,
        "fast_clock",
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <time.h>\n\
         int clock_gettime(clockid_t id, struct timespec *now) {\n\
           static int (*real)(clockid_t, struct timespec *); static long long first;\n\
           if (!real) real = dlsym(RTLD_NEXT, \"clock_gettime\");\n\
           int said = real(id, now); if (id != CLOCK_MONOTONIC) return said;\n\
           long long ns = now->tv_sec * 1000000000LL + now->tv_nsec; if (!first) first = ns;\n\
           ns = first + (ns - first) * 50; now->tv_sec = ns / 1000000000LL; now->tv_nsec = ns % 1000000000LL;\n\
           return said; }\n",
    );
    let locks = machine.cache().join(".locks/models--org--one");
    std::fs::create_dir_all(&locks).unwrap();
    let digest = one_file(5000).lfs_sha256("model.safetensors").unwrap().to_owned();
    let lock = std::fs::File::create(locks.join(format!("{digest}.lock"))).unwrap();
    lock.lock().unwrap();
    // The second one waits for the default time: five minutes.
    for (flag, minutes) in [(&["--lock-wait", "150s"][..], 2), (&[], 4)] {
        let mut command = machine.bare();
        // The clock also counts the time of the Hub's answers.
        command.args(["org/one", "--force", "--stall-timeout", "600", "--retry-for", "1h"]).args(flag);
        let run: Run = command.env("LD_PRELOAD", &library).env("HF_HUB_ETAG_TIMEOUT", "600").output().unwrap().into();
        let run = run.ends_with(0);
        let said: Vec<&str> = run.err.lines().filter(|line| line.contains("another process")).collect();
        assert!((minutes + 1..=minutes + 2).contains(&said.len()), "{}", run.err);
        assert!(said.iter().all(|line| line.contains("model.safetensors: another process")), "{said:?}");
        for (line, minute) in said[1..].iter().zip((1..).map(|minute| minute * 60)) {
            let waited = line.split("waited ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
            assert!(waited.is_some_and(|waited| (minute..minute + 30).contains(&waited)), "{line}");
        }
        machine.assert_nothing_wrong(&one_file(5000));
    }
}

/// A cache that several users share: the folder of locks belongs to the first one.
#[test]
fn a_folder_of_locks_that_cannot_be_written_is_no_reason_to_stop() {
    let machine = Machine::new([one_file(5000)]);
    let locks = machine.cache().join(".locks");
    std::fs::create_dir_all(&locks).unwrap();
    let locks = locks.display();
    let script = format!("mount --bind {locks} {locks} && mount -o remount,ro,bind {locks} && exec \"$HFGET\" org/one");
    let Some(run) = in_namespace(&machine, &script) else { return };
    run.ends_with(0);
    machine.assert_nothing_wrong(&one_file(5000));
}

/// The space that a partial has reserved on the disk is available for its rest.
#[test]
fn a_run_is_resumed_in_the_space_that_its_partial_has_reserved() {
    let machine = slow();
    let Some(disk) = Disk::new(&machine, "disk", 40) else { return };
    std::fs::create_dir_all(machine.cache().parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(&disk.at, machine.cache()).unwrap();
    let mut child = half_way(&machine);
    child.kill().unwrap();
    child.wait().unwrap();
    machine.run(["org/one", "--connections", "1"]).ends_with(0);
    machine.assert_nothing_wrong(&one_file(SIZE));
    // The twin: a repo that does not fit is not started, unless the user says so.
    let other = Repo::new("org/two").file("config.json", "{}").lfs("model.safetensors", vec![1; 30 << 20]);
    let machine = Machine::new([other]);
    let Some(disk) = Disk::new(&machine, "disk", 24) else { return };
    machine.hfget(&format!("org/two {}", on(&disk))).ends_with(5).says("are free").says("--no-space-check");
    let asked =
        |machine: &Machine| machine.hub.requests().iter().filter(|r| r.path.contains("model.safetensors")).count();
    assert_eq!(asked(&machine), 0);
    machine.hfget(&format!("org/two --no-space-check {}", on(&disk))).ends_with(5).says("No space left");
}

/// A folder and the cache share a file's blocks where the disk can do that.
#[test]
fn a_folder_takes_no_room_for_what_the_cache_on_its_disk_has() {
    const LARGE: usize = 60 << 20;
    let machine = Machine::new([one_file(LARGE)]);
    let Some(disk) = Disk::of("btrfs", &machine, "disk", 300) else { return };
    let run = |line: &str| -> Run {
        let mut command = machine.command();
        command.env("HF_HUB_CACHE", disk.at.join("hub")).args(line.split(' ')).output().unwrap().into()
    };
    run("org/one").ends_with(0);
    let used = || {
        assert!(quiet(Command::new("sync").arg("-f").arg(&disk.at)));
        let stat = rustix::fs::statvfs(&disk.at).unwrap();
        (stat.f_blocks - stat.f_bfree) * stat.f_frsize
    };
    let (before, sent) = (used(), machine.hub.bytes_sent());
    run(&format!("org/one --local-dir {}", disk.at.join("here").display())).ends_with(0);
    let more = used().saturating_sub(before);
    assert!(more < LARGE as u64 / 4, "it takes {more} bytes more");
    assert_eq!(machine.hub.bytes_sent(), sent);
    assert_eq!(
        std::fs::read(disk.at.join("here/model.safetensors")).ok().as_deref(),
        one_file(LARGE).content("model.safetensors")
    );
}

/// A disk that ignores case in names; `None` if this machine cannot mount one.
fn folding(machine: &Machine) -> Option<Disk> {
    let (image, at) = (machine.home.path().join("folding.img"), machine.home.path().join("folding"));
    std::fs::File::create(&image).unwrap().set_len(40 << 20).unwrap();
    std::fs::create_dir_all(&at).unwrap();
    let made = quiet(Command::new("mkntfs").args(["-F", "-Q", "-q"]).arg(&image));
    if !made || !quiet(Command::new("lowntfs-3g").arg(&image).arg(&at).args(["-o", "ignore_case"])) {
        eprintln!("skipped: no ntfs-3g here, or it may not mount");
        return None;
    }
    let disk = Disk { kind: "ntfs", image, at };
    std::fs::write(disk.at.join("probe"), "").unwrap();
    assert!(disk.at.join("PROBE").exists(), "it tells them apart");
    Some(disk)
}

/// Names that are one name on such a disk, or on another that folds more: one of the files would be wrong, so the
/// result is not "verified".
#[test]
fn names_that_a_disk_takes_for_one_are_never_both_verified() {
    for (one, other) in
        [("a.json", "A.json"), ("x/a.json", "X/a.json"), ("ς.json", "Σ.json"), ("straße.json", "STRASSE.json")]
    {
        let repo = one_file(2000).file(one, r#"{"a": 1}"#).file(other, r#"{"b": 2}"#);
        let machine = Machine::new([repo]);
        let Some(_disk) = folding(&machine) else { return };
        for line in ["org/one --all --local-dir folding/here", "org/one --all --cache-dir folding/cache"] {
            let run = machine.hfget(line);
            assert!(run.code == Some(1) && !run.err.contains("result=verified"), "{one} {other} {line}: {}", run.err);
            run.says("path-unsafe");
        }
        // On other disks they are two files.
        machine.hfget("org/one --all --local-dir apart").ends_with(0);
    }
    let machine = Machine::new([one_file(2000).file("a.json", "{}").file("b.json", "{}")]);
    let Some(_disk) = folding(&machine) else { return };
    machine.hfget("org/one --all --local-dir folding/here").ends_with(0).says("result=verified against=hub");
}
