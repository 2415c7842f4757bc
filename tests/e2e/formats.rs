//! Formats other than safetensors and `.bin`: fetched from a Hub or found in a folder, and verified
//! without a flag or on request. The real producers wrote their files.

use hfget_loopback_hub::Repo;
use serde_json::Value;

use super::support::{Machine, safetensors};

fn read(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/formats/");
    std::fs::read(format!("{path}{name}")).unwrap()
}

fn repo(files: &[(&str, &str)]) -> Repo {
    files.iter().fold(Repo::new("org/x").file("config.json", "{}"), |repo, (name, from)| repo.lfs(name, read(from)))
}

fn totals(report: &Value) -> &Value {
    &report["reports"][0]["totals"]
}

/// Repos of one kind each, with their family and the number of tensors by their producers.
fn kinds() -> Vec<(Repo, &'static str, u64)> {
    vec![
        (repo(&[("m-Q4_K_M.gguf", "gguf/little.gguf")]), "gguf", 21),
        (repo(&[("model.pt", "torch/dtypes.pt")]), "pt", 17),
        (repo(&[("last.ckpt", "torch/checkpoint.ckpt")]), "pt", 19),
        (repo(&[("old.pth", "torch/layout_legacy.pt")]), "pt", 9),
        (repo(&[("older.pt", "torch/tar.pt")]), "pt", 3),
        (repo(&[("traced_model.pt", "torch/trace.pt")]), "torchscript", 8),
        (repo(&[("onnx/model.onnx", "onnx/plain.onnx")]), "onnx", 19),
        (repo(&[("flax_model.msgpack", "flax/flax_model.msgpack")]), "flax", 17),
        (repo(&[("tf_model.h5", "h5/keras.h5")]), "tf", 22),
        (
            repo(&[
                ("model.ckpt.index", "tf/saver/model.ckpt.index"),
                ("model.ckpt.data-00000-of-00001", "tf/saver/model.ckpt.data-00000-of-00001"),
            ]),
            "tf-checkpoint",
            11,
        ),
    ]
}

#[test]
fn a_repo_of_another_kind_is_recognised_and_verified() {
    for (repo, family, tensors) in kinds() {
        let machine = Machine::new([repo]);
        let run = machine.hfget("org/x --json").ends_with(0);
        let report = run.json();
        assert_eq!(report["reports"][0]["weights"][0]["family"], family);
        let read = totals(&report)["tensors"].as_u64().unwrap();
        assert_eq!(read, tensors, "{family}");
        let note = &report["reports"][0]["findings"].as_array().unwrap()[0];
        assert_eq!((&note["code"], &note["severity"]), (&"family-fallback".into(), &"note".into()), "{note}");
        // The same without a Hub, from the cache and from a folder.
        let again = machine.hfget("verify org/x --offline --deep --json").ends_with(0).json();
        assert_eq!(totals(&again)["tensors"].as_u64(), Some(read), "{family}");
        let folder = report["reports"][0]["path"].as_str().unwrap();
        let copy = machine.home.path().join("copy");
        let status = std::process::Command::new("cp").args(["-rL", folder]).arg(&copy).status().unwrap();
        assert!(status.success());
        let again = machine.hfget("verify ./copy --offline --json --allow digests-unknown").ends_with(0).json();
        assert_eq!(again["reports"][0]["verdict"], "contents-only", "{family}");
        assert_eq!(totals(&again)["tensors"].as_u64(), Some(read), "{family}");
    }
}

#[test]
fn the_user_chooses_between_several_pickles() {
    let repo = repo(&[("small.pt", "torch/layout.pt"), ("large.pt", "torch/dtypes.pt")]);
    let machine = Machine::new([repo.clone()]);
    let run = machine.hfget("org/x").ends_with(3).says("several sets of pt weights").says("small").says("large");
    assert!(run.err.contains("--variant"), "{}", run.err);
    let report = machine.hfget("org/x --variant small --json").ends_with(0).json();
    assert_eq!(totals(&report)["tensors"], 9);
    machine.hfget("plan org/x --only pt --variant large").ends_with(0).shows("large.pt");
}

#[test]
fn parts_of_one_model_may_share_names() {
    let repo = repo(&[("model.pth", "torch/layout.pt"), ("dvae.pth", "torch/layout.pt")]);
    let report = Machine::new([repo]).hfget("org/x --json").ends_with(0).json();
    assert_eq!(totals(&report)["tensors"], 18);
}

#[test]
fn a_whole_model_is_a_warning_and_torchscript_in_place_of_weights_an_error() {
    let machine = Machine::new([repo(&[("pytorch_model.bin", "torch/module.pt")])]);
    machine.hfget("org/x").ends_with(0).says("needs-full-unpickle").says("torch.nn.modules");
    let machine = Machine::new([repo(&[("pytorch_model.bin", "torch/script.pt")])]);
    machine.hfget("org/x").ends_with(1).says("format-unexpected").says("TorchScript");
    // The content decides if the name says nothing.
    let machine = Machine::new([repo(&[("model.pt", "torch/script.pt")])]);
    machine.hfget("org/x --only torchscript").ends_with(0).says("8 tensors");
    let machine = Machine::new([repo(&[("traced_model.pt", "torch/layout.pt")])]);
    machine.hfget("org/x").ends_with(1).says("format-unexpected");
}

/// The byte is in a part that no header describes: without a digest, only the archive's own CRC-32 shows the change.
#[test]
fn a_flipped_byte_of_an_archive_is_found_when_every_byte_is_read() {
    let machine = Machine::new([]);
    let folder = machine.home.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    let mut bytes = read("torch/dtypes.pt");
    // 2 x 3 ones of float64.
    let ones = [1.0f64.to_le_bytes(); 6].concat();
    let at = bytes.windows(ones.len()).position(|w| w == ones).unwrap();
    bytes[at] ^= 1;
    std::fs::write(folder.join("pytorch_model.bin"), bytes).unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    machine.hfget("verify ./model --offline --allow digests-unknown").ends_with(0);
    // A warning: torch compares none, and may have written a wrong one on purpose.
    machine.hfget("verify ./model --offline --deep").says("archive-invalid").says("CRC-32").says("data/");
}

#[test]
fn every_weight_file_of_all_is_read() {
    let repo = repo(&[
        ("a.pt", "torch/layout.pt"),
        ("b.gguf", "gguf/little.gguf"),
        ("flax_model.msgpack", "flax/flax_model.msgpack"),
    ])
    .lfs("model.safetensors", safetensors("w", 64));
    let machine = Machine::new([repo]);
    let report = machine.hfget("org/x --all --json").ends_with(0).json();
    assert_eq!(totals(&report)["tensors"], 9 + 21 + 17 + 1);
}
