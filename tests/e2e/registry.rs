//! Registries: pushes with `--to oci://` despite faults of the registry, content that is never visible, and reading
//! back. Most tests use a registry on the loopback interface with the faults of real ones; the last ones use Debian's,
//! read by skopeo and umoci.

use std::process::Command;
use std::time::{Duration, Instant};

use hfget_loopback_hub::{Fault as HubFault, Hub, Kind as HubKind, Options as HubOptions, Place as HubPlace, Repo};
use hfget_loopback_registry::{
    Auth, Chunks, Debian, Fault, IDENTITY, Kind, Location, Options, PASSWORD, Place, Registry, USER, identity, login,
    skopeo,
};

use super::support::{Machine, Run, one_file, safetensors, tree};

/// Three parts, the last one short.
const SIZE: usize = 20 << 20;
const MODEL: &str = "model.safetensors";

fn repo() -> Repo {
    one_file(SIZE)
}

fn machine() -> Machine {
    Machine::new([repo()])
}

/// Three files of several parts each, and small ones.
fn several() -> Repo {
    let file = |name: &str| safetensors(name, SIZE);
    Repo::new("org/several")
        .file("config.json", "{}")
        .lfs("a/model.safetensors", file("a"))
        .lfs("b/model.safetensors", file("b"))
        .lfs("c/model.safetensors", file("c"))
}

fn command(machine: &Machine, line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = machine.bare();
    command.arg(words.next().unwrap());
    command.args(["--retry-base-ms", "2", "--stall-timeout", "0.5", "--retry-for", "3"]).args(words);
    command
}

fn hfget(machine: &Machine, line: &str) -> Run {
    command(machine, line).output().unwrap().into()
}

/// Checks the content of a tag as a puller sees it: the manifest, and every layer with its size and digest.
#[track_caller]
pub(super) fn assert_whole(registry: &Registry, name: &str, tag: &str) -> serde_json::Value {
    let (_, text) = registry.manifest(name, tag).unwrap_or_else(|| panic!("no {tag}"));
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    for blob in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
        let digest = blob["digest"].as_str().unwrap();
        let bytes = registry.blob(name, digest).unwrap_or_else(|| panic!("no {digest}"));
        assert_eq!(hfget_loopback_registry::digest_of(&bytes), digest);
        assert_eq!(bytes.len() as u64, blob["size"].as_u64().unwrap());
    }
    manifest
}

/// Checks that pullers see nothing.
#[track_caller]
fn assert_nothing(registry: &Registry) {
    assert!(registry.tags("acme/m").is_empty(), "{:?}", registry.tags("acme/m"));
}

#[test]
fn a_repo_goes_into_a_registry_and_comes_back_from_it_in_every_way() {
    for layout in ["image", "modelpack"] {
        let (machine, registry) = (machine(), Registry::start());
        let to = format!("oci://{}/acme/m:main", registry.address());
        hfget(&machine, &format!("org/one --to {to} --layout {layout}")).ends_with(0).says("verified");
        assert!(!machine.cache().exists(), "no copy stays on the disk");
        let manifest = assert_whole(&registry, "acme/m", "main");
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        assert_eq!(registry.manifest("acme/m", "main-modelpack").is_some(), layout == "image");

        let before = machine.byte_requests();
        hfget(&machine, &format!("verify {to}")).ends_with(0).says("against=registry");
        hfget(&machine, &format!("verify {to} --deep")).ends_with(0).says("against=manifest");
        // No Hub at all.
        let endpoint = format!("org/one --endpoint {to} --local-dir of-the-registry");
        let folder = hfget(&machine, &endpoint).ends_with(0).says("against=manifest").path();
        Machine::assert_whole(&visible(&folder), &repo(), &["config.json", MODEL]);
        assert_eq!(machine.byte_requests(), before, "the Hub gave none of these bytes");
        // The Hub lists, the registry gives the bytes.
        let mirror = format!("org/one --mirror {to} --local-dir of-both");
        let folder = hfget(&machine, &mirror).ends_with(0).says("against=hub").path();
        assert_eq!(std::fs::read(folder.join(MODEL)).unwrap(), repo().content(MODEL).unwrap());
    }
}

/// A folder without the records beside the files.
fn visible(folder: &std::path::Path) -> std::path::PathBuf {
    let _ = std::fs::remove_dir_all(folder.join(".cache"));
    folder.to_owned()
}

#[test]
fn existing_layers_are_not_sent_again() {
    for layout in ["image", "modelpack"] {
        let (machine, registry) = (machine(), Registry::start());
        let line = format!("org/one --to oci://{}/acme/m:main --layout {layout}", registry.address());
        hfget(&machine, &line).ends_with(0);
        registry.forget();
        let before = machine.byte_requests();
        hfget(&machine, &line).ends_with(0).says("verified");
        assert_eq!(machine.byte_requests(), before, "{layout}: nothing is fetched again");
        assert!(registry.bytes_taken() < 10_000, "{layout}: {} bytes were sent again", registry.bytes_taken());
        // Another tag of the same layers costs manifests.
        if layout == "modelpack" {
            hfget(&machine, &line.replace(":main", ":other")).ends_with(0).says("verified");
            assert!(registry.bytes_taken() < 20_000, "{} bytes were sent again", registry.bytes_taken());
        }
    }
}

#[test]
fn a_registry_with_any_temporary_fault_gets_the_whole_repo() {
    for (place, kind) in [
        (Place::Begin, Kind::Status(429, vec![("retry-after", "0".into())])),
        (Place::Put, Kind::Status(503, vec![])),
        (Place::Patch, Kind::Cut(9 << 20)),
        (Place::Patch, Kind::Lose(9 << 20)),
        (Place::Patch, Kind::Stall(3 << 20)),
        (Place::Put, Kind::Cut(9 << 20)),
        (Place::Put, Kind::Stall(3 << 20)),
        (Place::Put, Kind::DigestRefused),
        (Place::Put, Kind::SessionLost),
        (Place::Put, Kind::NotKept),
        (Place::ManifestPut, Kind::Status(500, vec![])),
        (Place::ManifestPut, Kind::DigestRefused),
        (Place::Referrers, Kind::Status(502, vec![])),
    ] {
        for layout in ["image", "modelpack"] {
            let (machine, registry) = (machine(), Registry::start());
            registry.fault(Fault::new(place, kind.clone()).above(1 << 20).times(1));
            registry.fault(Fault::new(place, kind.clone()).times(1));
            eprintln!("{layout}: {place:?} {kind:?}");
            let line = format!("org/one --to oci://{}/acme/m:main --layout {layout}", registry.address());
            hfget(&machine, &line).ends_with(0).says("verified");
            assert_whole(&registry, "acme/m", "main");
        }
    }
}

#[test]
fn a_registry_of_any_kind_gets_the_whole_repo() {
    let usual = Options::default;
    for options in [
        Options { chunks: Chunks::Refused, ..usual() },
        Options { chunks: Chunks::Lost, ..usual() },
        Options { chunks: Chunks::AtMost(4 << 20), ..usual() },
        Options { location: Location::Relative, ..usual() },
        Options { location: Location::Foreign, ..usual() },
        Options { referrers: false, ..usual() },
        Options { blobs_elsewhere: true, ..usual() },
        Options { ranges: false, ..usual() },
    ] {
        for layout in ["image", "modelpack"] {
            let (machine, registry) = (machine(), Registry::with(options.clone()));
            let to = format!("oci://{}/acme/m:main", registry.address());
            hfget(&machine, &format!("org/one --to {to} --layout {layout}")).ends_with(0).says("verified");
            let manifest = assert_whole(&registry, "acme/m", "main");
            // Each byte once, and a little around it.
            let all: u64 = manifest["layers"].as_array().unwrap().iter().map(|l| l["size"].as_u64().unwrap()).sum();
            assert!(registry.bytes_taken() < all + 20_000, "{options:?}: {} of {all}", registry.bytes_taken());
            hfget(&machine, &format!("verify {to} --deep")).ends_with(0);
        }
    }
}

#[test]
fn a_lasting_fault_ends_the_run_and_moves_no_tag() {
    for (place, kind, code, says) in [
        (Place::Begin, Kind::Status(403, vec![]), 3, "access is refused"),
        (Place::Begin, Kind::Status(503, vec![]), 4, "503"),
        (Place::Patch, Kind::Cut(3 << 20), 4, "the connection broke"),
        (Place::Put, Kind::DigestRefused, 4, "DIGEST_INVALID"),
        (Place::Put, Kind::NotKept, 4, "does not have it"),
        (Place::ManifestPut, Kind::Status(400, vec![]), 4, "400"),
        (Place::ManifestPut, Kind::DigestRefused, 4, "DIGEST_INVALID"),
    ] {
        let (machine, registry) = (machine(), Registry::start());
        registry.fault(Fault::new(place, kind.clone()));
        eprintln!("{place:?} {kind:?}");
        let line = format!("org/one --to oci://{}/acme/m:main", registry.address());
        hfget(&machine, &line).ends_with(code).says(says);
        assert_nothing(&registry);
        registry.heal();
        hfget(&machine, &line).ends_with(0).says("verified");
        assert_whole(&registry, "acme/m", "main");
    }
}

#[test]
fn a_hub_that_sends_other_bytes_than_it_lists_gets_no_tag_and_leaves_no_layer() {
    for layout in ["image", "modelpack"] {
        let (machine, registry) = (machine(), Registry::start());
        machine.hub.fault(HubFault::new(HubPlace::Bytes, HubKind::CorruptByte(9 << 20)).on("**/model.safetensors"));
        machine.hub.fault(HubFault::new(HubPlace::Bytes, HubKind::CorruptByte(9 << 20)).from(1..u64::MAX));
        let line = format!("org/one --to oci://{}/acme/m:main --layout {layout}", registry.address());
        hfget(&machine, &line).ends_with(1).says("checksum-mismatch");
        assert_nothing(&registry);
        let large =
            registry.blobs("acme/m").into_iter().filter(|d| registry.blob("acme/m", d).unwrap().len() > 1 << 20);
        assert_eq!(large.count(), 0, "no layer with the wrong bytes exists");
    }
}

#[test]
fn a_hub_that_stalls_in_the_middle_of_a_file_is_asked_again_and_the_upload_continues() {
    for layout in ["image", "modelpack"] {
        let (machine, registry) = (machine(), Registry::start());
        for kind in [HubKind::Stall(1 << 20), HubKind::Cut(1 << 20)] {
            machine.hub.fault(HubFault::new(HubPlace::Bytes, kind).from(1..u64::MAX).times(2));
        }
        let line = format!("org/one --to oci://{}/acme/m:main --layout {layout}", registry.address());
        hfget(&machine, &line).ends_with(0).says("verified");
        let manifest = assert_whole(&registry, "acme/m", "main");
        let all: u64 = manifest["layers"].as_array().unwrap().iter().map(|l| l["size"].as_u64().unwrap()).sum();
        assert!(registry.bytes_taken() < all + 20_000, "{layout}: {} of {all}", registry.bytes_taken());
    }
}

#[test]
fn a_run_that_is_killed_leaves_no_tag_and_the_next_one_sends_what_is_missing() {
    for layout in ["image", "modelpack"] {
        let options = HubOptions { rate: Some(8 << 20), ..HubOptions::default() };
        let machine = Machine::on(Hub::with(options, [several()]));
        let registry = Registry::start();
        let line = format!("org/several --all --to oci://{}/acme/m:main --layout {layout}", registry.address());
        let mut child = command(&machine, &line).stdout(std::process::Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        let large = || {
            let blobs = registry.blobs("acme/m").into_iter();
            blobs.filter(|digest| registry.blob("acme/m", digest).unwrap().len() > SIZE).count()
        };
        // A raw layer is found by its file's digest, a tar layer only by this machine's record.
        let records = machine.home.path().join("hf/hfget/objects");
        let noted = || layout == "modelpack" || noted_at(&records);
        while large() == 0 || !noted() {
            assert!(
                began.elapsed() < Duration::from_mins(1) && child.try_wait().unwrap().is_none(),
                "no layer arrived"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        registry.come_to_rest();
        assert_nothing(&registry);
        let there = if layout == "image" { 1 } else { large() as u64 };
        registry.forget();
        hfget(&machine, &line).ends_with(0).says("verified");
        assert_whole(&registry, "acme/m", "main");
        // Counts the sizes of the requests: some bytes of the killed run were still in transit.
        let sent: u64 = registry.requests().into_iter().filter_map(|request| request.length).sum();
        let sent = if layout == "image" { registry.bytes_taken() } else { sent };
        let most = (3 - there) * (SIZE as u64 + 2000) + 20_000;
        assert!(sent <= most, "{layout}: {there} layers were there, and {sent} bytes were sent: at most {most}");
    }
}

/// Whether this machine's record has a complete layer of the registry.
pub(super) fn noted_at(records: &std::path::Path) -> bool {
    let names = std::fs::read_dir(records).into_iter().flatten().flatten();
    names.into_iter().any(|entry| entry.path().extension().is_some_and(|ending| ending == "json"))
}

/// docker's credential file after a login.
pub(super) fn log_in(machine: &Machine, address: &str) {
    let folder = machine.home.path().join(".docker");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), login(address)).unwrap();
}

#[test]
fn a_login_gives_access_and_without_one_the_error_says_how_to_log_in() {
    for auth in [Auth::Basic, Auth::Bearer(Duration::from_mins(5))] {
        let (machine, registry) = (machine(), Registry::with(Options { auth, ..Options::default() }));
        let line = format!("org/one --to oci://{}/acme/m:main", registry.address());
        hfget(&machine, &line).ends_with(3).says("no credentials").says("docker login");
        assert_eq!(machine.byte_requests(), 0, "nothing was fetched for it");
        log_in(&machine, registry.address());
        hfget(&machine, &line).ends_with(0).says("verified");
        hfget(&machine, &format!("verify oci://{}/acme/m:main", registry.address())).ends_with(0);
    }
}

#[test]
fn dockers_credential_helper_is_used() {
    let (machine, registry) = (machine(), Registry::with(Options { auth: Auth::Basic, ..Options::default() }));
    let folder = machine.home.path().join(".docker");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), r#"{"credsStore":"of-a-test"}"#).unwrap();
    let helper = folder.join("docker-credential-of-a-test");
    let script = format!(
        "#!/bin/sh\ncat > {}/asked\necho '{{\"Username\":\"{USER}\",\"Secret\":\"{PASSWORD}\"}}'\n",
        folder.display()
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut run = command(&machine, &format!("org/one --to oci://{}/acme/m:main", registry.address()));
    let run: Run = run.env("PATH", format!("{}:{path}", folder.display())).output().unwrap().into();
    run.ends_with(0).says("verified");
    assert_eq!(std::fs::read_to_string(folder.join("asked")).unwrap(), registry.address());
}

#[test]
fn dockers_identity_token_gives_access() {
    let auth = Auth::Bearer(Duration::from_secs(2));
    let (machine, registry) = (machine(), Registry::with(Options { auth, ..Options::default() }));
    let folder = machine.home.path().join(".docker");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), identity(registry.address())).unwrap();
    let to = format!("oci://{}/acme/m:main", registry.address());
    let run = hfget(&machine, &format!("org/one --to {to} -vv")).ends_with(0).says("verified");
    assert!(!run.err.contains(IDENTITY), "{}", run.err);
    hfget(&machine, &format!("verify {to}")).ends_with(0);
    let asked = registry.requests().into_iter().filter(|request| request.path == "/token");
    assert!(asked.clone().count() > 0 && asked.clone().all(|request| request.method == "POST"));
    assert!(registry.requests().iter().all(|r| !r.query.contains(IDENTITY) && !r.path.contains(IDENTITY)));
    // A revoked token gives no access.
    let old = identity(registry.address()).replace(IDENTITY, "another-secret-of-the-robot");
    std::fs::write(folder.join("config.json"), old).unwrap();
    hfget(&machine, &format!("verify {to}")).ends_with(3).says("the credentials do not allow it");
}

#[test]
fn content_removed_beside_an_image_is_pushed_again_and_existing_content_is_not() {
    for referrers in [true, false] {
        let (machine, registry) = (machine(), Registry::with(Options { referrers, ..Options::default() }));
        let line = format!("org/one --to oci://{}/acme/m:main", registry.address());
        hfget(&machine, &line).ends_with(0);
        let before = registry.tags("acme/m");
        let reads = |registry: &Registry| {
            registry.requests().iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD"))
        };
        registry.forget();
        hfget(&machine, &line).ends_with(0).says("verified");
        assert!(reads(&registry), "{:?}", registry.requests());
        registry.remove_tag("acme/m", "main-modelpack");
        hfget(&machine, &line).ends_with(0).says("verified");
        assert_eq!(registry.tags("acme/m"), before);
        assert_eq!(registry.remove_referrers("acme/m"), 1);
        hfget(&machine, &line).ends_with(0).says("verified");
        assert_eq!(registry.remove_referrers("acme/m"), 1, "it exists again");
        assert_eq!(registry.tags("acme/m")["main"], before["main"], "readers of the tag need not fetch it again");
    }
}

#[test]
fn a_layer_of_a_base_is_sent_again_after_a_fault_like_that_of_a_file() {
    let (machine, base, registry) = (machine(), Registry::start(), Registry::start());
    let layer = vec![7; 9 << 20];
    base_image(&base, &layer);
    for (place, kind) in [
        (Place::Put, Kind::Cut(3 << 20)),
        (Place::Put, Kind::Status(503, vec![])),
        (Place::Put, Kind::Stall(3 << 20)),
        (Place::Put, Kind::SessionLost),
    ] {
        registry.fault(Fault::new(place, kind.clone()).above(1 << 20).times(2));
        eprintln!("{kind:?}");
        let name = format!("acme/m{}", registry.requests().len());
        let to = format!("oci://{}/{name}:main", registry.address());
        let line = format!("org/one --to {to} --base oci://{}/acme/base:v1", base.address());
        hfget(&machine, &line).ends_with(0).says("verified");
        let manifest = assert_whole(&registry, &name, "main");
        assert_eq!(manifest["layers"][0]["size"], layer.len());
    }
    registry.fault(Fault::new(Place::Put, Kind::Status(403, vec![])).above(1 << 20));
    let line = format!(
        "org/one --to oci://{}/acme/none:main --base oci://{}/acme/base:v1",
        registry.address(),
        base.address()
    );
    hfget(&machine, &line).ends_with(3).says("access is refused");
    assert!(registry.tags("acme/none").is_empty());
}

/// Stores an image of one layer at `acme/base:v1`; returns the layer's digest.
pub(super) fn base_image(registry: &Registry, layer: &[u8]) -> String {
    let digest = registry.put_blob("acme/base", layer.to_vec());
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#);
    let config_digest = registry.put_blob("acme/base", config.clone().into_bytes());
    let kind = |name: &str| format!("application/vnd.oci.image.{name}");
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": kind("manifest.v1+json"),
        "config": {"mediaType": kind("config.v1+json"), "digest": config_digest, "size": config.len()},
        "layers": [{"mediaType": kind("layer.v1.tar"), "digest": digest, "size": layer.len()}],
    });
    registry.put_manifest("acme/base", "v1", manifest.to_string().into_bytes());
    digest
}

/// A registry may name any token server; the password goes only to one that uses HTTPS.
#[test]
fn a_token_server_without_https_is_not_asked() {
    let machine = machine();
    for realm in ["http://tokens.example/token", "http://192.0.2.1/token", "http://127.0.0.1.nip.example/token"] {
        let options = Options { auth: Auth::Bearer(Duration::from_mins(5)), realm: Some(realm), ..Options::default() };
        let registry = Registry::with(options);
        let docker = machine.home.path().join("docker");
        std::fs::create_dir_all(&docker).unwrap();
        std::fs::write(docker.join("config.json"), login(registry.address())).unwrap();
        let mut command = command(&machine, &format!("org/one --to oci://{}/acme/m:main", registry.address()));
        let began = Instant::now();
        let run: Run = command.env("DOCKER_CONFIG", &docker).output().unwrap().into();
        let run = run.ends_with(3).says("token server").says("does not use HTTPS");
        assert!(!run.err.contains(PASSWORD), "{}", run.err);
        assert!(began.elapsed() < Duration::from_secs(3), "it was not tried again: {:?}", began.elapsed());
        assert!(registry.requests().iter().all(|request| request.credentials.is_none()));
    }
}

#[test]
fn no_secret_of_a_registry_is_printed_or_sent_to_another_host() {
    let auth = Auth::Bearer(Duration::from_mins(5));
    let options = Options { auth, location: Location::Foreign, blobs_elsewhere: true, ..Options::default() };
    let (machine, registry) = (machine(), Registry::with(options));
    log_in(&machine, registry.address());
    let to = format!("oci://{}/acme/m:main", registry.address());
    for line in [format!("org/one --to {to} -vv"), format!("verify {to} --deep -vv")] {
        let run = hfget(&machine, &line).ends_with(0);
        for secret in [PASSWORD, "token-number", "signature=secret", "-secret"] {
            assert!(!run.err.contains(secret) && !run.out.contains(secret), "{secret} in {}", run.err);
        }
    }
    let away: Vec<_> = registry.requests().into_iter().filter(|request| request.away).collect();
    assert!(!away.is_empty() && away.iter().all(|request| request.credentials.is_none()));
    // Nor is the Hub's token sent to a registry, or the registry's to the Hub.
    let mut with_token = command(&machine, &format!("org/one --to {} --force", to.replace(":main", ":two")));
    let run: Run = with_token.env("HF_TOKEN", hfget_loopback_hub::TOKEN).output().unwrap().into();
    run.ends_with(0);
    let shown = |credentials: &str| credentials.contains(hfget_loopback_hub::TOKEN);
    assert!(registry.requests().iter().all(|r| !r.credentials.as_deref().is_some_and(shown)));
    let of_registry = |c: &String| c.contains("token-number") || c.starts_with("Basic");
    assert!(machine.hub.requests().iter().all(|r| !r.credentials.iter().any(of_registry)));
}

#[test]
fn a_token_that_expires_in_the_middle_of_a_file_costs_nothing() {
    for layout in ["image", "modelpack"] {
        let options = HubOptions { rate: Some(5 << 20), ..HubOptions::default() };
        let machine = Machine::on(Hub::with(options, [repo()]));
        let auth = Auth::Bearer(Duration::from_secs(1));
        let registry = Registry::with(Options { auth, ..Options::default() });
        log_in(&machine, registry.address());
        let line = format!("org/one --connections 1 --to oci://{}/acme/m:main --layout {layout}", registry.address());
        let began = Instant::now();
        hfget(&machine, &line).ends_with(0).says("verified");
        assert!(began.elapsed() > Duration::from_secs(2), "tokens ran out meanwhile");
        let manifest = assert_whole(&registry, "acme/m", "main");
        let all: u64 = manifest["layers"].as_array().unwrap().iter().map(|l| l["size"].as_u64().unwrap()).sum();
        assert!(registry.bytes_taken() < all + 20_000, "{layout}: {} of {all}", registry.bytes_taken());
    }
}

#[test]
fn a_layer_that_is_lost_or_of_another_size_is_found_by_verify_and_pushed_again() {
    let (machine, registry) = (machine(), Registry::start());
    let to = format!("oci://{}/acme/m:main", registry.address());
    hfget(&machine, &format!("org/one --to {to}")).ends_with(0);
    let manifest = assert_whole(&registry, "acme/m", "main");
    let of_model = |layer: &&serde_json::Value| layer["size"].as_u64().unwrap() > 1 << 20;
    let layer = manifest["layers"].as_array().unwrap().iter().find(of_model).unwrap();
    let digest = layer["digest"].as_str().unwrap();
    let right = registry.blob("acme/m", digest).unwrap();

    registry.remove_blob("acme/m", digest);
    hfget(&machine, &format!("verify {to}")).ends_with(1).says("file-missing");
    registry.plant_blob("acme/m", digest, right.slice(1..));
    hfget(&machine, &format!("verify {to}")).ends_with(1).says("size-mismatch");
    let mut other = right.to_vec();
    other[9 << 20] ^= 1;
    registry.plant_blob("acme/m", digest, other);
    hfget(&machine, &format!("verify {to} --deep")).ends_with(1).says("checksum-mismatch");
    hfget(&machine, &format!("org/one --endpoint {to} --local-dir folder")).ends_with(1);
    assert!(!machine.home.path().join("folder").join(MODEL).exists(), "wrong bytes get no name");
    hfget(&machine, &format!("org/one --to {to} --force")).ends_with(0).says("verified");
    assert_whole(&registry, "acme/m", "main");
    hfget(&machine, &format!("verify {to} --deep")).ends_with(0);
}

/// The peak memory of a push in kB.
fn peak_memory(repo: Repo, words: &str) -> u64 {
    let machine = Machine::new([repo]);
    let registry = Registry::start();
    let line = format!("{words} --all --to oci://{}/acme/m:main", registry.address());
    let mut child = command(&machine, &line).spawn().unwrap();
    let mut most = 0;
    let status = loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak =
            status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        most = most.max(peak.unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success());
    assert_whole(&registry, "acme/m", "main");
    assert!(most > 0);
    most
}

#[test]
fn memory_does_not_grow_with_the_size_or_the_number_of_files() {
    // The program itself, with its debug symbols, has 40 MB of it.
    const BOUND: u64 = 125 << 10;
    let one = peak_memory(one_file(200 << 20), "org/one --connections 2");
    assert!(one < 90 << 10, "{one} kB for one file over two connections");
    let files = |count: usize, size: usize| {
        let named = |n: usize| (format!("part-{n:02}.safetensors"), safetensors(&format!("t{n}"), size));
        let add = |repo: Repo, (name, bytes): (String, Vec<u8>)| repo.lfs(&name, bytes);
        (0..count).map(named).fold(Repo::new("org/several").file("config.json", "{}"), add)
    };
    for (count, size) in [(4, 60 << 20), (60, 3 << 20)] {
        let most = peak_memory(files(count, size), "org/several");
        assert!(most < BOUND, "{most} kB for {count} files of {size} bytes");
    }
}

#[test]
fn debians_registry_has_an_image_that_skopeo_copies_and_umoci_unpacks() {
    let machine = machine();
    let folder = machine.home.path().join("debian");
    std::fs::create_dir(&folder).unwrap();
    let Some(debian) = Debian::start(&folder, None) else { return };
    let to = format!("oci://{}/acme/m:main", debian.address());
    hfget(&machine, &format!("org/one --to {to}")).ends_with(0).says("verified");
    hfget(&machine, &format!("verify {to} --deep")).ends_with(0);
    hfget(&machine, &format!("org/one --endpoint {to} --local-dir folder")).ends_with(0).says("against=manifest");
    let layout = machine.home.path().join("layout");
    let from = |tag: &str| format!("docker://{}/acme/m:{tag}", debian.address());
    let copy = |tag: &str| {
        let to = format!("oci:{}:{tag}", layout.display());
        skopeo(&["copy", "--src-tls-verify=false", &from(tag), &to])
    };
    if copy("main").is_none() {
        return;
    }
    // The artifact over the same layers.
    copy("main-modelpack").unwrap();
    let bundle = machine.home.path().join("bundle");
    let image = format!("{}:main", layout.display());
    let unpacked = Command::new("umoci").args(["unpack", "--rootless", "--image", &image]).arg(&bundle).output();
    let Ok(unpacked) = unpacked else {
        assert!(std::env::var_os("CI").is_none(), "CI needs umoci");
        eprintln!("skipped: no umoci (.ci/run installs it)");
        return;
    };
    Run::from(unpacked).ends_with(0);
    let found = tree(&bundle.join("rootfs/models"));
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), ["config.json", MODEL]);
    assert_eq!(found[MODEL], repo().content(MODEL).unwrap());
}

#[test]
fn debians_registry_with_tokens_is_filled_although_they_expire() {
    let options = HubOptions { rate: Some(5 << 20), ..HubOptions::default() };
    let machine = Machine::on(Hub::with(options, [repo()]));
    let folder = machine.home.path().join("debian");
    std::fs::create_dir(&folder).unwrap();
    let Some(debian) = Debian::start(&folder, Some(Duration::from_secs(2))) else { return };
    let to = format!("oci://{}/acme/m:main", debian.address());
    hfget(&machine, &format!("org/one --to {to}")).ends_with(3).says("docker login");
    log_in(&machine, &debian.address());
    hfget(&machine, &format!("org/one --connections 1 --to {to}")).ends_with(0).says("verified");
    hfget(&machine, &format!("verify {to}")).ends_with(0);
}

#[test]
fn a_restart_of_debians_registry_in_the_middle_of_a_run_costs_a_layer_at_most() {
    let options = HubOptions { rate: Some(10 << 20), ..HubOptions::default() };
    let machine = Machine::on(Hub::with(options, [several()]));
    let folder = machine.home.path().join("debian");
    std::fs::create_dir(&folder).unwrap();
    let Some(mut debian) = Debian::start(&folder, None) else { return };
    let line = format!("org/several --all --to oci://{}/acme/m:main", debian.address());
    let child =
        command(&machine, &line).stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn();
    let child = child.unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    debian.restart();
    Run::from(child.wait_with_output().unwrap()).ends_with(0).says("verified");
    hfget(&machine, &format!("verify oci://{}/acme/m:main --deep", debian.address())).ends_with(0);
}
