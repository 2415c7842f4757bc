//! TensorFlow, Keras and Flax on request: one checkpoint, one `SavedModel`, one file or its shards.

use hfget_core::finding::Code;
use hfget_core::model::Options;
use hfget_core::select::SelectError;

use crate::support::{Repo, only, prefer};

fn chosen(repo: &Repo, options: &Options) -> String {
    let outcome = repo.taken(options);
    outcome.check();
    outcome.weights().join(" ")
}

fn only_variant(family: &str, variant: &str) -> Options {
    Options { variant: Some(variant.to_owned()), ..only(family) }
}

/// The choices of an error that asks for one of several.
fn asked(repo: &Repo, options: &Options) -> Vec<String> {
    match repo.select(options) {
        Err(SelectError::Several { choices, .. }) => choices.into_iter().map(|(name, _)| name).collect(),
        Err(other) => panic!("{other:?}"),
        Ok(outcome) => panic!("{:?}", outcome.weights()),
    }
}

/// Why a family is not complete.
fn why(repo: &Repo, options: &Options) -> String {
    match repo.select(options) {
        Err(SelectError::FamilyAbsent { why, .. }) => why,
        Err(other) => panic!("{other:?}"),
        Ok(outcome) => panic!("{:?}", outcome.weights()),
    }
}

#[test]
fn a_checkpoint_is_one_set() {
    let bert = Repo::parse(
        "bert_config.json vocab.txt config.json model.safetensors bert_model.ckpt.index \
         bert_model.ckpt.data-00000-of-00001 bert_model.ckpt.meta graph.pbtxt",
    );
    let set = "bert_model.ckpt.data-00000-of-00001 bert_model.ckpt.index bert_model.ckpt.meta";
    assert_eq!(chosen(&bert, &only("tf-checkpoint")), set);
    assert_eq!(chosen(&bert, &prefer("tf-checkpoint")), set);
    assert!(bert.taken(&only("tf-checkpoint")).takes("vocab.txt"));
    assert_eq!(chosen(&bert, &Options::default()), "model.safetensors");
    let named = bert.with("checkpoint", "model_checkpoint_path: \"bert_model.ckpt\"\n");
    assert_eq!(chosen(&named, &only("tf-checkpoint")), format!("{set} checkpoint"));
    let other = named.with("checkpoint", "model_checkpoint_path: \"/tmp/model.ckpt-7\"\n");
    let outcome = other.taken(&only("tf-checkpoint"));
    assert_eq!(outcome.weights().join(" "), set);
    assert!(outcome.has(Code::CompanionMissing));
}

#[test]
fn of_several_checkpoints_one_is_taken() {
    let of = |step: u32| {
        [
            format!("model.ckpt-{step}.index"),
            format!("model.ckpt-{step}.data-00000-of-00002"),
            format!("model.ckpt-{step}.data-00001-of-00002"),
        ]
    };
    let repo = Repo::of([of(1), of(20), of(3)].concat());
    let taken = |step: u32| {
        let mut files = of(step);
        files.sort();
        files.join(" ")
    };
    assert_eq!(chosen(&repo, &only("tf-checkpoint")), taken(20));
    assert_eq!(chosen(&repo, &only_variant("tf-checkpoint", "3")), taken(3));
    assert_eq!(chosen(&repo, &only_variant("tf-checkpoint", "model.ckpt-1")), taken(1));
    assert_eq!(asked(&repo, &only_variant("tf-checkpoint", "4")).len(), 3);
    let named = repo.clone().with("checkpoint", "model_checkpoint_path: \"/x/model.ckpt-3\"");
    assert_eq!(chosen(&named, &only("tf-checkpoint")), format!("checkpoint {}", taken(3)));
    let other = repo.with("best.ckpt.index", "").with("best.ckpt.data-00000-of-00001", "");
    assert_eq!(asked(&other, &only("tf-checkpoint")).len(), 4);
}

#[test]
fn a_checkpoint_that_lacks_a_file_is_refused() {
    for (files, part) in [
        ("m.ckpt.index m.ckpt.data-00000-of-00002", ".data-00001-of-00002"),
        ("m.ckpt.index m.ckpt.data-00001-of-99999", ".data-00000-of-99999"),
        ("m.ckpt.index m.ckpt.meta", "none of its .data files"),
        ("m.ckpt.data-00000-of-00001", ".index is not"),
        ("m.ckpt.index m.ckpt.data-00000-of-00001 m.ckpt.data-00000-of-00002", "several sets"),
    ] {
        let text = why(&Repo::parse(files), &only("tf-checkpoint"));
        assert!(text.contains(part), "{files}: {text}");
    }
    let beside = Repo::parse("config.json model.safetensors m.ckpt.index m.ckpt.data-00000-of-00002");
    let outcome = beside.taken(&prefer("tf-checkpoint"));
    assert_eq!(outcome.weights(), ["model.safetensors"]);
    assert!(outcome.has(Code::FamilyFallback) && outcome.has(Code::FamilyIncomplete));
}

#[test]
fn a_saved_model_is_its_whole_folder() {
    let repo = Repo::parse(
        "config.json model.safetensors saved_model/1/saved_model.pb saved_model/1/fingerprint.pb \
         saved_model/1/variables/variables.index saved_model/1/variables/variables.data-00000-of-00001 \
         saved_model/1/assets/vocab.txt saved_model/1/assets.extra/deep/x saved_model/1/keras_metadata.pb \
         saved_model/1/README.md",
    );
    let taken = chosen(&repo, &only("saved-model"));
    assert_eq!(taken.split(' ').count(), 7);
    assert!(!taken.contains("README") && taken.contains("assets.extra/deep/x"));
    let root = Repo::parse(
        "saved_model.pb variables/variables.index variables/variables.data-00000-of-00001 other/saved_model.pb",
    );
    assert_eq!(chosen(&root, &only("saved-model")).split(' ').count(), 3);
    let two = Repo::parse("encoder/saved_model.pb decoder/saved_model.pb");
    assert_eq!(asked(&two, &only("saved-model")), ["decoder", "encoder"]);
    assert_eq!(chosen(&two, &only_variant("saved-model", "encoder")), "encoder/saved_model.pb");
    let short = Repo::parse("saved_model.pb variables/variables.index variables/variables.data-00000-of-00002");
    assert!(why(&short, &only("saved-model")).contains(".data-00001-of-00002"));
}

#[test]
fn keras_and_flax_are_taken_by_their_standard_names_first() {
    for (family, stem, ending) in [("tf", "tf_model", "h5"), ("flax", "flax_model", "msgpack")] {
        let single = format!("{stem}.{ending}");
        let (index, one, two) = (
            format!("{single}.index.json"),
            format!("{stem}-00001-of-00002.{ending}"),
            format!("{stem}-00002-of-00002.{ending}"),
        );
        let repo = Repo::of(["config.json", "model.safetensors", &single, "own.h5", "own.msgpack"]);
        assert_eq!(chosen(&repo, &only(family)), single);
        let sharded = Repo::of(["config.json", &one, &two]).index(&index, &[&one, &two]);
        let outcome = sharded.taken(&only(family));
        outcome.check();
        let mut all = vec![index.as_str(), &one, &two];
        all.sort_unstable();
        assert_eq!(outcome.weights(), all);
        let short = Repo::of(["config.json", &one]).index(&index, &[&one, &two]);
        assert!(why(&short, &only(family)).contains("not in the repo"));
        let odd = Repo::of(["config.json", &one]).index(&index, &[&one, "x.bin"]);
        assert!(why(&odd, &only(family)).contains("which is no"));
    }
    assert_eq!(chosen(&Repo::parse("config.json a.keras"), &only("tf")), "a.keras");
    let two = Repo::parse("config.json a.h5 b.h5");
    assert_eq!(asked(&two, &only("tf")), ["a", "b"]);
    assert_eq!(chosen(&two, &only_variant("tf", "b")), "b.h5");
    assert!(matches!(Repo::parse("config.json").select(&only("flax")), Err(SelectError::FamilyAbsent { .. })));
}

#[test]
fn everything_recognises_these_sets_whole_or_not() {
    let repo = Repo::parse(
        "m.ckpt.index m.ckpt.data-00000-of-00002 flax_model.msgpack tf_model.h5 sm/saved_model.pb \
         sm/variables/variables.index sm/variables/variables.data-00000-of-00001",
    );
    let outcome = repo.taken(&Options { all: true, ..Options::default() });
    outcome.check();
    let mut families: Vec<&str> = outcome.selection.weights.iter().map(|set| set.family.as_str()).collect();
    families.sort_unstable();
    assert_eq!(families, ["flax", "saved-model", "tf", "tf-checkpoint"]);
    assert_eq!(outcome.weights().len(), 7);
}
