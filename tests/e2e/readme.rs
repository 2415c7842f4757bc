//! The README is true: its commands are understood, its tests exist, its codes are all there are.

use std::path::Path;
use std::process::Command;

use super::support::{CHATGLM, Machine, Run, fixture, one_file};

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// What stands between two headings.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).expect(heading);
    rest.split("\n## ").next().unwrap()
}

fn sources(dir: &Path, into: &mut String) {
    for item in std::fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Whether a word of the README is a test's name: a sentence.
fn is_sentence(word: &str) -> bool {
    let snake = word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    snake && word.matches('_').count() >= 4
}

#[test]
fn every_test_that_is_named_exists_and_each_line_of_the_security_model_names_some() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = String::new();
    sources(&root.join("src"), &mut all);
    sources(&root.join("crates"), &mut all);
    sources(&root.join("tests"), &mut all);
    let readme = readme();
    let named: Vec<&str> = readme.split('`').skip(1).step_by(2).filter(|word| is_sentence(word)).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(all.contains(&format!("fn {name}(")), "there is no test {name}");
    }
    let rows: Vec<&str> = section(&readme, "Security model").lines().filter(|l| l.starts_with('|')).skip(2).collect();
    assert!(rows.len() > 10);
    for row in rows {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test holds: {row}");
        for name in names {
            assert!(all.contains(&format!("fn {name}(")), "there is no test {name}");
        }
    }
}

#[test]
fn every_finding_code_is_explained() {
    let readme = readme();
    for code in hfget_core::finding::Code::ALL {
        assert!(readme.contains(&format!("`{code}`")), "{code} is not in the README");
    }
}

/// Every line of the README's shell blocks that calls hfget is no misuse of it.
#[test]
fn every_command_is_understood() {
    let machine = Machine::new([fixture(CHATGLM), one_file(100)]);
    let readme = readme();
    let mut count = 0;
    for block in readme.split("```sh\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            let line = line.split("  #").next().unwrap().split(" > ").next().unwrap().trim();
            let Some(words) = line.strip_prefix("hfget ") else { continue };
            // As a shell would take the quotes.
            let words: Vec<String> = words.split_whitespace().map(|w| w.trim_matches('\'').to_owned()).collect();
            let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
            machine.environment(&mut command);
            command
                .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
                .env("AWS_REGION", "x")
                .env("HOME", machine.home.path());
            command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
            std::fs::write(machine.home.path().join("repos.txt"), "org/one\n").unwrap();
            std::fs::write(machine.home.path().join("deployed.txt"), "org/one\n").unwrap();
            let words = words.iter().map(|w| w.replace("https://mirror.example.org", "http://127.0.0.1:1"));
            let words = words.map(|w| w.replace("https://mirror.example", "http://127.0.0.1:1"));
            let run: Run = command.args(words).output().unwrap().into();
            assert!(matches!(run.code, Some(0 | 1 | 3 | 4 | 5)), "{line}: {:?}\n{}", run.code, run.err);
            count += 1;
        }
    }
    assert!(count > 25, "{count}");
}

#[test]
fn every_link_within_it_leads_to_a_heading() {
    let readme = readme();
    let anchor = |heading: &str| -> String {
        let kept = heading.to_lowercase();
        kept.chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    };
    let headings: Vec<String> =
        readme.lines().filter(|l| l.starts_with("##")).map(|l| anchor(l.trim_start_matches('#').trim())).collect();
    let links: Vec<&str> = readme.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 5, "{links:?}");
    for link in links {
        assert!(headings.iter().any(|heading| heading == link), "#{link} is in none of {headings:?}");
    }
}
