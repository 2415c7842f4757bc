//! Fleets that fill a registry: workers push layers that do not overlap, even if some are killed; none of them moves
//! the tag; and publishing writes the same as a single run.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hfget_loopback_hub::{Hub, Options as HubOptions, Repo};
use hfget_loopback_registry::{Auth, Debian, Options, Registry, digest_of};

use super::fleet::{arguments_in, files, second, sharded};
use super::registry::{assert_whole, base_image, log_in};
use super::support::{Machine, Run, codes, safetensors};

/// A command with the patience of real runs: many processes share this machine.
fn command(machine: &Machine, line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = machine.bare();
    command.arg(words.next().unwrap());
    command.args(["--retry-base-ms", "2", "--stall-timeout", "10", "--retry-for", "600"]).args(words);
    command
}

fn hfget(machine: &Machine, line: &str) -> Run {
    command(machine, line).output().unwrap().into()
}

/// A worker on a machine of its own.
fn worker(machine: &Machine, part: u32, of: u32, line: &str) -> Command {
    let mut command = command(machine, line);
    let home = machine.home.path().join(format!("worker{part}"));
    command.args(["--partition", &format!("{part}/{of}")]).env("HF_HOME", home);
    command
}

fn spawned(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The tags for readers of a model, without the tags for workers' parts.
fn announced(registry: &Registry, name: &str) -> Vec<String> {
    registry.tags(name).into_keys().filter(|tag| !tag.contains("-part-")).collect()
}

/// Runs all workers at once, and kills each in the middle of its work.
fn kill_all(machine: &Machine, of: u32, line: &str, random: &mut fastrand::Rng) -> usize {
    let mut running: Vec<_> = (1..=of)
        .map(|part| worker(machine, part, of, line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
        .collect();
    let mut killed = 0;
    for child in &mut running {
        std::thread::sleep(Duration::from_millis(random.u64(10..200)));
        killed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    killed
}

#[test]
fn eight_workers_fill_one_registry_despite_kills_and_publishing_writes_the_same_as_one_run() {
    for layout in ["image", "modelpack"] {
        let options = HubOptions { rate: Some(12 << 20), ..HubOptions::default() };
        let (machine, registry) = (Machine::on(Hub::with(options, [sharded()])), Registry::start());
        let line = format!("org/sharded --to oci://{}/acme/m:v1 --layout {layout}", registry.address());
        let mut random = fastrand::Rng::with_seed(7);
        let mut killed = 0;
        for round in 0..2 {
            killed += kill_all(&machine, 8, &line, &mut random);
            assert_eq!(announced(&registry, "acme/m"), [""; 0], "round {round}");
        }
        assert!(killed >= 8, "{killed}");
        // Nothing is published before all files are there, and missing files are named.
        let run = hfget(&machine, &format!("publish {line} --json")).ends_with(1).says("run the workers again");
        assert!(codes(&run.json()["reports"][0]).contains(&"file-missing"));
        assert_eq!(announced(&registry, "acme/m"), [""; 0]);

        let running: Vec<_> = (1..=8).map(|part| spawned(worker(&machine, part, 8, &line).arg("--json"))).collect();
        let mut taken: BTreeMap<String, u64> = BTreeMap::new();
        let mut loads = Vec::new();
        for (child, part) in running.into_iter().zip(1..) {
            let run = Run::from(child.wait_with_output().unwrap()).ends_with(0);
            // Of a raw layer that an earlier try had sent, only the registry states the digest.
            let all = run.json()["reports"][0]["files"].as_array().unwrap().clone();
            let against = if all.iter().any(|file| file["evidence"] == "stated") { "registry" } else { "hub" };
            assert!(layout == "modelpack" || against == "hub", "{all:?}");
            let run = run.says(&format!("result=part part={part}/8 against={against}"));
            loads.push(files(&run.json()).iter().map(|(_, size)| size).sum::<u64>());
            for (name, size) in files(&run.json()) {
                assert!(taken.insert(name.clone(), size).is_none(), "{name} is in two parts");
            }
        }
        assert_eq!(taken.len(), 14, "{taken:?}");
        let largest = *taken.values().max().unwrap();
        assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= largest, "{loads:?}");
        assert_eq!(announced(&registry, "acme/m"), [""; 0], "a worker moves no tag");

        // Publishing fetches only the files that selection reads from the Hub, and sends configs and the lockfile.
        registry.forget();
        let before = machine.byte_requests();
        let against = if layout == "image" { "hub" } else { "registry" };
        hfget(&machine, &format!("publish {line}")).ends_with(0).says(&format!("result=verified against={against}"));
        assert!(machine.byte_requests() <= before + 2, "config.json and the index");
        assert!(registry.bytes_taken() < 20_000, "{}", registry.bytes_taken());
        let manifest = assert_whole(&registry, "acme/m", "v1");
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 14);
        assert!(registry.tags("acme/m").keys().all(|tag| !tag.contains("-part-")), "{:?}", registry.tags("acme/m"));
        hfget(&machine, &format!("verify oci://{}/acme/m:v1 --deep", registry.address())).ends_with(0);

        // A single run writes the same, except for the origin of raw layers' digests, which were not read.
        hfget(&machine, &line.replace("acme/m:", "acme/alone:")).ends_with(0);
        let alone = registry.manifest("acme/alone", "v1").unwrap().1;
        let fleet = registry.manifest("acme/m", "v1").unwrap().1;
        let as_if_read = String::from_utf8(fleet.to_vec()).unwrap();
        let as_if_read = as_if_read.replace(r#""dev.hfget.against":"registry""#, r#""dev.hfget.against":"hub""#);
        assert_eq!(digest_of(as_if_read.as_bytes()), digest_of(&alone), "{layout}");
        if layout == "image" {
            assert_eq!(registry.tags("acme/m")["v1"], registry.tags("acme/alone")["v1"]);
            assert_eq!(registry.tags("acme/m")["v1-modelpack"], registry.tags("acme/alone")["v1-modelpack"]);
        }
        // Publishing again or working again changes nothing.
        registry.forget();
        hfget(&machine, &format!("publish {line}")).ends_with(0).says("result=verified");
        Run::from(worker(&machine, 1, 8, &line).output().unwrap()).ends_with(0);
        assert!(registry.requests().iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")));
    }
}

#[test]
fn a_killed_worker_resumes_at_the_same_layer_on_any_machine() {
    let options = HubOptions { rate: Some(8 << 20), ..HubOptions::default() };
    let (machine, registry) = (Machine::on(Hub::with(options, [sharded()])), Registry::start());
    let line = format!("org/sharded --to oci://{}/acme/m:v1 --connections 1", registry.address());
    let mut child = spawned(&mut worker(&machine, 1, 1, &line));
    let noted = || registry.manifest("acme/m", "v1-part-1").is_some();
    while !noted() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before a large file was noted");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    registry.come_to_rest();
    let (_, text) = registry.manifest("acme/m", "v1-part-1").unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let there: u64 = manifest["layers"].as_array().unwrap().iter().map(|layer| layer["size"].as_u64().unwrap()).sum();
    std::fs::remove_dir_all(machine.home.path().join("worker1")).unwrap();
    registry.forget();
    Run::from(worker(&machine, 1, 1, &line).output().unwrap()).ends_with(0);
    let repo = sharded();
    let all: u64 = repo.paths().map(|path| repo.content(path).unwrap().len() as u64).sum();
    assert!(there > 8 << 20 && registry.bytes_taken() < all - there + (1 << 20), "{there} {}", registry.bytes_taken());
    hfget(&machine, &format!("publish {line}")).ends_with(0);
}

#[test]
fn a_layer_that_differs_from_a_workers_note_is_not_published_and_the_worker_repairs_it() {
    let (machine, registry) = (Machine::new([sharded()]), Registry::start());
    let line = format!("org/sharded --to oci://{}/acme/m:v1", registry.address());
    for part in 1..=3 {
        Run::from(worker(&machine, part, 3, &line).output().unwrap()).ends_with(0);
    }
    // Anybody with push access can note anything.
    let digest = registry.tags("acme/m")["v1-part-1"].clone();
    let (_, text) = registry.manifest("acme/m", &digest).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let layer = &manifest["layers"][0];
    let (path, name) = (&layer["annotations"]["dev.hfget.file.path"], layer["digest"].as_str().unwrap());
    let right = registry.blob("acme/m", name).unwrap();
    let mut wrong = right.to_vec();
    *wrong.get_mut(700).unwrap() ^= 1;
    registry.plant_blob("acme/m", name, wrong);
    let run = hfget(&machine, &format!("publish {line} --json")).ends_with(1);
    assert_eq!(codes(&run.json()["reports"][0]), ["checksum-mismatch"]);
    assert_eq!(run.json()["reports"][0]["findings"][0]["path"], *path);
    assert_eq!(announced(&registry, "acme/m"), [""; 0]);
    registry.remove_blob("acme/m", name);
    let run = hfget(&machine, &format!("publish {line} --json")).ends_with(1);
    assert_eq!(codes(&run.json()["reports"][0]), ["file-missing"]);
    Run::from(worker(&machine, 1, 3, &line).output().unwrap()).ends_with(0);
    hfget(&machine, &format!("publish {line}")).ends_with(0).says("result=verified against=hub");
    assert_whole(&registry, "acme/m", "v1");
}

#[test]
fn a_registry_that_allows_no_removal_keeps_the_workers_notes_and_is_still_published() {
    let options = Options { removes: false, auth: Auth::Bearer(Duration::from_mins(5)), ..Options::default() };
    let (machine, registry) = (Machine::new([second()]), Registry::with(options));
    log_in(&machine, registry.address());
    let line = format!("org/second --to oci://{}/acme/m:v1", registry.address());
    for part in 1..=5 {
        Run::from(worker(&machine, part, 5, &line).output().unwrap()).ends_with(0);
    }
    hfget(&machine, &format!("publish {line}")).ends_with(0).says("result=verified");
    let tags: Vec<String> = registry.tags("acme/m").into_keys().collect();
    // If there are more workers than files, some have nothing to note.
    assert_eq!(tags, ["v1", "v1-modelpack", "v1-part-1", "v1-part-2"]);
    // If removal is allowed, it happens, with a token for it.
    registry.change(|options| options.removes = true);
    hfget(&machine, &format!("publish {line}")).ends_with(0).says("result=verified");
    assert_eq!(announced(&registry, "acme/m").len(), registry.tags("acme/m").len());
}

#[test]
fn publishing_one_commit_keeps_the_notes_of_another_commits_workers() {
    let (machine, registry) = (Machine::new([second()]), Registry::start());
    machine.hfget("lock org/second").ends_with(0);
    let to = format!("--to oci://{}/acme/m:v1", registry.address());
    for part in 1..=2 {
        Run::from(worker(&machine, part, 2, &format!("--locked {to}")).output().unwrap()).ends_with(0);
    }
    hfget(&machine, &format!("publish --locked {to}")).ends_with(0);
    let newer = Repo::new("org/second").file("config.json", "{ }").lfs("model.safetensors", safetensors("x", 5 << 20));
    machine.hub.replace(newer);
    Run::from(worker(&machine, 1, 2, &format!("org/second {to}")).output().unwrap()).ends_with(0);
    let noted = registry.tags("acme/m")["v1-part-1"].clone();
    hfget(&machine, &format!("publish --locked {to}")).ends_with(0);
    assert_eq!(registry.tags("acme/m")["v1-part-1"], noted);
    Run::from(worker(&machine, 2, 2, &format!("org/second {to}")).output().unwrap()).ends_with(0);
    hfget(&machine, &format!("publish org/second {to}")).ends_with(0).says("result=verified against=hub");
    assert!(registry.tags("acme/m").keys().all(|tag| !tag.contains("-part-")));
}

#[test]
fn publishing_pushes_the_base_also_if_it_is_added_later() {
    let (machine, registry) = (Machine::new([second()]), Registry::start());
    let layer = base_image(&registry, b"a layer of a base");
    let base = format!("--base oci://{}/acme/base:v1", registry.address());
    let line = format!("org/second --to oci://{}/acme/m:v1 {base}", registry.address());
    for part in 1..=2 {
        Run::from(worker(&machine, part, 2, &line).output().unwrap()).ends_with(0);
    }
    assert!(registry.blob("acme/m", &layer).is_none(), "no worker needs it");
    hfget(&machine, &format!("publish {line}")).ends_with(0).says("result=verified");
    assert_eq!(assert_whole(&registry, "acme/m", "v1")["layers"][0]["digest"], layer);
    // All files are there, but the base is not.
    let line = format!("org/second --to oci://{}/acme/other:v1", registry.address());
    hfget(&machine, &line).ends_with(0);
    hfget(&machine, &format!("{line} {base}")).ends_with(0).says("result=verified");
    assert_eq!(assert_whole(&registry, "acme/other", "v1")["layers"][0]["digest"], layer);
}

#[test]
fn only_the_worker_that_ends_last_publishes() {
    let (machine, registry) = (Machine::new([sharded()]), Registry::start());
    let line = format!("org/sharded --to oci://{}/acme/m:v1 --publish-when-complete", registry.address());
    for part in [2, 3] {
        let run = Run::from(worker(&machine, part, 3, &line).output().unwrap()).ends_with(0);
        run.says("result=part").says("missing; the worker that ends last publishes it");
        assert_eq!(announced(&registry, "acme/m"), [""; 0], "part {part}");
    }
    let before = machine.byte_requests();
    let run = Run::from(worker(&machine, 1, 3, &line).output().unwrap()).ends_with(0);
    assert!(machine.byte_requests() > before);
    run.says("result=part part=1/3").says("result=verified against=hub repo=org/sharded");
    let digest = registry.tags("acme/m")["v1"].clone();
    assert_whole(&registry, "acme/m", "v1");
    // Again, with the same result.
    let run = Run::from(worker(&machine, 2, 3, &line).arg("--json").output().unwrap()).ends_with(0);
    let verdicts: Vec<serde_json::Value> =
        run.json()["reports"].as_array().unwrap().iter().map(|report| report["verdict"].clone()).collect();
    assert_eq!(verdicts, ["part", "verified"]);
    assert_eq!(registry.tags("acme/m")["v1"], digest);
}

#[test]
fn workers_that_end_together_publish_the_same() {
    let (machine, registry) = (Machine::new([sharded()]), Registry::start());
    let line = format!("org/sharded --to oci://{}/acme/m:v1 --publish-when-complete", registry.address());
    let running: Vec<_> = (1..=4).map(|part| spawned(&mut worker(&machine, part, 4, &line))).collect();
    let ends: Vec<Run> = running.into_iter().map(|child| child.wait_with_output().unwrap().into()).collect();
    let published = ends.into_iter().filter(|run| {
        assert_eq!(run.code, Some(0), "{}", run.err);
        run.err.contains("result=verified against=hub")
    });
    assert!(published.count() >= 1);
    assert_whole(&registry, "acme/m", "v1");
}

#[test]
fn a_worker_does_not_publish_a_wrong_layer_of_another() {
    let (machine, registry) = (Machine::new([sharded()]), Registry::start());
    let line = format!("org/sharded --to oci://{}/acme/m:v1", registry.address());
    Run::from(worker(&machine, 1, 2, &line).output().unwrap()).ends_with(0);
    let (_, text) = registry.manifest("acme/m", "v1-part-1").unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let layer = manifest["layers"][0]["digest"].as_str().unwrap();
    let mut wrong = registry.blob("acme/m", layer).unwrap().to_vec();
    wrong[700] ^= 1;
    registry.plant_blob("acme/m", layer, wrong);
    let line = format!("{line} --publish-when-complete");
    let run = Run::from(worker(&machine, 2, 2, &line).output().unwrap()).ends_with(1);
    run.says("result=part part=2/2").says("checksum-mismatch").says("run the workers again");
    assert_eq!(announced(&registry, "acme/m"), [""; 0]);
}

#[test]
fn workers_divide_several_repos_each_with_a_tag_of_its_own() {
    let capital = Repo::new("Org/One").file("config.json", "{}").lfs("model.safetensors", safetensors("w", 1 << 20));
    let (machine, registry) = (Machine::new([sharded(), second(), capital]), Registry::start());
    let to = format!("oci://{}/all/{{owner}}/{{name}}:v1", registry.address());
    let line = format!("org/sharded org/second Org/One --to {to}");
    let mut taken = BTreeMap::new();
    for part in 1..=3 {
        let run = Run::from(worker(&machine, part, 3, &line).arg("--json").output().unwrap()).ends_with(0);
        for (name, size) in files(&run.json()) {
            assert!(taken.insert(name.clone(), size).is_none(), "{name} is in two parts");
        }
    }
    assert_eq!(taken.len(), 14 + 2 + 2);
    hfget(&machine, &format!("publish {line}")).ends_with(0).says("repo=org/sharded").says("repo=Org/One");
    for (name, layers) in [("all/org/sharded", 14), ("all/org/second", 2), ("all/org/one", 2)] {
        assert_eq!(assert_whole(&registry, name, "v1")["layers"].as_array().unwrap().len(), layers);
    }
    // Without workers the result is the same.
    hfget(&machine, &line.replace("/all/", "/alone/")).ends_with(0);
    assert_eq!(registry.tags("alone/org/second"), registry.tags("all/org/second"));
    // A name that would make two repos one, or that no registry accepts, is refused before any request.
    let before = machine.byte_requests();
    let one = format!("oci://{}/{{name}}:v1", registry.address());
    hfget(&machine, &format!("org/one Org/One --to {one}")).ends_with(2).says("would have one tag");
    hfget(&machine, &format!("org/sharded --to oci://{}/{{owner}}:v1", registry.address())).ends_with(2).says("{name}");
    hfget(&machine, &format!("org/a.-b --to {one}")).ends_with(2).says("org/a.-b");
    hfget(&machine, &format!("org/sharded --follow-code --to {one}")).ends_with(2).says("--follow-code");
    assert_eq!(machine.byte_requests(), before);
}

#[test]
fn an_image_layout_on_a_disk_is_filled_by_one_run() {
    let machine = Machine::new([second()]);
    for to in ["oci-archive:m.tar", "oci:folder", "oci-archive:{name}.tar"] {
        machine.hfget(&format!("org/second --to {to} --partition 1/2")).ends_with(2).says("is filled by one run");
    }
    assert_eq!(machine.byte_requests(), 0);
}

#[test]
fn the_job_of_the_recipe_fills_a_registry_and_its_last_pod_publishes_it() {
    let (machine, registry) = (Machine::new([sharded()]), Registry::start());
    machine.hfget("lock org/sharded").ends_with(0);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/recipes/fleet-registry.yaml");
    let recipe = std::fs::read_to_string(path).unwrap();
    let [fill] = &arguments_in(&recipe)[..] else { panic!("one Job") };
    assert!(recipe.contains("completions: 8") && fill.contains(&"/8".to_owned()));
    let words = fill.join(" ").replace("registry.example", registry.address());
    for index in 0..8 {
        assert!(announced(&registry, "acme/model").is_empty());
        let mut command = command(&machine, &words);
        Run::from(command.env("JOB_COMPLETION_INDEX", index.to_string()).output().unwrap()).ends_with(0);
    }
    assert_whole(&registry, "acme/model", "v1");
    machine.hfget(&format!("verify oci://{}/acme/model:v1 --lock hfget.lock", registry.address())).ends_with(0);
}

#[test]
fn debians_registry_is_filled_by_eight_workers_and_published() {
    let options = HubOptions { rate: Some(12 << 20), ..HubOptions::default() };
    let machine = Machine::on(Hub::with(options, [sharded()]));
    let folder = machine.home.path().join("debian");
    std::fs::create_dir(&folder).unwrap();
    // It accepts an expired token for a minute.
    let Some(debian) = Debian::start(&folder, Some(Duration::from_secs(30))) else { return };
    log_in(&machine, &debian.address());
    let line = format!("org/sharded --to oci://{}/acme/m:v1", debian.address());
    kill_all(&machine, 8, &line, &mut fastrand::Rng::with_seed(3));
    let running: Vec<_> = (1..=8).map(|part| spawned(&mut worker(&machine, part, 8, &line))).collect();
    for child in running {
        Run::from(child.wait_with_output().unwrap()).ends_with(0).says("result=part");
    }
    hfget(&machine, &format!("verify oci://{}/acme/m:v1", debian.address())).ends_with(3);
    hfget(&machine, &format!("publish {line}")).ends_with(0).says("result=verified against=hub");
    hfget(&machine, &format!("verify oci://{}/acme/m:v1 --deep", debian.address())).ends_with(0);
    let repo: &Repo = &sharded();
    let out = format!("org/sharded --endpoint oci://{}/acme/m:v1 --local-dir out", debian.address());
    let path = hfget(&machine, &out).ends_with(0).path();
    let shard = "model-00001-of-00011.safetensors";
    assert_eq!(std::fs::read(path.join(shard)).unwrap(), repo.content(shard).unwrap());
}
