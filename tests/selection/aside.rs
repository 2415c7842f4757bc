//! Files that are left out: every group has a change of options that takes it, and that works; a part that somebody may
//! need has a warning.

use hfget_core::finding::{Code, Remedy, Severity, Take};
use hfget_core::model::Options;

use crate::support::{Outcome, Repo, idle_flags, prefer};

const LLAMA: &str = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}"#;

#[test]
fn the_change_that_a_group_names_takes_it() {
    let repos = [
        Repo::parse("config.json model.safetensors model.fp16.safetensors pytorch_model.bin pytorch_model.bf16.bin README.md"),
        Repo::parse("config.json model.safetensors onnx/model.onnx onnx/model_q4.onnx tf_model.h5 runs/a runs/b old/x.ckpt"),
        Repo::parse("config.json model.safetensors a.pt b.pt 'odd [name].bin"),
        Repo::parse("a-Q4_K_M.gguf a-Q8_0.gguf mmproj-a.gguf imatrix.gguf"),
        Repo::parse("config.json model.safetensors eagle/model.safetensors fp8/model.safetensors fp8/notes.md"),
        Repo::parse("unet/diffusion_pytorch_model.safetensors unet/diffusion_pytorch_model.fp16.safetensors sd.ckpt vae_1/x.safetensors")
            .with("model_index.json", r#"{"unet": ["diffusers", "UNet2DConditionModel"]}"#),
    ];
    for repo in repos {
        assert_eq!(idle_flags(&repo, &Options::default()), Vec::<String>::new());
        assert_eq!(idle_flags(&repo, &prefer("bin")), Vec::<String>::new());
    }
}

fn missed(outcome: &Outcome) -> Vec<&str> {
    let parts = outcome.selection.findings.iter().filter(|f| f.code == Code::PartLeftOut);
    parts.map(|f| f.message.as_str()).collect()
}

#[test]
fn a_left_out_part_is_a_warning_with_its_size_and_the_flag_that_takes_it() {
    let mut repo = Repo::parse("model.safetensors").with("config.json", LLAMA).with("fp8/config.json", LLAMA);
    repo.files.insert("fp8/model.safetensors".to_owned(), 5_000_000_000);
    let outcome = repo.taken(&Options::default());
    let finding = outcome.selection.findings.iter().find(|f| f.code == Code::PartLeftOut).expect("a warning");
    assert_eq!((finding.severity, finding.path.as_deref()), (Severity::Warning, Some("fp8/model.safetensors")));
    assert!(finding.message.contains("5.00 GB"), "{}", finding.message);
    let take = Take::Files { glob: "fp8/model.safetensors".to_owned() };
    assert_eq!(finding.remedy, Some(Remedy::Take { take }));
}

#[test]
fn other_formats_variants_and_training_are_no_missed_parts() {
    let repo = Repo::parse(
        "model.safetensors model.fp16.safetensors pytorch_model.bin onnx/model.onnx model.gguf checkpoint-1/model.safetensors
         original/consolidated.00.pth optimizer.bin adapter.fra.safetensors",
    )
    .with("config.json", LLAMA);
    assert!(missed(&repo.taken(&Options::default())).is_empty());
    let all = Repo::parse("model.safetensors eagle/model.safetensors").with("config.json", LLAMA);
    assert_eq!(missed(&all.taken(&Options::default())).len(), 1);
    assert!(missed(&all.taken(&Options { all: true, ..Options::default() })).is_empty());
}
