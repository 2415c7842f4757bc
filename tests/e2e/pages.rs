//! `--report FILE.html`: a page for people, from every command that makes one, with hostile names in it, and shown in a
//! browser if one is installed.

use std::path::Path;
use std::process::Command;

use hfget_loopback_hub::{Fault, Hub, Kind, Place, Repo, sha256};

use super::interop::python;
use super::support::{CHATGLM, Machine, Run, fixture, safetensors};

const EVIL: &str = "<img src=x onerror=alert(1)> \u{202e}'\"&.txt";

fn good() -> Repo {
    Repo::new("org/good").file("config.json", "{}").lfs("model.safetensors", safetensors("w", 64))
}

fn bad() -> Repo {
    let mut cut = safetensors("w", 64);
    cut.truncate(70);
    Repo::new("org/bad").file("config.json", "{}").lfs("model.safetensors", cut)
}

fn evil() -> Repo {
    Repo::new("org/evil").file("config.json", "{}").lfs("model.safetensors", safetensors("w", 64)).file(EVIL, "x")
}

fn machine() -> Machine {
    Machine::new([good(), bad(), evil(), fixture(CHATGLM)])
}

fn read(machine: &Machine, name: &str) -> String {
    std::fs::read_to_string(machine.home.path().join(name)).unwrap()
}

/// Checks that a page has no markup from a name, and loads nothing from elsewhere.
#[track_caller]
fn assert_closed(page: &str) {
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"), "{page}");
    assert!(!page.contains("<img") && !page.contains('\u{202e}'), "{page}");
    for outside in [" src=", "url(", "@import", "<link", "<iframe"] {
        assert!(!page.contains(outside) || page.contains("&lt;img src="), "{outside} in {page}");
    }
    assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"), "{page}");
}

#[test]
fn get_verify_and_plan_write_a_page_with_a_row_for_each_repo() {
    let machine = machine();
    let run = machine.hfget("org/good org/bad org/evil org/none --all --report get.html").ends_with(1);
    assert_eq!(run.out.lines().count(), 2, "stdout is unchanged: {}", run.out);
    let page = read(&machine, "get.html");
    assert_closed(&page);
    for part in [
        "verified against hub",
        "org/bad",
        "tensor-out-of-bounds",
        "org/none was not found",
        "2 of 2",
        "hfget get: 2 of 4 repos not right",
        "→ ",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"), "{page}");
    machine.hfget("verify org/good --report verify.html").ends_with(0);
    let page = read(&machine, "verify.html");
    assert_closed(&page);
    assert!(page.contains("hfget verify: 1 repo") && page.contains("hashed"), "{page}");
    machine.hfget("plan org/good org/evil THUDM/chatglm3-6b --report plan.HTML").ends_with(0);
    let page = read(&machine, "plan.HTML");
    assert_closed(&page);
    assert!(page.contains("Left out") && page.contains("(--only bin)") && page.contains("to fetch"), "{page}");
    machine.hfget("org/good --dry-run --report dry.html").ends_with(0);
    assert!(read(&machine, "dry.html").contains("everything is here"));
    machine.hfget("plan org/good --report plan.json").ends_with(0);
    let value: serde_json::Value = serde_json::from_str(&read(&machine, "plan.json")).unwrap();
    assert_eq!(value["plans"][0]["repo"], "org/good");
}

/// The twin: without files that are left out there is no such heading.
#[test]
fn the_page_and_the_json_name_left_out_files_and_how_to_take_them() {
    let two = Repo::new("org/two")
        .file("config.json", "{}")
        .lfs("model.safetensors", safetensors("w", 64))
        .lfs("flax_model.msgpack", "x".repeat(3000));
    let machine = Machine::new([good(), two]);
    machine.hfget("org/two --report get.html").ends_with(0);
    let page = read(&machine, "get.html");
    assert!(
        page.contains("Left out") && page.contains("flax_model.msgpack") && page.contains("(--only flax)"),
        "{page}"
    );
    let report = machine.hfget("org/two --json").ends_with(0).json();
    let group = &report["reports"][0]["left_out"][0];
    assert_eq!((&group["take"], &group["bytes"], &group["files"]), (&"--only flax".into(), &3000.into(), &1.into()));
    machine.hfget("org/good --report good.html").ends_with(0);
    assert!(!read(&machine, "good.html").contains("Left out"));
}

#[test]
fn compare_writes_a_page_and_json() {
    let machine = machine();
    let mirror = Hub::start([good(), fixture(CHATGLM)]);
    mirror.fault(Fault::new(Place::Bytes, Kind::CorruptByte(3)).on("model-00001-of-00007.safetensors"));
    let line = |file: &str| {
        let mut command = machine.bare();
        command.args(["compare", "org/good", CHATGLM, "--mirror", &mirror.endpoint(), "--report", file]);
        Run::from(command.output().unwrap())
    };
    line("compare.html").ends_with(1);
    let page = read(&machine, "compare.html");
    assert_closed(&page);
    for part in ["the mirror matches", "the mirror differs", "Commit on the mirror", "checksum-mismatch"] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    line("compare.json").ends_with(1);
    let value: serde_json::Value = serde_json::from_str(&read(&machine, "compare.json")).unwrap();
    assert_eq!(value["comparisons"].as_array().unwrap().len(), 2);
}

#[test]
fn a_page_that_cannot_be_written_ends_the_run_before_any_request() {
    let machine = machine();
    for line in ["plan org/good --report no/such/x.html", "org/good --report no/such/x.html"] {
        machine.hfget(line).ends_with(5).says("cannot write");
        assert!(machine.hub.requests().is_empty(), "{line}");
    }
}

/// The page's policy names the sums of its own style and script: without them a browser uses neither.
#[test]
fn the_page_allows_its_own_style_and_script_and_no_other() {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let base64 = |bytes: &[u8]| -> String {
        let mut out = String::new();
        for three in bytes.chunks(3) {
            let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
            let all = at(0) << 16 | at(1) << 8 | at(2);
            for i in 0..4u32 {
                let letter = LETTERS[(all >> (18 - 6 * i)) as usize & 63];
                out.push(if i as usize > three.len() { '=' } else { char::from(letter) });
            }
        }
        out
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render/html");
    for (file, sum) in [("style.css", "style.sum"), ("script.js", "script.sum")] {
        let is = base64(&sha256(&std::fs::read(folder.join(file)).unwrap()));
        let said = std::fs::read_to_string(folder.join(sum)).unwrap();
        assert_eq!(said.trim(), is, "{sum}: write this into it");
    }
}

#[test]
fn a_browser_shows_the_page_and_nothing_else_happens() {
    let Some(bin) = python() else { return };
    let has =
        |words: &[&str]| Command::new(words[0]).args(&words[1..]).output().is_ok_and(|output| output.status.success());
    let program = bin.join("python").display().to_string();
    let browsers = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
    let there = has(&[&program, "-c", "import playwright"])
        && browsers.iter().any(|name| has(&["sh", "-c", &format!("command -v {name}")]));
    assert!(there || std::env::var_os("CI").is_none(), "CI needs playwright and a browser (.ci/run installs both)");
    if !there {
        eprintln!("skipped: no playwright in {} or no browser (.ci/run installs both)", bin.display());
        return;
    }
    let machine = machine();
    machine.hfget("org/good org/bad org/evil org/none THUDM/chatglm3-6b --all --report get.html").ends_with(1);
    let mut command = Command::new(program);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/looks.py");
    command.arg(script).arg(machine.home.path().join("get.html")).arg("5").arg(machine.home.path());
    Run::from(command.output().unwrap()).ends_with(0).shows("looked at 5 repos");
    // For people who want to see the pages.
    if let Some(folder) = std::env::var_os("HFGET_SCREENSHOTS") {
        for name in ["get.html", "light.png", "dark.png", "narrow.png", "print.pdf"] {
            std::fs::copy(machine.home.path().join(name), Path::new(&folder).join(name)).unwrap();
        }
    }
}
