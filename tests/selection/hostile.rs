//! Hostile documents: they are rejected with a finding, never followed, and never cause a crash.

use hfget_core::finding::{Code, Severity};
use hfget_core::model::Options;
use hfget_core::select::{Documents, SelectError, Step, select};

use crate::support::{Repo, only};

const OUTSIDE: &[&str] = &[
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\\\weights.safetensors",
    "a/../../x.safetensors",
    "..\\\\x.safetensors",
    #[cfg(windows)]
    "NUL.safetensors",
    "x\\u001b[31m.safetensors",
    "",
];

#[test]
fn an_index_that_names_files_outside_the_repo_rejects_its_family_and_is_an_error() {
    for name in OUTSIDE {
        let repo = Repo::parse("config.json model.safetensors.x pytorch_model.bin")
            .with("model.safetensors.index.json", format!(r#"{{"metadata": {{}}, "weight_map": {{"a": "{name}"}}}}"#));
        let outcome = repo.taken(&Options::default());
        outcome.check();
        assert_eq!(outcome.weights(), ["pytorch_model.bin"], "{name}");
        let finding = outcome.selection.findings.iter().find(|f| f.code == Code::PathUnsafe).expect(name);
        assert_eq!(finding.severity, Severity::Error);
        assert!(outcome.has(Code::FamilyIncomplete), "{name}");
        let error = repo.select(&only("safetensors")).map(|_| ()).expect_err(name).to_string();
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}

#[test]
fn components_modules_code_and_named_weights_outside_the_repo_are_not_followed() {
    let repo = Repo::parse("unet/diffusion_pytorch_model.safetensors").with(
        "model_index.json",
        r#"{"../x": ["diffusers", "X"], "/etc": ["diffusers", "X"], "unet": ["diffusers", "U"]}"#,
    );
    let outcome = repo.taken(&Options::default());
    assert_eq!(outcome.codes(), [Code::PathUnsafe, Code::PathUnsafe]);
    assert_eq!(outcome.selection.weights.len(), 1);

    let repo = Repo::parse("config.json model.safetensors").with(
        "modules.json",
        r#"[{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "../../x", "type": "a.B"}]"#,
    );
    let outcome = repo.taken(&Options::default());
    assert!(outcome.has(Code::PathUnsafe));
    assert_eq!(outcome.weights(), ["model.safetensors"]);

    let repo = Repo::parse("model.safetensors").with(
        "config.json",
        r#"{"transformers_weights": "../../x.safetensors", "auto_map": {"A": "../../evil.X", "B": "a\u0000b.X", "C": "--.X"}}"#,
    );
    let outcome = repo.taken(&Options::default());
    assert_eq!(outcome.weights(), ["model.safetensors"]);
    assert!(outcome.has(Code::FamilyIncomplete) && outcome.has(Code::CompanionMissing));
}

#[test]
fn json_of_absurd_depth_counts_as_absent() {
    for open in ["[", "{\"a\":"] {
        let deep = open.repeat(200_000);
        for name in ["config.json", "modules.json", "model_index.json", "tokenizer_config.json", "adapter_config.json"]
        {
            let outcome = Repo::parse("model.safetensors").with(name, &deep).taken(&Options::default());
            assert_eq!(outcome.weights(), ["model.safetensors"], "{name}");
            let finding = outcome.selection.findings.iter().find(|f| f.code == Code::ConfigInvalid).expect(name);
            assert_eq!(finding.path.as_deref(), Some(name));
        }
        let outcome = Repo::parse("config.json pytorch_model.bin").with("model.safetensors.index.json", &deep);
        assert_eq!(outcome.taken(&Options::default()).weights(), ["pytorch_model.bin"]);
    }
}

#[test]
fn documents_of_the_wrong_shape_count_as_absent() {
    for junk in ["null", "[]", "3", "\"x\"", "{\"path\": 3}", "[{\"path\": 3}, 7, null]", "\u{feff}{}", ""] {
        for name in ["config.json", "modules.json", "model_index.json", "tokenizer_config.json", "adapter_config.json"]
        {
            let repo = Repo::parse("config.json model.safetensors").with(name, junk);
            if let Ok(outcome) = repo.select(&Options::default()) {
                outcome.check();
            }
        }
    }
}

#[test]
fn values_of_the_wrong_type_are_ignored() {
    let repo = Repo::parse("model.safetensors")
        .with(
            "config.json",
            r#"{"transformers_weights": 3, "auto_map": [1, {"x": "y.Z"}], "tie_word_embeddings": "yes", "text_config": [],
                "_class_name": {}, "num_nextn_predict_layers": -1, "base_model_name_or_path": ["a"], "custom_pipelines": {"t": 3}}"#,
        )
        .with("adapter_config.json", r#"{"base_model_name_or_path": {"a": 1}}"#);
    let outcome = repo.taken(&Options::default());
    assert_eq!(outcome.weights(), ["model.safetensors"]);
    assert!(outcome.codes().is_empty(), "{:?}", outcome.selection.findings);
}

#[test]
fn unavailable_documents_do_not_stop_the_selection() {
    let repo = Repo::parse("config.json model.safetensors tokenizer_config.json modules.json modeling_x.py");
    let listing = repo.listing();
    let mut documents = Documents::new();
    let selection = loop {
        match select(&listing, &Options::default(), &documents).expect("a selection") {
            Step::Need(paths) => documents.extend(paths.into_iter().map(|p| (p, None))),
            Step::Done(selection) => break selection,
        }
    };
    assert_eq!(selection.weights.len(), 1);
    assert!(
        selection.findings.iter().any(|f| f.code == Code::ConfigInvalid && f.path.as_deref() == Some("config.json"))
    );
}

#[test]
fn files_too_large_to_be_documents_are_not_asked_for() {
    let mut repo = Repo::parse("config.json model.safetensors.index.json pytorch_model.bin");
    repo.files.insert("config.json".to_owned(), 1 << 40);
    repo.files.insert("model.safetensors.index.json".to_owned(), u64::MAX);
    let listing = repo.listing();
    match select(&listing, &Options::default(), &Documents::new()).expect("a selection") {
        Step::Need(paths) => panic!("asked for {paths:?}"),
        Step::Done(selection) => assert_eq!(selection.weights[0].files[0].as_str(), "pytorch_model.bin"),
    }
}

#[test]
fn a_huge_module_list_and_weight_map_are_read_in_reasonable_time() {
    let modules: Vec<_> = (0..50_000).map(|n| serde_json::json!({"path": format!("m{n}"), "type": "x.Y"})).collect();
    let mut repo = Repo::of((0..2000).map(|n| format!("m{n}/config.json")))
        .with("modules.json", serde_json::Value::from(modules).to_string());
    repo.files.insert("m1/model.safetensors".to_owned(), 1);
    repo.taken(&Options::default()).check();

    let names: Vec<String> = (0..20_000).map(|n| format!("absent-{n}.safetensors")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let repo = Repo::parse("config.json").index("model.safetensors.index.json", &names);
    assert!(matches!(
        repo.select(&Options::default()).map(|_| ()),
        Err(SelectError::NothingSelectable { .. } | SelectError::FamilyAbsent { .. }) | Ok(())
    ));
}

#[test]
fn many_files_of_code_beside_one_that_cannot_be_read_are_judged_in_reasonable_time() {
    let mut repo = Repo::of((0..30_000).map(|n| format!("m{n}.py")))
        .with("config.json", r#"{"model_type": "x", "auto_map": {"AutoModel": "modeling_x.M"}}"#);
    repo.files.insert("model.safetensors".to_owned(), 1000);
    // More than is read, so every file beside it may be needed.
    repo.files.insert("modeling_x.py".to_owned(), 100 << 20);
    let began = std::time::Instant::now();
    let outcome = repo.taken(&Options::default());
    assert!(outcome.takes("m29999.py"));
    // Each file's own look at all others would take minutes.
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn names_in_messages_cannot_steer_a_terminal() {
    let repo = Repo::parse("pytorch_model.bin")
        .with("config.json", r#"{"auto_map": {"A": "x\u001b[2J.Y"}, "transformers_weights": "w\u001b[2J.safetensors"}"#)
        .with("adapter_config.json", r#"{"base_model_name_or_path": "\u001b[2J"}"#)
        .with("adapter_model.safetensors", "x");
    for finding in repo.taken(&Options::default()).selection.findings {
        assert!(!finding.message.contains('\u{1b}'), "{finding:?}");
    }
}
