//! Runs every shell block of the README and the book, and compares the result with the page. `sh` blocks: each command
//! ends with 0, or with the code that its comment names as "(exit code N)". `console` blocks: the output matches the
//! page, except for times and rates. `HFGET_UPDATE_DOCS=1` writes the output into the pages.

use std::fmt::Write as _;
use std::process::Command;

use hfget_loopback_hub::{Hub, Repo, samples};
use hfget_loopback_registry::Registry;

use super::docs::{Page, page, pages, root};
use super::interop::python;
use super::objects::S3;
use super::support::{Machine, binary};

/// Commands that no test of this file runs: each with the file that runs it, and the words in that file.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "cargo run --release --example quickstart",
        ".ci/run",
        "cargo run --quiet --release --locked --example quickstart",
    ),
    ("cargo run --example own_store", ".ci/run", "target/debug/examples/own_store"),
    ("skopeo copy --preserve-digests", "tests/e2e/oci.rs", "&[\"--preserve-digests\"]"),
    ("cargo test", ".ci/run", "\ncargo test "),
    ("cargo install --locked --path .", ".ci/run", "cargo install --quiet --locked --path ."),
    ("packaging/build --binary", ".ci/artifacts", "packaging/build --binary \"$binary\" wheel image"),
    ("pip install dist/", "packaging/pack/judge.py", "run(scripts / \"pip\", \"install\""),
    ("python -m hfget run -- ", "tests/python/patched.py", "\"-m\", \"hfget\", \"run\""),
];

/// The repos of the pages.
fn repos() -> Vec<Repo> {
    samples(&root().join("tests/fixtures/repos"))
}

#[derive(Debug, PartialEq)]
enum Kind {
    Script,
    Console,
}

/// One command of a page, with its expected result.
#[derive(Debug)]
struct Typed {
    line: String,
    kind: Kind,
    /// The lines below it, in a console block.
    output: Vec<String>,
    /// The place of these lines in the page.
    at: std::ops::Range<usize>,
}

/// Whether a line has no command.
fn is_comment(line: &str) -> bool {
    line.trim().is_empty() || line.trim_start().starts_with('#')
}

fn commands(page: &Page) -> Vec<Typed> {
    let mut all: Vec<Typed> = Vec::new();
    let mut within: Option<Kind> = None;
    let mut continues = false;
    for (at, line) in page.text.lines().enumerate() {
        match (&within, line) {
            (None, "```sh") => within = Some(Kind::Script),
            (None, "```console") => within = Some(Kind::Console),
            (None, _) => {}
            (Some(_), "```") => within = None,
            (Some(Kind::Script), line) if continues => {
                let last = all.last_mut().unwrap();
                last.line.push('\n');
                last.line.push_str(line);
                continues = line.ends_with('\\');
            }
            (Some(Kind::Script), line) => {
                if !is_comment(line) {
                    let line = line.to_owned();
                    continues = line.ends_with('\\');
                    all.push(Typed { line, kind: Kind::Script, output: vec![], at: at + 1..at + 1 });
                }
            }
            (Some(Kind::Console), line) => {
                if let Some(line) = line.strip_prefix("$ ") {
                    let line = line.to_owned();
                    all.push(Typed { line, kind: Kind::Console, output: vec![], at: at + 1..at + 1 });
                } else {
                    let last = all.last_mut().expect("a console begins with a command");
                    last.output.push(line.to_owned());
                    last.at.end = at + 1;
                }
            }
        }
    }
    all
}

/// Whether another file runs it, which is checked.
fn runs_elsewhere(line: &str) -> bool {
    let Some((_, file, words)) = ELSEWHERE.iter().find(|(command, ..)| line.starts_with(command)) else { return false };
    assert!(page(file).text.contains(words), "{file} does not run `{line}`");
    true
}

/// The code that a command must end with.
fn wanted_code(line: &str) -> i32 {
    let comment = line.split_once("  #").map_or("", |(_, comment)| comment);
    comment
        .split_once("(exit code ")
        .and_then(|(_, rest)| rest.split(')').next())
        .map_or(0, |code| code.parse().expect("a number"))
}

/// A line without the parts that differ from run to run: times, rates, dates and free space.
fn stripped(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let bare = |word: &str| word.trim_matches(|c| matches!(c, '(' | ')' | ',' | ';')).to_owned();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let next = words.get(at + 1).map_or(String::new(), |word| bare(word));
        let is_number = bare(word).parse::<f64>().is_ok();
        let is_measure = ["ms", "s", "B/s", "kB/s", "MB/s", "GB/s"].contains(&next.as_str())
            || words.get(at + 2).is_some_and(|word| bare(word) == "free");
        if is_number && is_measure {
            out.push("#");
            at += 2;
        } else if let Some(name) = ["ms=", "took=", "waited="].into_iter().find(|name| word.starts_with(name)) {
            out.push(name);
            at += 1;
        } else if at == 0 && word.strip_suffix('s').is_some_and(|time| time.parse::<f64>().is_ok()) {
            // The time in a line of the log.
            at += 1;
        } else if word.len() == 10 && word.bytes().filter(|b| *b == b'-').count() == 2 && word.starts_with('2') {
            out.push("DATE");
            at += 1;
        } else {
            out.push(word);
            at += 1;
        }
    }
    out.join(" ")
}

/// Runs all commands of a page in one shell, in an empty home. Returns the exit code and the output of each command.
fn run(page: &Page, typed: &[Typed]) -> Option<Vec<(i32, String)>> {
    let machine = Machine::new(repos());
    let mirror = Hub::start(repos());
    let registry = Registry::start();
    let home = machine.home.path();
    let write = |name: &str, text: &str| std::fs::write(home.join(name), text).unwrap();
    write("repos.txt", "org/model   # the model\nTHUDM/chatglm3-6b\n");
    write("deployed.txt", "org/model\n");
    let places = [
        ("https://mirror.example.org", mirror.endpoint()),
        ("https://mirror.example", mirror.endpoint()),
        ("https://huggingface.co", machine.hub.endpoint()),
        ("s3://bucket/", "s3://fleet/".to_owned()),
        ("oci://registry.example/", format!("oci://{}/", registry.address())),
    ];
    let mut script = String::new();
    for (at, one) in typed.iter().enumerate() {
        let line = places.iter().fold(one.line.clone(), |line, (from, to)| line.replace(from, to));
        // Writing to a string cannot fail.
        let _ = write!(script, "{{\n{line}\n}} > {at}.out 2>&1\necho $? > {at}.code\n");
    }
    let mut command = Command::new("bash");
    machine.environment(&mut command);
    command.env_remove("HF_HOME").args(["-c", &script]);
    let path = std::env::var("PATH").unwrap_or_default();
    let program = binary();
    let mut path = format!("{}:{path}", program.parent().unwrap().display());
    if typed.iter().any(|one| one.line.starts_with("model_signing ")) {
        // The tool that signs models.
        let bin = python()?;
        if !bin.join("model_signing").exists() {
            return None;
        }
        path = format!("{path}:{}", bin.display());
    }
    command.env("PATH", path);
    let store;
    if typed.iter().any(|one| one.line.contains("s3://")) {
        store = S3::start(&machine)?;
        store.environment(&mut command);
    }
    if typed.iter().any(|one| one.line.contains("--base ")) {
        // Any image is good enough as a base: its content does not matter.
        let to = format!("oci://{}/acme/busybox:1", registry.address());
        let base = machine.hfget(&format!("org/model --include config.json --to {to}"));
        base.ends_with(0);
    }
    assert!(command.output().unwrap().status.code().is_some(), "{}", page.path);
    let read = |name: String| std::fs::read_to_string(home.join(name));
    let all = (0..typed.len()).map(|at| {
        let code = read(format!("{at}.code")).unwrap_or_else(|_| panic!("`{}` ended the shell", typed[at].line));
        let out = read(format!("{at}.out")).unwrap();
        let out = places[..3].iter().rev().fold(out, |out, (name, address)| {
            let bare = |url: &str| url.trim_start_matches("https://").trim_start_matches("http://").to_owned();
            out.replace(address, name).replace(&bare(address), &bare(name))
        });
        (code.trim().parse().unwrap(), out.replace(&home.display().to_string(), "/home/me"))
    });
    Some(all.collect())
}

/// The page with the real outputs in its console blocks.
fn rewritten(page: &Page, typed: &[Typed], ran: &[(i32, String)]) -> String {
    let mut lines: Vec<String> = page.text.lines().map(str::to_owned).collect();
    for (one, (_, out)) in typed.iter().zip(ran).rev().filter(|(one, _)| one.kind == Kind::Console) {
        lines.splice(one.at.clone(), out.lines().map(str::to_owned));
    }
    lines.join("\n") + "\n"
}

/// Compares a page with its commands' output, or writes the output into it. Returns how many commands there are.
fn check(page: &Page, update: bool) -> usize {
    let mut typed = commands(page);
    typed.retain(|one| !runs_elsewhere(&one.line));
    if typed.is_empty() {
        return 0;
    }
    let Some(ran) = run(page, &typed) else { return 0 };
    if update {
        std::fs::write(root().join(&page.path), rewritten(page, &typed, &ran)).unwrap();
        return typed.len();
    }
    for (one, (code, out)) in typed.iter().zip(&ran) {
        match one.kind {
            Kind::Script => assert_eq!(*code, wanted_code(&one.line), "{}: `{}`\n{out}", page.path, one.line),
            Kind::Console => {
                let actual: Vec<String> = out.lines().map(stripped).collect();
                let said: Vec<String> = one.output.iter().map(|line| stripped(line)).collect();
                assert_eq!(actual, said, "{}: `{}` (HFGET_UPDATE_DOCS=1 writes what it printed)", page.path, one.line);
            }
        }
    }
    typed.len()
}

#[test]
fn every_command_of_every_page_gives_the_result_on_the_page() {
    let update = std::env::var_os("HFGET_UPDATE_DOCS").is_some();
    let count: usize = pages().iter().map(|page| check(page, update)).sum();
    assert!(count > 60, "{count}");
}

/// The commands in the tables for users of other tools: the last column of each row is ours.
#[test]
fn every_command_for_users_of_other_tools_works() {
    let page = page("docs/src/coming-from.md");
    let mut typed = Vec::new();
    for row in page.text.lines().filter(|line| line.starts_with('|')) {
        let ours = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        let commands = ours.split('`').skip(1).step_by(2).filter(|code| code.starts_with("hfget "));
        typed.extend(commands.filter(|code| !code.contains("URL")).map(|code| Typed {
            line: code.to_owned(),
            kind: Kind::Script,
            output: vec![],
            at: 0..0,
        }));
    }
    assert!(typed.len() > 20, "{}", typed.len());
    for (one, (code, out)) in typed.iter().zip(run(&page, &typed).unwrap()) {
        assert_eq!(code, 0, "`{}`\n{out}", one.line);
    }
}

#[test]
fn a_wrong_page_is_found() {
    let page = |text: &str| Page { path: "x.md".to_owned(), text: text.to_owned() };
    let wrong = [
        "```sh\nhfget org/model --only bin\n```\n",
        "```sh\nhfget org/model  # (exit code 3)\n```\n",
        "```sh\nhfget org/model --no-such-flag\n```\n",
        "```console\n$ hfget list\nnothing at all\n```\n",
    ];
    for text in wrong {
        let found = std::panic::catch_unwind(|| check(&page(text), false));
        assert!(found.is_err(), "{text}");
    }
    let right = "```sh\nhfget org/model --only bin   # (exit code 3)\nhfget org/model && \\\n  hfget list\n```\n\
                 ```console\n$ hfget list org/none\n0 snapshots, 0 B in /home/me/.cache/huggingface/hub\n```\n";
    assert_eq!(check(&page(right), false), 3);
}
