//! Making text from outside safe to print, and sizes pleasant to read. No I/O lives here.

pub(crate) use hfget_formats::json;
mod near;

use std::borrow::Cow;

pub use near::meant;
pub(crate) use near::{choices, distance};

/// Untrusted text with everything that could steer a terminal escaped; borrows when there is nothing to escape.
///
/// Control characters (C0, DEL, C1), line and paragraph separators, and the bidirectional and
/// zero-width format characters and tags are written as `\u{..}`, and so is the first character of a text that a
/// CI system would take for a command (`::error::` of GitHub, `##[error]` of Azure); everything else is passed through.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let command = is_ci_command(text);
    if !command && !text.chars().any(steers_terminal) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for (at, c) in text.char_indices() {
        if steers_terminal(c) || command && at == 0 {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The beginning of an untrusted text of any length, safe to print: for a name in a message.
pub(crate) fn brief(text: &str) -> String {
    const CHARS: usize = 200;
    let end = text.char_indices().nth(CHARS).map_or(text.len(), |(at, _)| at);
    printable(&text[..end]).into_owned()
}

/// The first `most` of some names, safe to print, and how many more there are: `a, b and 3 more`.
pub(crate) fn few<S: AsRef<str>>(names: &[S], most: usize) -> String {
    let shown: Vec<String> = names.iter().take(most).map(|name| brief(name.as_ref())).collect();
    let text = shown.join(", ");
    if names.len() > most { format!("{text} and {} more", names.len() - most) } else { text }
}

/// Whether printing this character could move the cursor, recolour, hide or reorder text.
#[must_use]
pub(crate) fn steers_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Whether a CI system would read a line that is this text as a command to itself.
fn is_ci_command(text: &str) -> bool {
    text.starts_with("::") || text.starts_with("##[")
}

/// An identity as a terminal, a log or a report may show it: the only escaped form there is.
#[derive(Clone, Copy)]
pub struct Shown<'a>(&'a str);

impl<'a> Shown<'a> {
    /// This name, as it came.
    #[must_use]
    pub fn new(name: &'a str) -> Self {
        Shown(name)
    }
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&printable(self.0))
    }
}

/// A byte count as people read it: decimal units, as disks and networks are sold (`14.0 GB`).
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if n < 1000 {
        return format!("{n} B");
    }
    // Precision: three significant digits are shown, so an f64's 53 bits are ample.
    #[allow(clippy::cast_precision_loss)]
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_cannot_reach_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\u{202e}c\u{9b}d"), "a\\u{1b}[31mb\\u{202e}c\\u{9b}d");
        assert!(matches!(printable("模型 weights.bin"), Cow::Borrowed(_)));
        assert_eq!(printable("a\u{e0041}"), "a\\u{e0041}");
        assert_eq!(Shown::new("::stop-commands::x").to_string(), "\\u{3a}:stop-commands::x");
        assert_eq!(printable("##[error]x"), "\\u{23}#[error]x");
        assert!(matches!(printable("a::b ##[c"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_name_of_any_length_is_cut_and_escaped() {
        assert_eq!(brief("a\x1b"), "a\\u{1b}");
        assert_eq!(brief(&"é".repeat(1000)), "é".repeat(200));
        assert_eq!((few(&["a", "b"], 2), few(&["a", "b", "c"], 2)), ("a, b".to_owned(), "a, b and 1 more".to_owned()));
    }

    #[test]
    fn byte_counts_read_well() {
        for (n, s) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (12_345, "12.3 kB"),
            (999_940, "1000 kB"),
            (999_960, "1.00 MB"),
            (14_483_464_192, "14.5 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(n), s, "{n}");
        }
    }
}
