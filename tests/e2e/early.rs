//! Broken repos fail before most of their bytes move, and `plan --deep` finds them without fetching.

use hfget_loopback_hub::{Fault, Kind, Place, Repo};

use super::support::{CHATGLM, Machine, fixture, safetensors};

const A: &str = "model-00001-of-00002.safetensors";
const B: &str = "model-00002-of-00002.safetensors";

/// Two large shards, and an index that promises `tensor` in the second.
fn two_shards(size: usize, tensor: &str) -> Repo {
    let index = serde_json::json!({
        "metadata": {"total_size": 2 * size},
        "weight_map": {"a": A, tensor: B},
    });
    Repo::new("org/two")
        .file("config.json", "{}")
        .file("model.safetensors.index.json", index.to_string())
        .lfs(A, safetensors("a", size))
        .lfs(B, safetensors("b", size))
}

/// The bytes of weights that were requested.
fn asked(machine: &Machine) -> u64 {
    let requests = machine.hub.requests();
    let weights = requests.iter().filter(|r| r.cdn && r.path.ends_with(".safetensors"));
    weights
        .map(|r| {
            let range = r.range.as_deref().and_then(|r| r.strip_prefix("bytes=")?.split_once('-'));
            range.map_or(1 << 40, |(a, b)| b.parse::<u64>().unwrap() - a.parse::<u64>().unwrap() + 1)
        })
        .sum()
}

#[test]
fn a_broken_repo_fails_before_its_bulk_moves() {
    let machine = Machine::new([two_shards(40 << 20, "promised")]);
    let run =
        machine.run(["org/two"]).ends_with(1).says("tensor-missing").says("promised").says("no weights were fetched");
    assert_eq!(run.out, "");
    assert!(asked(&machine) < 2 << 20, "{} bytes of weights were asked for", asked(&machine));
    assert!(!machine.visible("org/two").keys().any(|n| n.ends_with(".safetensors")));
}

#[test]
fn files_without_an_index_are_compared_before_their_bulk_moves() {
    let repo = |second: &str| {
        Repo::new("org/pair")
            .file("config.json", r#"{"architectures": ["LlamaForCausalLM"]}"#)
            .lfs("one.safetensors", safetensors("a", 40 << 20))
            .lfs("two.safetensors", safetensors(second, 40 << 20))
    };
    let machine = Machine::new([repo("a")]);
    let run = machine.run(["org/pair"]).ends_with(1).says("tensor-duplicate").says("--variant").says("--all");
    assert_eq!(run.out, "");
    assert!(asked(&machine) < 2 << 20, "{} bytes of weights were asked for", asked(&machine));
    machine.run(["org/pair", "--variant", "two"]).ends_with(0);
    Machine::new([repo("b")]).run(["org/pair"]).ends_with(0);
}

#[test]
fn a_right_repo_is_fetched_after_the_check() {
    let repo = two_shards(40 << 20, "b");
    let machine = Machine::new([repo.clone()]);
    machine.run(["org/two"]).ends_with(0);
    machine.assert_nothing_wrong(&repo);
    // If a server does not serve ranges, or fails, the early check has no result.
    for kind in [Kind::IgnoreRange, Kind::Status(500, vec![])] {
        let machine = Machine::new([repo.clone()]);
        machine.hub.fault(Fault::new(Place::Bytes, kind).on("*.safetensors").times(2));
        machine.run(["org/two"]).ends_with(0);
    }
}

#[test]
fn a_deep_plan_finds_it_without_fetching() {
    let machine = Machine::new([two_shards(1 << 20, "promised"), fixture(CHATGLM)]);
    machine.hfget("plan org/two").ends_with(0);
    machine.hfget("plan org/two --deep").ends_with(1).shows("tensor-missing").shows("promised");
    assert!(asked(&machine) < 1 << 20, "{}", asked(&machine));
    for family in ["safetensors", "bin"] {
        machine.run(["plan", CHATGLM, "--deep", "--prefer", family]).ends_with(0);
    }
    assert!(!machine.cache().exists());
}
