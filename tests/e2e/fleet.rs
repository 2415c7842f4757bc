//! Fleets: workers that share a job fill one bucket or one cache, even if some are killed; and the last step accepts
//! only complete and right files. The store is the S3 server of `objects`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use hfget_loopback_hub::{Hub, Options, Quotas, Repo};
use serde_json::Value;

use super::objects::S3;
use super::support::{Machine, Run, codes, one_file, safetensors};

/// A model with many shards of very different sizes, some in several parts.
pub(super) fn sharded() -> Repo {
    let sizes = [20 << 20, 9 << 20, 9 << 20, 3 << 20, 1 << 20, 1 << 20, 300_000, 300_000, 1000, 1000, 1000];
    let mut repo =
        Repo::new("org/sharded").file("config.json", r#"{"model_type":"llama"}"#).file("tokenizer.json", "{}");
    let mut map = String::new();
    for (at, size) in sizes.into_iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", at + 1, sizes.len());
        repo = repo.lfs(&name, safetensors(&format!("w{at}"), size));
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(map, r#"{comma}"w{at}":"{name}""#);
    }
    repo.file("model.safetensors.index.json", format!(r#"{{"metadata":{{}},"weight_map":{{{map}}}}}"#))
}

pub(super) fn second() -> Repo {
    Repo::new("org/second").file("config.json", "{}").lfs("model.safetensors", safetensors("w", 5 << 20))
}

/// The names of a report's files, with their repo.
pub(super) fn files(report: &Value) -> Vec<(String, u64)> {
    let of = |report: &Value| -> Vec<(String, u64)> {
        let repo = report["repo"].as_str().unwrap().to_owned();
        let files = report["files"].as_array().unwrap().iter();
        files.map(|f| (format!("{repo}/{}", f["path"].as_str().unwrap()), f["size"].as_u64().unwrap())).collect()
    };
    report["reports"].as_array().unwrap().iter().flat_map(of).collect()
}

fn announced(s3: &S3) -> Vec<String> {
    s3.keys().into_iter().filter(|key| key.contains("/refs/") || key.contains("/manifests/")).collect()
}

/// The result line of a worker on a machine of its own.
fn worker(s3: &S3, machine: &Machine, part: u32, line: &str) -> std::process::Command {
    let mut command = s3.command(machine, line);
    command
        .args(["--partition", &format!("{part}/8")])
        .env("HF_HOME", machine.home.path().join(format!("worker{part}")));
    command
}

#[test]
fn eight_workers_fill_one_bucket_despite_kills_and_only_then_is_it_published() {
    let options = Options { rate: Some(12 << 20), ..Options::default() };
    let machine = Machine::on(Hub::with(options, [sharded(), second()]));
    let Some(s3) = S3::start(&machine) else { return };
    let line = "org/sharded org/second --to s3://fleet/models";
    // All workers run at once, and each is killed more than once.
    let mut random = fastrand::Rng::with_seed(7);
    let mut killed = 0;
    for round in 0..3 {
        let spawn =
            |part| worker(&s3, &machine, part, line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut running: Vec<_> = (1..=8).map(spawn).collect();
        for child in &mut running {
            std::thread::sleep(Duration::from_millis(random.u64(10..200)));
            if child.try_wait().unwrap().is_none() {
                killed += 1;
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(announced(&s3), [""; 0], "round {round}");
    }
    assert!(killed >= 8, "{killed}");
    // Before the workers are done nothing is published, and the missing files are named.
    let run = s3.hfget(&machine, &format!("publish {line} --json")).ends_with(1).says("run the workers again");
    let report = run.json();
    assert!(codes(&report["reports"][0]).contains(&"file-missing"), "{report}");
    assert_eq!(announced(&s3), [""; 0]);
    // In another run, each worker fetches its missing files.
    let spawn = |part| {
        let mut command = worker(&s3, &machine, part, line);
        command.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let running: Vec<_> = (1..=8).map(spawn).collect();
    let mut taken: BTreeMap<String, u64> = BTreeMap::new();
    let mut loads = Vec::new();
    for (child, part) in running.into_iter().zip(1..) {
        let run = Run::from(child.wait_with_output().unwrap()).ends_with(0);
        let run = run.says(&format!("result=part part={part}/8 "));
        assert!(!run.err.contains("result=verified"), "{}", run.err);
        let report = run.json();
        for report in report["reports"].as_array().unwrap() {
            assert_eq!((&report["verdict"], &report["verified"]), (&"part".into(), &false.into()));
            assert_eq!(report["part"], format!("{part}/8"));
        }
        loads.push(files(&report).iter().map(|(_, size)| size).sum::<u64>());
        for (name, size) in files(&report) {
            assert!(taken.insert(name.clone(), size).is_none(), "{name} is in two parts");
        }
    }
    assert_eq!(taken.len(), 14 + 2, "{taken:?}");
    let largest = *taken.values().max().unwrap();
    assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= largest, "{loads:?}");
    assert_eq!(announced(&s3), [""; 0], "a worker publishes nothing");
    // Publishing asks the Hub for no bytes of files that are there, and publishes the whole.
    let before = machine.byte_requests();
    s3.hfget(&machine, &format!("publish {line}")).ends_with(0).says("result=verified against=hub repo=org/sharded");
    assert_eq!(machine.byte_requests(), before);
    assert_eq!(announced(&s3).len(), 4);
    assert!(!s3.keys().iter().any(|key| key.contains(".hfget")), "{:?}", s3.keys());
    s3.hfget(&machine, "verify s3://fleet/models").ends_with(0).says("11 weight files");
}

#[test]
fn a_wrong_file_of_a_worker_is_not_published() {
    let machine = Machine::new([sharded()]);
    let Some(s3) = S3::start(&machine) else { return };
    let line = "org/sharded --to s3://fleet";
    for part in 1..=8 {
        Run::from(worker(&s3, &machine, part, line).output().unwrap()).ends_with(0);
    }
    let shard = "model-00004-of-00011.safetensors";
    let key = format!("models--org--sharded/snapshots/{}/{shard}", sharded().commit());
    s3.script(&format!(
        "b = bytearray(s3.get_object(Bucket='fleet', Key='{key}')['Body'].read())
b[-1] ^= 1
s3.put_object(Bucket='fleet', Key='{key}', Body=bytes(b))"
    ));
    let run = s3.hfget(&machine, &format!("publish {line} --json")).ends_with(1);
    let report = &run.json()["reports"][0];
    assert_eq!(codes(report), ["checksum-mismatch"]);
    assert_eq!(report["findings"][0]["path"], shard);
    assert_eq!(announced(&s3), [""; 0]);
    // The worker of the file repairs it, and the others have nothing to do. No worker reads the files of others.
    for part in 1..=8 {
        let run = Run::from(worker(&s3, &machine, part, line).arg("--json").output().unwrap()).ends_with(0);
        let report = &run.json()["reports"][0];
        let mine = files(&run.json()).iter().any(|(name, _)| name.ends_with(shard));
        assert_eq!(report["totals"]["bytes_fetched"].as_u64().unwrap() > 0, mine, "{part}");
    }
    s3.hfget(&machine, &format!("publish {line}")).ends_with(0);
}

#[test]
fn a_worker_finds_its_own_broken_header_and_the_first_worker_finds_missing_tensors() {
    let index =
        r#"{"metadata":{},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors","gone":"m-2.safetensors"}}"#;
    let repo = |second: Vec<u8>| {
        Repo::new("org/one")
            .file("config.json", "{}")
            .file("model.safetensors.index.json", index)
            .lfs("m-1.safetensors", safetensors("a", 40 << 20))
            .lfs("m-2.safetensors", second)
    };
    let machine = Machine::new([repo(safetensors("b", 30 << 20))]);
    let Some(s3) = S3::start(&machine) else { return };
    let run = s3.hfget(&machine, "org/one --to s3://fleet --partition 1/2 --json").ends_with(1);
    assert_eq!(codes(&run.json()["reports"][0]), ["tensor-missing"]);
    assert_eq!(s3.keys(), [""; 0], "before the first byte");
    // The second worker does not notice it; the last step does.
    s3.hfget(&machine, "org/one --to s3://fleet --partition 2/2").ends_with(0).says("the whole is not verified");
    let mut wrong = safetensors("b", 1000);
    wrong[8] = b'x';
    let machine = Machine::new([repo(wrong)]);
    let all = |part| s3.hfget(&machine, &format!("org/one --to s3://fleet/b --partition {part}/2 --json"));
    let found: Vec<String> = [1, 2]
        .iter()
        .flat_map(|part| all(part).json()["reports"][0]["findings"].as_array().unwrap().clone())
        .map(|f| f["code"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, ["header-invalid"]);
}

#[test]
fn more_workers_than_files_and_workers_of_one_shared_cache_do_no_harm() {
    let machine = Machine::new([one_file(1000)]);
    for part in (1..=5).rev() {
        let run = machine.hfget(&format!("org/one --partition {part}/5")).ends_with(0);
        run.says(&format!("result=part part={part}/5")).says("the whole is not verified");
    }
    // No loader finds it before it is published.
    assert!(!machine.model("org/one").join("refs/main").exists());
    machine.hfget("publish org/one").ends_with(0).says("result=verified against=hub");
    assert!(machine.model("org/one").join("refs/main").exists());
    machine.hfget("verify org/one --offline").ends_with(0);
}

#[test]
fn the_pods_of_an_indexed_job_count_from_zero_and_a_part_that_does_not_exist_is_refused() {
    let machine = Machine::new([one_file(1000), second()]);
    let run = |index: &str, part: &str| -> Run {
        let mut command = machine.command();
        command.args(["org/one", "--partition", part]).env("JOB_COMPLETION_INDEX", index).output().unwrap().into()
    };
    run("0", "/2").ends_with(0).says("result=part part=1/2");
    run("1", "/2").ends_with(0).says("result=part part=2/2");
    run("2", "/2").ends_with(2).says("JOB_COMPLETION_INDEX is 2, but there are only 2 parts");
    run("0", "0/2").ends_with(2).says("parts are counted from 1 to 2");
    machine.hfget("org/one --partition /2").ends_with(2).says("outside an indexed Job write K/N");
    // While a repo cannot be listed, the files of a part are not known, so nothing is fetched.
    let before = machine.byte_requests();
    machine.hfget("org/second org/none --partition 1/2").ends_with(3).says("org/none");
    assert!(machine.byte_requests() - before <= 1, "nothing but the configuration that the choice depends on");
    assert!(!machine.model("org/second").exists());
    // A plan divides the files in the same way.
    let plan = |part| machine.hfget(&format!("plan org/second --partition {part}/2 --json")).ends_with(0).json();
    let names: Vec<Value> = [1, 2]
        .iter()
        .flat_map(|part| plan(part)["plans"][0]["files"].as_array().unwrap().clone())
        .map(|f| f["path"].clone())
        .collect();
    assert_eq!(names, ["model.safetensors", "config.json"]);
}

#[test]
fn workers_share_the_files_of_a_lockfile() {
    let machine = Machine::new([sharded(), second()]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "lock org/sharded org/second").ends_with(0);
    s3.hfget(&machine, "--locked --to s3://fleet --partition 1/2")
        .ends_with(0)
        .says("result=part part=1/2 against=lock");
    s3.hfget(&machine, "publish --locked --to s3://fleet").ends_with(1).says("file-missing");
    s3.hfget(&machine, "--locked --to s3://fleet --partition 2/2").ends_with(0);
    s3.hfget(&machine, "publish --locked --to s3://fleet").ends_with(0).says("result=verified against=lock");
}

#[test]
fn the_worker_that_ends_last_publishes_a_bucket_and_a_shared_cache() {
    let machine = Machine::new([sharded(), second()]);
    let Some(s3) = S3::start(&machine) else { return };
    let line = "org/sharded org/second --to s3://fleet/models --publish-when-complete";
    for part in 2..=8 {
        let run = Run::from(worker(&s3, &machine, part, line).output().unwrap()).ends_with(0);
        // The smaller repo may be complete earlier.
        assert!(!run.err.contains("result=verified against=hub repo=org/sharded"), "{}", run.err);
        assert!(announced(&s3).iter().all(|key| key.contains("second")), "part {part}");
    }
    let run = Run::from(worker(&s3, &machine, 1, line).output().unwrap()).ends_with(0);
    run.says("result=verified against=hub repo=org/sharded").says("result=verified against=hub repo=org/second");
    assert_eq!(announced(&s3).len(), 4);
    s3.hfget(&machine, "verify s3://fleet/models").ends_with(0);

    machine.hfget("org/second --partition 2/2 --publish-when-complete").ends_with(0).says("1 file is missing");
    assert!(!machine.model("org/second").join("refs/main").exists());
    machine.hfget("org/second --partition 1/2 --publish-when-complete").ends_with(0).says("result=verified");
    assert!(machine.model("org/second").join("refs/main").exists());
    machine.hfget("org/second --publish-when-complete").ends_with(2).says("--partition");
}

/// The words of each list of arguments in a recipe.
pub(super) fn arguments_in(recipe: &str) -> Vec<Vec<String>> {
    let lists = recipe.lines().filter_map(|line| line.trim().strip_prefix("args: ["));
    lists
        .map(|list| list.trim_end_matches(']').split(", ").map(|word| word.trim_matches('"').to_owned()).collect())
        .collect()
}

#[test]
fn the_jobs_of_the_recipe_fill_a_bucket_and_publish_it() {
    let machine = Machine::new([sharded(), second()]);
    let Some(s3) = S3::start(&machine) else { return };
    s3.hfget(&machine, "lock org/sharded org/second").ends_with(0);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/recipes/fleet.yaml");
    let recipe = std::fs::read_to_string(path).unwrap();
    let [fill, publish] = &arguments_in(&recipe)[..] else { panic!("two Jobs") };
    let run = |words: &[String], index: &str| -> Run {
        let mut command = s3.command(&machine, &words.join(" ").replace("s3://bucket/", "s3://fleet/"));
        command.env("JOB_COMPLETION_INDEX", index).output().unwrap().into()
    };
    assert!(recipe.contains("completions: 8") && fill.contains(&"/8".to_owned()));
    for index in 0..8 {
        run(fill, &index.to_string()).ends_with(0);
    }
    run(publish, "").ends_with(0);
    s3.hfget(&machine, "verify s3://fleet/models --lock hfget.lock").ends_with(0);
}

#[test]
fn nodes_that_exceed_the_hubs_limit_wait_for_its_next_window_and_with_a_bucket_none_asks_the_hub() {
    let quotas = Quotas { api: 500, resolvers: 5, window: Duration::from_secs(3) };
    let machine = Machine::on(Hub::with(Options { quotas: Some(quotas), ..Options::default() }, [one_file(1000)]));
    let Some(s3) = S3::start(&machine) else { return };
    let node = |at: u32, line: &str| -> Run {
        let mut command = s3.command(&machine, line);
        command.env("HF_HOME", machine.home.path().join(format!("node{at}"))).output().unwrap().into()
    };
    for at in 0..3 {
        node(at, "org/one --retry-for 30").ends_with(0).says("result=verified against=hub");
    }
    assert!(machine.hub.refused() > 0, "the limit was met");
    node(3, "org/one --to s3://fleet --retry-for 30").ends_with(0);
    machine.hub.forget();
    for at in 4..7 {
        node(at, "org/one --endpoint s3://fleet").ends_with(0).says("result=verified against=manifest");
    }
    assert_eq!(machine.hub.requests(), []);
}
