//! Each defect of real repos' indexes, and its result.

use hfget_core::finding::{Code, Severity};
use hfget_core::model::{Family, Options};
use hfget_core::select::SelectError;

use crate::support::{Repo, only, prefer};

/// A repo with a broken safetensors index and a good bin family.
fn broken(index: &str) -> Repo {
    Repo::parse("config.json model-00001-of-00002.safetensors pytorch_model.bin")
        .with("model.safetensors.index.json", index)
}

/// The safetensors family is skipped with this reason, and bin is taken. If safetensors is demanded, it is an error.
fn passed_over(repo: &Repo, why: &str) {
    let outcome = repo.taken(&prefer("safetensors"));
    outcome.check();
    assert_eq!(outcome.weights(), ["pytorch_model.bin"], "{why}");
    let finding = outcome.selection.findings.iter().find(|f| f.code == Code::FamilyIncomplete).expect(why);
    assert_eq!(finding.path.as_deref(), Some("model.safetensors.index.json"));
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.message.contains(why), "{}", finding.message);
    assert!(outcome.has(Code::FamilyFallback));
    match repo.select(&only("safetensors")).map(|_| ()) {
        Err(SelectError::FamilyAbsent { family, why: told, found, .. }) => {
            assert_eq!(family, Family::Safetensors);
            assert!(told.contains(why), "{told}");
            assert!(found.iter().any(|(f, _)| *f == Family::Bin));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_index_that_names_absent_shards_rejects_its_family() {
    // Neph0s/CoSER: 30 named, 15 present.
    let names: Vec<String> = (1..=30).map(|n| format!("model-{n:05}-of-00030.safetensors")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut repo = Repo::of(&names[..15]).index("model.safetensors.index.json", &names);
    repo.files.insert("pytorch_model.bin".to_owned(), 1);
    passed_over(&repo, "it names 30 shards, of which 15 are not in the repo");
    repo.files.remove("pytorch_model.bin");
    assert!(matches!(
        repo.select(&prefer("safetensors")).map(|_| ()),
        Err(SelectError::NothingSelectable { why, found, .. }) if why.contains("15 are not in the repo") && found[0].0 == Family::Safetensors
    ));
}

#[test]
fn an_orphan_index_of_a_variant_does_no_harm_until_it_is_asked_for() {
    // facebook/musicgen: two *.index.fp32.json whose shards do not exist.
    let repo = Repo::parse("config.json model.safetensors")
        .index("model.safetensors.index.fp32.json", &["model.fp32-00001-of-00002.safetensors"]);
    let outcome = repo.taken(&Options::default());
    assert_eq!(outcome.weights(), ["model.safetensors"]);
    assert!(outcome.codes().is_empty());
    let options = Options { variant: Some("fp32".into()), ..Options::default() };
    assert!(matches!(
        repo.select(&options).map(|_| ()),
        Err(SelectError::NothingSelectable { why, .. }) if why.contains("not in the repo")
    ));
}

#[test]
fn a_safetensors_index_that_points_at_bin_files_rejects_its_family() {
    passed_over(
        &broken(r#"{"metadata": {}, "weight_map": {"a": "pytorch_model.bin"}}"#),
        "which is not a safetensors file",
    );
}

#[test]
fn a_bin_index_that_points_at_safetensors_rejects_its_family() {
    let repo = Repo::parse("config.json model.safetensors pytorch_model-00001-of-00001.bin")
        .index("pytorch_model.bin.index.json", &["model.safetensors"]);
    let outcome = repo.taken(&prefer("bin"));
    assert_eq!(outcome.weights(), ["model.safetensors"]);
    assert!(outcome.has(Code::FamilyIncomplete) && outcome.has(Code::FamilyFallback));
}

#[test]
fn a_file_that_is_not_an_index_rejects_its_family() {
    passed_over(&broken("not json"), "does not parse");
    passed_over(&broken("{}"), "no \"weight_map\"");
    passed_over(&broken(r#"{"weight_map": {}}"#), "is empty");
    passed_over(&broken(r#"{"weight_map": {"a": 1}}"#), "does not parse");
}

#[test]
fn an_unavailable_index_rejects_its_family() {
    let mut repo = broken("{}");
    repo.files.insert("model.safetensors.index.json".to_owned(), hfget_formats::INDEX_LIMIT + 1);
    passed_over(&repo, "was not read");
}

#[test]
fn shards_that_the_index_does_not_name_are_left_out() {
    let repo = Repo::parse(
        "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors old-00001-of-00009.safetensors",
    )
    .index("model.safetensors.index.json", &["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
    let outcome = repo.taken(&Options::default());
    assert_eq!(outcome.selection.weights[0].files.len(), 2);
    assert_eq!(
        outcome.left("old-00001-of-00009.safetensors").as_deref(),
        Some("safetensors files that the index does not name")
    );
}

#[test]
fn a_forgotten_mtp_shard_is_taken_when_the_config_asks_for_its_layers() {
    let repo = |layers: u32| {
        Repo::parse("model-00001-of-00001.safetensors mtp.safetensors")
            .index("model.safetensors.index.json", &["model-00001-of-00001.safetensors"])
            .with("config.json", format!(r#"{{"num_nextn_predict_layers": {layers}}}"#))
    };
    let outcome = repo(1).taken(&Options::default());
    assert!(outcome.weights().contains(&"mtp.safetensors"));
    assert!(outcome.has(Code::TensorUnindexed));
    assert!(!repo(0).taken(&Options::default()).takes("mtp.safetensors"));
}

#[test]
fn a_single_file_wins_over_an_index_beside_it_with_a_warning() {
    let repo =
        Repo::parse("config.json model.safetensors model-00001-of-00002.safetensors model-00002-of-00002.safetensors")
            .index(
                "model.safetensors.index.json",
                &["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            );
    let outcome = repo.taken(&Options::default());
    assert_eq!(outcome.weights(), ["model.safetensors"]);
    assert_eq!(outcome.codes(), [Code::OverlappingWeights]);
    assert_eq!(outcome.left("model-00001-of-00002.safetensors").as_deref(), Some("other safetensors files"));
}

#[test]
fn consolidated_weights_yield_to_a_complete_transformers_layout_and_replace_a_broken_one() {
    let files = "config.json params.json tokenizer.model.v3 tokenizer.json consolidated.safetensors model-00001-of-00001.safetensors";
    let good = Repo::parse(files).index("model.safetensors.index.json", &["model-00001-of-00001.safetensors"]);
    let outcome = good.taken(&prefer("safetensors"));
    assert_eq!(outcome.selection.weights[0].family, Family::Safetensors);
    assert_eq!(outcome.left("consolidated.safetensors").as_deref(), Some("mistral family"));
    assert_eq!(outcome.left("params.json").as_deref(), Some("mistral family"));

    let bad = Repo::parse(files).index("model.safetensors.index.json", &["absent.safetensors"]);
    let outcome = bad.taken(&prefer("safetensors"));
    assert_eq!(outcome.weights(), ["consolidated.safetensors"]);
    assert!(outcome.takes("params.json") && outcome.takes("tokenizer.model.v3"));
    assert!(outcome.has(Code::FamilyIncomplete) && outcome.has(Code::FamilyFallback));
}

#[test]
fn a_backup_of_an_index_is_ignored() {
    let repo = Repo::parse("config.json model.safetensors pytorch_model.bin.index.json.bak");
    let outcome = repo.taken(&prefer("bin"));
    assert_eq!(outcome.weights(), ["model.safetensors"]);
    assert!(!outcome.has(Code::FamilyIncomplete));
}

#[test]
fn shards_in_folders_below_the_index_are_taken_but_not_in_a_pipeline() {
    let repo = Repo::parse("config.json shards/a.safetensors shards/b.safetensors")
        .index("model.safetensors.index.json", &["shards/a.safetensors", "shards/b.safetensors"]);
    let outcome = repo.taken(&Options::default());
    assert_eq!(outcome.selection.weights[0].files.len(), 2);

    let repo = Repo::parse("unet/s/a.safetensors")
        .index("unet/diffusion_pytorch_model.safetensors.index.json", &["s/a.safetensors"])
        .with("unet/diffusion_pytorch_model.bin", "x")
        .with("model_index.json", r#"{"unet": ["diffusers", "U"]}"#);
    let outcome = repo.taken(&Options::default());
    assert_eq!(outcome.weights(), ["unet/diffusion_pytorch_model.bin"]);
}

#[test]
fn an_index_without_metadata_is_taken_with_a_warning() {
    let repo = Repo::parse("config.json model-00001-of-00001.safetensors")
        .with("model.safetensors.index.json", r#"{"weight_map": {"a": "model-00001-of-00001.safetensors"}}"#);
    let outcome = repo.taken(&Options::default());
    let finding = &outcome.selection.findings[0];
    assert_eq!((finding.code, finding.severity), (Code::IndexInvalid, Severity::Warning));
    assert_eq!(outcome.selection.weights[0].files.len(), 1);
}

#[test]
fn numbered_shards_without_an_index_yield_to_a_family_that_every_loader_reads() {
    let files = "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors";
    let outcome = Repo::parse(files).taken(&Options::default());
    assert_eq!(outcome.selection.weights[0].files.len(), 2);
    assert!(outcome.has(Code::FamilyIncomplete));
    let outcome = Repo::parse(&format!("{files} pytorch_model.bin")).taken(&Options::default());
    assert_eq!(outcome.weights(), ["pytorch_model.bin"]);
    let error = Repo::parse("config.json model-00001-of-00002.safetensors").select(&Options::default()).map(|_| ());
    assert!(matches!(error, Err(SelectError::NothingSelectable { why, .. }) if why.contains("only 1 of 2")));
}
