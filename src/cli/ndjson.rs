//! Progress as one JSON object per line on stderr, for programs that show their own progress.
//! docs/src/json.md documents the events and their keys; keys are only added.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hfget_core::progress::{Event, Progress};
use hfget_core::unstable::text::json_for_logs;
use serde_json::{Value, json};

use super::progress::{lock, write_line};
use super::speed;

/// The time between two lines about bytes.
const EVERY: Duration = Duration::from_millis(500);

#[derive(Default)]
struct State {
    total: u64,
    done: u64,
    last: Option<Instant>,
}

/// Writes events as they come, and the number of bytes twice a second.
#[derive(Default)]
pub struct Ndjson {
    state: Mutex<State>,
}

/// Writes one event.
pub fn event(name: &str, mut fields: Value) {
    if let Some(object) = fields.as_object_mut() {
        let mut whole = serde_json::Map::new();
        whole.insert("event".into(), name.into());
        whole.append(object);
        write_line(&json_for_logs(&Value::Object(whole).to_string()));
    }
}

impl Ndjson {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn begin(&self, total: u64, done: u64) {
        *self.lock() = State { total, done, last: None };
    }

    fn advance(&self, bytes: u64) {
        let mut state = self.lock();
        state.done = state.done.saturating_add(bytes);
        if state.last.is_some_and(|last| last.elapsed() < EVERY) && state.done < state.total {
            return;
        }
        state.last = Some(Instant::now());
        let fields = json!({ "done": state.done, "total": state.total });
        drop(state);
        event("bytes", fields);
    }
}

impl Progress for Ndjson {
    fn event(&self, happened: Event<'_>) {
        let milliseconds = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        match happened {
            Event::Resolved(info) => {
                let fields = json!({ "repo": info.id, "revision": info.revision.as_str(), "commit": info.commit });
                event("resolved", fields);
            }
            Event::Planned(plan) => {
                self.begin(plan.bytes, plan.bytes.saturating_sub(plan.missing));
                speed::fetching(plan.bytes, plan.bytes.saturating_sub(plan.missing));
                event("planned", json!({ "files": plan.files, "bytes": plan.bytes, "missing": plan.missing }));
            }
            Event::FileStarted { path, size, have } => {
                event("file-started", json!({ "path": path.as_str(), "size": size, "have": have }));
            }
            Event::FileBytes { bytes, .. } => {
                speed::arrived(bytes);
                self.advance(bytes);
            }
            Event::VerifyBytes { bytes, .. } => self.advance(bytes),
            Event::FileRestarted { path, why } => {
                event("file-restarted", json!({ "path": path.as_str(), "why": why }));
            }
            Event::FileDone { path } => event("file-done", json!({ "path": path.as_str() })),
            Event::Retry { path, why, attempt, wait } => {
                let path = path.map(hfget_core::model::RepoPath::as_str);
                let wait = milliseconds(wait);
                event("retry", json!({ "path": path, "why": why, "attempt": attempt, "wait_ms": wait }));
            }
            Event::FellBack { path, why } => {
                event("retry", json!({ "path": path.as_str(), "why": why, "attempt": 2, "wait_ms": 0 }));
            }
            Event::RateLimited { host, wait } => {
                event("rate-limited", json!({ "host": host, "wait_ms": milliseconds(wait) }));
            }
            Event::Notice { text } => event("notice", json!({ "text": text })),
            Event::WaitingForLock { path, waited } => {
                event("waiting", json!({ "path": path.as_str(), "waited_seconds": waited.as_secs() }));
            }
            Event::VerifyStarted { files, bytes } => {
                speed::fetched();
                self.begin(bytes, 0);
                event("verify-started", json!({ "files": files, "bytes": bytes }));
            }
            Event::VerifyFile { path, size } => {
                event("verify-file", json!({ "path": path.as_str(), "size": size }));
            }
            Event::VerifyDone => event("verify-done", json!({})),
            // An event that this version does not know has no line.
            _ => {}
        }
    }
}
