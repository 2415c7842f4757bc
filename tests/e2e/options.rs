//! The flags that change the selection: each does what its help says.

use super::support::{CHATGLM, Machine, Run, fixture, tree};

fn names(run: &Run) -> Vec<String> {
    tree(&run.path()).into_keys().collect()
}

#[test]
fn prefer_falls_back_with_a_warning_and_only_does_not() {
    let machine = Machine::new([fixture("org/bin-only")]);
    machine.hfget("org/bin-only --only safetensors").ends_with(3).says("bin");
    let run = machine.hfget("org/bin-only --prefer safetensors").ends_with(0).says("family-fallback");
    assert!(names(&run).iter().any(|n| n.ends_with(".bin")));
}

#[test]
fn a_family_that_is_not_selected_yet_is_refused_by_name() {
    let machine = Machine::new([fixture("org/bin-only")]);
    machine.hfget("org/bin-only --prefer nonsense").ends_with(2);
}

#[test]
fn with_adds_and_exclude_removes() {
    let machine = Machine::new([fixture(CHATGLM)]);
    let run = machine.run([CHATGLM, "--with", "README*", "--exclude", "*.py"]).ends_with(0);
    let names = names(&run);
    assert!(names.contains(&"README.md".into()) && names.contains(&"config.json".into()));
    assert!(!names.iter().any(|n| n.ends_with(".py")), "{names:?}");
}

#[test]
fn an_excluded_shard_is_left_out_with_a_note() {
    let machine = Machine::new([fixture(CHATGLM)]);
    machine
        .run([CHATGLM, "--exclude", "model-00003-of-00007.safetensors"])
        .ends_with(0)
        .says("warning[excluded]")
        .says("model-00003-of-00007.safetensors");
}

#[test]
fn a_selection_whose_weights_are_all_excluded_is_nothing_to_verify() {
    let machine = Machine::new([fixture(CHATGLM)]);
    machine
        .run([CHATGLM, "--only", "safetensors", "--exclude", "*.safetensors"])
        .ends_with(3)
        .says("nothing to verify");
    assert!(machine.run([CHATGLM, "--only", "safetensors"]).ends_with(0).says("verified").path().exists());
}

#[test]
fn all_takes_everything_and_no_code_leaves_code() {
    let machine = Machine::new([fixture(CHATGLM)]);
    let run = machine.run([CHATGLM, "--all"]).ends_with(0);
    let repo = fixture(CHATGLM);
    let all: Vec<&str> = repo.paths().collect();
    Machine::assert_whole(&run.path(), &repo, &all);
    let other = Machine::new([fixture(CHATGLM)]);
    let run = other.run([CHATGLM, "--no-code"]).ends_with(0);
    assert!(!names(&run).iter().any(|n| n.ends_with(".py")));
}

#[test]
fn a_variant_and_a_subfolder() {
    let machine = Machine::new([fixture("org/tiny-sdxl")]);
    let run = machine.run(["org/tiny-sdxl", "--variant", "fp16"]).ends_with(0);
    let weights: Vec<String> = names(&run).into_iter().filter(|n| n.ends_with(".safetensors")).collect();
    assert!(!weights.is_empty() && weights.iter().all(|n| n.contains(".fp16.")), "{weights:?}");
    let other = Machine::new([fixture("org/tiny-sdxl")]);
    let run = other.run(["org/tiny-sdxl", "--subfolder", "unet"]).ends_with(0);
    assert!(names(&run).iter().all(|n| n.starts_with("unet/")), "{:?}", names(&run));
}

#[test]
fn force_fetches_again() {
    let machine = Machine::new([fixture("org/bin-only")]);
    machine.hfget("org/bin-only").ends_with(0);
    machine.hub.forget();
    machine.hfget("org/bin-only --force").ends_with(0);
    assert!(machine.byte_requests() > 0);
}

#[test]
fn the_environment_is_read_as_other_tools_read_it() {
    let machine = Machine::new([fixture("org/bin-only")]);
    for (name, value, place) in [
        ("HF_HUB_CACHE", "a", "a"),
        ("HUGGINGFACE_HUB_CACHE", "b", "b"),
        ("HF_HOME", "c", "c/hub"),
        ("XDG_CACHE_HOME", "d", "d/huggingface/hub"),
    ] {
        let mut command = machine.command();
        command.env_remove("HF_HOME").env(name, machine.home.path().join(value)).arg("org/bin-only");
        let run: Run = command.output().unwrap().into();
        let run = run.ends_with(0);
        let wanted = machine.home.path().join(place);
        assert!(run.path().starts_with(&wanted), "{name}: {}", run.out);
    }
    let mut command = machine.command();
    let run: Run = command.env("HF_HUB_OFFLINE", "1").args(["org/bin-only"]).output().unwrap().into();
    run.ends_with(3).says("--offline");
    let mut command = machine.command();
    let run: Run = command.env("HF_HUB_DISABLE_SYMLINKS", "1").arg("org/bin-only").output().unwrap().into();
    let run = run.ends_with(0);
    assert!(tree(&run.path()).keys().all(|n| !run.path().join(n).is_symlink()));
}

#[test]
fn the_proxy_of_the_environment_is_used() {
    let machine = Machine::new([fixture("org/bin-only")]);
    let mut command = machine.command();
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9").arg("org/bin-only");
    let run: Run = command.output().unwrap().into();
    run.ends_with(4);
    let mut command = machine.command();
    command.env("http_proxy", "http://127.0.0.1:9").env("NO_PROXY", "127.0.0.0/8").arg("org/bin-only");
    let run: Run = command.output().unwrap().into();
    run.ends_with(0);
}
