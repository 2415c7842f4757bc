//! The two text codecs of pickle's protocols 0 and 1. A name with escapes must be judged as the name
//! that Python would import.

/// Python's `raw-unicode-escape`: Latin-1, and `\uXXXX` or `\UXXXXXXXX` after an even number of backslashes.
pub(super) fn raw_unicode_escape(line: &[u8]) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(char::from(byte));
            continue;
        }
        let digits = match after.first() {
            Some(b'u') => 4,
            Some(b'U') => 8,
            // An escaped backslash does not change, and escapes nothing.
            Some(b'\\') => {
                out.push_str("\\\\");
                rest = &after[1..];
                continue;
            }
            _ => 0,
        };
        match after.get(1..=digits).filter(|d| !d.is_empty()).and_then(|d| number(d, 16)) {
            Some(code) => {
                out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                rest = &after[1 + digits..];
            }
            None => out.push('\\'),
        }
    }
    out
}

/// The argument of `STRING`: a quoted literal with the escapes of Python's `codecs.escape_decode`.
pub(super) fn string_literal(line: &[u8]) -> String {
    let line = line.trim_ascii_end();
    let bare = match line {
        [open @ (b'\'' | b'"'), inner @ .., close] if open == close => inner,
        _ => line,
    };
    let mut out = Vec::with_capacity(bare.len());
    let mut rest = bare;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let Some((&escape, tail)) = after.split_first().filter(|_| byte == b'\\') else {
            out.push(byte);
            continue;
        };
        rest = tail;
        match escape {
            b'a' => out.push(0x07),
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(0x0b),
            b'\\' | b'\'' | b'"' => out.push(escape),
            b'0'..=b'7' => {
                let digits = after.iter().take(3).take_while(|d| (b'0'..=b'7').contains(d)).count();
                // Three octal digits may exceed a byte; Python keeps the low eight bits.
                out.push(number(&after[..digits], 8).unwrap_or(0).to_le_bytes()[0]);
                rest = &after[digits..];
            }
            b'x' => match tail.get(..2).and_then(|d| number(d, 16)) {
                Some(code) => {
                    out.push(code.to_le_bytes()[0]);
                    rest = &tail[2..];
                }
                None => out.extend(b"\\x"),
            },
            _ => out.extend([b'\\', escape]),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    // `from_str_radix` would take a sign.
    if !digits.iter().all(|d| char::from(*d).is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_read_as_python_reads_them() {
        for (raw, text) in [
            (&br"os"[..], "os"),
            (br"\u006fs", "os"),
            (br"\U0000006fs", "os"),
            (br"\\u006fs", r"\\u006fs"),
            (br"\\\u006f", r"\\o"),
            (br"\u00", r"\u00"),
            (br"\u+06f", r"\u+06f"),
            (br"\", r"\"),
            (br"\ud800", "\u{fffd}"),
            (b"\xe9", "\u{e9}"),
        ] {
            assert_eq!(raw_unicode_escape(raw), text, "{}", raw.escape_ascii());
        }
        for (raw, text) in [
            (&br"'os'"[..], "os"),
            (br#""o\x73""#, "os"),
            (br"'\157\163'", "os"),
            (br"'\n\t\\\'\q'", "\n\t\\'\\q"),
            (br"'\x7'", r"\x7"),
            (br"'\", r"'\"),
            (b"'", "'"),
            (b"'a\" ", "'a\""),
            (br"'\777'", "\u{fffd}"),
        ] {
            assert_eq!(string_literal(raw), text, "{}", raw.escape_ascii());
        }
    }
}
