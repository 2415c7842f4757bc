//! The file that `--report` names: it is checked before the first request, and its format follows its name. `render`
//! makes the text.

use std::path::{Path, PathBuf};

use hfget_core::unstable::text::hidden;

use crate::exit::ExitCode;
use crate::render::html;

use super::screen::Screen;

/// A report file that is known to be writable.
pub(super) struct ReportFile {
    path: PathBuf,
    command: &'static str,
}

impl ReportFile {
    /// If the file cannot be written, prints the error and fails now, not after hours.
    pub fn open(path: Option<&Path>, command: &'static str, screen: &Screen) -> Result<Option<Self>, ExitCode> {
        let Some(path) = path else { return Ok(None) };
        if let Err(error) = can_write(path) {
            screen.fail("--report", &format!("cannot write {}: {error}", path.display()), None);
            return Err(ExitCode::Local);
        }
        Ok(Some(ReportFile { path: path.to_path_buf(), command }))
    }

    fn ends_in(&self, outcomes: &[&str]) -> bool {
        self.path.extension().is_some_and(|e| outcomes.iter().any(|ending| e.eq_ignore_ascii_case(ending)))
    }

    /// Whether it is a page for people.
    pub fn is_page(&self) -> bool {
        self.ends_in(&["html", "htm"])
    }

    /// Whether it is `JUnit`'s XML.
    pub fn is_xml(&self) -> bool {
        self.ends_in(&["xml"])
    }

    /// Writes the page; returns the exit code of the run, which is worse if that fails.
    pub fn write_page(&self, rows: &[html::Row], end: ExitCode, screen: &Screen) -> ExitCode {
        let when = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
        self.write(html::page(self.command, &when, rows).trim_end(), end, screen)
    }

    /// Writes a text; returns the exit code of the run, which is worse if that fails.
    pub fn write(&self, text: &str, end: ExitCode, screen: &Screen) -> ExitCode {
        match std::fs::write(&self.path, hidden(text).into_owned() + "\n") {
            Ok(()) => end,
            Err(error) => {
                screen.fail("--report", &format!("cannot write {}: {error}", self.path.display()), None);
                end.max(ExitCode::Local)
            }
        }
    }
}

/// Checks that a file can be written. An existing file keeps its content; a pipe is not opened.
fn can_write(file: &Path) -> std::io::Result<()> {
    match std::fs::metadata(file) {
        Ok(meta) if !meta.is_file() && !meta.is_dir() => Ok(()),
        _ => std::fs::OpenOptions::new().create(true).append(true).open(file).map(drop),
    }
}
