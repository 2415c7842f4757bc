//! The secrets that must never be shown: tokens and passwords of this process. `hub` sends them.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

/// The text that replaces a secret.
const HIDDEN: &str = "***";
/// The shortest secret that is hidden: shorter texts are parts of ordinary words, which would be hidden too.
const SHORTEST: usize = 4;

static SECRETS: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Hides `secret` from now on in everything that this process shows.
pub fn keep_secret(secret: &str) {
    let mut known = SECRETS.write().unwrap_or_else(PoisonError::into_inner);
    if secret.len() >= SHORTEST && !known.iter().any(|old| old == secret) {
        known.push(secret.to_owned());
        // The longest comes first, so that a secret which contains another is hidden completely.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }
}

/// The text without the secrets of this process, whether they are plain, percent-encoded, or escaped as in JSON.
#[must_use]
pub fn hidden(text: &str) -> Cow<'_, str> {
    let known = SECRETS.read().unwrap_or_else(PoisonError::into_inner);
    hide(text, &known)
}

fn hide<'a>(text: &'a str, secrets: &[String]) -> Cow<'a, str> {
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    while at < bytes.len() {
        match secrets.iter().find_map(|secret| end_of(bytes, at, secret.as_bytes())) {
            Some(end) => {
                // A match begins and ends at whole characters.
                out.push_str(text.get(copied..at).unwrap_or_default());
                out.push_str(HIDDEN);
                (copied, at) = (end, end);
            }
            None => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

/// The end of the `secret` that begins at `at`, even if some of its bytes are encoded.
fn end_of(text: &[u8], mut at: usize, secret: &[u8]) -> Option<usize> {
    for wanted in secret {
        at = match text.get(at)? {
            byte if byte == wanted => at + 1,
            b'%' => {
                let digits = text.get(at + 1..at + 3)?;
                let code = std::str::from_utf8(digits).ok().and_then(|code| u8::from_str_radix(code, 16).ok())?;
                (code == *wanted).then_some(at + 3)?
            }
            b'\\' => (text.get(at + 1) == Some(wanted)).then_some(at + 2)?,
            _ => return None,
        };
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_however_it_is_encoded_and_nothing_else_is() {
        let secrets = ["hf_a\"b+c".to_owned(), "pässword".to_owned()];
        for (text, shown) in [
            ("token hf_a\"b+c, again hf_a\"b+c", "token ***, again ***"),
            ("{\"x\":\"hf_a\\\"b+c\"}", "{\"x\":\"***\"}"),
            ("https://h/?t=hf_a%22b%2Bc&u=hf%5fa%22b%2bc", "https://h/?t=***&u=***"),
            ("https://u:p%C3%A4ssword@h", "https://u:***@h"),
            ("hf_a\"b-c 100% p%C3", "hf_a\"b-c 100% p%C3"),
            ("日本pässword語", "日本***語"),
        ] {
            assert_eq!(hide(text, &secrets), shown);
        }
        assert!(matches!(hide("hf_other", &secrets), Cow::Borrowed(_)));
    }
}
