//! One finding and its severity. Its codes live beside it.

use hfget_formats::Severity;

use super::{Code, Remedy};

/// Something that is not as it should be, on one file or on the repo as a whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// The file it is about, as the repo names it; not yet safe for a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong, with the figures. One sentence without the path; may quote untrusted text,
    /// so renderers escape it.
    pub message: String,
    /// The tensor that it is about, as the file names it; not yet safe for a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor: Option<String>,
    /// The byte of the file that it is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

impl Finding {
    /// A finding of the code's usual severity.
    pub fn new(code: Code, path: impl AsRef<str>, message: impl Into<String>) -> Self {
        Finding {
            code,
            severity: code.severity(),
            path: Some(path.as_ref().to_owned()),
            message: message.into(),
            tensor: None,
            at: None,
            remedy: None,
        }
    }

    /// A finding about the repo as a whole.
    pub fn repo(code: Code, message: impl Into<String>) -> Self {
        Finding {
            code,
            severity: code.severity(),
            path: None,
            message: message.into(),
            tensor: None,
            at: None,
            remedy: None,
        }
    }

    /// With what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// With another severity than the code's usual one.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}
