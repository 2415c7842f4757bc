//! A user's own files in a plain folder: git's rule. Files that hfget did not write, or that were changed since, are
//! neither overwritten nor removed without `--force`.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use hfget_loopback_hub::{Access, Repo};

use super::objects::S3;
use super::odd_disks::instead;
use super::support::{CHATGLM, Machine, Run, codes, fixture, one_file, safetensors, tree};

fn here(machine: &Machine) -> PathBuf {
    machine.home.path().join("here")
}

fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// The files of the folder, without hfget's records.
fn plain(machine: &Machine) -> Vec<String> {
    tree(&here(machine)).into_keys().filter(|name| !name.starts_with(".cache/")).collect()
}

/// Selection reads the index of the other family, and every Python file. These must not be put into the folder.
#[test]
fn files_that_are_only_read_never_touch_the_folder() {
    let machine = Machine::new([fixture(CHATGLM).file("cli_demo.py", "print('theirs')\n")]);
    for name in ["pytorch_model.bin.index.json", "cli_demo.py"] {
        write(&here(&machine).join(name), b"mine");
    }
    machine.hfget("THUDM/chatglm3-6b --prefer safetensors --local-dir here").ends_with(0);
    for name in ["pytorch_model.bin.index.json", "cli_demo.py"] {
        assert_eq!(std::fs::read(here(&machine).join(name)).unwrap(), b"mine", "{name}");
    }
    // If there was no file of that name, there is still none.
    std::fs::remove_dir_all(here(&machine)).unwrap();
    machine.hfget("THUDM/chatglm3-6b --prefer safetensors --local-dir here").ends_with(0);
    assert!(!plain(&machine).iter().any(|name| name.starts_with("pytorch") || name == "cli_demo.py"));
}

/// A file that selection reads and takes comes over the network once.
#[test]
fn files_that_are_read_and_taken_are_fetched_once() {
    for place in ["", " --local-dir here"] {
        let machine = Machine::new([fixture(CHATGLM)]);
        machine.hfget(&format!("THUDM/chatglm3-6b{place}")).ends_with(0);
        let asked = machine.hub.requests();
        let config = asked
            .iter()
            .filter(|r| r.method == "GET" && r.path.contains("/resolve/") && r.path.ends_with("/config.json"))
            .count();
        assert_eq!(config, 1, "{place}: {asked:?}");
    }
}

fn assert_refused(machine: &Machine, run: Run, file: &str, why: &str, content: &[u8]) {
    let run = run.ends_with(1).says("local-changes").says(file).says("--force");
    let said = run.err.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(why), "{said}");
    assert_eq!(std::fs::read(here(machine).join(file)).unwrap(), content);
    let bytes = machine.hub.requests().iter().filter(|r| r.path.contains("model.safetensors")).count();
    assert_eq!(bytes, 0, "nothing was fetched");
}

#[test]
fn a_file_that_the_user_made_stops_the_run_before_anything_is_fetched() {
    let machine = Machine::new([one_file(5000)]);
    write(&here(&machine).join("config.json"), b"{\"mine\": 1}");
    let run = machine.hfget("org/one --local-dir here");
    assert_refused(&machine, run, "config.json", "neither hfget nor huggingface_hub put it here", b"{\"mine\": 1}");
    assert_eq!(plain(&machine), ["config.json"]);
    let json = machine.hfget("org/one --local-dir here --json").ends_with(1).json();
    assert_eq!(codes(&json["reports"][0]), ["local-changes"], "{json:#}");
    // Each such file is named.
    write(&here(&machine).join("model.safetensors"), b"mine too");
    let run = machine.hfget("org/one --local-dir here").ends_with(1);
    assert!(run.err.contains("] config.json:") && run.err.contains("] model.safetensors:"), "{}", run.err);
    std::fs::remove_file(here(&machine).join("model.safetensors")).unwrap();
    machine.hfget("org/one --local-dir here --allow local-changes").ends_with(2).says("cannot be allowed");
    machine.hfget("org/one --local-dir here --force").ends_with(0);
    assert_eq!(std::fs::read(here(&machine).join("config.json")).unwrap(), b"{}");
}

#[test]
fn a_file_that_was_edited_after_the_download_stops_the_run() {
    for keep_time in [false, true] {
        let machine = Machine::new([one_file(5000)]);
        machine.hfget("org/one --local-dir here").ends_with(0);
        let file = here(&machine).join("config.json");
        let time = std::fs::metadata(&file).unwrap().modified().unwrap();
        std::fs::write(&file, b"[]").unwrap();
        if keep_time {
            std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        }
        machine.hub.replace(one_file(5000).file("config.json", "{\"new\": 1}"));
        machine.hub.forget();
        let run = machine.hfget("org/one --local-dir here");
        assert_refused(&machine, run, "config.json", "it was changed after it was put here", b"[]");
        machine.hfget("org/one --local-dir here --force").ends_with(0);
        assert_eq!(std::fs::read(&file).unwrap(), b"{\"new\": 1}");
    }
}

/// The honest twin: an update of unchanged files has no finding, and neither has a copy of the whole folder.
#[test]
fn an_update_of_unchanged_files_has_no_finding() {
    let machine = Machine::new([one_file(5000)]);
    machine.hfget("org/one --local-dir here").ends_with(0);
    let copied = Command::new("cp").args(["-a", "here", "there"]).current_dir(machine.home.path()).status();
    assert!(copied.unwrap().success());
    let touched = Command::new("touch").args(["there/config.json"]).current_dir(machine.home.path()).status();
    assert!(touched.unwrap().success());
    let new = one_file(6000).file("config.json", "{\"new\": 1}");
    machine.hub.replace(new.clone());
    for folder in ["here", "there"] {
        let run = machine.hfget(&format!("org/one --local-dir {folder}")).ends_with(0);
        assert!(!run.err.contains("local-changes"), "{}", run.err);
        let found = tree(&machine.home.path().join(folder));
        for name in ["config.json", "model.safetensors"] {
            assert_eq!(found.get(name).map(Vec::as_slice), new.content(name), "{folder} {name}");
        }
    }
}

/// A disk that flips a bit does not change a time: the file does not count as the user's, and is replaced.
#[test]
fn bit_rot_is_repaired() {
    let machine = Machine::new([one_file(5000)]);
    machine.hfget("org/one --local-dir here").ends_with(0);
    let file = here(&machine).join("model.safetensors");
    // Writes the stamp of the damaged file into the record, as if times and inode had not changed.
    let record = here(&machine).join(".cache/huggingface/hfget/verified.jsonl");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[3000] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let meta = std::fs::metadata(&file).unwrap();
    let lines = std::fs::read_to_string(&record).unwrap();
    let now: String = lines
        .lines()
        .map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            if line["key"] == "model.safetensors" {
                line["stamp"] = serde_json::json!({ "size": meta.len(), "mtime": meta.mtime(), "mtime_ns": meta.mtime_nsec(),
                    "ctime": meta.ctime(), "ctime_ns": meta.ctime_nsec(), "inode": meta.ino() });
            }
            line.to_string() + "\n"
        })
        .collect();
    std::fs::write(&record, now).unwrap();
    // A run that reads it finds it and removes it from the record. It does not count as the user's because of that.
    machine.hfget("verify org/one --local-dir here").ends_with(1).says("checksum-mismatch");
    let inode = meta.ino();
    machine.hfget("org/one --local-dir here").ends_with(0);
    assert_eq!(std::fs::read(&file).unwrap(), one_file(5000).content("model.safetensors").unwrap());
    assert_ne!(std::fs::metadata(&file).unwrap().ino(), inode, "another file took its place");
}

/// Unfinished files of git or of another downloader do not count as the user's.
#[test]
fn pointers_and_partials_of_other_tools_are_replaced() {
    let repo = one_file(300_000);
    let whole = repo.content("model.safetensors").unwrap().to_vec();
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n",
        repo.lfs_sha256("model.safetensors").unwrap(),
        whole.len()
    );
    let mut preallocated = whole[..100_000].to_vec();
    preallocated.resize(whole.len(), 0);
    for (content, control) in
        [(pointer.as_bytes(), false), (&whole[..200_000], false), (&whole[..0], false), (&preallocated[..], true)]
    {
        let machine = Machine::new([repo.clone()]);
        write(&here(&machine).join("model.safetensors"), content);
        if control {
            write(&here(&machine).join("model.safetensors.aria2"), b"x");
        }
        machine.hfget("org/one --local-dir here").ends_with(0);
        assert_eq!(std::fs::read(here(&machine).join("model.safetensors")).unwrap(), whole);
    }
    // The other side: a file that only looks like a partial is the user's.
    let machine = Machine::new([repo]);
    let mut other = whole[..200_000].to_vec();
    other[199_999] ^= 1;
    write(&here(&machine).join("model.safetensors"), &other);
    machine.hfget("org/one --local-dir here").ends_with(1).says("local-changes");
    assert_eq!(std::fs::read(here(&machine).join("model.safetensors")).unwrap(), other);
}

/// A failed run removes nothing: a wrong file stays until a right one replaces it.
#[test]
fn a_file_to_be_replaced_stays_when_the_fetch_fails() {
    let machine = Machine::new([one_file(5000)]);
    machine.hfget("org/one --local-dir here").ends_with(0);
    machine.hub.replace(one_file(6000));
    machine.hub.fault(
        hfget_loopback_hub::Fault::new(hfget_loopback_hub::Place::Bytes, hfget_loopback_hub::Kind::CorruptByte(50))
            .on("model.safetensors"),
    );
    machine.hfget("org/one --local-dir here").ends_with(1).says("checksum-mismatch");
    let kept = std::fs::read(here(&machine).join("model.safetensors")).unwrap();
    assert_eq!(kept, one_file(5000).content("model.safetensors").unwrap());
}

fn sharded() -> Repo {
    let index = r#"{"metadata":{},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#;
    Repo::new("org/one")
        .file("config.json", "{}")
        .file("model.safetensors.index.json", index)
        .lfs("model-00001-of-00002.safetensors", safetensors("a", 1000))
        .lfs("model-00002-of-00002.safetensors", safetensors("b", 1000))
}

#[test]
fn files_that_the_new_commit_lacks_are_removed_after_the_new_files_are_verified() {
    let machine = Machine::new([one_file(5000).file("sub/old/config.json", "{}")]);
    machine.hfget("org/one --local-dir here --all").ends_with(0);
    write(&here(&machine).join("notes.txt"), b"mine");
    machine.hub.replace(sharded());
    let run = machine.hfget("org/one --local-dir here").ends_with(0).says("file-removed").says("model.safetensors:");
    assert!(run.err.contains("sub/old/config.json"), "{}", run.err);
    let names = plain(&machine);
    assert!(!names.contains(&"model.safetensors".to_owned()), "{names:?}");
    assert!(!here(&machine).join("sub").exists(), "a folder that is empty now goes as well");
    assert!(names.contains(&"notes.txt".to_owned()), "the user's files stay: {names:?}");
    let again = machine.hfget("org/one --local-dir here").ends_with(0);
    assert!(!again.err.contains("file-removed"), "{}", again.err);
}

#[test]
fn a_changed_file_that_the_new_commit_lacks_is_an_error_and_stays() {
    let machine = Machine::new([one_file(5000)]);
    machine.hfget("org/one --local-dir here").ends_with(0);
    let old = here(&machine).join("model.safetensors");
    std::fs::write(&old, safetensors("mine", 4000)).unwrap();
    machine.hub.replace(sharded());
    for _ in 0..2 {
        machine.hfget("org/one --local-dir here").ends_with(1).says("stale-file").says("model.safetensors:");
        assert_eq!(std::fs::read(&old).unwrap(), safetensors("mine", 4000));
    }
    std::fs::rename(&old, machine.home.path().join("kept.safetensors")).unwrap();
    machine.hfget("org/one --local-dir here").ends_with(0);
}

/// Nothing is removed for a new commit that did not verify.
#[test]
fn files_that_the_new_commit_lacks_stay_until_the_new_files_are_verified() {
    let machine = Machine::new([one_file(5000)]);
    machine.hfget("org/one --local-dir here").ends_with(0);
    machine.hub.replace(sharded());
    machine.hub.fault(
        hfget_loopback_hub::Fault::new(hfget_loopback_hub::Place::Bytes, hfget_loopback_hub::Kind::CorruptByte(50))
            .on("model-00002-of-00002.safetensors"),
    );
    machine.hfget("org/one --local-dir here").ends_with(1);
    assert!(here(&machine).join("model.safetensors").exists());
    machine.hub.heal();
    machine.hfget("org/one --local-dir here").ends_with(0).says("file-removed");
    assert!(!here(&machine).join("model.safetensors").exists());
}

fn two() -> Machine {
    let other =
        Repo::new("org/two").file("config.json", "{\"two\": 2}").lfs("model.safetensors", safetensors("v", 900));
    Machine::new([one_file(5000), other])
}

#[test]
fn several_repos_in_one_folder_are_a_usage_error_with_advice() {
    let machine = two();
    machine.hfget("org/one org/two --local-dir here").ends_with(2).says("'here/{owner}/{name}'");
    // A second word may be a file of the first repo: the run asks for the listing, and for no file.
    assert_eq!(machine.byte_requests(), 0);
    assert!(!here(&machine).exists());
    machine.hfget("org/one org/one@v1 --local-dir here/{name}").ends_with(2);
    // The command in the advice works.
    let run = machine.hfget("org/one org/two --local-dir here/{owner}/{name}").ends_with(0);
    assert_eq!(run.out.lines().count(), 2, "{}", run.out);
    for (name, bytes) in [("one", 5000), ("two", 900)] {
        let found = tree(&here(&machine).join("org").join(name));
        assert!(found["model.safetensors"].len() > bytes && found["model.safetensors"].len() < bytes + 200, "{name}");
    }
    machine.hfget("verify org/one org/two --local-dir here/{owner}/{name}").ends_with(0);
    // The cache has a folder for each repo.
    machine.hfget("org/one org/two").ends_with(0);
}

#[test]
fn a_folder_of_another_repo_or_commit_is_refused() {
    let machine = two();
    machine.hfget("org/one --local-dir here").ends_with(0);
    let before = tree(&here(&machine));
    machine.hub.forget();
    machine
        .hfget("org/two --local-dir here")
        .ends_with(5)
        .says("has org/one@main")
        .says("org/two@main")
        .says("--force");
    // The plan of a refused run is refused too.
    machine.hfget("plan org/two --local-dir here").ends_with(5).says("has org/one@main").says("--force");
    assert_eq!(machine.byte_requests(), 0);
    machine.hfget("plan org/one --local-dir here").ends_with(0);
    machine.hfget("plan org/two --local-dir here --force").ends_with(0);
    assert_eq!(tree(&here(&machine)), before);
    // If the same branch moved, it is an update.
    let moved = one_file(5000).file("config.json", "{\"new\": 1}").revision("v1");
    machine.hub.replace(moved);
    machine.hfget("org/one --local-dir here").ends_with(0);
    // Another branch of the same commit is the same commit.
    machine.hfget("org/one@v1 --local-dir here").ends_with(0);
    machine.hub.replace(one_file(7000).revision("v1"));
    machine.hfget("org/one@main --local-dir here").ends_with(5).says("org/one@v1").says("--force");
    machine.hfget("org/two --local-dir here --force").ends_with(0);
    assert_eq!(std::fs::read(here(&machine).join("config.json")).unwrap(), b"{\"two\": 2}");
}

#[test]
fn a_folder_with_files_of_several_commits_is_warned_of() {
    let machine = Machine::new([one_file(5000).file("notes.md", "old")]);
    machine.hfget("org/one --local-dir here --all").ends_with(0);
    let honest = machine.hfget("verify ./here").ends_with(0);
    assert!(!honest.err.contains("mixed-commits"), "{}", honest.err);
    machine.hub.replace(one_file(6000).file("notes.md", "new"));
    let run = machine.hfget("org/one --local-dir here").ends_with(0);
    assert!(run.err.contains("mixed-commits") && run.err.contains("notes.md"), "{}", run.err);
    machine.hfget("verify ./here").says("mixed-commits");
    machine.hfget("org/one --local-dir here --all").ends_with(0);
    let honest = machine.hfget("verify ./here").ends_with(0);
    assert!(!honest.err.contains("mixed-commits"), "{}", honest.err);
}

/// Files in the cache are copied and hashed, not fetched, even without a Hub.
#[test]
fn a_plain_folder_takes_files_from_the_cache() {
    for offline in ["", " --offline"] {
        let machine = Machine::new([fixture(CHATGLM)]);
        machine.hfget("THUDM/chatglm3-6b").ends_with(0);
        machine.hub.forget();
        let run = machine.hfget(&format!("THUDM/chatglm3-6b --local-dir here{offline}")).ends_with(0);
        assert_eq!(machine.byte_requests(), 0, "{:?}", machine.hub.requests());
        let repo = fixture(CHATGLM);
        for (name, content) in tree(&run.path()).iter().filter(|(name, _)| !name.starts_with(".cache/")) {
            assert_eq!(Some(&content[..]), repo.content(name), "{name}");
        }
        machine.hfget("verify ./here").ends_with(0);
    }
}

/// The cache is not trusted: a file that proves wrong during the copy is fetched.
#[test]
fn a_wrong_file_of_the_cache_is_not_taken() {
    let machine = Machine::new([one_file(5000)]);
    let blob = machine.run(["org/one"]).ends_with(0).path().join("model.safetensors").canonicalize().unwrap();
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[3000] ^= 1;
    std::fs::write(&blob, &bytes).unwrap();
    machine.hfget("org/one --local-dir here").ends_with(0);
    let right = one_file(5000);
    assert_eq!(
        std::fs::read(here(&machine).join("model.safetensors")).unwrap(),
        right.content("model.safetensors").unwrap()
    );
    assert_eq!(std::fs::read(&blob).unwrap(), bytes, "the cache is not this run's to mend");
}

/// A file that cannot be read is not known to be wrong.
#[test]
fn an_unreadable_file_is_exit_code_5_and_stays() {
    let machine = Machine::new([one_file(5000)]);
    machine.hfget("org/one --local-dir here").ends_with(0);
    machine.hfget("org/one").ends_with(0);
    let blob = machine.model("org/one").join("snapshots").join(one_file(5000).commit()).join("model.safetensors");
    let blob = blob.canonicalize().unwrap();
    let places = [("org/one --local-dir here", here(&machine).join("model.safetensors")), ("org/one", blob)];
    for (line, file) in places {
        // Without the record the file must be read; a library simulates a disk that cannot read it.
        let record = if line.contains("local-dir") {
            here(&machine).join(".cache/huggingface/hfget/verified.jsonl")
        } else {
            machine.model("org/one").join(".hfget/verified.jsonl")
        };
        std::fs::remove_file(record).unwrap();
        let before = std::fs::read(&file).unwrap();
        for command in [line.to_owned(), format!("verify {line}")] {
            let run = unreadable(&machine, &command, before.len());
            run.ends_with(5).says("cannot read").says("Input/output error");
            assert_eq!(std::fs::read(&file).unwrap(), before, "{command}");
        }
        machine.hfget(line).ends_with(0);
    }
}

/// Runs with a library that makes every read of a file of `length` bytes an input/output error.
fn unreadable(machine: &Machine, line: &str, length: usize) -> Run {
    let mut command = Command::new(super::support::binary());
    machine.environment(&mut command);
    command.args(line.split_whitespace()).env("LD_PRELOAD", reads_fail(machine, length));
    command.output().unwrap().into()
}

/// A library that makes every read of a file of `length` bytes an input/output error.
pub(super) fn reads_fail(machine: &Machine, length: usize) -> PathBuf {
    let code = format!(
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <errno.h>\n#include <sys/stat.h>\n#include <unistd.h>\n\
         ssize_t read(int fd, void *b, size_t n) {{ struct stat s; static ssize_t (*real)(int, void *, size_t);\n\
         if (!real) real = dlsym(RTLD_NEXT, \"read\");\n\
         if (!fstat(fd, &s) && S_ISREG(s.st_mode) && s.st_size == {length}) {{ errno = EIO; return -1; }}\n\
         return real(fd, b, n); }}\n"
    );
    instead(machine, "eio", &code)
}

/// A file that the user may not read is not known to be wrong either.
#[test]
fn what_may_not_be_read_is_exit_code_5_and_stays() {
    use std::os::unix::fs::PermissionsExt as _;
    let machine = Machine::new([one_file(5000)]);
    machine.hfget("org/one --local-dir here").ends_with(0);
    let blob = machine.hfget("org/one").ends_with(0).path().join("model.safetensors").canonicalize().unwrap();
    let places = [
        (
            "org/one --local-dir here",
            here(&machine).join("model.safetensors"),
            here(&machine).join(".cache/huggingface/hfget"),
        ),
        ("org/one", blob, machine.model("org/one").join(".hfget")),
    ];
    // root may read everything, so another user runs it.
    let another = rustix::process::geteuid().is_root();
    let owned = |user: &str| {
        if another {
            let done = Command::new("chown").args(["-R", user]).arg(machine.home.path()).status();
            assert!(done.unwrap().success());
        }
    };
    for (line, file, records) in places {
        std::fs::remove_file(records.join("verified.jsonl")).unwrap();
        let before = std::fs::metadata(&file).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
        owned("4321:4321");
        for line in [line.to_owned(), format!("verify {line}")] {
            let mut command = Command::new(if another { "setpriv" } else { "env" });
            machine.environment(&mut command);
            if another {
                command.args(["--reuid=4321", "--regid=4321", "--clear-groups"]);
            }
            command.arg(super::support::binary()).args(line.split(' '));
            let run = Run::from(command.output().unwrap()).ends_with(5);
            run.says("Permission denied");
            let now = std::fs::metadata(&file).unwrap();
            assert_eq!((now.ino(), now.mtime_nsec()), (before.ino(), before.mtime_nsec()), "{line}");
        }
        owned("0:0");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        machine.hfget(line).ends_with(0);
    }
}

/// A run without access to the repo leaves no folders, locks or partials.
#[test]
fn a_refused_run_leaves_nothing_in_the_cache() {
    let data = Repo::new("org/data").kind("datasets").lfs("a.parquet", [1; 5000]).access(Access::Gated);
    let machine = Machine::new([one_file(5000).access(Access::Gated), data]);
    for line in ["org/one", "datasets/org/data", "org/none", "org/one@v9"] {
        machine.hfget(line).ends_with(3);
        assert!(!machine.cache().exists(), "{line}: {:?}", tree(&machine.cache()).keys());
    }
    // The files of an earlier run stay.
    let machine = Machine::new([one_file(5000)]);
    machine.hfget("org/one").ends_with(0);
    let before = tree(&machine.cache());
    machine.hub.replace(one_file(6000).access(Access::Gated));
    machine.hfget("org/one").ends_with(3);
    let after = tree(&machine.cache());
    assert!(before.iter().all(|(name, content)| after.get(name) == Some(content)));
}

/// `clean` also finds other leftovers of crashes beside partial files.
#[test]
fn clean_finds_temporary_files_and_journals_without_a_partial() {
    let machine = Machine::new([one_file(5000)]);
    machine.hfget("org/one").ends_with(0);
    let partial = machine.model("org/one").join(".hfget/partial");
    let journal = partial.join(format!("{}.journal", "a".repeat(64)));
    write(&partial.join("tmp-0123456789abcdef"), b"half of a copy");
    write(&journal, b"hfget-journal 2 x");
    let clean = |line: &str| -> Run {
        let mut command = Command::new(super::support::binary());
        machine.environment(&mut command);
        command.arg("clean").args(line.split_whitespace()).output().unwrap().into()
    };
    let listed = clean("").ends_with(0).says("2 ");
    assert!(listed.out.contains("tmp-01234567") && listed.out.contains("aaaaaaaaaaaa"), "{}", listed.out);
    clean("--remove").ends_with(0).says("removed 2 ");
    assert_eq!(tree(&partial).len(), 0);
    clean("").ends_with(0).says("no partial files");
}

/// Offline a file that the user changed is reported as wrong, and the cache's file does not replace it.
#[test]
fn a_changed_file_is_reported_offline_and_stays() {
    let machine = Machine::new([one_file(5000)]);
    machine.hfget("org/one").ends_with(0);
    machine.hfget("org/one --local-dir here").ends_with(0);
    let file = here(&machine).join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[3000] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    machine.hfget("org/one --local-dir here --offline").ends_with(1).says("checksum-mismatch");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    // A file that is only missing comes from the cache.
    std::fs::remove_file(&file).unwrap();
    machine.hfget("org/one --local-dir here --offline").ends_with(0);
}

/// A bucket is also filled from the cache, and a wrong byte of the cache never gets there.
#[test]
fn a_bucket_is_filled_from_the_cache() {
    for wrong in [false, true] {
        let machine = Machine::new([one_file(20 << 20)]);
        let Some(s3) = S3::start(&machine) else { return };
        let blob = machine.run(["org/one"]).ends_with(0).path().join("model.safetensors").canonicalize().unwrap();
        if wrong {
            let mut bytes = std::fs::read(&blob).unwrap();
            bytes[9 << 20] ^= 1;
            std::fs::write(&blob, &bytes).unwrap();
        }
        machine.hub.forget();
        s3.hfget(&machine, "org/one --to s3://fleet/models").ends_with(0).says("verified");
        let asked = machine.hub.requests().iter().filter(|r| r.path.ends_with("model.safetensors")).count();
        assert_eq!(asked > 0, wrong, "{:?}", machine.hub.requests());
        s3.hfget(&machine, "verify s3://fleet/models").ends_with(0);
    }
}
