//! Listings of 100,000 files, in shapes on which work in the square of their number would take too long.

use hfget_core::model::Options;

use crate::support::{Repo, only};

const MANY: usize = 100_000;

fn many(name: impl Fn(usize) -> String) -> Repo {
    Repo::of((0..MANY).map(name))
}

fn all() -> Options {
    Options { all: true, ..Options::default() }
}

#[test]
fn shards_of_sets_that_are_not_whole() {
    let repo = many(|n| format!("model-{n:06}-of-999999.safetensors"));
    repo.taken(&all());
    assert!(repo.select(&Options::default()).is_err());
    many(|n| format!("model.v{n}-00001-of-00002.safetensors")).taken(&all());
}

#[test]
fn graphs_with_external_data() {
    let repo = many(|n| if n % 2 == 0 { format!("g{n}.onnx") } else { format!("g{}.onnx_data", n - 1) });
    assert_eq!(repo.taken(&only("onnx")).weights().len(), MANY);
}

#[test]
fn folders_of_models_and_of_saved_models() {
    assert!(many(|n| format!("d{n}/model.safetensors")).select(&Options::default()).is_err());
    assert!(many(|n| format!("d{n}/saved_model.pb")).select(&only("saved-model")).is_err());
    let deep = (0..500).map(|n| format!("{}{n}/model.safetensors", "d/".repeat(1900)));
    assert!(Repo::of(deep).select(&Options::default()).is_err());
}

#[test]
fn code_that_is_too_large_to_read() {
    let mut repo = Repo::of((0..20_000).map(|n| format!("m{n}.py")));
    for size in repo.files.values_mut() {
        *size = 1 << 40;
    }
    let map: Vec<String> = (0..20_000).map(|n| format!("\"{n}\": \"m{n}.X\"")).collect();
    let repo = repo.with("config.json", format!("{{\"auto_map\": {{{}}}}}", map.join(",")));
    assert_eq!(repo.taken(&Options::default()).paths().len(), 20_001);
}
