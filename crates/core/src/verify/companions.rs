//! Checks that JSON companions parse. Only loaders read their meaning.

use std::fmt;
use std::io::Read as _;

use hfget_formats::{complaint, json};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Subject, SubjectFile, Unread};
use crate::finding::{Code, Finding};
use crate::model::Purpose;

/// The most bytes of a companion. A tokenizer.json of a large vocabulary has about 20 MB.
const JSON_LIMIT: u64 = 512 << 20;

/// Adds a finding for every companion that is not JSON.
pub(super) fn check(subject: &Subject, findings: &mut Vec<Finding>) {
    for file in &subject.files {
        let json = file.path.file_name().to_ascii_lowercase().ends_with(".json");
        // An index is checked together with its shards.
        if json && file.purpose != Purpose::Index && file.purpose != Purpose::Other {
            findings.extend(check_one(file, &subject.unread));
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

fn check_one(file: &SubjectFile, unread: &Unread) -> Option<Finding> {
    let invalid = |why: String| Some(Finding::new(Code::ConfigInvalid, &file.path, why));
    // A missing file has its finding already.
    let (open, length) = unread.open(&file.content).ok()?;
    if length > JSON_LIMIT {
        return invalid(format!("it is larger than {JSON_LIMIT} bytes"));
    }
    let mut bytes = Vec::new();
    if let Err(error) = open.take(JSON_LIMIT).read_to_end(&mut bytes) {
        return invalid(format!("it cannot be read: {error}"));
    }
    let must_be_object =
        matches!(file.path.file_name(), "config.json" | "generation_config.json" | "tokenizer_config.json");
    // Many configs of Mamba models have `time_step_limit: [0.0, Infinity]`, which is not JSON, but Python reads it.
    let why = parse(&json::strict(&bytes), must_be_object).err()?;
    invalid(format!("it is not the JSON that loaders expect: {why}"))
}

/// Parses a document. Keeps nothing of it and does not recurse, so depth costs little.
fn parse(bytes: &[u8], must_be_object: bool) -> Result<(), String> {
    // The parser does not check the encoding of text that it does not keep.
    let text = std::str::from_utf8(bytes).map_err(|e| format!("not UTF-8 after {} bytes", e.valid_up_to()))?;
    let parsed = if must_be_object {
        serde_json::from_str::<Object>(text).map(drop)
    } else {
        serde_json::from_str::<IgnoredAny>(text).map(drop)
    };
    parsed.map_err(|e| complaint(&e))
}
