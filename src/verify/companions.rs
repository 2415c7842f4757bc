//! JSON companions must parse. What they mean is the loaders' business.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read as _};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Subject, SubjectFile};
use crate::report::{Code, Finding};
use crate::select::Purpose;

/// A tokenizer.json of a large vocabulary is some 20 MB; this is far above.
const JSON_LIMIT: u64 = 512 << 20;

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
    let reader = BufReader::new(open.take(JSON_LIMIT));
    let must_be_object =
        matches!(file.path.file_name(), "config.json" | "generation_config.json" | "tokenizer_config.json");
    let parsed = if must_be_object {
        serde_json::from_reader::<_, Object>(reader).map(drop)
    } else {
        serde_json::from_reader::<_, IgnoredAny>(reader).map(drop)
    };
    parsed.err().and_then(|error| invalid(format!("it is not the JSON that loaders expect: {error}")))
}
