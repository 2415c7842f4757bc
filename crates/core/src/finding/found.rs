//! One finding and its severity. The codes are in `code`.

use hfget_formats::Severity;

use super::{Code, Remedy};

/// Something that is wrong with one file or with the repo as a whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The kind of the finding.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The file that it is about, as the repo names it; not yet safe for a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong, with the figures. One sentence without the path. It may quote untrusted text,
    /// so renderers escape it.
    pub message: String,
    /// The tensor that it is about, as the file names it; not yet safe for a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor: Option<String>,
    /// The place in the file, in bytes from its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// What the user can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

impl Finding {
    /// A finding of the code's usual severity.
    #[doc(hidden)] // for the command
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
    pub(crate) fn repo(code: Code, message: impl Into<String>) -> Self {
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

    /// Adds what the user can do about it.
    #[must_use]
    #[doc(hidden)] // for the command
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// Replaces the code's usual severity.
    #[must_use]
    pub(crate) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}
