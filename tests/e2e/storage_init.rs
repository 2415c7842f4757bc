//! `hfget storage-init`, as `KServe` runs it: its arguments, its variables, its exit code, the pod's message, and a
//! container that has only the program.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use hfget_loopback_hub::{Access, Fault, Hub, Kind, Options, Place, Repo, Tls};

use super::support::{Machine, Run, binary, one_file, safetensors, tree};

const MODEL: &str = "model.safetensors";

fn with_more() -> Repo {
    one_file(1000)
        .file("README.md", "read me")
        .file("tokenizer.json", "{}")
        .file("onnx/readme.txt", "x")
        .lfs("optimizer.dat", vec![1; 100])
}

/// The initializer of a pod whose message is in `message`.
fn init(machine: &Machine, words: &[&str], env: &[(&str, &str)]) -> Run {
    let mut command = machine.bare();
    let message = machine.home.path().join("message");
    std::fs::write(&message, "").unwrap();
    command.arg("storage-init").args(words).arg("--termination-log").arg(message);
    command.args(["--retry-base-ms", "2", "--retry-for", "1"]);
    command.envs(env.iter().copied()).output().unwrap().into()
}

fn message(machine: &Machine) -> String {
    std::fs::read_to_string(machine.home.path().join("message")).unwrap()
}

/// The files of a folder, without hfget's records.
fn files(machine: &Machine, folder: &str) -> Vec<String> {
    let names = tree(&machine.home.path().join(folder)).into_keys();
    names.filter(|name| !name.starts_with(".cache/")).collect()
}

#[test]
fn each_source_is_directly_in_its_target_and_the_next_start_of_the_pod_fetches_nothing() {
    let other = Repo::new("org/other").file("config.json", "{}").lfs(MODEL, safetensors("v", 10)).revision("v1.0");
    let machine = Machine::new([with_more(), other.clone()]);
    let words = ["hf://org/one", "a/b", "hf://org/other:v1.0", "c"];
    init(&machine, &words, &[]).ends_with(0).says("result=verified against=hub repo=org/one");
    assert_eq!(files(&machine, "a/b"), ["config.json", MODEL, "tokenizer.json"]);
    assert_eq!(files(&machine, "c"), ["config.json", MODEL]);
    assert_eq!(message(&machine), "");
    let before = machine.byte_requests();
    init(&machine, &words, &[]).ends_with(0);
    assert_eq!(machine.byte_requests(), before);
}

#[test]
fn the_patterns_of_the_environment_choose_files_as_huggingface_hub_reads_them() {
    let machine = Machine::new([with_more()]);
    let taken = |folder: &str, env: &[(&str, &str)]| {
        init(&machine, &["hf://org/one", folder], env).ends_with(0);
        files(&machine, folder)
    };
    let allow = |text| ("STORAGE_ALLOW_PATTERNS", text);
    assert_eq!(taken("a", &[allow(r#"["*.json", "README.md"]"#)]), ["README.md", "config.json", "tokenizer.json"]);
    // A pattern without a match is ignored, and '*' crosses '/'.
    assert_eq!(taken("b", &[allow("*.txt, *.gguf,conf*")]), ["config.json", "onnx/readme.txt"]);
    let ignore = ("STORAGE_IGNORE_PATTERNS", "tok*");
    assert_eq!(taken("c", &[ignore]), ["config.json", MODEL]);
    assert_eq!(taken("d", &[allow("*.json"), ignore]), ["config.json"]);
    let all = taken("e", &[allow("*")]);
    assert_eq!(all.len(), 6, "{all:?}");
    init(&machine, &["hf://org/one", "f"], &[allow("*.gguf")]).ends_with(1).says("STORAGE_ALLOW_PATTERNS");
    init(&machine, &["hf://org/one", "f"], &[allow(r#"["a", 1]"#)]).ends_with(1).says("not a JSON list");
}

#[test]
fn every_failure_is_exit_code_1_and_one_sentence_for_the_pods_status() {
    let gated = Repo::new("org/gated").file("config.json", "{}").access(Access::Gated);
    let machine = Machine::new([with_more(), gated]);
    for (words, said) in [
        (&[][..], "storage-init takes pairs"),
        (&["hf://org/one"], "storage-init takes pairs of a source and a folder: hf://org/one has no folder after it"),
        (&["hf://org/one", "a", "hf://org/other"], "hf://org/other has no folder after it"),
        (&["s3://bucket/model", "a"], "s3://bucket/model is not of the form hf://OWNER/MODEL[:REVISION]"),
        (&["hf://one", "a"], "hf://one is not of the form"),
        (&["hf://org/one/file", "a"], "is not of the form"),
        (&["hf://org/one:nosuch", "a"], "org/one"),
        (&["hf://org/none", "a"], "org/none"),
        (&["hf://org/gated", "a"], "then set HF_TOKEN"),
        (&["hf://org/one", "message/x"], "message"),
    ] {
        init(&machine, words, &[]).ends_with(1);
        let text = message(&machine);
        assert!(text.contains(said) && !text.contains('\n') && text.len() < 3000, "{words:?}: {text:?}");
    }
    // Wrong bytes, and a Hub that does not answer.
    machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(1005)).on(MODEL));
    init(&machine, &["hf://org/one", "b"], &[]).ends_with(1);
    assert!(message(&machine).contains("org/one is not verified: model.safetensors: "), "{}", message(&machine));
    machine.hub.heal();
    machine.hub.down(true);
    init(&machine, &["hf://org/one", "c"], &[]).ends_with(1);
    assert!(!message(&machine).is_empty());
    machine.hub.down(false);
    // Of two sources, the good one is still fetched.
    init(&machine, &["hf://org/none", "d", "hf://org/one", "e"], &[]).ends_with(1);
    assert_eq!(files(&machine, "e").len(), 3);
    // Outside a pod there is no such file, and hfget does not create it.
    let absent = machine.home.path().join("no-such-file");
    let mut command = machine.bare();
    command.args(["storage-init", "x", "--termination-log"]).arg(&absent);
    Run::from(command.output().unwrap()).ends_with(1);
    assert!(!absent.exists());
    init(&machine, &["hf://org/one", "f"], &[("CA_BUNDLE_VOLUME_MOUNT_POINT", "/no/such")]).ends_with(1);
    assert!(message(&machine).contains("/no/such/cabundle.crt cannot be read"), "{}", message(&machine));
}

/// The files that the loader of shared libraries needs, including the loader.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let out = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// No user name, no home, no folder for temporary files; only the target is writable.
#[test]
fn a_bare_root_with_any_user_is_enough() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can change the root folder");
        return;
    }
    let machine = Machine::new([with_more()]);
    let root = machine.home.path().join("root");
    let place = |from: &Path, below: &str| {
        let to = root.join(below.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, &to).unwrap();
    };
    place(&binary(), "/hfget");
    for library in libraries(&binary()) {
        place(&library, library.to_str().unwrap());
    }
    let models = root.join("mnt/models");
    std::fs::create_dir_all(&models).unwrap();
    chown(&models, Some(1234), Some(0)).unwrap();
    std::fs::write(root.join("termination-log"), "").unwrap();
    std::fs::set_permissions(root.join("termination-log"), std::fs::Permissions::from_mode(0o666)).unwrap();
    // Other users may enter the folders on the way.
    std::fs::set_permissions(machine.home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let outside = |root: &Path| -> BTreeSet<String> {
        tree(root).into_keys().filter(|name| !name.starts_with("mnt/models/")).collect()
    };
    let before = outside(&root);
    let start = |words: &[&str]| -> Run {
        let mut command = Command::new("/usr/sbin/chroot");
        command.args(["--userspec=1234:1234"]).arg(&root).args(["/hfget", "storage-init"]).args(words);
        command.args(["--termination-log", "/termination-log", "--retry-base-ms", "2", "--retry-for", "1"]);
        command.env_clear().env("HF_ENDPOINT", machine.hub.endpoint()).output().unwrap().into()
    };
    start(&["hf://org/one", "/mnt/models"]).ends_with(0).says("result=verified against=hub");
    let repo = with_more();
    for name in ["config.json", MODEL, "tokenizer.json"] {
        assert_eq!(Some(&std::fs::read(models.join(name)).unwrap()[..]), repo.content(name), "{name}");
    }
    assert_eq!(outside(&root), before, "nothing is written elsewhere");
    let left: Vec<String> = tree(&models).into_keys().filter(|name| name.contains("/.hfget-")).collect();
    assert_eq!(left, [""; 0], "no working files stay");
    start(&["hf://org/none", "/mnt/models/x"]).ends_with(1);
    assert!(std::fs::read_to_string(root.join("termination-log")).unwrap().contains("org/none"));
    // Without certificates: HTTPS names what is missing, and commands without requests need none.
    let secure = Hub::with(Options { tls: Some(Tls::Both), ..Options::default() }, [with_more()]);
    let bare = |words: &[&str], env: &[(&str, &str)]| -> Run {
        let mut command = Command::new("/usr/sbin/chroot");
        command.args(["--userspec=1234:1234"]).arg(&root).arg("/hfget").args(words).env_clear();
        command
            .env("HF_ENDPOINT", secure.endpoint())
            .env("HF_HOME", "/mnt/models/home")
            .envs(env.iter().copied())
            .output()
            .unwrap()
            .into()
    };
    bare(&["verify", "/mnt/models", "--offline"], &[]).ends_with(0).says("verified");
    let get = ["org/one", "--local-dir", "/mnt/models/secure", "--retry-for", "1"];
    bare(&get, &[]).ends_with(4).says("certificate").says("SSL_CERT_FILE");
    std::fs::write(root.join("ca.pem"), secure.certificate().unwrap()).unwrap();
    bare(&get, &[("SSL_CERT_FILE", "/ca.pem")]).ends_with(0).says("verified");
    // The message also reports a target that is not writable.
    start(&["hf://org/one", "/elsewhere"]).ends_with(1);
    assert!(std::fs::read_to_string(root.join("termination-log")).unwrap().contains("/elsewhere"));
}
