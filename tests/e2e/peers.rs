//! What the README's table says of other tools, checked on them: `hf download` of `huggingface_hub` 2.4.0 and
//! the Rust client hf-hub 1.0.0. When one of these fails, the tool was mended, and the table must say so.

use std::path::{Path, PathBuf};
use std::process::Command;

use hfget_loopback_hub::{Fault, Kind, Place, Repo};

use super::interop::python;
use super::support::{Machine, Run, one_file, safetensors, tree};

const MODEL: &str = "model.safetensors";

fn hf_download(machine: &Machine, bin: &Path, more: &[&str]) -> Run {
    let mut command = Command::new(bin.join("hf"));
    machine.environment(&mut command);
    command.env("HF_HUB_DISABLE_XET", "1").env("HF_HUB_DISABLE_PROGRESS_BARS", "1");
    command.args(["download", "org/one"]).args(more).output().unwrap().into()
}

/// The example that downloads one file with hf-hub; `cargo test` builds it.
fn hf_hub_get() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_hfget")).parent()?.join("examples/hf_hub_get");
    program.exists().then_some(program)
}

#[test]
fn other_tools_end_well_on_corrupted_bytes_and_hfget_does_not() {
    let Some(bin) = python() else { return };
    let corrupted = || {
        let machine = Machine::new([one_file(1 << 20)]);
        machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(5000)).on(MODEL));
        machine
    };
    let wrong = |machine: &Machine| {
        let right = one_file(1 << 20);
        let found = tree(machine.home.path());
        found.iter().any(|(name, content)| {
            name.contains("snapshots") && name.ends_with(MODEL) && Some(&content[..]) != right.content(MODEL)
        })
    };
    let machine = corrupted();
    hf_download(&machine, &bin, &[]).ends_with(0);
    assert!(wrong(&machine), "hf download has the right bytes, or none");
    if let Some(program) = hf_hub_get() {
        let machine = corrupted();
        let mut command = Command::new(program);
        machine.environment(&mut command);
        let run: Run = command.args(["org/one", MODEL]).output().unwrap().into();
        run.ends_with(0);
        assert!(wrong(&machine), "hf-hub has the right bytes, or none");
    }
    let machine = corrupted();
    machine.hfget("org/one").ends_with(1).says("checksum-mismatch");
    assert!(!wrong(&machine));
}

#[test]
fn hf_download_takes_every_family_and_misses_what_the_index_promises() {
    let Some(bin) = python() else { return };
    let index = r#"{"metadata":{},"weight_map":{"w":"model-1.safetensors","gone":"model-1.safetensors"}}"#;
    let machine = Machine::new([Repo::new("org/one")
        .file("config.json", "{}")
        .file("model.safetensors.index.json", index)
        .lfs("model-1.safetensors", safetensors("w", 1000))
        .lfs("pytorch_model.bin", vec![0; 1000])]);
    hf_download(&machine, &bin, &[]).ends_with(0);
    let names: Vec<String> = tree(&machine.cache()).into_keys().filter(|name| name.contains("snapshots")).collect();
    assert!(names.iter().any(|name| name.ends_with("pytorch_model.bin")), "{names:?}");
    assert!(names.iter().any(|name| name.ends_with("model-1.safetensors")), "{names:?}");
    machine.hfget("org/one --only safetensors").ends_with(1).says("tensor-missing");
}
