//! The effects of options: globs, a subfolder, every file; and how many rounds of documents selection asks for.

use hfget_core::finding::Code;
use hfget_core::model::{Family, Options, RepoType};
use hfget_core::select::SelectError;

use crate::support::{Repo, names, prefer};

fn plain() -> Options {
    Options::default()
}

fn error(repo: &Repo, options: &Options) -> SelectError {
    repo.select(options).map(|o| o.selection).expect_err("an error")
}

#[test]
fn globs_add_to_the_selection_and_take_away_from_it() {
    let repo = Repo::parse("config.json model.safetensors onnx/model.onnx onnx/config.json README.md");
    let outcome = repo.taken(&Options { with: vec!["onnx/".into()], ..plain() });
    assert!(outcome.takes("onnx/model.onnx") && outcome.takes("model.safetensors"));
    let options = Options { with: vec!["*".into()], exclude: vec!["*.onnx".into()], ..plain() };
    let outcome = repo.taken(&options);
    outcome.check();
    assert_eq!(outcome.left("onnx/model.onnx").as_deref(), Some("excluded by *.onnx"));
    assert!(!outcome.has(Code::Excluded), "no loader wanted it");
    let outcome = repo.taken(&Options { exclude: vec!["config.json".into(), "model.*".into()], ..plain() });
    assert_eq!(outcome.codes(), [Code::Excluded, Code::Excluded]);
    assert!(outcome.selection.weights.is_empty());
    assert!(
        matches!(error(&repo, &Options { include: vec!["nope*".into()], ..plain() }), SelectError::NoMatch { glob, .. } if glob == "nope*")
    );
    assert!(matches!(error(&repo, &Options { exclude: vec!["[".into()], ..plain() }), SelectError::BadGlob { .. }));
}

fn named(patterns: &[&str]) -> Options {
    Options { include: patterns.iter().map(|p| (*p).to_owned()).collect(), ..plain() }
}

#[test]
fn only_named_files_are_taken() {
    let repo = Repo::parse("config.json model.safetensors tokenizer.json a/b.txt a/c/d.txt README.md");
    for (pattern, taken) in [
        ("config.json", vec!["config.json"]),
        ("*.json", vec!["config.json", "tokenizer.json"]),
        ("a/", vec!["a/b.txt", "a/c/d.txt"]),
        ("a", vec!["a/b.txt", "a/c/d.txt"]),
        ("a/c", vec!["a/c/d.txt"]),
    ] {
        let outcome = repo.taken(&named(&[pattern]));
        outcome.check();
        assert_eq!((outcome.paths(), outcome.rounds), (taken, 0), "{pattern}");
        assert!(outcome.selection.weights.is_empty() && outcome.selection.named, "{pattern}");
        assert_eq!(outcome.codes(), [Code::FilesOnly], "{pattern}");
    }
    let both = Options { with: vec!["README.md".into()], exclude: vec!["a/b*".into()], ..named(&["a/"]) };
    assert_eq!(repo.taken(&both).paths(), ["README.md", "a/c/d.txt"]);
    // A selection without named files does not have this mark.
    let usual = repo.taken(&plain());
    assert!(!usual.selection.named && !usual.has(Code::FilesOnly));
}

#[test]
fn a_named_part_of_a_set_brings_the_set_and_a_glob_does_not() {
    let repo = Repo::parse(
        "config.json a.safetensors b.safetensors x-Q4_K_M.gguf y-00001-of-00002.gguf y-00002-of-00002.gguf",
    )
    .index("model.safetensors.index.json", &["a.safetensors", "b.safetensors"]);
    let outcome = repo.taken(&named(&["b.safetensors"]));
    outcome.check();
    assert_eq!(outcome.paths(), ["a.safetensors", "b.safetensors", "model.safetensors.index.json"]);
    assert_eq!(outcome.selection.weights[0].files.len(), 2);
    assert_eq!(
        repo.taken(&named(&["y-00002-of-00002.gguf"])).paths(),
        ["y-00001-of-00002.gguf", "y-00002-of-00002.gguf"]
    );
    assert_eq!(repo.taken(&named(&["x-Q4_K_M.gguf"])).paths(), ["x-Q4_K_M.gguf"]);
    let index = repo.taken(&named(&["model.safetensors.index.json"]));
    assert_eq!((index.paths(), index.selection.weights.len()), (vec!["model.safetensors.index.json"], 0));
    let part = repo.taken(&named(&["b.*"]));
    assert_eq!((part.paths(), part.selection.weights.len()), (vec!["b.safetensors"], 0));
    let whole = repo.taken(&named(&["*.safetensors", "*.json"]));
    assert_eq!(whole.selection.weights.len(), 1, "a pattern that matches all of a set has it checked");
}

#[test]
fn a_set_that_is_cut_by_exclude_is_no_longer_checked_against_its_index() {
    let repo = Repo::parse("config.json a.safetensors b.safetensors")
        .index("model.safetensors.index.json", &["a.safetensors", "b.safetensors"]);
    let outcome = repo.taken(&Options { exclude: vec!["b.*".into()], ..plain() });
    let set = &outcome.selection.weights[0];
    assert_eq!((set.files.len(), set.index.is_none()), (1, true));
}

#[test]
fn a_subfolder_is_selected_from_as_if_it_were_the_root() {
    let repo = Repo::parse(
        "config.json model.safetensors sub/config.json sub/model.safetensors sub/deep/model.safetensors modeling_x.py",
    )
    .with("sub/config.json", r#"{"auto_map": {"A": "modeling_x.X"}}"#)
    .with("modeling_x.py", "");
    let outcome = repo.taken(&Options { subfolder: Some("sub".parse().unwrap()), ..plain() });
    outcome.check();
    assert_eq!(outcome.paths(), ["modeling_x.py", "sub/config.json", "sub/model.safetensors"]);
    assert_eq!(outcome.selection.weights[0].scope, "sub");
    assert_eq!(outcome.left("model.safetensors").as_deref(), Some("outside sub/"));
    let absent = Options { subfolder: Some("su".parse().unwrap()), ..plain() };
    assert!(
        matches!(error(&repo, &absent), SelectError::SubfolderAbsent { found, .. } if found.contains(&"sub".to_owned()))
    );
}

#[test]
fn weights_in_one_folder_only_are_found_and_in_several_are_a_question() {
    let one = Repo::parse("README.md tokenizer.json weights/config.json weights/model.safetensors");
    let outcome = one.taken(&plain());
    outcome.check();
    assert_eq!(outcome.paths(), ["tokenizer.json", "weights/config.json", "weights/model.safetensors"]);
    assert!(outcome.has(Code::WeightsAbsent));
    let two = Repo::parse("a/model.safetensors b/pytorch_model.bin onnx/model.onnx checkpoint-1/model.safetensors");
    assert!(matches!(error(&two, &plain()), SelectError::Ambiguous { choices } if names(&choices) == ["a", "b"]));
    let chosen = Options { subfolder: Some("b".parse().unwrap()), ..plain() };
    assert_eq!(two.taken(&chosen).weights(), ["b/pytorch_model.bin"]);
    let pipelines =
        Repo::parse("a/model_index.json a/unet/model.safetensors b/model_index.json b/unet/model.safetensors");
    assert!(matches!(error(&pipelines, &plain()), SelectError::Ambiguous { choices } if names(&choices) == ["a", "b"]));
}

#[test]
fn datasets_and_spaces_are_taken_whole_or_by_their_globs() {
    let mut repo = Repo::parse("README.md data/train.parquet data/test.parquet model.safetensors");
    repo.kind = RepoType::Dataset;
    let outcome = repo.taken(&plain());
    outcome.check();
    assert_eq!(outcome.paths().len(), 4);
    assert!(outcome.selection.weights.is_empty());
    let outcome = repo.taken(&Options { include: vec!["data/*".into()], exclude: vec!["*test*".into()], ..plain() });
    outcome.check();
    assert_eq!(outcome.paths(), ["data/train.parquet"]);
}

#[test]
fn all_takes_every_file_but_what_exclude_names() {
    let repo =
        Repo::parse("model.safetensors pytorch_model.bin own.safetensors onnx/model.onnx README.md training_args.bin");
    let outcome = repo.taken(&Options { all: true, exclude: vec!["onnx/".into()], ..plain() });
    outcome.check();
    assert_eq!(outcome.paths().len(), 5);
    let sets: Vec<_> = outcome.selection.weights.iter().map(|s| (s.family, s.files[0].as_str())).collect();
    assert_eq!(
        sets,
        [
            (Family::Safetensors, "model.safetensors"),
            (Family::Safetensors, "own.safetensors"),
            (Family::Bin, "pytorch_model.bin")
        ]
    );
}

#[test]
fn most_repos_need_one_round_of_documents_and_bare_ones_none() {
    assert_eq!(Repo::parse("model.safetensors").taken(&plain()).rounds, 0);
    let sharded = Repo::parse("config.json tokenizer_config.json a.safetensors")
        .index("model.safetensors.index.json", &["a.safetensors"]);
    assert_eq!(sharded.taken(&plain()).rounds, 1);
}

#[test]
fn only_the_candidate_familys_index_is_asked_for() {
    use hfget_core::select::{Documents, Step, select};
    let repo = Repo::parse("config.json a.safetensors b.bin")
        .index("model.safetensors.index.json", &["a.safetensors"])
        .index("pytorch_model.bin.index.json", &["b.bin"]);
    let Ok(Step::Need(paths)) = select(&repo.listing(), &prefer("bin"), &Documents::new()) else {
        panic!("needs documents")
    };
    let names: Vec<&str> = paths.iter().map(AsRef::as_ref).collect();
    assert_eq!(names, ["config.json", "pytorch_model.bin.index.json"]);
}
