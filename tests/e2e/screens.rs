//! Complete texts for people: help, plans of real listings, reports. Any changed line shows here.

use std::fmt::Write as _;

use hfget_loopback_hub::Repo;

use super::support::{CHATGLM, Machine, fixture, one_file};

/// The names of a real repo, with the known sizes.
fn listed(id: &str, sizes: &[(&str, u64)]) -> Repo {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/listings.json");
    let all: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let names: Vec<String> = serde_json::from_value(all[id]["files"].clone()).unwrap();
    let mut repo = Repo::new(id).names(names.iter().map(String::as_str));
    for (name, size) in sizes {
        repo = repo.lie(name, Some(*size), None);
    }
    repo
}

pub fn sdxl() -> Repo {
    let class = |library: &str, class: &str| serde_json::json!([library, class]);
    let index = serde_json::json!({
        "_class_name": "StableDiffusionXLPipeline",
        "_diffusers_version": "0.19.0.dev0",
        "force_zeros_for_empty_prompt": true,
        "scheduler": class("diffusers", "EulerDiscreteScheduler"),
        "text_encoder": class("transformers", "CLIPTextModel"),
        "text_encoder_2": class("transformers", "CLIPTextModelWithProjection"),
        "tokenizer": class("transformers", "CLIPTokenizer"),
        "tokenizer_2": class("transformers", "CLIPTokenizer"),
        "unet": class("diffusers", "UNet2DConditionModel"),
        "vae": class("diffusers", "AutoencoderKL"),
    });
    let sizes = [
        ("sd_xl_base_1.0.safetensors", 6_938_078_334),
        ("sd_xl_base_1.0_0.9vae.safetensors", 6_938_078_334),
        ("text_encoder/flax_model.msgpack", 492_243_041),
        ("text_encoder/model.fp16.safetensors", 246_144_152),
        ("text_encoder/model.onnx", 492_587_457),
        ("text_encoder/model.safetensors", 492_265_168),
        ("text_encoder_2/flax_model.msgpack", 2_778_640_120),
        ("text_encoder_2/model.fp16.safetensors", 1_389_382_176),
        ("text_encoder_2/model.onnx_data", 2_778_639_360),
        ("text_encoder_2/model.safetensors", 2_778_702_264),
        ("unet/diffusion_flax_model.msgpack", 10_269_854_400),
        ("unet/diffusion_pytorch_model.fp16.safetensors", 5_135_149_760),
        ("unet/diffusion_pytorch_model.safetensors", 10_270_077_736),
        ("unet/model.onnx_data", 10_269_854_720),
        ("vae/diffusion_flax_model.msgpack", 334_630_000),
        ("vae/diffusion_pytorch_model.fp16.safetensors", 167_335_342),
        ("vae/diffusion_pytorch_model.safetensors", 334_643_268),
    ];
    listed("stabilityai/stable-diffusion-xl-base-1.0", &sizes).file("model_index.json", index.to_string())
}

pub fn whisper() -> Repo {
    let index = |ending: &str| {
        let (one, two) = (format!("00001-of-00002.{ending}"), format!("00002-of-00002.{ending}"));
        let stem = if ending == "bin" { "pytorch_model.fp32-" } else { "model.fp32-" };
        serde_json::json!({
            "metadata": {"total_size": 6_173_629_440u64},
            "weight_map": {"model.encoder.conv1.weight": format!("{stem}{one}"), "proj_out.weight": format!("{stem}{two}")},
        })
    };
    let repo = listed(
        "openai/whisper-large-v3",
        &[
            ("flax_model.msgpack", 6_173_629_930),
            ("model.safetensors", 3_087_130_976),
            ("model.fp32-00001-of-00002.safetensors", 4_993_448_880),
            ("model.fp32-00002-of-00002.safetensors", 1_180_663_192),
            ("pytorch_model.bin", 3_087_408_547),
            ("pytorch_model.fp32-00001-of-00002.bin", 4_993_677_822),
            ("pytorch_model.fp32-00002-of-00002.bin", 1_180_695_170),
        ],
    );
    repo.file("config.json", r#"{"model_type":"whisper"}"#)
        .file("model.safetensors.index.fp32.json", index("safetensors").to_string())
        .file("pytorch_model.bin.index.fp32.json", index("bin").to_string())
}

/// Compares a text with its snapshot, without the parts that differ from run to run.
macro_rules! screen {
    ($name:literal, $text:expr) => {
        insta::with_settings!({
            omit_expression => true,
            prepend_module_to_snapshot => false,
            filters => vec![
                (r"\d[\d.]* [kMGT]?B free", "… free"),
                (r" ms=\d+", " ms=…"),
                (r"\(\d[\d.]* [kMG]?B/s\) in [\d.]+ m?s", "(… /s) in … ms"),
                (r"in \d[\d.]* m?s\b", "in … ms"),
                (r"/tmp/\S+/hf/hub", "[HF_HOME]/hub"),
                (r"127\.0\.0\.(\d):\d+", "127.0.0.$1:PORT"),
            ],
        }, { insta::assert_snapshot!($name, $text) })
    };
}

#[test]
fn help() {
    let machine = Machine::new([]);
    let text = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hfget"));
        machine.environment(&mut command);
        String::from_utf8(command.args(arguments).output().unwrap().stdout).unwrap()
    };
    screen!("help", text(&["-h"]));
    screen!("help_whole", text(&["help"]));
    screen!("help_verify", text(&["help", "verify"]));
    screen!("help_compare", text(&["compare", "-h"]));
}

#[test]
fn plans_of_real_listings() {
    let machine = Machine::new([sdxl(), whisper(), fixture(CHATGLM)]);
    screen!("plan_sdxl", machine.hfget("plan stabilityai/stable-diffusion-xl-base-1.0").ends_with(0).out);
    screen!(
        "plan_sdxl_fp16",
        machine.hfget("plan stabilityai/stable-diffusion-xl-base-1.0 --variant fp16 -v").ends_with(0).out
    );
    screen!("plan_whisper", machine.hfget("plan openai/whisper-large-v3").ends_with(0).out);
    screen!("plan_chatglm", machine.hfget("plan THUDM/chatglm3-6b --prefer safetensors").ends_with(0).out);
}

#[test]
fn reports() {
    let machine = Machine::new([fixture(CHATGLM), fixture("org/tied-gpt2")]);
    let run = machine.hfget("THUDM/chatglm3-6b").ends_with(0);
    screen!("report", format!("{}{}", run.err, run.out));
    let run = machine.hfget("THUDM/chatglm3-6b").ends_with(0);
    screen!("report_again", format!("{}{}", run.err, run.out));
    let path = run.path();
    std::fs::write(path.join("model-00002-of-00007.safetensors").canonicalize().unwrap(), "short").unwrap();
    std::fs::write(path.join("config.json").canonicalize().unwrap(), "{").unwrap();
    let run = machine.hfget("verify THUDM/chatglm3-6b --offline").ends_with(1);
    screen!("report_damaged", format!("{}{}", run.err, run.out));
    let mut json = machine.hfget("org/tied-gpt2 --json -q").ends_with(0).json();
    json["reports"][0]["totals"]["milliseconds"] = 0.into();
    screen!("report_json", serde_json::to_string_pretty(&json).unwrap());
}

#[test]
fn errors() {
    let machine = Machine::new([one_file(64).revision("v1.0")]);
    let mut said = String::new();
    for line in [
        "org/none",
        "org/one@v2",
        "org/one --only bin",
        "org/one --variant fp16",
        "org/one --include nothing*",
        "org/one --include *.json --only bin",
        "org/one --subfolder none",
        "org/one --offline",
        "verify org/one",
        "verify ./none",
        "datasets/org/none",
        "org/one --mirror nowhere",
        "org/one --endpoint http://127.0.0.1:9 --retry-for 0",
        "not/a/repo/name",
    ] {
        let run = machine.hfget(line);
        writeln!(said, "$ hfget {line}\n{}exit code {}\n", run.err, run.code.unwrap()).unwrap();
    }
    screen!("errors", said);
}
