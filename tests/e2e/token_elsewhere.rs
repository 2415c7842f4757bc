//! The servers that a run asks beside the endpoint get no token, for any command and any answer: mirrors, the hosts
//! that the endpoint redirects to, registries.

use hfget_loopback_hub::{Fault, Hub, Kind, Place, TOKEN};
use hfget_loopback_registry::{Fault as RegistryFault, Kind as RegistryKind, Place as RegistryPlace, Registry};

use super::support::{COMMANDS, Machine, one_file};
use super::token::{SIZE, run, told};

const PLACES: [Place; 6] = [Place::Api, Place::Refs, Place::Tree, Place::XetToken, Place::Resolve, Place::Bytes];
const HOW: &str = "--retry-base-ms 1 --retry-for 0.05";

/// The commands that ask no server.
const ASK_NOBODY: [&str; 5] = ["list", "remove", "clean", "completions", "man"];

/// An answer of a server: its status and its headers.
type Answer = (u16, Vec<(&'static str, String)>);

/// Every refusal that has a meaning of its own.
fn refusals() -> Vec<Answer> {
    let coded = |code: &'static str| vec![("x-error-code", code.to_owned())];
    let asks = |how: &str| vec![("www-authenticate", how.to_owned())];
    vec![
        (401, Vec::new()),
        (401, asks("Basic realm=\"x\"")),
        (401, asks("Bearer realm=\"http://127.0.0.1:1/token\"")),
        (401, coded("RepoNotFound")),
        (403, coded("GatedRepo")),
        (404, coded("RevisionNotFound")),
        (404, coded("EntryNotFound")),
        (404, Vec::new()),
        (407, Vec::new()),
        (429, vec![("retry-after", "0".to_owned())]),
        (451, Vec::new()),
        (500, Vec::new()),
    ]
}

/// The lines that name a mirror.
fn with_mirror(url: &str) -> Vec<String> {
    [
        "org/one --force",
        "org/one --force --local-dir folder",
        "org/one --force --to oci:layout",
        "org/one --force --to oci-archive:one.tar",
        "org/one --force --partition 1/2",
        "plan org/one --deep",
        "inspect org/one",
        "lock org/one --force",
        "--locked --force",
        "lock --check",
        "lock --format oms",
        "compare org/one --level full",
        "compare org/one@refs/pr/1",
    ]
    .map(|line| format!("{line} --mirror {url} {HOW}"))
    .into()
}

/// The lines that read files from wherever the endpoint redirects to.
fn without_mirror(registry: &str) -> Vec<String> {
    let how = |line: String| format!("{line} {HOW}");
    let mut lines: Vec<String> = [
        "org/one --force".to_owned(),
        format!("org/one --force --to oci://{registry}/acme/m:one"),
        "plan org/one --deep --force".to_owned(),
        "verify org/one".to_owned(),
        "verify --all --repair".to_owned(),
        format!("publish org/one --to oci://{registry}/acme/m:two"),
        "inspect org/one --force".to_owned(),
        "lock org/one --force".to_owned(),
    ]
    .map(how)
    .into();
    lines.push("storage-init hf://org/one pod --retry-for 0.05".to_owned());
    lines
}

/// The lines that read from a registry, or write to it.
fn with_registry(registry: &str) -> Vec<String> {
    [
        "org/one --force --to oci://R/acme/m:main",
        "org/one --to oci://R/acme/m:main",
        "publish org/one --to oci://R/acme/m:main",
        "verify oci://R/acme/m:main",
        "verify oci://R/acme/m:main --deep",
        "org/one --force --mirror oci://R/acme/m:main",
        "org/one --force --endpoint oci://R/acme/m:main",
        "inspect org/one --endpoint oci://R/acme/m:main",
        "org/one --force --to oci:image --base oci://R/acme/m:main",
    ]
    .map(|line| format!("{} {HOW}", line.replace('R', registry)))
    .into()
}

/// A command that is new has a line here.
#[test]
fn every_command_is_among_those_that_are_watched() {
    let lines =
        [with_mirror("http://127.0.0.1:9"), without_mirror("127.0.0.1:9"), with_registry("127.0.0.1:9")].concat();
    for command in COMMANDS.into_iter().filter(|command| !command.is_empty()) {
        let named = |line: &String| line.split(' ').next() == Some(command);
        assert!(lines.iter().any(named) || ASK_NOBODY.contains(&command), "{command}");
    }
}

#[test]
fn no_command_gives_the_token_to_a_mirror_whatever_it_answers() {
    let repo = || one_file(SIZE).revision("refs/pr/1");
    let machine = Machine::new([repo()]);
    let mirror = Hub::start([repo()]);
    let lines = with_mirror(&mirror.endpoint());
    for line in &lines {
        run(&machine, line).ends_with(0);
        assert_eq!(told(&mirror), [""; 0], "{line}");
    }
    for (status, headers) in refusals() {
        mirror.forget();
        for place in PLACES {
            mirror.fault(Fault::new(place, Kind::Status(status, headers.clone())));
        }
        for line in &lines {
            run(&machine, line);
            assert_eq!(told(&mirror), [""; 0], "{line} of a mirror that answers {status} {headers:?}");
        }
        let asked = mirror.requests();
        assert!(asked.iter().any(|r| r.path.starts_with("/api/")), "the mirror was asked");
        if headers.iter().any(|(_, code)| code == "RevisionNotFound") {
            assert!(asked.iter().any(|r| r.path.ends_with("/refs")), "for its revisions, too");
        }
        mirror.heal();
    }
    assert!(told(&machine.hub).iter().all(|who| *who == format!("Bearer {TOKEN}")), "the endpoint got it");
    assert!(!told(&machine.hub).is_empty());
}

#[test]
fn no_command_gives_the_token_to_whom_the_endpoint_redirects_to_whatever_that_answers() {
    let machine = Machine::new([one_file(SIZE)]);
    let (elsewhere, registry) = (Hub::start([one_file(SIZE)]), Registry::start());
    machine.hub.fault(Fault::new(Place::Resolve, Kind::MovedTo(elsewhere.endpoint())));
    let lines = without_mirror(registry.address());
    for line in &lines {
        run(&machine, line).ends_with(0);
        assert_eq!(told(&elsewhere), [""; 0], "{line}");
    }
    assert!(elsewhere.requests().iter().any(|r| r.path.contains("/resolve/")), "it was asked");
    for (status, headers) in refusals() {
        for place in PLACES {
            elsewhere.fault(Fault::new(place, Kind::Status(status, headers.clone())));
        }
        for line in &lines {
            run(&machine, line);
            assert_eq!(told(&elsewhere), [""; 0], "{line} of a host that answers {status} {headers:?}");
        }
        elsewhere.heal();
    }
    assert!(registry.requests().iter().all(|request| request.credentials.is_none()));
    assert!(told(&machine.hub).iter().all(|who| *who == format!("Bearer {TOKEN}")));
}

#[test]
fn no_command_gives_the_token_to_a_registry_whatever_it_answers() {
    use RegistryPlace::{Begin, BlobGet, BlobHead, ManifestGet, ManifestPut, Patch, Put, Referrers};
    let (machine, registry) = (Machine::new([one_file(64)]), Registry::start());
    let lines = with_registry(registry.address());
    let shown = || registry.requests().into_iter().filter_map(|request| request.credentials).collect::<Vec<_>>();
    for line in &lines {
        run(&machine, line).ends_with(0);
        assert_eq!(shown(), [""; 0], "{line}");
    }
    for (status, headers) in refusals() {
        for place in [Begin, BlobGet, BlobHead, ManifestGet, ManifestPut, Patch, Put, Referrers] {
            registry.fault(RegistryFault::new(place, RegistryKind::Status(status, headers.clone())));
        }
        registry.forget();
        for line in &lines {
            run(&machine, line);
            assert_eq!(shown(), [""; 0], "{line} of a registry that answers {status} {headers:?}");
        }
        assert!(!registry.requests().is_empty(), "the registry was asked");
        registry.heal();
    }
}
