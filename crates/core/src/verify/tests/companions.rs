//! Tests that JSON beside the weights must be readable for Python's loaders.

use std::fs;

use super::{codes, subject_file};
use crate::finding::{Code, Finding};
use crate::model::Purpose;
use crate::progress::Silent;
use crate::verify::{Subject, verify};

fn check(name: &str, content: impl AsRef<[u8]>) -> Vec<Finding> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), content).unwrap();
    let files = vec![subject_file(dir.path(), name, Purpose::Config)];
    verify(&Subject { files, ..Subject::default() }, 1, &Silent).findings
}

#[test]
fn json_that_loaders_read_has_no_findings() {
    for (name, text) in [
        ("config.json", r#"{"a": [1, 2.5e3, null, true, "\u00e9"]}"#),
        ("config.json", "{}\n"),
        ("modules.json", "[]"),
        ("vocab.json", r#"{"Infinity": 1, "a \"NaN": 2, "\\": 3, "b": -1}"#),
        // A config of Mamba, as Python's json writes it.
        ("config.json", r#"{"time_step_limit": [0.0, Infinity], "x": -Infinity, "y":NaN}"#),
        // A number that is too large for a double, and a lone surrogate.
        ("config.json", r#"{"limit": 1e400, "x": [-1e400]}"#),
        ("tokenizer_config.json", r#"{"x": "\ud83d"}"#),
        ("merges.txt", "no json"),
    ] {
        assert_eq!(check(name, text), [], "{name} {text}");
    }
}

#[test]
fn json_that_loaders_do_not_read_is_an_error() {
    for (name, text) in [
        ("config.json", &b""[..]),
        ("config.json", b"{"),
        ("config.json", b"[]"),
        ("config.json", b"null"),
        ("generation_config.json", b"[1]"),
        ("tokenizer_config.json", b"\"text\""),
        ("config.json", b"{\"a\": 1,}"),
        ("config.json", b"{\"a\": 1} {}"),
        ("config.json", b"{\"a\": 1Infinity}"),
        ("config.json", b"{\"a\": -NaN}"),
        ("config.json", b"{\"a\": Infinityx}"),
        ("config.json", b"{\"a\": nan}"),
        ("config.json", b"{\"a\": \"\xff\"}"),
        ("config.json", b"\xef\xbb\xbf{}"),
        ("config.json", b"<!doctype html>"),
        ("Tokenizer.JSON", b"version https://git-lfs.github.com/spec/v1\n"),
        ("tokenizer.json", b"{\"a\": \"\\x\"}"),
    ] {
        let findings = check(name, text);
        assert_eq!(codes(&findings), [Code::ConfigInvalid], "{name} {}", text.escape_ascii());
    }
}

#[test]
fn absurd_depth_does_not_overflow_the_stack() {
    for open in ["[", r#"{"a":"#] {
        let deep = open.repeat(1_000_000);
        for (name, text) in
            [("config.json", deep.clone()), ("modules.json", deep.clone()), ("config.json", format!(r#"{{"a":{deep}"#))]
        {
            let findings = check(name, text);
            assert_eq!(codes(&findings), [Code::ConfigInvalid], "{name}");
        }
    }
    // With closing brackets it is valid JSON.
    let _ = check("modules.json", format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000)));
}

#[test]
fn a_complaint_does_not_repeat_the_file() {
    let findings = check("config.json", format!("\"{}\"", "x".repeat(1 << 20)));
    assert!(findings[0].message.len() < 1000);
}
