//! JSON as Python reads it: with `NaN`, `Infinity`, numbers beyond a double and lone surrogates. Callers decide
//! which documents are read, and what for.

use std::borrow::Cow;

use serde_json::Value;

/// A document with more values is not read: a value takes about 32 bytes in memory, and may take only two in the file.
const VALUES: usize = 8 << 20;

/// Reads a document. Constants and numbers that JSON does not have become null, a lone surrogate becomes U+FFFD. If a
/// key occurs twice, the last one counts.
///
/// # Errors
/// The parser's complaint, if Python's parser would refuse the document too.
pub fn read(bytes: &[u8]) -> Result<Value, String> {
    let (text, values) = walk(bytes);
    if values > VALUES {
        return Err(format!("it has more than {VALUES} values"));
    }
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// The same document for a parser of plain JSON: the parts that only Python reads are replaced as [`read`] does it.
/// For readers that do not keep every value.
pub fn strict(bytes: &[u8]) -> Cow<'_, [u8]> {
    walk(bytes).0
}

/// The document without the parts that only Python reads, and an upper bound of its number of values.
fn walk(bytes: &[u8]) -> (Cow<'_, [u8]>, usize) {
    let mut out: Option<Vec<u8>> = None;
    // The bytes before this place are in `out` already.
    let mut copied = 0;
    let mut values = 0usize;
    let mut at = 0;
    let mut replace = |from: usize, to: usize, with: &[u8]| {
        let text = out.get_or_insert_with(|| Vec::with_capacity(bytes.len()));
        text.extend_from_slice(bytes.get(copied..from).unwrap_or_default());
        text.extend_from_slice(with);
        copied = to;
    };
    while let Some(&byte) = bytes.get(at) {
        let end = match byte {
            b'"' => string(bytes, at, &mut replace),
            b'N' | b'I' | b'-' | b'0'..=b'9' => {
                let end = token(bytes, at);
                let text = bytes.get(at..end).unwrap_or_default();
                if matches!(text, b"NaN" | b"Infinity" | b"-Infinity") || is_beyond(text) {
                    replace(at, end, b"null");
                }
                end
            }
            b',' | b'[' | b'{' => {
                values += 1;
                at + 1
            }
            _ => at + 1,
        };
        at = end.max(at + 1);
    }
    let text = match out {
        None => Cow::Borrowed(bytes),
        Some(mut text) => {
            text.extend_from_slice(bytes.get(copied..).unwrap_or_default());
            Cow::Owned(text)
        }
    };
    (text, values)
}

/// The end of the word or number that begins at `at`.
fn token(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
    at + rest.iter().position(|b| !part(b)).unwrap_or(rest.len())
}

/// Whether this is a number as JSON has them, but larger than any double.
fn is_beyond(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let well_formed = match digits {
        [b'0', next, ..] => !next.is_ascii_digit(),
        [first, ..] => first.is_ascii_digit(),
        [] => false,
    };
    let point = digits.iter().position(|b| *b == b'.');
    let fraction = point.is_none_or(|p| digits.get(p + 1).is_some_and(u8::is_ascii_digit));
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    well_formed && fraction && number.is_some_and(f64::is_infinite)
}

/// The end of the string that begins at `at`; replaces the surrogates in it that have no partner.
fn string(bytes: &[u8], at: usize, replace: &mut impl FnMut(usize, usize, &[u8])) -> usize {
    let mut at = at + 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => match escape(bytes, at) {
                Some(0xD800..=0xDBFF) if matches!(escape(bytes, at + 6), Some(0xDC00..=0xDFFF)) => at += 12,
                Some(0xD800..=0xDFFF) => {
                    replace(at, at + 6, b"\\ufffd");
                    at += 6;
                }
                Some(_) => at += 6,
                None => at += 2,
            },
            _ => at += 1,
        }
    }
    at
}

/// The number of the `\uXXXX` at `at`.
fn escape(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let hex = digits.iter().all(u8::is_ascii_hexdigit);
    u32::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| hex)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::read;

    #[test]
    fn pythons_json_is_read() {
        for (text, value) in [
            (r#"{"a": [NaN, Infinity, -Infinity]}"#, json!({"a": [null, null, null]})),
            (r#"{"a": 1e400, "b": -1e400, "c": 5e-400}"#, json!({"a": null, "b": null, "c": 0.0})),
            (
                r#"{"a": "\ud83d", "b": "\ud83d\ude00", "c": "\ude00x", "d": "\\ud83d"}"#,
                json!({"a": "\u{fffd}", "b": "😀", "c": "\u{fffd}x", "d": "\\ud83d"}),
            ),
            (r#"{"a": 1, "a": 2}"#, json!({"a": 2})),
            (r#"{"NaN": "Infinity"}"#, json!({"NaN": "Infinity"})),
        ] {
            assert_eq!(read(text.as_bytes()), Ok(value), "{text}");
        }
        let long = read(br#"{"a": 1000000000000000019884624838656}"#).unwrap();
        assert!(long["a"].is_number());
    }

    #[test]
    fn json_that_python_refuses_is_refused() {
        for text in [
            "{\"a\": 1,}",
            "{} x",
            "// c\n{}",
            "[01]",
            "[+1]",
            "[.5]",
            "[1.]",
            "[1.e400]",
            "[01e400]",
            "\u{feff}{}",
            "[nan]",
            "[-NaN]",
            "[Inf]",
            "[Infinityx]",
            "\"a\nb\"",
            "\"\\ud8",
            "",
        ] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn plain_json_is_read_as_any_parser_reads_it(text in "[\\[\\]{}\",:a-z0-9 .e-]{0,40}") {
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&text) {
                prop_assert_eq!(read(text.as_bytes()), Ok(value));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&bytes);
        }
    }
}
