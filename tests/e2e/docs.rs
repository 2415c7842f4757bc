//! Checks the README and the book: every test that they name exists, every code is explained, every link has a
//! target. `shell_blocks.rs` runs their commands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hfget_core::finding::{Code, Severity};

use super::support::{COMMANDS, Machine, binary};

/// One text for people: its path below the repository, and its content.
pub struct Page {
    pub path: String,
    pub text: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn page(path: &str) -> Page {
    let text = std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    Page { path: path.to_owned(), text }
}

/// The README, the Python package's, and every page of the book.
pub fn pages() -> Vec<Page> {
    let mut paths = vec!["README.md".to_owned(), "python/README.md".to_owned()];
    let mut book: Vec<String> = std::fs::read_dir(root().join("docs/src"))
        .unwrap()
        .map(|file| format!("docs/src/{}", file.unwrap().file_name().to_string_lossy()))
        .filter(|path| path.ends_with(".md"))
        .collect();
    book.sort();
    paths.extend(book);
    paths.iter().map(|path| page(path)).collect()
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

/// The texts between backticks, outside fenced blocks.
fn codes_in(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// The cells of each row of every table, headings left out.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let mut rows = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_heading = lines.peek().is_some_and(|next| next.starts_with("|---"));
        if line.starts_with('|') && !line.starts_with("|---") && !is_heading {
            rows.push(line.trim_matches('|').split(" | ").map(str::trim).collect());
        }
    }
    rows
}

/// Whether a word is a test's name, which is a sentence.
fn is_sentence(word: &str) -> bool {
    let snake = word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    snake && word.matches('_').count() >= 4
}

#[test]
fn every_named_test_exists_and_each_line_of_the_security_model_names_one() {
    let mut all = String::new();
    for folder in ["src", "crates", "tests"] {
        sources(&root().join(folder), &mut all);
    }
    let pages = pages();
    // A name that begins with `test_` is one of huggingface_hub's own tests: `tests/python/own_tests.py` checks those.
    let ours = |word: &&str| is_sentence(word) && !word.starts_with("test_");
    let named: Vec<&str> = pages.iter().flat_map(|page| codes_in(&page.text)).filter(ours).collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(all.contains(&format!("fn {name}(")), "the test {name} does not exist");
    }
    let security = page("docs/src/security.md");
    let rows = rows(&security.text);
    assert!(rows.len() > 10);
    for row in rows {
        let tests = row.last().unwrap();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test holds: {row:?}");
        for name in names {
            assert!(all.contains(&format!("fn {name}(")), "the test {name} does not exist");
        }
    }
}

/// The tables of the page match the enum: each code once, with its usual severity.
#[test]
fn every_finding_code_is_explained_with_its_severity_and_what_to_do() {
    let findings = page("docs/src/findings.md");
    let mut explained = BTreeMap::new();
    for row in rows(&findings.text) {
        let [code, severity, meaning, to_do] = row[..] else { panic!("not four cells: {row:?}") };
        let code = code.trim_matches('`');
        assert!(meaning.ends_with('.') && to_do.ends_with('.') && meaning.len() > 20, "{row:?}");
        assert!(explained.insert(code.to_owned(), severity.to_owned()).is_none(), "{code} occurs twice");
    }
    let wanted: BTreeMap<String, String> = Code::ALL
        .iter()
        .map(|code| {
            let severity = match code.severity() {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            (code.to_string(), severity.to_owned())
        })
        .collect();
    assert_eq!(explained, wanted);
}

#[test]
fn every_family_is_explained() {
    let families = page("docs/src/families.md");
    let firsts: Vec<&str> = rows(&families.text).iter().map(|row| row[0]).collect();
    for family in hfget_core::model::Family::ALL {
        assert!(firsts.iter().any(|cell| cell.contains(&format!("`{family}`"))), "{family} is in no row");
    }
}

/// The name that GitHub and mdBook give to a heading's place.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if !fenced && line.starts_with('#') {
            found.push(anchor(line.trim_start_matches('#').trim()));
        }
    }
    found
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut count = 0;
    for page in pages() {
        let folder = Path::new(&page.path).parent().unwrap().to_path_buf();
        for link in page.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            let (file, heading) = link.split_once('#').map_or((link, None), |(file, heading)| (file, Some(heading)));
            let target: PathBuf =
                if file.is_empty() { root().join(&page.path) } else { root().join(&folder).join(file) };
            assert!(target.exists(), "{}: {link} does not exist", page.path);
            if let Some(heading) = heading {
                let there = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(there.iter().any(|one| one == heading), "{}: {link} is not one of {there:?}", page.path);
            }
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}

#[test]
fn every_page_of_the_book_is_in_its_summary() {
    let summary = page("docs/src/SUMMARY.md").text;
    for page in pages() {
        if let Some(name) = page.path.strip_prefix("docs/src/").filter(|name| *name != "SUMMARY.md") {
            assert!(summary.contains(&format!("({name})")), "{name}");
        }
    }
}

/// Every flag on a page is a flag of some command. Tables of other tools' flags are left out.
#[test]
fn every_named_flag_exists() {
    let machine = Machine::new([]);
    let mut help = String::new();
    for command in COMMANDS {
        let run = machine.bare().args(command.split_whitespace()).arg("--help").output().unwrap();
        help.push_str(&String::from_utf8_lossy(&run.stdout));
    }
    let ours: Vec<&str> =
        help.split(|c: char| !(c.is_alphanumeric() || c == '-')).filter(|word| word.starts_with("--")).collect();
    assert!(ours.len() > 40 && binary().exists());
    let others = ["docs/src/coming-from.md", "docs/src/beside.md"];
    let cargos = ["--release", "--example", "--locked", "--path", "--profile", "--binary", "--serve", "--open"];
    for page in pages().into_iter().filter(|page| !others.contains(&page.path.as_str())) {
        let theirs =
            |code: &&str| ["aws ", "brew ", "packaging/", "uvx "].iter().any(|program| code.starts_with(program));
        for code in codes_in(&page.text).into_iter().filter(|code| !theirs(code)) {
            for word in code.split(|c: char| !(c.is_alphanumeric() || c == '-')) {
                if word.starts_with("--") && word.len() > 2 && !cargos.contains(&word) {
                    assert!(ours.contains(&word), "{}: no command has {word} (`{code}`)", page.path);
                }
            }
        }
    }
}
