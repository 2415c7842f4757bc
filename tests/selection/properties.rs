//! Properties for any listing, any documents and any options.

use std::collections::BTreeMap;

use hfget_core::model::{Family, Options};
use hfget_core::select::{Documents, Step, select};
use proptest::prelude::*;
use proptest::sample::{select as one_of, subsequence};

use crate::support::Repo;

/// Names that rules know, in every kind of place.
const NAMES: &[&str] = &[
    "config.json",
    "model.safetensors",
    "model.fp16.safetensors",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "model.safetensors.index.fp16.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model-00001-of-00001.bin",
    "consolidated.safetensors",
    "consolidated.safetensors.index.json",
    "consolidated.00.pth",
    "params.json",
    "tokenizer.model.v3",
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "modules.json",
    "model_index.json",
    "modular_model_index.json",
    "router_config.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.bin",
    "diffusion_pytorch_model.safetensors.index.json",
    "own.safetensors",
    "own.safetensors.index.json",
    "lora.safetensors",
    "modeling_x.py",
    "helper.py",
    "tokenizer.json",
    "tokenizer_config.json",
    "README.md",
    "training_args.bin",
    "model.onnx",
    "model.bin",
    "vocabulary.txt",
    "flax_model.msgpack",
    "x.gguf",
    "x.pt",
    "alphabet.json",
    "mtp.safetensors",
];

const DIRS: &[&str] =
    &["", "", "", "unet/", "vae/", "1_Dense/", "sub/deep/", "onnx/", "original/", "checkpoint-1/", "language_model/"];

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        9 => (one_of(DIRS), one_of(NAMES)).prop_map(|(dir, name)| format!("{dir}{name}")),
        1 => "[a-z]{1,6}(/[a-z.]{1,6}[a-z])?".prop_filter("safe", |p| p.parse::<hfget_core::model::RepoPath>().is_ok()),
    ]
}

/// Contents that refer to names above, or make no sense.
fn content(path: &str, pick: u8) -> Option<Vec<u8>> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let text = match (name, pick % 5) {
        (_, 0) => return None,
        (_, 1) => "nonsense".to_owned(),
        ("modules.json", _) => r#"[{"path": "", "type": "custom.T"}, {"path": "1_Dense", "type": "sentence_transformers.models.Dense"}, {"path": "../x"}]"#.to_owned(),
        ("router_config.json", _) => r#"{"types": {"unet": "x", "sub/deep": "y", "..": "z"}}"#.to_owned(),
        ("model_index.json" | "modular_model_index.json", 2) => r#"{"_class_name": "X", "unet": ["diffusers", "U"], "vae": ["helper", "V"]}"#.to_owned(),
        ("model_index.json" | "modular_model_index.json", _) => r#"{"_class_name": ["helper", "K"], "unet": ["transformers", "U"], "gone": ["a", "b"]}"#.to_owned(),
        ("config.json", 2) => r#"{"auto_map": {"A": "modeling_x.A", "B": "o/r--m.B"}, "num_nextn_predict_layers": 1}"#.to_owned(),
        ("config.json", 3) => r#"{"transformers_weights": "own.safetensors.index.json", "_class_name": "U"}"#.to_owned(),
        ("adapter_config.json", _) => r#"{"base_model_name_or_path": "org/base"}"#.to_owned(),
        (n, pick) if n.contains(".index") => {
            let shard = match pick {
                2 if n.contains(".bin.") => "pytorch_model-00001-of-00001.bin",
                2 => "model-00001-of-00002.safetensors",
                3 => "own.safetensors",
                _ => "../../etc/passwd",
            };
            format!(r#"{{"metadata": {{}}, "weight_map": {{"a": "{shard}"}}}}"#)
        }
        (n, _) if n.ends_with(".py") => "from .helper import x\nfrom .sub.deep import helper\n".to_owned(),
        _ => "{}".to_owned(),
    };
    Some(text.into_bytes())
}

fn options() -> impl Strategy<Value = Options> {
    let family = proptest::option::of(one_of(vec![Family::Safetensors, Family::Bin, Family::Mistral, Family::Gguf]));
    (
        family.clone(),
        proptest::option::weighted(0.2, one_of(vec![Family::Safetensors, Family::Bin, Family::Onnx])),
        proptest::option::weighted(0.3, Just("fp16".to_owned())),
        proptest::option::weighted(0.2, one_of(vec!["unet", "sub", "sub/deep", "absent"])),
        (
            subsequence(vec!["*.json", "onnx/", "*", "absent?"], 0..2),
            proptest::option::weighted(0.2, one_of(vec!["*.json", "config.json", "onnx", "*.safetensors", "*"])),
        ),
        subsequence(vec!["*.bin", "config.json", "unet/*"], 0..2),
        proptest::bool::weighted(0.2),
        proptest::bool::weighted(0.2),
    )
        .prop_map(|(prefer, only, variant, subfolder, (with, include), exclude, all, no_code)| Options {
            prefer,
            only,
            variant,
            include: include.into_iter().map(str::to_owned).collect(),
            with: with.into_iter().map(str::to_owned).collect(),
            exclude: exclude.into_iter().map(str::to_owned).collect(),
            all,
            subfolder: subfolder.map(|s| s.parse().expect("safe")),
            no_code,
        })
}

/// How many listings are tried: as many as `PROPTEST_CASES` states.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn any_listing_is_selected_from_in_four_rounds_with_every_file_accounted_for(
        files in proptest::collection::btree_map(path(), any::<u8>(), 0..30),
        options in options(),
    ) {
        let mut repo = Repo::of(files.keys());
        let picks: BTreeMap<&str, u8> = files.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        for size in repo.files.values_mut() {
            *size = (*size).min(5_000_000_000);
        }
        let listing = repo.listing();
        let mut documents = Documents::new();
        let mut rounds = 0;
        let result = loop {
            match select(&listing, &options, &documents) {
                Ok(Step::Need(paths)) => {
                    rounds += 1;
                    prop_assert!(rounds <= 4, "{rounds} rounds, last {paths:?}");
                    prop_assert!(!paths.is_empty());
                    for path in paths {
                        prop_assert!(listing.get(path.as_str()).is_some());
                        let bytes = content(path.as_str(), picks[path.as_str()]);
                        prop_assert!(documents.insert(path, bytes).is_none(), "asked twice");
                    }
                }
                Ok(Step::Done(selection)) => break Ok(selection),
                Err(error) => break Err(error),
            }
        };
        // The same question has the same answer.
        match (select(&listing, &options, &documents), &result) {
            (Ok(Step::Done(again)), Ok(first)) => prop_assert_eq!(&again, first),
            (Err(again), Err(first)) => prop_assert_eq!(&again, first),
            (other, _) => prop_assert!(false, "{other:?}"),
        }
        if let Ok(selection) = result {
            // If the user names files, nothing is chosen.
            let chosen = !options.all && !selection.named;
            let one_family: Vec<_> = selection.weights.iter().filter(|s| chosen && s.scope.is_empty()).collect();
            let families: std::collections::BTreeSet<_> = one_family.iter().map(|s| s.family).collect();
            let adapter = listing.get("adapter_config.json").is_some();
            // A repo that no known loader reads is taken with all of its parts, with a finding.
            let native = selection.findings.iter().any(|f| f.message.contains("no known loader reads this repo"));
            prop_assert!(families.len() <= 1 || adapter || native, "{families:?} at the root");
            if let Some(only) = options.only.filter(|_| chosen) {
                // A layer beside an ONNX transformer has weights of its own.
                let layer = |scope: &str| only == Family::Onnx && scope.ends_with("1_Dense");
                prop_assert!(selection.weights.iter().all(|s| s.family == only || layer(&s.scope)));
            }
            crate::support::Outcome { selection: *selection, rounds, asked: 0, listing }.check();
        }
    }

    #[test]
    fn documentation_does_not_change_the_selection(
        files in proptest::collection::btree_map(path(), any::<u8>(), 0..20),
        documentation in subsequence(vec!["LICENSE", "docs/guide.md", "unet/README.md", "USAGE_POLICY", "a.pdf"], 1..4),
    ) {
        let picks: BTreeMap<&str, u8> = files.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        let taken = |more: &[&str]| {
            let names = files.keys().map(String::as_str).chain(more.iter().copied());
            let (listing, mut documents) = (Repo::of(names).listing(), Documents::new());
            loop {
                match select(&listing, &Options::default(), &documents) {
                    Ok(Step::Need(paths)) => {
                        documents.extend(paths.into_iter().map(|path| {
                            let bytes = picks.get(path.as_str()).and_then(|pick| content(path.as_str(), *pick));
                            (path, bytes)
                        }));
                    }
                    Ok(Step::Done(selection)) => {
                        break Some(selection.files.into_iter().map(|f| f.path).collect::<std::collections::BTreeSet<_>>());
                    }
                    Err(_) => break None,
                }
            }
        };
        let (without, with) = (taken(&[]), taken(&documentation));
        prop_assert_eq!(without.is_some(), with.is_some());
        if let (Some(without), Some(with)) = (without, with) {
            prop_assert!(with.is_superset(&without), "{without:?} became {with:?}");
        }
    }

    #[test]
    fn any_bytes_as_documents_are_judged_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        text in "(\\{\"(auto_map|weight_map|types|unet)\": )?[\\[\\]{}\",:a-z0-9./ -]{0,60}",
    ) {
        let repo = Repo::of(NAMES);
        let listing = repo.listing();
        for content in [bytes.as_slice(), text.as_bytes()] {
            let mut documents = Documents::new();
            for _ in 0..5 {
                match select(&listing, &Options::default(), &documents) {
                    Ok(Step::Need(paths)) => documents.extend(paths.into_iter().map(|p| (p, Some(content.to_vec())))),
                    _ => break,
                }
            }
        }
    }
}
