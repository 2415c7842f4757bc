//! Problems in bounded memory: hostile files could cause millions, each quoting megabytes of the file.

use std::collections::BTreeMap;
use std::fmt;

use crate::problem::{Problem, ProblemKind, Severity};

/// How many problems of one kind on one file are kept; the rest is counted.
pub(crate) const LISTED: usize = 20;
/// The most characters of a file's own text that a problem quotes.
const QUOTED: usize = 120;

/// Collects problems; the first 20 of each kind on each file are kept, and the rest is counted.
#[derive(Default)]
pub struct Problems {
    counts: BTreeMap<ProblemKind, BTreeMap<String, (usize, Severity)>>,
    found: Vec<Problem>,
}

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        let files = self.counts.entry(problem.kind).or_default();
        if let Some((count, _)) = files.get_mut(&problem.file) {
            *count += 1;
            if *count > LISTED {
                return;
            }
        } else {
            files.insert(problem.file.clone(), (1, problem.severity));
        }
        self.found.push(problem);
    }

    /// All problems that were kept, and a line for each kind of which some were only counted.
    pub fn into_vec(mut self) -> Vec<Problem> {
        for (kind, files) in self.counts {
            for (file, (count, severity)) in files {
                if count > LISTED {
                    let message = format!("and {} more like these", count - LISTED);
                    self.found.push(Problem::new(kind, file, message).severity(severity));
                }
            }
        }
        self.found
    }
}

impl Extend<Problem> for Problems {
    fn extend<I: IntoIterator<Item = Problem>>(&mut self, problems: I) {
        problems.into_iter().for_each(|f| self.push(f));
    }
}

/// A name from an untrusted file, quoted and cut.
pub struct Quote<'a>(pub &'a str);

impl fmt::Display for Quote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(QUOTED) {
            Some((end, _)) => write!(f, "{:?}... ({} bytes)", &self.0[..end], self.0.len()),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// A text from an untrusted file, cut and not quoted.
pub(crate) fn cut(text: &str) -> &str {
    text.char_indices().nth(QUOTED).map_or(text, |(end, _)| &text[..end])
}

/// A shape from an untrusted file, cut.
pub(crate) struct Shape<'a>(pub &'a [u64]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..16) {
            Some(head) if self.0.len() > 16 => write!(f, "{head:?}... ({} dimensions)", self.0.len()),
            _ => write!(f, "{:?}", self.0),
        }
    }
}

/// A parser's complaint, which may quote the file: cut.
pub fn complaint(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    // The end of the complaint says where in the file the error is.
    match (text.char_indices().nth(200), text.char_indices().rev().nth(60)) {
        (Some((head, _)), Some((tail, _))) if head < tail => format!("{}...{}", &text[..head], &text[tail..]),
        _ => text,
    }
}
