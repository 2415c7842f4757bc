//! What goes to stderr and stdout, and in which form: settled once for a run.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use hfget::hub::is_truthy;
use hfget::progress::{Progress, Silent};
use hfget::report::{Finding, HumanOptions, Report, Severity, human};
use hfget::session::Error;
use hfget::text::printable;
use serde_json::{Value, json};

use super::args::{self, Output};
use super::ndjson::{self, Ndjson};
use super::progress::{Bars, Lines};

/// The version of the JSON that goes to stdout.
const SCHEMA_VERSION: u32 = 1;

/// How to show things, settled once.
pub(super) struct Screen {
    pub(super) human: HumanOptions,
    pub(super) quiet: bool,
    pub(super) json: bool,
    /// Stderr carries events, and nothing else.
    pub(super) events: bool,
    bars: Option<Arc<Bars>>,
    pub(super) progress: Arc<dyn Progress>,
}

pub(super) fn env_flag(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| is_truthy(&value))
}

impl Screen {
    pub(super) fn new(output: &Output) -> Self {
        let stderr = std::io::stderr();
        let terminal = stderr.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let columns =
            rustix::termios::tcgetwinsize(&stderr).ok().map(|size| usize::from(size.ws_col)).filter(|n| *n > 0);
        let width = if terminal { columns.unwrap_or(80) } else { 100 };
        let mut bars = None;
        let silent = output.quiet || env_flag("HF_HUB_DISABLE_PROGRESS_BARS");
        let how = output.progress.unwrap_or(match terminal {
            _ if silent => args::Progress::None,
            true => args::Progress::Bars,
            false => args::Progress::Lines,
        });
        let progress: Arc<dyn Progress> = match how {
            args::Progress::None => Arc::new(Silent),
            args::Progress::Json => Arc::new(Ndjson::default()),
            args::Progress::Lines => Arc::new(Lines::new()),
            args::Progress::Bars => {
                let drawn = Bars::new(width);
                bars = Some(Arc::clone(&drawn));
                drawn
            }
        };
        Screen {
            human: HumanOptions { width, color, verbose: output.verbose },
            quiet: output.quiet,
            json: output.json,
            events: how == args::Progress::Json,
            bars,
            progress,
        }
    }

    pub(super) fn say(&self, text: &str) {
        if self.events {
            ndjson::event("message", json!({ "text": text.trim_end() }));
            return;
        }
        if let Some(bars) = &self.bars {
            bars.clear();
        }
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }

    pub(super) fn fail(&self, name: &str, error: &dyn std::fmt::Display, hint: Option<&str>) {
        if self.events {
            ndjson::event("error", json!({ "about": name, "message": error.to_string(), "hint": hint }));
            return;
        }
        let paint = |code: &str, text: &str| {
            if self.human.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let mut text = format!(
            "{}: {}{error}\n",
            paint("31", "error"),
            // Most errors name the repo or folder themselves.
            if name.is_empty() || error.to_string().contains(name) { String::new() } else { format!("{name}: ") }
        );
        if let Some(hint) = hint {
            text.push_str(&["  → ", &*printable(hint), "\n"].concat());
        }
        self.say(&text);
    }

    pub(super) fn report(&self, report: &Report) {
        if self.events {
            ndjson::event("report", serde_json::to_value(report).unwrap_or_default());
            return;
        }
        if !self.quiet {
            self.say(&human(report, self.human));
        } else if !report.is_verified() {
            let errors = report.findings.iter().filter(|f| f.severity == Severity::Error);
            let only_errors = Report { findings: errors.cloned().collect::<Vec<Finding>>(), ..report.clone() };
            self.say(&human(&only_errors, self.human));
        }
    }
}

/// Writes the result; a closed pipe is the reader's choice.
pub(super) fn result(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

pub(super) fn print_json(key: &str, values: &[Value]) {
    result(&json_text(key, values));
}

pub(super) fn json_text(key: &str, values: &[Value]) -> String {
    let whole = json!({ "schema_version": SCHEMA_VERSION, key: values });
    serde_json::to_string_pretty(&whole).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"))
}

pub(super) fn error_json(name: &str, error: &Error) -> Value {
    json!({ "repo": name, "verified": false, "error": error.to_string(), "hint": error.hint(), "exit_code": error.exit_code() as u8 })
}
