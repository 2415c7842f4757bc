//! Wraps lines at the width of the screen.

use std::fmt::Write as _;

/// Appends `text`, broken at spaces so that lines fit, continuation lines indented.
pub fn wrap(out: &mut String, indent: &str, text: &str, width: usize) {
    wrap_after(out, indent, indent.len() + 2, text, width);
}

/// The same after `lead`, with further lines below the column `hang`.
pub fn wrap_after(out: &mut String, lead: &str, hang: usize, text: &str, width: usize) {
    /// A shorter line is not broken before a word that is too long for the next line too.
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
pub fn columns(text: &str) -> usize {
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

    fn wrapped(text: &str, width: usize) -> String {
        let mut out = String::new();
        wrap(&mut out, "", text, width);
        out
    }

    #[test]
    fn lines_are_broken_at_spaces_and_words_are_left_whole() {
        assert_eq!(wrapped("one two three four five six", 20), "one two three four\n  five six\n");
        // The URL fits on no line, so the word before it is not left alone.
        let url = "http://127.0.0.1:8080/api";
        assert_eq!(wrapped(&format!("error: {url}: no"), 20), format!("error: {url}:\n  no\n"));
        assert_eq!(wrapped(&format!("cannot connect: {url}"), 20), format!("cannot connect:\n  {url}\n"));
    }

    #[test]
    fn colours_have_no_width_and_wide_letters_have_two() {
        assert_eq!((columns("\x1b[31merror\x1b[0m"), columns("模型")), (5, 4));
    }
}
