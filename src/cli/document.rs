//! The JSON document that a command prints, or writes with `--report`. It is written line by line, so that a plan of
//! 100,000 files is not in memory as text too. The commands make its content.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};

use hfget_core::unstable::text::json_for_logs;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// The version of the JSON that goes to stdout.
const SCHEMA_VERSION: u32 = 1;

/// The values under a name for their kind, and the version of their form.
struct Document<'a, T> {
    key: &'a str,
    values: &'a [T],
}

impl<T: Serialize> Serialize for Document<'_, T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(2))?;
        map.serialize_entry(self.key, self.values)?;
        map.serialize_entry("schema_version", &SCHEMA_VERSION)?;
        map.end()
    }
}

/// Passes lines on without secrets, and in a form that no CI system takes for a command. A string of JSON has no line
/// break, so no secret and no command is split between lines.
struct Lines<W> {
    line: Vec<u8>,
    to: W,
}

impl<W: Write> Lines<W> {
    fn pass(&mut self) -> io::Result<()> {
        // The serializer writes UTF-8.
        let line = String::from_utf8_lossy(&self.line);
        let shown: Cow<'_, str> = json_for_logs(&line);
        self.to.write_all(shown.as_bytes())?;
        self.line.clear();
        Ok(())
    }
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.pass()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass()?;
        self.to.flush()
    }
}

fn write<T: Serialize>(to: impl Write, key: &str, values: &[T]) -> io::Result<()> {
    let mut lines = Lines { line: Vec::new(), to: BufWriter::new(to) };
    serde_json::to_writer_pretty(&mut lines, &Document { key, values })?;
    lines.flush()
}

/// Writes the result. A closed pipe is not an error.
pub(super) fn print_json<T: Serialize>(key: &str, values: &[T]) {
    let mut stdout = io::stdout().lock();
    let _ = write(&mut stdout, key, values).and_then(|()| stdout.write_all(b"\n"));
}

/// The same document as text.
pub(super) fn json_text<T: Serialize>(key: &str, values: &[T]) -> String {
    let mut text = Vec::new();
    match write(&mut text, key, values) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => format!("{{\"error\":\"{error}\"}}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::json_text;

    #[test]
    fn the_lines_are_the_text_of_the_whole_value() {
        let values = [json!({ "b": ["x\ny", "模型"], "a": {} }), Value::Null];
        let whole = json!({ "schema_version": super::SCHEMA_VERSION, "plans": values });
        assert_eq!(json_text("plans", &values), serde_json::to_string_pretty(&whole).unwrap());
    }

    #[test]
    fn no_line_is_a_command_for_a_ci_system() {
        let text = json_text("plans", &["##[error]x", "\n::stop-commands::x"]);
        assert!(!text.contains("##"), "{text}");
        assert!(text.lines().all(|line| !line.trim_start().starts_with("::")), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["plans"][0], "##[error]x");
    }
}
