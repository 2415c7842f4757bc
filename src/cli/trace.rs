//! The library's log on stderr: `-v`, `-vv` and `HFGET_LOG`. The library decides which steps it logs.

use std::io::{self, Write};

use serde_json::json;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::ndjson;
use super::progress::write_line;
use crate::render::lines::wrap;

/// The variable with the filter of the log, in `tracing`'s form: `hfget_core::transfer=trace`.
pub const VARIABLE: &str = "HFGET_LOG";

/// Starts the log if the user asked for it. `events`: stderr has one JSON object per line. `columns`: the width of the
/// terminal.
///
/// # Errors
/// If the variable is invalid.
pub fn start(verbose: u8, events: bool, color: bool, columns: Option<usize>) -> Result<(), String> {
    let named = std::env::var(VARIABLE).ok().filter(|text| !text.trim().is_empty());
    let filter = match (&named, verbose) {
        (Some(text), _) => text.as_str(),
        (None, 0) => return Ok(()),
        (None, 1) => "hfget_core=info",
        (None, _) => "hfget_core=debug",
    };
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("{VARIABLE} cannot be used: {error}"))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines { events, columns })
        .with_timer(tracing_subscriber::fmt::time::uptime())
        .with_target(false)
        .with_ansi(color && !events)
        .compact();
    // Only a test can have set another subscriber already.
    let _ = subscriber.try_init();
    Ok(())
}

/// Gives each line a writer of its own.
#[derive(Debug, Clone, Copy)]
struct Lines {
    events: bool,
    columns: Option<usize>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { how: *self, text: Vec::new() }
    }
}

/// One line. It is written when it is complete, so that secrets in it can be hidden.
struct Line {
    how: Lines,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.text);
        let text = text.trim_end();
        if text.is_empty() {
        } else if self.how.events {
            ndjson::event("log", json!({ "text": text.trim_start() }));
        } else if let Some(columns) = self.how.columns {
            let mut wrapped = String::new();
            wrap(&mut wrapped, "  ", text, columns);
            write_line(wrapped.trim_end());
        } else {
            write_line(text);
        }
    }
}
