//! JSON companions must parse. What they mean is the loaders' business.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Subject, SubjectFile};
use crate::report::{Code, Finding, Severity};
use crate::select::Purpose;

/// A tokenizer.json of a large vocabulary is some 20 MB; this is far above.
const JSON_LIMIT: u64 = 512 << 20;

/// Files up to this are looked at again for what only Python accepts.
const LENIENT_LIMIT: u64 = 64 << 20;

/// Adds a finding for every companion that is no JSON.
pub(super) fn check(subject: &Subject, findings: &mut Vec<Finding>) {
    for file in &subject.files {
        let json = file.path.file_name().to_ascii_lowercase().ends_with(".json");
        // An index is read, and judged, with its shards.
        if json && file.purpose != Purpose::Index && file.purpose != Purpose::Other {
            findings.extend(check_one(file));
        }
    }
}

/// Any JSON object.
struct Object;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Object)
            }
        }
        d.deserialize_map(Members)
    }
}

fn check_one(file: &SubjectFile) -> Option<Finding> {
    let invalid = |why: String| Some(Finding::new(Code::ConfigInvalid, &file.path, why));
    // A missing file is a finding already.
    let open = File::open(&file.local).ok()?;
    if open.metadata().ok()?.len() > JSON_LIMIT {
        return invalid(format!("it is larger than {JSON_LIMIT} bytes"));
    }
    let object = matches!(file.path.file_name(), "config.json" | "generation_config.json" | "tokenizer_config.json");
    let error = parse(BufReader::new(open.take(JSON_LIMIT)), object).err()?;
    if python_accepts(&file.local, object) {
        let why = "it holds NaN or Infinity, which is no JSON: loaders in Python accept it, others do not";
        return invalid(why.into()).map(|finding| finding.severity(Severity::Warning));
    }
    invalid(format!("it is not the JSON that loaders expect: {error}"))
}

fn parse(reader: impl Read, object: bool) -> Result<(), serde_json::Error> {
    if object {
        serde_json::from_reader::<_, Object>(reader).map(drop)
    } else {
        serde_json::from_reader::<_, IgnoredAny>(reader).map(drop)
    }
}

/// Whether it parses with the constants that Python's `json` reads and writes beyond the standard.
fn python_accepts(path: &Path, object: bool) -> bool {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LENIENT_LIMIT + 1).read_to_end(&mut content));
    read.is_ok()
        && content.len() as u64 <= LENIENT_LIMIT
        && parse(without_constants(&content).as_slice(), object).is_ok()
}

/// With a number in the place of each `NaN`, `Infinity` and `-Infinity` outside of texts.
fn without_constants(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let (mut at, mut text) = (0, false);
    while let Some(byte) = json.get(at) {
        let constant = ["NaN", "Infinity", "-Infinity"].iter().find(|c| !text && json[at..].starts_with(c.as_bytes()));
        if let Some(constant) = constant {
            out.push(b'0');
            at += constant.len();
            continue;
        }
        match byte {
            b'\\' if text => {
                out.push(b'\\');
                out.extend(json.get(at + 1));
                at += 2;
                continue;
            }
            b'"' => text = !text,
            _ => {}
        }
        out.push(*byte);
        at += 1;
    }
    out
}
