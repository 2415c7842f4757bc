//! Makes text from outside safe to print, and sizes easy to read. There is no I/O here.

pub(crate) use hfget_formats::json;
mod secret;

use std::borrow::Cow;

pub use secret::{hidden, keep_secret};

/// Untrusted text with everything that could steer a terminal escaped, and without this process's secrets; borrows
/// when there is nothing to escape.
///
/// Control characters (C0, DEL, C1), line and paragraph separators, and the bidirectional and
/// zero-width format characters and tags are written as `\u{..}`, and so is the first character of a text that a CI
/// system would take as a command (`::error::` of GitHub, `##[error]` and `##vso[` of Azure, `##teamcity[`);
/// everything else is passed through.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    match hidden(text) {
        Cow::Borrowed(text) => escaped(text),
        Cow::Owned(text) => Cow::Owned(escaped(&text).into_owned()),
    }
}

fn escaped(text: &str) -> Cow<'_, str> {
    let commands = ci_commands(text);
    if commands.is_empty() && !text.chars().any(steers_terminal) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for (at, c) in text.char_indices() {
        if steers_terminal(c) || commands.binary_search(&at).is_ok() {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The same JSON in a form in which no CI system finds a command.
#[must_use]
pub fn json_for_logs(json: &str) -> Cow<'_, str> {
    // Outside strings, JSON has no '#', and no line of it begins with a colon.
    let text = hidden(json);
    if !text.contains("##") {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '#' && characters.peek() == Some(&'#') { out.push_str("\\u0023") } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// The beginning of an untrusted text of any length, safe to print: for a name in a message.
pub fn brief(text: &str) -> String {
    const CHARS: usize = 200;
    // Secrets are hidden before the text is cut: half a secret is still secret.
    let text = hidden(text);
    let end = text.char_indices().nth(CHARS).map_or(text.len(), |(at, _)| at);
    printable(&text[..end]).into_owned()
}

/// The first `most` of some names, safe to print, and how many more there are: `a, b and 3 more`.
pub fn few<S: AsRef<str>>(names: &[S], most: usize) -> String {
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

/// The places in a text that a CI system would read as a command. `::` counts at the start of a line, and after a
/// space, where a long line may be broken; `##[`, `##vso[` and the like count anywhere.
fn ci_commands(text: &str) -> Vec<usize> {
    let colons =
        text.match_indices("::").filter(|(at, _)| text[..*at].chars().next_back().is_none_or(char::is_whitespace));
    let mut found: Vec<usize> = colons.map(|(at, _)| at).collect();
    let mut at = 0;
    while let Some(start) = text[at..].find("##").map(|more| at + more) {
        let after = text[start..].trim_start_matches('#');
        at = text.len() - after.len();
        if after.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).starts_with('[') {
            found.extend(start..at - 1);
        }
    }
    found.sort_unstable();
    found
}

/// An identity as a terminal, a log or a report may show it: the only escaped form there is.
#[derive(Clone, Copy)]
pub struct Shown<'a>(&'a str);

impl<'a> Shown<'a> {
    /// A shown form of this name.
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

/// `1 tensor`, `1,234 tensors`.
#[must_use]
pub fn many(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{} {noun}s", group(n)) }
}

/// Digits in groups of three.
#[must_use]
pub fn group(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
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

/// The innermost source of an error, or the error itself if it has none.
pub(crate) fn innermost<'e>(error: &'e (dyn std::error::Error + 'static)) -> &'e (dyn std::error::Error + 'static) {
    let mut at = error;
    while let Some(inner) = at.source() {
        at = inner;
    }
    at
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
        assert_eq!(printable("a ::stop-commands::x"), "a \\u{3a}:stop-commands::x");
        assert_eq!(printable("a##vso[task.x]b"), "a\\u{23}#vso[task.x]b");
        assert_eq!(printable("###[error]x"), "\\u{23}\\u{23}#[error]x");
        assert!(matches!(printable("a::b ## c [d] std::fmt"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_keeps_its_meaning_where_a_ci_system_reads_it() {
        let json = r###"{"path":"##vso[task.x]","other":"# a #"}"###;
        let safe = json_for_logs(json);
        assert!(!safe.contains("##"), "{safe}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&safe), value(json));
        assert!(matches!(json_for_logs("{\"a\":\"#[b]\"}"), Cow::Borrowed(_)));
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
