//! The `checkpoint` file of `TensorFlow`: which checkpoint is the latest (`checkpoint_state.proto`, as text).
//! The files that make up that checkpoint are decided elsewhere.

/// The content of a `checkpoint` file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointState {
    /// `model_checkpoint_path`: the prefix of the latest checkpoint, maybe a path on another machine.
    pub latest: Option<String>,
}

impl CheckpointState {
    /// Reads the text form of the proto; any other text gives an empty state. The last mention counts.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut state = CheckpointState::default();
        let mut rest = bytes;
        let mut key: &[u8] = &[];
        while let Some((&byte, after)) = rest.split_first() {
            match byte {
                b'#' => {
                    let end = after.iter().position(|b| *b == b'\n').unwrap_or(after.len());
                    rest = &after[end..];
                }
                b'"' | b'\'' => {
                    let Some((value, after)) = quoted(after, byte) else { return state };
                    if key == b"model_checkpoint_path" {
                        state.latest = String::from_utf8(value).ok().filter(|v| !v.is_empty());
                    }
                    rest = after;
                }
                b'_' | b'a'..=b'z' | b'A'..=b'Z' => {
                    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
                    let end = rest.iter().position(|b| !word(b)).unwrap_or(rest.len());
                    (key, rest) = rest.split_at(end);
                }
                _ => rest = after,
            }
        }
        state
    }

    /// The last part of [`latest`](Self::latest): its files are beside the `checkpoint` file.
    pub fn prefix(&self) -> Option<&str> {
        self.latest.as_deref().and_then(|path| path.rsplit('/').next()).filter(|name| !name.is_empty())
    }
}

/// A string up to its closing quote, unescaped, and what follows it.
fn quoted(mut rest: &[u8], quote: u8) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        if byte == quote {
            return Some((value, rest));
        }
        if byte != b'\\' {
            value.push(byte);
            continue;
        }
        let (&kind, after) = rest.split_first()?;
        rest = after;
        match kind {
            b'n' => value.push(b'\n'),
            b't' => value.push(b'\t'),
            b'r' => value.push(b'\r'),
            b'0'..=b'7' => {
                // Up to three octal digits, of which this is the first.
                let more = rest.iter().take(2).take_while(|b| matches!(b, b'0'..=b'7')).count();
                let digits = rest[..more].iter().fold(u32::from(kind - b'0'), |n, b| n * 8 + u32::from(b - b'0'));
                value.push(u8::try_from(digits).ok()?);
                rest = &rest[more..];
            }
            b'x' => {
                let more = rest.iter().take(2).take_while(|b| b.is_ascii_hexdigit()).count();
                let digits = std::str::from_utf8(&rest[..more]).ok()?;
                value.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[more..];
            }
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::CheckpointState;

    fn latest(text: &str) -> Option<String> {
        CheckpointState::parse(text.as_bytes()).latest
    }

    #[test]
    fn the_latest_is_read_off_the_text_proto() {
        let two = "model_checkpoint_path: \"m-20\"\nall_model_checkpoint_paths: \"m-1\"\n";
        assert_eq!(latest(two).as_deref(), Some("m-20"));
        assert_eq!(latest("# model_checkpoint_path: \"no\"\nmodel_checkpoint_path:'/a/b'").as_deref(), Some("/a/b"));
        assert_eq!(latest(r#"model_checkpoint_path: "a\"\\\303\251\x41""#).as_deref(), Some("a\"\\éA"));
        assert_eq!(CheckpointState::parse(b"model_checkpoint_path: \"/x/y\"").prefix(), Some("y"));
        for bad in ["", "model_checkpoint_path", "model_checkpoint_path: \"a", "all_model_checkpoint_paths: \"m-1\""] {
            assert_eq!(latest(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), tail in "[\\\\x0-9a-f\"]{0,8}") {
            let _ = CheckpointState::parse(&bytes);
            let _ = CheckpointState::parse(format!("model_checkpoint_path: \"{tail}").as_bytes());
        }
    }
}
