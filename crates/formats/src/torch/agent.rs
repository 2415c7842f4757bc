//! The pickles in Stable-Baselines3's archives: the record `data` has them as base64, and each is loaded with
//! cloudpickle (`common/save_util.py`, `json_to_data`). `judge` judges them.

use std::io::Cursor;

use serde_json::Value;

use super::judge::{self, Whose};
use super::part::FilePart;
use super::pickle::{Node, Pickle};
use crate::problem::{Problem, ProblemKind};
use crate::problems::{Problems, Quote};

/// The name of the record.
pub(super) const RECORD: &[u8] = b"data";
/// The key of a pickle.
const KEY: &str = ":serialized:";

/// The names that rebuild a function from its code (`cloudpickle/cloudpickle.py`): honest agents have some.
const REBUILDS: &[&str] = &[
    "_make_function",
    "_builtin_type",
    "_make_empty_cell",
    "_make_cell",
    "_function_setstate",
    "_make_skeleton_class",
    "_make_skeleton_enum",
    "_make_typevar",
    "_class_setstate",
    "_empty_cell_value",
    "_fill_function",
    "_make_skel_func",
    "CellType",
];

/// Judges every pickle in the record's text.
pub(super) fn judged(text: &[u8], whose: Whose<'_>) -> Vec<Problem> {
    let Ok(Value::Object(fields)) = crate::json::read(text) else { return Vec::new() };
    let mut problems = Problems::default();
    for (name, value) in &fields {
        let Some(coded) = value.get(KEY).and_then(Value::as_str) else { continue };
        let part = format!("{}in its file data, {}, ", whose.part, Quote(name));
        let whose = Whose { part: &part, depth: whose.depth + 1, functions: true, torchs: false, ..whose };
        let pickle = base64(coded);
        let length = pickle.len() as u64;
        match judge::part(&mut FilePart::plain(&mut Cursor::new(pickle), 0, length), whose) {
            Ok(judged) => {
                let said = judged.problems.into_iter();
                problems.extend(said.filter(|problem| problem.kind != ProblemKind::NeedsFullUnpickle));
                if judged.functions {
                    let message = "it has a function with code of its own, which Stable-Baselines3 calls";
                    problems.push(whose.problem(ProblemKind::NeedsFullUnpickle, message));
                }
                if let Some(error) = judged.error {
                    let message = format!("its pickle cannot be followed to its end: {error}");
                    problems.push(whose.problem(ProblemKind::WeightsUnread, &message));
                }
            }
            Err(_) => problems.push(whose.problem(ProblemKind::WeightsUnread, "its pickle cannot be read")),
        }
    }
    problems.into_vec()
}

/// Whether an import is one of those that rebuild functions.
pub(super) fn rebuilds(module: &str, name: &str) -> bool {
    matches!(module, "cloudpickle.cloudpickle" | "cloudpickle.cloudpickle_fast" | "cloudpickle")
        && REBUILDS.contains(&name)
}

/// Whether a call makes a function's code: a call of `_builtin_type("CodeType")`, and of no other type that
/// `_builtin_type` may give.
pub(super) fn makes_code(pickle: &Pickle, function: super::pickle::Id) -> bool {
    let Node::Call { function, arguments, .. } = pickle.node(function) else { return false };
    let is_type = pickle.global(*function).is_some_and(|g| rebuilds(&g.module, &g.name) && &*g.name == "_builtin_type");
    let only = |given: &[_]| matches!(given, [name] if pickle.text(*name) == Some("CodeType"));
    is_type && pickle.items(*arguments).is_some_and(only)
}

/// Decodes as Python's `b64decode` does: other characters are skipped, and a padded group ends the text.
fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits, mut digits, mut fill) = (0u32, 0u32, 0, 0);
    for byte in text.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if digits >= 2 => {
                fill += 1;
                if digits + fill >= 4 {
                    break;
                }
                continue;
            }
            _ => continue,
        };
        (held, bits, digits, fill) = (held << 6 | u32::from(digit), bits + 6, (digits + 1) % 4, 0);
        if let Some(left) = bits.checked_sub(8) {
            bits = left;
            // Fewer than eight bits remain after this, so the conversion cannot fail.
            bytes.extend(u8::try_from(held >> bits));
            held &= (1 << bits) - 1;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_as_python_reads_it() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("aGVsbG8=", b"hello"),
            ("aGVs\nbG8h", b"hello!"),
            ("a!G-V_s", b"hel"),
            ("aGk=aGk=", b"hi"),
            ("+/8=", b"\xfb\xff"),
        ] {
            assert_eq!(base64(text), bytes, "{text}");
        }
    }
}
