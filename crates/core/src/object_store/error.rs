//! The errors of object stores, and their remedies.

use crate::finding::{Again, ErrorKind, Remedy};
use crate::text::{innermost, printable};

/// The most characters of a store's answer that a message quotes.
const SAID: usize = 300;

/// Why a request to an object store failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// It cannot be used at all: no region, no credentials, an invalid endpoint.
    #[error("{url} cannot be used: {why}")]
    Setup {
        /// The store.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// An object, or the bucket, does not exist.
    #[error("{url} does not exist")]
    NotFound {
        /// The object or bucket.
        url: String,
    },
    /// The place contains no repo.
    #[error("hfget uploaded no repo to {url}")]
    Empty {
        /// The place.
        url: String,
    },
    /// The store denies access.
    #[error("{url}: access is refused: {why}")]
    Refused {
        /// The object.
        url: String,
        /// The store's answer.
        why: String,
    },
    /// The request failed, after retries.
    #[error("{url}: {why}")]
    Failed {
        /// The object.
        url: String,
        /// The answer of the store or the network.
        why: String,
    },
    /// An object that hfget wrote there has another content now.
    #[error("{url}: {why}")]
    Invalid {
        /// The object.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

impl ObjectError {
    /// The kind of error.
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            ObjectError::Setup { .. } => ErrorKind::Usage,
            ObjectError::NotFound { .. } | ObjectError::Empty { .. } | ObjectError::Refused { .. } => {
                ErrorKind::NotAvailable
            }
            ObjectError::Failed { .. } => ErrorKind::Network,
            ObjectError::Invalid { .. } => ErrorKind::Integrity,
        }
    }

    /// What the user can do about it.
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            ObjectError::Setup { .. } | ObjectError::Refused { .. } => Remedy::GiveStoreCredentials,
            ObjectError::NotFound { .. } | ObjectError::Empty { .. } => Remedy::FillStore,
            ObjectError::Failed { .. } => Remedy::RunAgain { why: Again::ResumesUpload },
            ObjectError::Invalid { .. } => Remedy::RemoveAndFillStore,
        }
    }

    /// The error for a failed request for `url`.
    pub(super) fn from_store(url: String, error: &object_store::Error) -> Self {
        use object_store::Error as E;
        match error {
            E::NotFound { .. } => ObjectError::NotFound { url },
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => ObjectError::Refused { url, why: said(error) },
            _ => {
                let (why, whole) = (said(error), error.to_string());
                let has = |words: &[&str]| words.iter().any(|word| whole.contains(word));
                // Requests that are not about an object come without a kind.
                if has(&["NoSuchBucket", "ContainerNotFound", "specified bucket does not exist"]) {
                    ObjectError::NotFound { url: bucket(&url) }
                } else if has(&["403 Forbidden", "401 Unauthorized", "performing token request"]) {
                    ObjectError::Refused { url, why }
                } else {
                    ObjectError::Failed { url, why }
                }
            }
        }
    }

    /// Wraps it into an I/O error.
    pub(super) fn into_io(self) -> std::io::Error {
        let kind = match &self {
            ObjectError::NotFound { .. } => std::io::ErrorKind::NotFound,
            _ => std::io::ErrorKind::Other,
        };
        std::io::Error::new(kind, self)
    }
}

/// `s3://bucket` from `s3://bucket/prefix/key`.
fn bucket(url: &str) -> String {
    let at = url.find("://").map_or(0, |at| at + 3);
    let end = url[at..].find('/').map_or(url.len(), |end| at + end);
    url[..end].to_owned()
}

/// The text between two marks.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    text.split_once(start)?.1.split_once(end).map(|(inner, _)| inner)
}

/// The store's own message in one line, without the signatures of URLs and without the client's own additions.
pub(super) fn said(error: &dyn std::error::Error) -> String {
    let whole = error.to_string();
    // "Generic S3 error: Error performing GET https://… in 3ms, after 5 retries, … - what it is about".
    let text = whole.split_once(" - ").map_or(whole.as_str(), |(_, told)| told);
    let text = text.strip_prefix("Server returned non-2xx status code: ").unwrap_or(text);
    let mut told = match (between(text, "<Code>", "</Code>"), between(text, "<Message>", "</Message>")) {
        (Some(code), message) => {
            let status = text.split_once('<').map_or("", |(status, _)| status);
            format!("{status}{code}: {}", message.unwrap_or_default())
        }
        _ => text.to_owned(),
    };
    // For a failed connection, the innermost error has the cause.
    let cause = error.source().map(|below| innermost(below).to_string());
    if let Some(cause) = cause.filter(|cause| !whole.contains(cause.as_str())) {
        told = format!("{told}: {cause}");
    }
    let words = told.split_whitespace().map(|word| match word.split_once('?') {
        Some((before, _)) if before.contains("://") => before,
        _ => word,
    });
    let line = words.collect::<Vec<_>>().join(" ");
    let mut line = printable(&line).into_owned();
    if let Some((at, _)) = line.char_indices().nth(SAID) {
        line.truncate(at);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_url_is_shown_without_its_signature_and_in_one_line() {
        let error =
            std::io::Error::other("GET https://a.blob.core.windows.net/c/k?sig=SECRET in 3ms -\n 403: no\u{1b}[2J");
        let told = said(&error);
        assert!(told.contains("https://a.blob.core.windows.net/c/k in 3ms - 403"), "{told}");
        assert!(!told.contains("SECRET") && !told.contains('\u{1b}') && !told.contains('\n'), "{told}");
        assert!(said(&std::io::Error::other("x".repeat(9999))).chars().count() <= SAID + 1);
    }

    #[test]
    fn the_code_and_message_of_a_stores_answer_are_shown() {
        let answer = "Generic S3 error: Error performing list request: Error performing GET http://h/b in 5ms - Server \
                      returned non-2xx status code: 404 Not Found: <?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket\
                      </Code><Message>The specified bucket does not exist</Message></Error>";
        let error = std::io::Error::other(answer);
        assert_eq!(said(&error), "404 Not Found: NoSuchBucket: The specified bucket does not exist");
        assert_eq!(bucket("s3://b/prefix/key"), "s3://b");
        assert_eq!(bucket("s3://b"), "s3://b");
    }
}
