//! The token and signed URLs are secrets: for any command and any error, they are in no output, report, lockfile or
//! other file.

use hfget_loopback_hub::{Fault, Kind, Place, TOKEN};

use super::support::{Machine, Run, one_file, tree};
use hfget_loopback_hub::{Access, Hub};

/// Runs a line with the token. The output must have neither the token nor a signature.
#[track_caller]
fn run(machine: &Machine, line: &str) -> Run {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hfget"));
    machine.environment(&mut command);
    command.env("HF_TOKEN", TOKEN).args(line.split_whitespace());
    if !line.starts_with("clean") {
        command.args(["--retry-base-ms", "2", "--retry-for", "0.5"]);
    }
    let run: Run = command.output().unwrap().into();
    for said in [&run.out, &run.err] {
        assert!(!said.contains(TOKEN), "{line}:\n{said}");
        assert!(!said.to_lowercase().contains("signature="), "{line}:\n{said}");
    }
    run
}

const MODES: [&str; 4] = ["-v", "--json", "--progress json -v", "--report report.xml -v"];

#[test]
fn the_token_is_in_no_output_report_or_file() {
    let machine = Machine::new([one_file(6 << 20).access(Access::Private)]);
    let mirror = Hub::start([one_file(6 << 20)]);
    for mode in MODES {
        run(&machine, &format!("org/one {mode}")).ends_with(0);
        run(&machine, &format!("verify org/one {mode}")).ends_with(0);
        run(&machine, &format!("org/one --force --mirror {} {mode}", mirror.endpoint())).ends_with(0);
    }
    for line in
        ["plan org/one -v", "plan org/one --json", "inspect org/one", "lock org/one -v", "lock --check --json", "clean"]
    {
        run(&machine, line).ends_with(0);
    }
    run(&machine, &format!("compare org/one --mirror {} -v", mirror.endpoint()));
    for kind in [
        Kind::Status(401, vec![("x-error-message", format!("bad token {TOKEN}"))]),
        Kind::Status(403, Vec::new()),
        Kind::Status(500, Vec::new()),
        Kind::Cut(100),
        Kind::Html,
        Kind::CorruptByte(7),
        Kind::Redirect("http://127.0.0.1:1/elsewhere?X-Amz-Signature=abc".into()),
    ] {
        for place in [Place::Api, Place::Tree, Place::Resolve, Place::Bytes] {
            machine.hub.fault(Fault::new(place, kind.clone()));
            for mode in [MODES[0], MODES[2]] {
                let _ = std::fs::remove_dir_all(machine.cache());
                run(&machine, &format!("org/one {mode}"));
            }
            machine.hub.heal();
        }
    }
    run(&machine, "org/none -v").ends_with(3);
    for (name, content) in tree(machine.home.path()) {
        assert!(!String::from_utf8_lossy(&content).contains(TOKEN), "the token is in {name}");
    }
}
