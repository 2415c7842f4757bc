//! Files in Xet storage, fetched from Xet's own test server: the same bytes, the same proof, and HTTP
//! if Xet fails.

use std::time::Duration;

use hfget_loopback_cas::{Cas, Trouble};
use hfget_loopback_hub::{Access, Fault, Hub, Kind, Options, Place, Repo, TOKEN};

use super::support::{Machine, Run, safetensors};

const SIZE: usize = 12 << 20;

/// Weights that neither compress nor repeat.
fn weights(seed: u64) -> Vec<u8> {
    let mut file = safetensors("w", SIZE);
    let at = file.len() - SIZE;
    fastrand::Rng::with_seed(seed).fill(&mut file[at..]);
    file
}

struct World {
    machine: Machine,
    cas: Cas,
    repo: Repo,
}

/// A model in Xet storage, with a small file that is there too.
fn world() -> World {
    world_with(|repo| repo)
}

fn world_with(change: impl Fn(Repo) -> Repo) -> World {
    let cas = Cas::start();
    let content = weights(1);
    let small = b"SentencePiece".repeat(100);
    let (hash, small_hash) = (cas.upload_bytes(&content), cas.upload_bytes(&small));
    let repo = Repo::new("org/one").file("config.json", "{}").xet_at("model.safetensors", content, &hash);
    let repo = change(repo.xet_at("tokenizer.model", small, &small_hash));
    let options = Options { cas: Some(cas.url()), ..Options::default() };
    World { machine: Machine::on(Hub::with(options, [repo.clone()])), cas, repo }
}

impl World {
    fn run(&self, arguments: &str) -> Run {
        // The first term arrives only when it is complete, which takes time on a busy machine.
        let patient = ["org/one", "--stall-timeout", "2"];
        self.machine.run(patient.into_iter().chain(arguments.split_whitespace()))
    }

    /// The bytes of the weights that were requested over HTTP.
    fn over_http(&self) -> usize {
        let weights = |r: &&hfget_loopback_hub::Request| r.cdn && r.path.ends_with("model.safetensors");
        self.machine.hub.requests().iter().filter(weights).count()
    }

    #[track_caller]
    fn assert_right(&self) {
        self.machine.assert_nothing_wrong(&self.repo);
        assert!(self.machine.model("org/one").join("refs/main").exists());
    }
}

#[test]
fn large_files_come_over_xet_and_small_ones_over_http() {
    let world = world();
    let run = world.run("").ends_with(0).says(" over Xet");
    assert!(!run.err.contains("HTTP"), "{}", run.err);
    world.assert_right();
    assert_eq!(world.over_http(), 0);
    assert!(world.cas.bytes_sent() > SIZE as u64, "{}", world.cas.bytes_sent());
    assert!(world.machine.hub.requests().iter().any(|r| r.cdn && r.path.ends_with("tokenizer.model")));
    let tokens = world.machine.hub.requests().iter().filter(|r| r.path.contains("xet-read-token")).count();
    assert_eq!(tokens, 1, "one token a repo");
    // Xet leaves no files of its own.
    let home: Vec<_> = std::fs::read_dir(world.machine.home.path().join("hf")).unwrap().flatten().collect();
    assert!(home.iter().all(|f| f.file_name() == "hub"), "{home:?}");
}

#[test]
fn it_can_be_switched_off() {
    let world = world();
    world.run("--transport http").ends_with(0);
    assert_eq!((world.cas.bytes_sent(), world.over_http() > 0), (0, true));
    world.assert_right();
    let mut command = world.machine.command();
    command.env("HF_HUB_DISABLE_XET", "1").args(["org/one", "--force"]);
    Run::from(command.output().unwrap()).ends_with(0);
    assert_eq!(world.cas.bytes_sent(), 0);
    // The command line wins.
    command = world.machine.command();
    command.env("HF_HUB_DISABLE_XET", "1").args(["org/one", "--force", "--transport", "xet"]);
    Run::from(command.output().unwrap()).ends_with(0).says("over Xet");
    assert!(world.cas.bytes_sent() > 0);
}

#[test]
fn the_report_says_how_many_bytes_came_over_xet() {
    let world = world();
    let report = world.run("--json").ends_with(0).json();
    let totals = &report["reports"][0]["totals"];
    assert!(totals["bytes_over_xet"].as_u64().unwrap() >= SIZE as u64, "{totals}");
    assert!(totals["bytes_fetched"].as_u64() > totals["bytes_over_xet"].as_u64(), "{totals}");
}

/// After any fault of Xet, the file comes over HTTP, with a message.
#[test]
fn http_takes_over_when_xet_fails() {
    for trouble in [
        Trouble::Refuse,
        Trouble::Status500,
        Trouble::CutAfter(0),
        Trouble::CutAfter(3 << 20),
        Trouble::StallAfter(0),
        Trouble::StallAfter(3 << 20),
        Trouble::Corrupt,
    ] {
        let world = world();
        world.cas.trouble(trouble);
        let run = world.run("");
        assert_eq!(run.code, Some(0), "{trouble:?}:\n{}", run.err);
        world.assert_right();
        assert!(world.over_http() > 0, "{trouble:?}:\n{}", run.err);
        assert!(run.err.contains("model.safetensors"), "{trouble:?}: the file is named\n{}", run.err);
    }
}

#[test]
fn http_takes_over_when_there_is_no_token() {
    for kind in
        [Kind::Status(401, vec![]), Kind::Status(500, vec![]), Kind::Html, Kind::Body("[]".into()), Kind::Stall(0)]
    {
        let world = world();
        world.machine.hub.fault(Fault::new(Place::XetToken, kind.clone()));
        let run = world.run("");
        assert_eq!(run.code, Some(0), "{kind:?}:\n{}", run.err);
        world.assert_right();
        assert!(run.err.contains("continues over HTTP"), "{kind:?}\n{}", run.err);
    }
}

/// A run refuses a Hub that names an unsafe URL for the content.
#[test]
fn an_unsafe_url_of_a_cas_is_refused() {
    let world = world();
    let token = |cas: &str| format!(r#"{{"accessToken":"x","exp":9999999999,"casUrl":"{cas}"}}"#);
    world.machine.hub.fault(Fault::new(Place::XetToken, Kind::Body(token("file:///etc"))));
    let run = world.run("--transport xet").ends_with(4);
    assert!(run.err.contains("which is refused"), "{}", run.err);
}

#[test]
fn with_xet_only_its_failure_is_named() {
    for (trouble, code, text) in
        [(Trouble::Refuse, 4, "Xet"), (Trouble::Status500, 4, "Xet"), (Trouble::StallAfter(3 << 20), 4, "Xet")]
    {
        let world = world();
        world.cas.trouble(trouble);
        let run = world.run("--transport xet");
        assert_eq!(run.code, Some(code), "{trouble:?}:\n{}", run.err);
        assert!(run.err.contains(text), "{trouble:?}:\n{}", run.err);
        assert_eq!((world.over_http(), run.out.as_str()), (0, ""));
        world.machine.assert_nothing_wrong(&world.repo);
        // Later Xet works again.
        world.cas.trouble(Trouble::None);
        world.run("--transport xet").ends_with(0);
        world.assert_right();
    }
}

#[test]
fn temporary_faults_are_overcome_over_xet_alone() {
    let world = world();
    world.machine.hub.fault(Fault::new(Place::XetToken, Kind::Status(503, vec![])).times(1));
    world.run("--transport xet").ends_with(0);
    world.assert_right();
    assert_eq!(world.over_http(), 0);
}

/// Bytes from Xet are checked too: here the hash is that of another file.
#[test]
fn content_of_another_file_is_found() {
    let world = world();
    let hash = world.cas.upload_bytes(&weights(2));
    let content = weights(1);
    let lying = Repo::new("org/one").file("config.json", "{}").xet_at("model.safetensors", content, &hash);
    world.machine.hub.replace(lying.clone());
    world.run("--transport xet").ends_with(1).says("checksum-mismatch");
    world.machine.assert_nothing_wrong(&lying);
    // By default HTTP gives the right bytes.
    let run = world.run("").ends_with(0);
    assert!(run.err.contains("its checksum is wrong"), "{}", run.err);
    world.machine.assert_nothing_wrong(&lying);
}

#[test]
fn a_killed_run_resumes_over_xet_where_it_stopped() {
    let world = world();
    world.cas.trouble(Trouble::Slow(8 << 20));
    let mut child = world.machine.command().args(["org/one", "--transport", "xet", "-q"]).spawn().unwrap();
    let partial = world.machine.model("org/one").join(".hfget/partial");
    let kept = || {
        let files = std::fs::read_dir(&partial).into_iter().flatten().flatten();
        files.filter_map(|f| f.metadata().ok()).map(|m| m.len()).max().unwrap_or(0)
    };
    let began = std::time::Instant::now();
    while kept() <= SIZE as u64 / 2 {
        assert!(began.elapsed() < Duration::from_mins(1), "no partial file");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // The end of a range comes in one piece, so the file may be complete by now.
    let kept = kept().min(SIZE as u64);
    world.machine.assert_nothing_wrong(&world.repo);
    world.cas.trouble(Trouble::None);
    let report = world.run("--json").ends_with(0).json();
    let again = report["reports"][0]["totals"]["bytes_over_xet"].as_u64().unwrap();
    // Bytes that were written but are not in the journal yet are lost.
    assert!(again <= SIZE as u64 - kept + (2 << 20), "{again} bytes came again, but {kept} were kept");
    world.assert_right();
}

/// The Hub's token goes to the Hub, and the CAS's token to the CAS.
#[test]
fn a_private_repo_needs_the_token_at_the_hub_only() {
    let world = world_with(|repo| repo.access(Access::Private));
    let mut command = world.machine.command();
    let run = Run::from(command.env("HF_TOKEN", TOKEN).args(["org/one", "--verbose"]).output().unwrap()).ends_with(0);
    assert!(world.cas.bytes_sent() > 0);
    assert!(!run.err.contains("loopback_token"), "{}", run.err);
    world.assert_right();
}
