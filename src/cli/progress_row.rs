//! The bar of one file, and the layout of bars on a terminal of a given width.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hfget_core::unstable::text::bytes;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::progress::lock;
use super::speed::{Speed, in_words};

/// The bar of a file.
pub(super) struct Row {
    pub bar: ProgressBar,
    pub speed: Arc<Mutex<Speed>>,
    /// The name: complete, and cut to the room for it.
    pub whole: String,
    pub name: String,
    /// The columns for it.
    pub room: usize,
    /// When the last bytes came.
    pub heard: Arc<Mutex<Instant>>,
    /// Whether it can be silent: files that are only hashed wait for no server.
    pub watched: bool,
    /// Whether it shows the reason for its wait instead of its name.
    pub waits: bool,
}

impl Row {
    pub fn inc(&mut self, n: u64) {
        let now = Instant::now();
        *lock(&self.heard) = now;
        lock(&self.speed).add(now, n);
        if std::mem::take(&mut self.waits) {
            self.bar.set_message(self.name.clone());
        }
        self.bar.inc(n);
    }

    /// Cuts the name to the terminal's width.
    pub fn fit(&mut self, width: usize) {
        self.room = width.saturating_sub(columns_before_name(width));
        self.name = fitting(&self.whole, self.room);
        let heard = self.watched.then(|| Arc::clone(&self.heard));
        self.bar.set_style(style(width, "cyan", &self.speed, heard));
        if !self.waits {
            self.bar.set_message(self.name.clone());
        }
    }

    /// Shows the reason for its wait.
    pub fn wait(&mut self, what: &str) {
        self.waits = true;
        let name = fitting(&self.name, self.room.saturating_sub(what.len() + 3));
        self.bar.set_message(format!("{what}: {name}"));
    }
}

/// Bars for a screen of `width` columns. Without room for everything, only the share that is done
/// and the name stay.
pub(super) fn style(
    width: usize,
    colour: &str,
    speed: &Arc<Mutex<Speed>>,
    heard: Option<Arc<Mutex<Instant>>>,
) -> ProgressStyle {
    let (of_rate, of_left) = (Arc::clone(speed), Arc::clone(speed));
    let template = match width {
        WIDE.. => format!("{{prefix:<6}} {{bar:14.{colour}/dim}} {{done:>19}} {{rate:>11}} {{left:>7}}  {{msg}}"),
        USUAL.. => format!("{{bar:9.{colour}/dim}} {{done:>19}} {{rate:>9}} {{left:>7}}  {{msg}}"),
        _ => format!("{{bar:8.{colour}/dim}} {{percent:>3}} % {{left:>7}}  {{msg}}"),
    };
    // The template is a constant that parses.
    ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
        .with_key("done", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = write!(out, "{} of {}", bytes(state.pos()), bytes(state.len().unwrap_or(0)));
        })
        .with_key("rate", move |_: &ProgressState, out: &mut dyn fmt::Write| {
            let silent = heard.as_ref().map_or(Duration::ZERO, |heard| lock(heard).elapsed());
            if silent >= SILENT {
                let _ = write!(out, "silent {} s", silent.as_secs());
                return;
            }
            if let Some(rate) = lock(&of_rate).rate(Instant::now()) {
                let _ = write!(out, "{}/s", bytes(rate));
            }
        })
        .with_key("left", move |state: &ProgressState, out: &mut dyn fmt::Write| {
            let rest = state.len().unwrap_or(0).saturating_sub(state.pos());
            if let Some(left) = lock(&of_left).left(Instant::now(), rest) {
                let _ = write!(out, "{}", in_words(left));
            }
        })
}

/// A file without bytes for so long is shown as silent.
const SILENT: Duration = Duration::from_secs(4);

/// Columns from which a bar shows everything.
const WIDE: usize = 90;
/// Columns from which it shows bytes and rate.
const USUAL: usize = 72;

/// The columns of a bar before its name.
fn columns_before_name(width: usize) -> usize {
    match width {
        WIDE.. => 64,
        USUAL.. => 49,
        _ => 25,
    }
}

/// The name or, if it does not fit, its end, which distinguishes shards.
fn fitting(name: &str, room: usize) -> String {
    let width = |text: &str| unicode_width::UnicodeWidthStr::width(text);
    if width(name) <= room {
        return name.to_owned();
    }
    let tails = name.char_indices().map(|(at, _)| &name[at..]);
    let tail = tails.into_iter().find(|tail| width(tail) < room).unwrap_or("");
    format!("…{tail}")
}
