//! OCI content on disk, as `--to oci-archive:` and `--to oci:` write it: other tools read it, and changes to it are
//! found. skopeo and umoci are the independent readers. Registries have tests of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hfget_loopback_hub::{Fault, Hub, Kind, Options, Place, Repo};

use super::registry::noted_at;
use super::support::{Machine, Run, codes, one_file, safetensors, tree};

/// Three parts, the last one short.
const SIZE: usize = 20 << 20;
const MODEL: &str = "model.safetensors";

fn repo() -> Repo {
    one_file(SIZE)
}

/// A model with names and sizes at the limits.
fn odd() -> Repo {
    Repo::new("org/odd")
        .file("config.json", r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama"}"#)
        .file("empty.txt", "")
        .file("README.md", "# A model\n")
        .file("größe/ü.json", "{}")
        .file(&format!("{}/{}.json", "folder".repeat(20), "name".repeat(30)), "{}")
        .lfs(MODEL, safetensors("w", 512 - 8 - 70))
}

/// Runs another program; prints a line and returns `None` if it is not installed.
fn other(machine: &Machine, program: &str, arguments: &[&str]) -> Option<Run> {
    let mut command = Command::new(program);
    machine.environment(&mut command);
    match command.args(arguments).output() {
        Ok(output) => Some(output.into()),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "CI needs {program}: {error}");
            eprintln!("skipped: no {program} (.ci/run installs it)");
            None
        }
    }
}

/// The files of an image layout as umoci unpacks them, by their names below `/models`.
fn unpacked(machine: &Machine, layout: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let bundle = machine.home.path().join("bundle");
    let _ = std::fs::remove_dir_all(&bundle);
    let bundle_name = bundle.to_str().unwrap();
    other(machine, "umoci", &["unpack", "--rootless", "--image", layout, bundle_name])?.ends_with(0);
    Some(tree(&bundle.join("rootfs/models")))
}

fn json(run: &Run) -> serde_json::Value {
    serde_json::from_str(&run.out).unwrap()
}

fn archive(machine: &Machine, name: &str) -> PathBuf {
    machine.home.path().join(name)
}

/// A repo goes into one file, and out of it on a machine without a network, and is verified there.
#[test]
fn a_repo_crosses_an_air_gap_in_one_file() {
    let machine = Machine::new([repo()]);
    let path = archive(&machine, "one.tar");
    let run = machine.hfget("org/one --to oci-archive:one.tar").ends_with(0).says("verified");
    assert_eq!(run.out.trim(), format!("oci-archive:{}:latest", path.display()));
    assert!(!machine.cache().exists(), "no copy stays on the disk");
    let lock = machine.hfget("lock org/one").ends_with(0);
    drop(lock);

    // The other side has no Hub, and HF_HUB_OFFLINE says so.
    let other_side = Machine::new([]);
    std::fs::copy(&path, archive(&other_side, "one.tar")).unwrap();
    std::fs::copy(machine.home.path().join("hfget.lock"), other_side.home.path().join("hfget.lock")).unwrap();
    let offline = |line: &str| -> Run {
        let mut command = other_side.bare();
        command.env("HF_HUB_OFFLINE", "1").env("HF_ENDPOINT", "http://127.0.0.1:1").args(line.split_whitespace());
        command.output().unwrap().into()
    };
    let folder = offline("org/one --endpoint oci-archive:one.tar --local-dir folder").ends_with(0);
    let folder = folder.says("verified").path();
    assert_eq!(std::fs::read(folder.join(MODEL)).unwrap(), repo().content(MODEL).unwrap());
    let cached = offline("org/one --endpoint oci-archive:one.tar").ends_with(0).says("verified").path();
    assert_eq!(std::fs::read(cached.join(MODEL)).unwrap(), repo().content(MODEL).unwrap());
    offline("verify org/one").ends_with(0).says("verified");
    // The lockfile came by another way, so it does not depend on the sender of the archive.
    offline("verify --lock hfget.lock oci-archive:one.tar").ends_with(0).says("against=lock");
    offline("--locked --endpoint oci-archive:one.tar --local-dir locked").ends_with(0).says("against=lock");
}

#[test]
fn skopeo_and_umoci_read_the_file() {
    let machine = Machine::new([odd()]);
    machine.hfget("org/odd --to oci-archive:odd.tar:v1 --all").ends_with(0);
    let Some(run) = other(&machine, "skopeo", &["inspect", "--raw", "oci-archive:odd.tar:v1"]) else { return };
    let manifest = json(&run.ends_with(0));
    let said = &manifest["annotations"];
    assert_eq!(said["dev.hfget.repo"], "org/odd");
    assert_eq!(said["dev.hfget.repo.commit"], odd().commit());
    assert_eq!(said["dev.hfget.verdict"], "verified");
    assert_eq!(said["dev.hfget.against"], "hub");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 6);

    let copied = other(&machine, "skopeo", &["copy", "oci-archive:odd.tar:v1", "oci:layout:v1"]).unwrap();
    copied.ends_with(0);
    let Some(found) = unpacked(&machine, "layout:v1") else { return };
    let wanted: BTreeMap<String, Vec<u8>> =
        odd().paths().map(|path| (path.to_owned(), odd().content(path).unwrap().to_vec())).collect();
    assert_eq!(found, wanted, "an image has every file unchanged");

    // The same layers, in ModelPack's form.
    let model = other(&machine, "skopeo", &["inspect", "--raw", "oci-archive:odd.tar:v1-modelpack"]).unwrap();
    let model = json(&model.ends_with(0));
    assert_eq!(model["artifactType"], "application/vnd.cncf.model.manifest.v1+json");
    let digests = |manifest: &serde_json::Value| -> Vec<String> {
        manifest["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].to_string()).collect()
    };
    assert_eq!(digests(&model), digests(&manifest));
    let types: Vec<&str> =
        model["layers"].as_array().unwrap().iter().map(|layer| layer["mediaType"].as_str().unwrap()).collect();
    assert!(types.contains(&"application/vnd.cncf.model.weight.v1.tar"), "{types:?}");
    assert!(types.contains(&"application/vnd.cncf.model.doc.v1.tar"), "{types:?}");
    assert!(types.contains(&"application/vnd.cncf.model.weight.config.v1.tar"), "{types:?}");
}

#[test]
fn a_folder_has_the_same_content_and_skopeo_copies_it_on() {
    let machine = Machine::new([odd()]);
    machine.hfget("org/odd --to oci:layout:main").ends_with(0).says("verified");
    let before = machine.byte_requests();
    machine.hfget("org/odd --to oci:layout:main").ends_with(0).says("verified");
    assert_eq!(machine.byte_requests(), before, "existing files are not fetched again");
    machine.hfget("verify oci:layout:main").ends_with(0).says("against=manifest");
    let copy = |name: &str, flags: &[&str]| {
        let to = format!("oci-archive:{name}:main");
        other(&machine, "skopeo", &[&["copy"], flags, &["oci:layout:main", &to]].concat())
    };
    let Some(run) = copy("again.tar", &["--preserve-digests"]) else { return };
    run.ends_with(0);
    // skopeo does not copy the lockfile, but the annotations are enough.
    machine.hfget("verify oci-archive:again.tar:main").ends_with(0).says("against=manifest");
    let folder = machine.hfget("org/odd --endpoint oci-archive:again.tar:main --local-dir out").ends_with(0).path();
    assert_eq!(std::fs::read(folder.join(MODEL)).unwrap(), odd().content(MODEL).unwrap());
    // By default skopeo compresses layers: the result is another image, and is not called verified.
    copy("other.tar", &[]).unwrap().ends_with(0);
    machine.hfget("verify oci-archive:other.tar:main").ends_with(1).says("a tool that keeps digests");
}

#[test]
fn raw_layers_are_the_files_themselves() {
    let machine = Machine::new([odd()]);
    machine.hfget("org/odd --to oci:layout:main --layout modelpack").ends_with(0).says("verified");
    let weights = odd().content(MODEL).unwrap().to_vec();
    let blobs = tree(&machine.home.path().join("layout/blobs/sha256"));
    assert!(blobs.values().any(|blob| *blob == weights), "its bytes are a layer");
    machine.hfget("verify oci:layout:main").ends_with(0).says("verified");
    machine.hfget("org/odd --endpoint oci:layout:main --local-dir out").ends_with(0).says("verified");
    let Some(run) = other(&machine, "skopeo", &["inspect", "--raw", "oci:layout:main"]) else { return };
    let model = json(&run.ends_with(0));
    assert_eq!(model["config"]["mediaType"], "application/vnd.cncf.model.config.v1+json");
}

/// Each file waits a little for another one to be hashed with it, but there is memory for one part only.
#[test]
fn with_one_connection_large_files_are_written_and_read_back_in_both_layouts() {
    let shards = (1..=4).map(|n| (format!("part-{n}.bin"), vec![n; 7 << 20]));
    let repo = shards.fold(repo(), |repo, (name, bytes)| repo.lfs(&name, bytes));
    let machine = Machine::new([repo]);
    for layout in ["image", "modelpack"] {
        let to = format!("oci:{layout}:v1");
        machine
            .hfget(&format!("org/one --all --connections 1 --layout {layout} --to {to}"))
            .ends_with(0)
            .says("verified");
        machine.hfget(&format!("verify {to} --deep")).ends_with(0);
    }
}

/// Where it is a disk that cannot be read, and no server, the exit code says so.
#[cfg(unix)]
#[test]
fn a_layout_that_cannot_be_read_is_an_error_of_this_machine() {
    let machine = Machine::new([repo()]);
    machine.hfget("org/one --to oci:layout:main").ends_with(0);
    let (blobs, away) = (machine.home.path().join("layout/blobs"), machine.home.path().join("away"));
    std::fs::rename(&blobs, &away).unwrap();
    std::os::unix::fs::symlink(&away, &blobs).unwrap();
    for line in ["org/one --endpoint oci:layout:main --local-dir out", "verify oci:layout:main"] {
        let run = machine.hfget(line).ends_with(5).says("blobs").says("link");
        assert!(!run.err.contains("run it again"), "{}", run.err);
    }
    // The twin.
    std::fs::remove_file(&blobs).unwrap();
    std::fs::rename(&away, &blobs).unwrap();
    machine.hfget("org/one --endpoint oci:layout:main --local-dir out").ends_with(0);
}

/// The order in which files arrive varies, but the archive is always the same.
#[test]
fn two_runs_write_the_same_bytes() {
    let machine = Machine::new([odd(), repo()]);
    for name in ["org/odd", "org/one"] {
        machine.hfget(&format!("{name} --to oci-archive:a.tar --jobs 1 --force")).ends_with(0);
        machine.hfget(&format!("{name} --to oci-archive:b.tar --jobs 8")).ends_with(0);
        let (a, b) = (std::fs::read(archive(&machine, "a.tar")), std::fs::read(archive(&machine, "b.tar")));
        assert!(a.unwrap() == b.unwrap(), "{name}");
        std::fs::remove_file(archive(&machine, "b.tar")).unwrap();
    }
}

/// A model with a large file and a smaller one that is complete long before it.
fn uneven() -> Repo {
    Repo::new("org/uneven")
        .file("config.json", "{}")
        .lfs("a/model.safetensors", safetensors("a", 9 << 20))
        .lfs("b/model.safetensors", safetensors("b", 60 << 20))
}

/// Starts a run, and kills it when the first of the two large files is in the temporary archive. Returns that archive's
/// path.
fn killed_in_the_middle(machine: &Machine, line: &str) -> PathBuf {
    let mut child =
        machine.command().args(line.split_whitespace()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let part = || {
        let mut names = std::fs::read_dir(machine.home.path()).unwrap().map(|entry| entry.unwrap().path());
        names.find(|path| path.to_string_lossy().ends_with(".part"))
    };
    // A layer's header is written when the layer is complete.
    let whole = |path: &PathBuf| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.chunks(512).filter(|block| block.starts_with(b"blobs/sha256/")).count()
    };
    while part().is_none_or(|path| whole(&path) < 2) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(Duration::from_millis(30));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    part().unwrap()
}

#[test]
fn a_killed_archive_continues_with_its_complete_and_right_files() {
    let options = Options { rate: Some(10 << 20), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [uneven()]));
    let line = "org/uneven --all --to oci-archive:u.tar";
    killed_in_the_middle(&machine, line);
    assert!(!archive(&machine, "u.tar").exists());
    let before = machine.hub.bytes_sent();
    machine.hfget(line).ends_with(0).says("verified");
    let sent = machine.hub.bytes_sent() - before;
    assert!(sent < (61 << 20), "{sent} bytes: the file that was there came again");
    machine.hfget("verify oci-archive:u.tar").ends_with(0);
    let left: Vec<_> = tree(machine.home.path()).into_keys().filter(|name| name.ends_with(".part")).collect();
    assert_eq!(left, [""; 0]);
    // It is the same as an archive that was not interrupted.
    machine.hfget("org/uneven --all --to oci-archive:w.tar").ends_with(0);
    assert!(std::fs::read(archive(&machine, "u.tar")).unwrap() == std::fs::read(archive(&machine, "w.tar")).unwrap());

    // The bytes decide: a file that was changed meanwhile is fetched, even if its layer's header is intact.
    let path = killed_in_the_middle(&machine, "org/uneven --all --to oci-archive:x.tar");
    let mut bytes = std::fs::read(&path).unwrap();
    let shard = uneven().content("a/model.safetensors").unwrap().to_vec();
    let at = bytes.windows(64).position(|window| *window == shard[..64]).unwrap();
    bytes[at + (8 << 20) + 5] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    machine.hfget("org/uneven --all --to oci-archive:x.tar").ends_with(0).says("verified");
    assert!(std::fs::read(archive(&machine, "x.tar")).unwrap() == std::fs::read(archive(&machine, "w.tar")).unwrap());
}

#[test]
fn a_killed_folder_continues_with_its_layers_and_reads_them() {
    let options = Options { rate: Some(10 << 20), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [uneven()]));
    let line = "org/uneven --all --to oci:u";
    let mut child =
        machine.command().args(line.split_whitespace()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let records = machine.home.path().join("hf/hfget/objects");
    while !noted_at(&records) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(Duration::from_millis(30));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = machine.hub.bytes_sent();
    machine.hfget(line).ends_with(0).says("verified");
    assert!(machine.hub.bytes_sent() - before < (61 << 20), "the layer that was there came again");
    machine.hfget("verify oci:u").ends_with(0);
}

/// After a change of any significant byte, a small archive is never called verified.
#[test]
fn a_changed_byte_anywhere_is_found() {
    let machine = Machine::new([Repo::new("org/small")
        .file("config.json", r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama"}"#)
        .lfs(MODEL, safetensors("w", 100))]);
    machine.hfget("org/small --to oci-archive:s.tar").ends_with(0);
    machine.hfget("verify oci-archive:s.tar").ends_with(0).says("verified");
    let path = archive(&machine, "s.tar");
    let good = std::fs::read(&path).unwrap();
    let places: Vec<usize> = (0..good.len()).step_by(97).filter(|at| good[*at] != 0).collect();
    assert!(places.len() > 50);
    let mut named = 0;
    for at in places {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let run = machine.hfget("verify oci-archive:s.tar");
        // A verdict does not depend on the other manifest, the layout's own file or the times of entries.
        if run.code == Some(0) {
            assert!(
                is_no_matter(&good, at),
                "byte {at} of the archive was changed, but no error was reported:\n{}",
                run.err
            );
            continue;
        }
        assert!(matches!(run.code, Some(1 | 3)), "byte {at}: {:?} {}", run.code, run.err);
        assert!(!run.err.contains("result=verified"), "byte {at}: {}", run.err);
        named += 1;
    }
    assert!(named > 30, "{named}");
    // The weights themselves: the finding names the file.
    let weights = safetensors("w", 100);
    let at = good.windows(weights.len()).position(|window| window == weights).unwrap();
    let mut bad = good.clone();
    bad[at + weights.len() - 1] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    let run = machine.hfget("verify oci-archive:s.tar --json").ends_with(1);
    assert!(codes(&run.json()["reports"][0]).contains(&"checksum-mismatch"), "{}", run.out);
    // As a source it does not give the file either.
    machine.hfget("org/small --endpoint oci-archive:s.tar --local-dir out").ends_with(1);
    assert!(!machine.home.path().join("out").join(MODEL).exists());
    // The twin.
    std::fs::write(&path, &good).unwrap();
    machine.hfget("verify oci-archive:s.tar").ends_with(0).says("verified");
}

/// Whether the verdict on the image does not depend on a byte of the archive.
fn is_no_matter(archive: &[u8], at: usize) -> bool {
    let mut place = 0;
    loop {
        let header = &archive[place..place + 512];
        let name = std::str::from_utf8(&header[..100]).unwrap().trim_end_matches('\0');
        let size = usize::from_str_radix(std::str::from_utf8(&header[124..135]).unwrap(), 8).unwrap();
        let end = place + 512 + size.next_multiple_of(512);
        if at < end {
            let content = &archive[place + 512..place + 512 + size];
            let text = String::from_utf8_lossy(content);
            // Padding, oci-layout, and the ModelPack manifest with its config.
            return at >= place + 512
                && (at >= place + 512 + size
                    || name == "oci-layout"
                    || name == "index.json"
                    || text.contains("vnd.cncf.model.config")
                    || text.contains("modelfs"));
        }
        place = end;
    }
}

#[test]
fn wrong_bytes_of_the_hub_are_never_in_an_archive() {
    let machine = Machine::new([repo()]);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(SIZE / 2)).on(MODEL));
    machine.hfget("org/one --to oci-archive:one.tar").ends_with(1).says("checksum-mismatch");
    assert_eq!(tree(machine.home.path()).keys().filter(|name| name.contains("one.tar")).count(), 0);
    machine.hfget("org/one --to oci:layout").ends_with(1).says("checksum-mismatch");
    assert!(!machine.home.path().join("layout/index.json").exists(), "nothing says that there is a model");
}

#[test]
fn a_file_that_hfget_did_not_write_is_not_overwritten() {
    let machine = Machine::new([repo()]);
    let path = archive(&machine, "thesis.tar");
    std::fs::write(&path, "my thesis").unwrap();
    machine.hfget("org/one --to oci-archive:thesis.tar").ends_with(1).says("not an OCI archive");
    assert_eq!(std::fs::read(&path).unwrap(), b"my thesis");
    let folder = machine.home.path().join("docs");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.txt"), "a").unwrap();
    machine.hfget("org/one --to oci:docs").ends_with(2).says("other files");
    assert_eq!(tree(&folder).len(), 1);
}

#[test]
fn a_manifest_of_another_repo_gives_no_file_of_this_one() {
    let machine = Machine::new([repo(), odd()]);
    machine.hfget("org/one --to oci-archive:one.tar").ends_with(0);
    let run = machine.hfget("org/odd --endpoint oci-archive:one.tar").ends_with(3).says("org/one");
    assert!(run.err.contains("name the repo that is there") && !run.err.contains("HF_"), "{}", run.err);
    machine.hfget("org/one@v2 --endpoint oci-archive:one.tar").ends_with(3).says("revision");
    machine.hfget("org/one --from oci-archive:two.tar").ends_with(3).says("two.tar:latest, which does not exist");
    machine.hfget("org/odd --to oci-archive:one.tar").ends_with(1).says("it has org/one");
    // As a mirror it has no file for the other repo: the Hub gives the bytes.
    machine.hfget("org/odd --mirror oci-archive:one.tar --local-dir out").ends_with(0).says("verified");
}

#[test]
fn a_mirror_gives_the_bytes_that_the_hub_lists() {
    let machine = Machine::new([repo()]);
    machine.hfget("org/one --to oci-archive:one.tar").ends_with(0);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::Status(503, vec![])).on(MODEL));
    machine.hfget("org/one --mirror oci-archive:one.tar --local-dir out").ends_with(0).says("against=hub");
}

#[test]
fn one_tag_is_for_one_repo() {
    let machine = Machine::new([repo(), odd()]);
    machine.hfget("org/one org/odd --to oci-archive:one.tar").ends_with(2).says("write {owner} and {name}");
    machine.hfget("org/one org/odd --to oci-archive:{owner}-{name}.tar").ends_with(0);
    machine.hfget("org/one --partition 1/2 --to oci-archive:one.tar").ends_with(2).says("filled by one run");
    machine.hfget("org/one --to oci://r.example/m@sha256:00").ends_with(2);
    machine.hfget("org/one --to s3://bucket --layout modelpack").ends_with(2).says("--layout");
    machine.hfget("org/one --to oci:x --layout modelpack --base oci:base").ends_with(2).says("--base");
}

/// An image with files of its own, like one that a user builds.
fn base(machine: &Machine) -> Option<()> {
    let home = machine.home.path();
    other(machine, "umoci", &["init", "--layout", "base"])?.ends_with(0);
    other(machine, "umoci", &["new", "--image", "base:v1"])?.ends_with(0);
    std::fs::create_dir_all(home.join("rootfs/bin")).unwrap();
    std::fs::write(home.join("rootfs/bin/sh"), "#!").unwrap();
    other(machine, "umoci", &["insert", "--rootless", "--image", "base:v1", "rootfs/bin", "/bin"])?.ends_with(0);
    Some(())
}

#[test]
fn a_base_image_keeps_its_files_beside_the_model() {
    let machine = Machine::new([odd()]);
    if base(&machine).is_none() {
        return;
    }
    machine.hfget("org/odd --to oci:layout:main --base oci:base:v1").ends_with(0).says("verified");
    let Some(found) = unpacked(&machine, "layout:main") else { return };
    assert_eq!(found.get(MODEL).map(Vec::as_slice), odd().content(MODEL));
    assert_eq!(std::fs::read(machine.home.path().join("bundle/rootfs/bin/sh")).unwrap(), b"#!");
    machine.hfget("verify oci:layout:main").ends_with(0).says("verified");
    machine.hfget("org/odd --endpoint oci:layout:main --local-dir out").ends_with(0).says("verified");
    let archived = machine.hfget("org/odd --to oci-archive:m.tar --base oci:base:v1").ends_with(0);
    drop(archived);
    let before = machine.byte_requests();
    machine.hfget("org/odd --to oci-archive:m.tar --base oci:base:v1").ends_with(0).says("verified");
    assert_eq!(machine.byte_requests(), before);
    machine.hfget("verify oci-archive:m.tar").ends_with(0);
}

/// A layer that unpacks to more than the checked file does not prove that file.
#[test]
fn a_layer_with_more_than_its_file_is_found() {
    let machine = Machine::new([odd()]);
    machine.hfget("org/odd --to oci:layout:main").ends_with(0);
    let blobs = machine.home.path().join("layout/blobs/sha256");
    let weights = odd().content(MODEL).unwrap().to_vec();
    let (name, mut layer) =
        tree(&blobs).into_iter().find(|(_, blob)| blob.windows(weights.len()).any(|window| window == weights)).unwrap();
    // The name in the tar's header, with a checksum that fits.
    let at = layer.windows(5).position(|window| window == b"model").unwrap();
    layer[at] = b'x';
    let sum: u32 =
        layer[..512].iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
    layer[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    std::fs::write(blobs.join(&name), &layer).unwrap();
    machine.hfget("verify oci:layout:main").ends_with(1).says("contains something besides");
    // The next run repairs it.
    machine.hfget("org/odd --to oci:layout:main").ends_with(0).says("verified");
    machine.hfget("verify oci:layout:main").ends_with(0);
}
