//! The file that `--report` names: it is opened before the first request, and what is in it follows its name. What is
//! written is made in `render`.

use std::path::{Path, PathBuf};

use hfget_core::text::hidden;

use crate::exit::ExitCode;
use crate::render::html;

use super::screen::Screen;

/// A file that can be written.
pub(super) struct ReportFile {
    path: PathBuf,
    command: &'static str,
}

impl ReportFile {
    /// Fails, and has said so, where the file could not be written: nobody waits hours to learn that.
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

    /// Writes the page; gives the exit code of the run, which is worse where that fails.
    pub fn write_page(&self, rows: &[html::Row], end: ExitCode, screen: &Screen) -> ExitCode {
        let when = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
        self.write(html::page(self.command, &when, rows).trim_end(), end, screen)
    }

    /// Writes a text; gives the exit code of the run, which is worse where that fails.
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

/// Whether a file could be written. One that is there keeps what is in it; a pipe is left alone.
fn can_write(file: &Path) -> std::io::Result<()> {
    match std::fs::metadata(file) {
        Ok(meta) if !meta.is_file() && !meta.is_dir() => Ok(()),
        _ => std::fs::OpenOptions::new().create(true).append(true).open(file).map(drop),
    }
}
