//! A misspelt word is answered with the probable one.

use super::support::{Machine, fixture, one_file};

#[test]
fn a_misspelt_command_is_not_taken_for_a_repo_and_the_words_after_it_are_not_fetched() {
    let machine = Machine::new([one_file(64)]);
    let run = machine.hfget("verfy org/one").ends_with(3).says("did you mean `hfget verify`?");
    assert!(!run.err.contains("org/one"), "{}", run.err);
    assert!(!machine.model("org/one").exists());
    machine.hfget("plann --offline").ends_with(3).says("did you mean `hfget plan`?");
    // A command after flags is read as a repo.
    let run = machine.run(["--quiet", "verify", "org/one"]).ends_with(3).says("a command comes first: `hfget verify`");
    assert!(!run.err.contains("org/one"), "{}", run.err);
    let run = machine.hfget("gpt2").ends_with(3);
    assert!(!run.err.contains("did you mean"), "{}", run.err);
    let run = machine.hfget("inspect verfy").ends_with(3);
    assert!(!run.err.contains("did you mean"), "{}", run.err);
}

#[test]
fn a_repo_that_does_not_exist_suggests_a_cached_one_with_a_similar_name() {
    let machine = Machine::new([one_file(64), fixture("org/tied-gpt2")]);
    machine.hfget("org/tied-gpt2").ends_with(0);
    for line in ["org/tied-gtp2", "tied-gpt2", "other/tied-gpt2", "org/tied-gpt --offline", "plan org/tide-gpt2"] {
        machine.hfget(line).ends_with(3).says("did you mean org/tied-gpt2? It is in the cache");
    }
    let run = machine.hfget("org/unheard-of --json").ends_with(3);
    let hint = run.json()["reports"][0]["hint"].as_str().unwrap().to_owned();
    assert!(!hint.contains("did you mean"), "{hint}");
    for help in ["spelling", "OWNER/NAME", "datasets/", "HF_TOKEN", "HF_ENDPOINT"] {
        assert!(hint.contains(help), "{help} is not in {hint}");
    }
    let json = machine.hfget("tied-gpt2 --json").ends_with(3).json();
    assert!(json["reports"][0]["hint"].as_str().unwrap().starts_with("did you mean org/tied-gpt2?"), "{json}");
}

#[test]
fn variants_and_revisions_are_listed_with_the_nearest_first() {
    let machine = Machine::new([fixture("org/tiny-sdxl"), one_file(64).revision("v1.0")]);
    machine.hfget("org/tiny-sdxl --variant fp61").ends_with(3).says("did you mean fp16?");
    machine.hfget("org/one --variant fp16").ends_with(3).says("leave out --variant");
    machine.hfget("org/one@mian").ends_with(3).says("did you mean main? the repo has main, v1.0");
}

#[test]
fn families_flags_and_codes_are_suggested() {
    let machine = Machine::new([]);
    for (line, near) in [
        ("org/one --prefer safetensor", "a similar value exists: 'safetensors'"),
        ("org/one --inclde *.json", "a similar argument exists: '--include'"),
        ("org/one --deny remote-cod", "did you mean remote-code?"),
    ] {
        machine.hfget(line).ends_with(2).says(near);
    }
    assert_eq!(machine.hub.requests().len(), 0);
}
