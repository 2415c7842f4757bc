//! Folders: an empty one, one without known digests, and which of two is meant.

use super::super::support::{Machine, safetensors};
use super::{FIRST, ID, blob, flip, folder, forget_notes, model};

#[test]
fn nothing_is_not_verified() {
    let machine = Machine::new([model()]);
    folder(&machine, "empty", &[]);
    folder(&machine, "readme", &[("README.md", b"# read me")]);
    for line in ["verify ./empty", "verify ./empty --offline", "verify ./readme", "verify ./readme --offline"] {
        machine.hfget(line).is(3, "nothing");
    }
    machine.hfget(ID).ends_with(0);
    let commit = model().commit();
    let snapshot = machine.model(ID).join("snapshots").join(commit);
    forget_notes(&machine.model(ID));
    std::fs::remove_dir_all(&snapshot).unwrap();
    std::fs::create_dir(&snapshot).unwrap();
    machine.hfget("verify org/m --offline").ends_with(3).ends_not_green();
    machine.hfget("org/m --offline").ends_with(3).ends_not_green();
}

#[test]
fn without_known_digests_only_contents_were_checked() {
    let machine = Machine::new([]);
    folder(&machine, "model", &[("config.json", b"{}"), ("model.safetensors", &safetensors("w", 64))]);
    for line in ["verify ./model --report r.xml", "verify ./model --offline --report r.xml"] {
        machine.hfget(line).is(1, "contents-only").says("digests-unknown").says("--local-dir");
        let xml = std::fs::read_to_string(machine.home.path().join("r.xml")).unwrap();
        assert!(xml.contains("<skipped"), "{xml}");
    }
    machine.hfget("verify ./model --allow digests-unknown").is(0, "contents-only");
}

#[test]
fn a_file_without_a_reader_never_counts_as_checked_contents() {
    for name in ["model.nemo", "model.pkl", "model.xyz"] {
        let machine = Machine::new([]);
        folder(&machine, "model", &[("config.json", b"{}"), (name, &[0x5a; 999])]);
        let run = machine.hfget("verify ./model --offline");
        run.ends_not_green();
        assert!(!run.err.contains("contents verified"), "{name}: {}", run.err);
    }
}

#[test]
fn a_wrong_file_outweighs_a_missing_target() {
    let machine = Machine::new([model()]);
    machine.hfget("org/m --local-dir bad").ends_with(0);
    flip(&machine.home.path().join("bad").join(FIRST), false);
    machine.hfget("verify ./bad ./nonexistent").ends_with(1).says("checksum-mismatch");
    machine.hfget("verify ./nonexistent ./bad").ends_with(1);
}

/// A folder is named by `./`; a repo's name means the repo.
#[test]
fn a_repos_name_never_means_a_folder() {
    let machine = Machine::new([model()]);
    machine.hfget("org/m --local-dir org/m").ends_with(0);
    let run = machine.hfget("verify org/m --offline");
    assert!(matches!(run.code, Some(2 | 3)), "{}", run.err);
    machine.hfget(ID).ends_with(0);
    flip(&blob(&machine, "models--org--m", FIRST), false);
    let run = machine.hfget("verify org/m");
    assert!(matches!(run.code, Some(1 | 2)), "{}", run.err);
    machine.hfget("verify ./org/m").ends_with(0);
}

#[test]
fn a_folders_own_records_are_not_the_hub() {
    let machine = Machine::new([model()]);
    machine.hfget("org/m --local-dir here").ends_with(0);
    machine.hub.forget();
    let run = machine.hfget("verify ./here").is(0, "verified");
    assert!(run.err.contains(" against=") && !run.err.contains("against=hub"), "{}", run.err);
    assert_eq!(machine.hub.requests(), []);
    machine.hfget("verify org/m --local-dir here").ends_against("hub");
    assert!(!machine.hub.requests().is_empty());
}
