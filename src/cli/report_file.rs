//! The file that `--report` names: it is checked before the first request, and its format follows its name. `render`
//! makes the text.

use std::path::{Path, PathBuf};

use hfget_core::unstable::text::hidden;

use crate::exit::ExitCode;
use crate::render::attest::Form;
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
        let form = Form::of_name(&path.to_string_lossy());
        if form.is_some() && !matches!(command, "get" | "verify" | "publish") {
            let what =
                format!("{} would list what a run verified, but `hfget {command}` verifies nothing", path.display());
            screen.fail("--report", &what, Some("name a file that ends in .html or .json"));
            return Err(ExitCode::Usage);
        }
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

    /// The form of signed documents that its name asks for.
    pub fn form(&self) -> Option<Form> {
        Form::of_name(&self.path.to_string_lossy())
    }

    /// Writes what a run verified. `None`: there is nothing to sign, and an earlier file is removed so that nobody
    /// signs it.
    pub fn write_form(&self, value: Option<&serde_json::Value>, end: ExitCode, screen: &Screen) -> ExitCode {
        if let Some(value) = value {
            return self.write(&format!("{value:#}"), end, screen);
        }
        screen.note(&format!("{} is not written: not everything is verified", self.path.display()));
        match std::fs::remove_file(&self.path) {
            Ok(()) => end,
            Err(error) => {
                screen.fail("--report", &format!("cannot remove {}: {error}", self.path.display()), None);
                end.max(ExitCode::Local)
            }
        }
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
