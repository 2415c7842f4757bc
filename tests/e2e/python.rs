//! The Python package, the installer and the action, as their users run them: the scripts of `tests/python`
//! on the loopback Hub. The scripts have the assertions; this module has their Hubs.

use std::path::Path;
use std::process::Command;

use hfget_loopback_hub::{Access, Fault, Hub, Kind, Place, Repo, TOKEN};

use super::interop::python;
use super::support::{CHATGLM, Machine, Run, binary, fixture, one_file, safetensors};

/// The repo of `huggingface_hub`'s guide to downloads, with its revisions.
fn guide() -> Repo {
    Repo::new("lysandre/arxiv-nlp")
        .file("config.json", r#"{"model_type": "gpt2"}"#)
        .file("README.md", "# A model\n")
        .file("vocab.json", "{}")
        .file("nested/deep/a name.txt", "text")
        .lfs("model.safetensors", safetensors("w", 400))
        .lfs("tokenizer.model", vec![7; 300])
        .revision("v1.0")
        .revision("test-branch")
        .revision("refs/pr/3")
}

fn dataset() -> Repo {
    Repo::new("google/fleurs").kind("datasets").file("fleurs.py", "pass\n").lfs("data/train.parquet", b"PAR1".to_vec())
}

/// A model whose configuration and tokenizer transformers loads.
fn loadable() -> Repo {
    Repo::new("org/loads")
        .file("config.json", r#"{"model_type": "gpt2", "n_layer": 1, "n_head": 1, "n_embd": 2, "vocab_size": 3}"#)
        .file("vocab.json", r#"{"a": 0, "b": 1, "<|endoftext|>": 2}"#)
        .file("merges.txt", "#version: 0.2\n")
        .file("tokenizer_config.json", r#"{"tokenizer_class": "GPT2Tokenizer"}"#)
        .lfs("model.safetensors", safetensors("w", 64))
}

/// Runs one class of a script; every test in it must pass. A test that needs a missing program is
/// skipped, with a printed line.
#[track_caller]
fn holds(machine: &Machine, script: &str, class: &str) {
    holds_beside(machine, None, script, class);
}

/// The same with another server that has the machine's repos.
#[track_caller]
fn holds_beside(machine: &Machine, mirror: Option<&Hub>, script: &str, class: &str) {
    let Some(bin) = python() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(bin.join("python"));
    machine.environment(&mut command);
    // Cargo lists the crates of a binary, and needs its toolchain in the real home folder.
    for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(folder).into_os_string());
        command.envs(std::env::var_os(name).or(home).map(|value| (name, value)));
    }
    command.envs(mirror.map(|hub| ("HFGET_TEST_MIRROR", hub.endpoint())));
    command
        .env("HFGET_BINARY", binary())
        .env("HFGET_SOURCE", root)
        .env("HF_HUB_DISABLE_XET", "1")
        .env("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        .env("HFGET_TEST_TOKEN", TOKEN)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONPATH", root.join("python"))
        .arg(root.join("tests/python").join(script))
        .arg(class);
    let run: Run = command.output().unwrap().into();
    let run = run.ends_with(0);
    assert!(run.err.contains("\nOK") && !run.err.contains("Ran 0 tests"), "{class} has no test:\n{}", run.err);
    if run.err.contains("skipped=") {
        eprintln!("some tests of {class} were skipped:\n{}", run.err);
    }
}

#[test]
fn the_documented_examples_give_what_huggingface_hub_gives() {
    holds(&Machine::new([guide(), dataset()]), "downloads.py", "Examples");
}

#[test]
fn a_missing_or_closed_repo_raises_the_exception_of_huggingface_hub() {
    let machine = Machine::new([
        guide(),
        one_file(64).access(Access::Private),
        Repo::new("org/gated").file("config.json", "{}").access(Access::GatedAway),
        Repo::new("org/disabled").file("config.json", "{}").access(Access::Disabled),
    ]);
    holds(&machine, "downloads.py", "Errors");
}

#[test]
fn without_a_hub_the_cache_serves_by_huggingface_hubs_rules_and_is_verified() {
    holds(&Machine::new([guide()]), "downloads.py", "Offline");
}

#[test]
fn a_wrong_byte_is_never_given_out() {
    let machine = Machine::new([one_file(5000), guide()]);
    machine.hub.fault(Fault::new(Place::Bytes, Kind::CorruptByte(200)).on("tokenizer.model"));
    holds(&machine, "downloads.py", "WrongBytes");
}

#[test]
fn the_token_reaches_the_hub_by_the_environment_and_is_not_an_argument() {
    holds(&Machine::new([one_file(64).access(Access::Private)]), "downloads.py", "Token");
}

#[test]
fn the_commands_own_jobs_give_typed_results_and_errors_with_findings() {
    let machine = Machine::new([fixture(CHATGLM), fixture("org/bin-only"), one_file(64)]);
    holds_beside(&machine, Some(&Hub::start([fixture(CHATGLM)])), "jobs.py", "Jobs");
}

#[test]
fn an_interrupt_ends_the_command_and_the_next_run_resumes() {
    let hub = Hub::start([one_file(8 << 20)]);
    hub.fault(Fault::new(Place::Bytes, Kind::Slow(400_000)).times(4));
    holds(&Machine::on(hub), "jobs.py", "Interrupt");
}

#[test]
fn the_command_next_to_the_package_is_found_first_and_its_version_counts() {
    holds(&Machine::new([]), "jobs.py", "Find");
}

#[test]
fn every_loader_of_a_patched_process_gets_verified_files() {
    let machine = Machine::new([loadable(), guide()]);
    holds(&machine, "patched.py", "Patched");
}

#[test]
fn huggingface_hubs_own_download_tests_pass_except_those_that_the_page_lists() {
    holds(&Machine::new([]), "own_tests.py", "OwnTests");
}

#[test]
fn a_program_that_is_run_under_hfget_is_patched_and_so_are_its_children() {
    holds(&Machine::new([guide()]), "patched.py", "RunUnder");
}

#[test]
fn mypy_and_pyright_find_the_package_and_its_overloads_right() {
    holds(&Machine::new([]), "typing_checks.py", "Types");
}

#[test]
fn the_installer_moves_nothing_before_the_checksum_matches() {
    holds(&Machine::new([]), "channels.py", "Installer");
}

#[test]
fn the_actions_steps_work_as_they_are_written() {
    let mut bad = safetensors("w", 64);
    bad.truncate(70);
    let bad = Repo::new("org/bad").file("config.json", "{}").lfs("model.safetensors", bad);
    holds(&Machine::new([one_file(64), bad]), "channels.py", "Action");
}

/// Not in CI: the compiler builds a C library first, which takes many minutes where it has not done so before.
#[test]
#[ignore = "takes many minutes: cargo test --test e2e -- --ignored what_is_compiled_twice"]
fn two_compilations_are_compared_and_a_difference_is_found() {
    holds(&Machine::new([]), "packing.py", "Compiling");
}

#[test]
fn the_recipes_use_artifacts_that_are_made_here() {
    holds(&Machine::new([one_file(64)]), "packing.py", "Recipes");
}

#[test]
fn the_recipes_for_images_run_in_a_root_that_has_the_image_and_nothing_else() {
    holds(&Machine::new([one_file(64)]), "packing.py", "EmptyRoot");
}

#[test]
fn packing_twice_gives_the_same_artifacts_and_a_change_is_found() {
    holds(&Machine::new([]), "packing.py", "Packing");
}
