//! Making text from outside safe to print, sizes pleasant to read, lines as long as the screen, and sense of
//! misspelt names. No I/O lives here.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Displays untrusted text with everything that could steer a terminal escaped.
///
/// Control characters (C0, DEL, C1), line and paragraph separators, and the bidirectional and
/// zero-width format characters are written as `\u{..}`; everything else is passed through.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(self.0))
    }
}

/// See [`Printable`]; borrows when there is nothing to escape.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers_terminal) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers_terminal(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Whether printing this character could move the cursor, recolour, hide or reorder text.
#[must_use]
pub fn steers_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
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

/// The names that somebody who wrote `typed` may have meant, the nearest first: those that a few slips of the
/// pen lead to, whatever the case of letters.
#[must_use]
pub fn meant<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let slips = (typed.chars().count() / 4).max(1);
    let mut near: Vec<(usize, &str)> =
        names.into_iter().map(|name| (distance(typed, name), name)).filter(|(away, _)| *away <= slips).collect();
    near.sort_unstable();
    near.into_iter().map(|(_, name)| name).collect()
}

/// How many letters are to be added, removed, changed or swapped with the next one, whatever their case. Only the
/// first 64 letters count.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let short = |text: &str| text.chars().take(64).flat_map(char::to_lowercase).collect::<String>();
    strsim::damerau_levenshtein(&short(a), &short(b))
}

/// What there is in the place of `typed`, the nearest first: `did you mean fp16? the repo has fp16, fp32`.
#[must_use]
pub fn choices(typed: &str, names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut sorted: Vec<(usize, &str)> = names.iter().map(|name| (distance(typed, name), name.as_str())).collect();
    sorted.sort_by_key(|(away, _)| *away);
    let shown: Vec<_> = sorted.iter().take(SHOWN).map(|(_, name)| printable(name)).collect();
    let mut text = String::new();
    if let Some(near) = meant(typed, names.iter().map(String::as_str)).first() {
        text = format!("did you mean {}?", printable(near));
        if names.len() == 1 {
            return text;
        }
        text.push(' ');
    }
    text = text + "the repo has " + &shown.join(", ");
    if names.len() > SHOWN {
        // Writing to a string cannot fail.
        let _ = write!(text, " and {} more", names.len() - SHOWN);
    }
    text
}

/// Appends `text`, broken at spaces so that lines fit, continuation lines indented.
pub fn wrap(out: &mut String, indent: &str, text: &str, width: usize) {
    wrap_after(out, indent, indent.len() + 2, text, width);
}

/// The same after `lead`, with further lines below the column `hang`.
pub fn wrap_after(out: &mut String, lead: &str, hang: usize, text: &str, width: usize) {
    /// A line of fewer columns is not left for a word that is too long for the next one, too.
    const STUB: usize = 12;
    let width = width.max(20);
    out.push_str(lead);
    let mut column = lead.len();
    for (i, word) in text.split(' ').enumerate() {
        let len = columns(word);
        if i == 0 {
        } else if column + 1 + len > width && (column >= STUB || hang + len <= width) {
            let _ = write!(out, "\n{:hang$}", "");
            column = hang;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += len;
    }
    out.push('\n');
}

/// Columns of `text` without our own colour codes.
pub(crate) fn columns(text: &str) -> usize {
    let mut rest = text;
    let mut width = 0;
    while let Some(at) = rest.find('\x1b') {
        width += unicode_width::UnicodeWidthStr::width(&rest[..at]);
        rest = rest[at..].find('m').map_or("", |end| &rest[at + end + 1..]);
    }
    width + unicode_width::UnicodeWidthStr::width(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_cannot_reach_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\u{202e}c\u{9b}d"), "a\\u{1b}[31mb\\u{202e}c\\u{9b}d");
        assert!(matches!(printable("模型 weights.bin"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_slip_of_the_pen_is_understood_and_another_word_is_not() {
        let names = ["plan", "verify", "inspect", "clean"];
        for (typed, name) in [("verfy", "verify"), ("plàn", "plan"), ("INSPECT", "inspect"), ("claen", "clean")] {
            assert_eq!(meant(typed, names).first(), Some(&name), "{typed}");
        }
        for other in ["gpt2", "t5", "bert-base", ""] {
            assert!(meant(other, names).is_empty(), "{other}");
        }
        for (a, b, n) in [("fp16", "FP16", 0), ("fp61", "fp16", 1), ("bf16", "fp16", 2), ("", "abc", 3)] {
            assert_eq!(distance(a, b), n, "{a} {b}");
        }
        assert_eq!(meant("fp61", ["fp32", "bf16", "fp16"]), ["fp16"]);
        let names = ["bf16", "fp32", "fp16"].map(String::from);
        assert_eq!(choices("fp61", &names), "did you mean fp16? the repo has fp16, fp32, bf16");
        assert_eq!(choices("non_ema", &names[..1]), "the repo has bf16");
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
