//! The selection, and the files that the repo's own documents name: each set of weights has its verdict.

use hfget_loopback_hub::Repo;

use super::super::support::{Machine, codes, safetensors};
use super::{FIRST, INDEX, SECOND, model};

fn read(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/formats/");
    std::fs::read(format!("{path}{name}")).unwrap()
}

/// Takes everything into a folder and the cache, and verifies both: each run must end with this result.
#[track_caller]
fn everywhere(repo: &Repo, code: i32, word: &str, finding: &str) {
    let machine = Machine::new([repo.clone()]);
    let id = repo.id();
    for line in [
        format!("{id} --all"),
        format!("verify {id}"),
        format!("verify {id} --offline"),
        format!("{id} --all --local-dir here"),
        format!("verify {id} --all --local-dir here"),
        format!("verify {id} --all --local-dir here --offline"),
    ] {
        machine.hfget(&line).is(code, word).says(finding);
    }
    machine.hfget("verify ./here").ends_with(code).says(finding);
}

/// The smaller family's shards were swapped upstream: its digests are right.
#[test]
fn every_family_that_is_here_is_checked() {
    let broken = model()
        .lfs(FIRST, safetensors("b", 100))
        .lfs(SECOND, safetensors("a", 100))
        .lfs("pytorch_model.bin", read("torch/layout.pt"));
    everywhere(&broken, 1, "failed", "tensor-misplaced");
    everywhere(&model().lfs("pytorch_model.bin", read("torch/layout.pt")), 0, "verified", "");
}

#[test]
fn every_quantisation_and_variant_that_is_here_is_checked() {
    let good = read("gguf/little.gguf");
    let cut = good[..good.len() - 40].to_vec();
    let two = |second: Vec<u8>| {
        Repo::new("org/g").file("config.json", "{}").lfs("m-Q4_K_M.gguf", good.clone()).lfs("m-Q8_0.gguf", second)
    };
    everywhere(&two(cut), 1, "failed", "m-Q8_0.gguf");
    everywhere(&two(good.clone()), 0, "verified", "");
    let variant = |index: &str| {
        Repo::new("org/v")
            .file("config.json", "{}")
            .lfs("model.safetensors", safetensors("a", 300))
            .file("model.safetensors.index.fp16.json", index.replace(".safetensors", ".fp16.safetensors"))
            .lfs("model-00001-of-00002.fp16.safetensors", safetensors("a", 10))
            .lfs("model-00002-of-00002.fp16.safetensors", safetensors("b", 10))
    };
    let named = INDEX.replace("\"b\"", "\"gone\"");
    everywhere(&variant(&named), 1, "failed", "tensor-missing");
    everywhere(&variant(INDEX), 0, "verified", "");
}

/// A graph with its data in a separate file, beside the weights that loaders take first.
#[test]
fn a_graph_that_is_here_is_checked_with_its_data() {
    let data = read("onnx/outside.onnx_data");
    let with = |data: Vec<u8>| {
        Repo::new("org/o")
            .file("config.json", "{}")
            .lfs("model.safetensors", safetensors("w", 64))
            .lfs("onnx/outside.onnx", read("onnx/outside.onnx"))
            .lfs("onnx/outside.onnx_data", data)
    };
    everywhere(&with(data[..data.len() - 8].to_vec()), 1, "failed", "onnx/outside.onnx");
    everywhere(&with(data), 0, "verified", "");
}

fn pipeline() -> Repo {
    let parts =
        r#"{"_class_name":"P","unet":["diffusers","UNet2DConditionModel"],"vae":["diffusers","AutoencoderKL"]}"#;
    Repo::new("org/p")
        .file("model_index.json", parts)
        .file("unet/config.json", "{}")
        .lfs("unet/diffusion_pytorch_model.safetensors", safetensors("u", 64))
        .file("vae/config.json", "{}")
        .lfs("vae/diffusion_pytorch_model.safetensors", safetensors("v", 64))
}

#[test]
fn a_named_part_without_weights_is_an_error() {
    let weights = "vae/diffusion_pytorch_model.safetensors";
    let modules = r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
        {"idx":1,"name":"1","path":"1_Dense","type":"sentence_transformers.models.Dense"}]"#;
    let sentence = Repo::new("org/s")
        .file("modules.json", modules)
        .file("config.json", "{}")
        .lfs("model.safetensors", safetensors("w", 64))
        .file("1_Dense/config.json", r#"{"in_features":8,"out_features":8}"#);
    let broken =
        [pipeline().without(weights), pipeline().without(weights).without("vae/config.json"), sentence.clone()];
    for repo in broken {
        let machine = Machine::new([repo.clone()]);
        let run = machine.run([repo.id(), "--json"]).ends_with(1);
        assert!(codes(&run.json()["reports"][0]).contains(&"family-incomplete"), "{}: {}", repo.id(), run.out);
        run.ends_not_green();
    }
    let machine = Machine::new([pipeline(), sentence.lfs("1_Dense/model.safetensors", safetensors("d", 64))]);
    machine.hfget("org/p").ends_against("hub");
    machine.hfget("org/s").ends_against("hub");
}

#[test]
fn a_selection_that_excludes_all_its_files_is_nothing() {
    let machine = Machine::new([model()]);
    let run = machine.run(["org/m", "--only", "safetensors", "--exclude", "*.safetensors"]).ends_with(3);
    run.ends_not_green();
    // Without one companion the rest is still a model.
    machine.run(["org/m", "--only", "safetensors", "--exclude", "config.json"]).ends_against("hub");
}

#[test]
fn a_weight_file_without_a_reader_is_taken_and_reported_as_unread() {
    for name in ["model.pt2", "model.pte", "__0_0.distcp", "model.skops", "model-1.0-py3-none-any.whl"] {
        let repo = Repo::new("org/o").file("config.json", "{}").lfs(name, vec![0x5a; 999]);
        let machine = Machine::new([repo.clone()]);
        let run = machine.hfget("org/o").is(0, "verified").says("weights-unread");
        assert!(!run.err.contains("no weights"), "{name}: {}", run.err);
        assert_eq!(std::fs::read(run.path().join(name)).ok().as_deref(), repo.content(name), "{name}");
        machine.hfget("org/o --deny weights-unread").ends_with(1);
    }
}
