//! The real Hub's rate limits: a number of requests of each class within a fixed window, and 429 with `RateLimit` after
//! that.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::response::Response;

use crate::api;
use crate::server::lock;

/// Which limit a request counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The API: revisions and listings.
    Api,
    /// Files, wherever they are redirected to.
    Resolvers,
}

impl Class {
    /// The class of a path of the Hub, not of its CDN.
    pub fn of(path: &str) -> Self {
        if path.starts_with("/api/") && !path.starts_with("/api/resolve-cache/") {
            Class::Api
        } else {
            Class::Resolvers
        }
    }

    fn word(self) -> &'static str {
        match self {
            Class::Api => "api",
            Class::Resolvers => "resolvers",
        }
    }
}

/// How many requests are answered within a window.
#[derive(Debug, Clone, Copy)]
pub struct Quotas {
    /// Requests to the API.
    pub api: u32,
    /// Requests for files.
    pub resolvers: u32,
    /// The length of a window.
    pub window: Duration,
}

impl Quotas {
    /// The Hub's limits for an address without a token, within its window of five minutes.
    pub const ANONYMOUS: Quotas = Quotas { api: 500, resolvers: 3000, window: Duration::from_mins(5) };
}

/// The used requests of the present windows.
#[derive(Debug, Default)]
pub(crate) struct Used {
    windows: Mutex<[Option<(Instant, u32)>; 2]>,
    pub refused: AtomicU64,
}

impl Used {
    /// Counts a request; returns the refusal if it is one too many.
    pub fn count(&self, quotas: &Quotas, path: &str) -> Option<Response> {
        let class = Class::of(path);
        let (slot, most) = match class {
            Class::Api => (0, quotas.api),
            Class::Resolvers => (1, quotas.resolvers),
        };
        let mut windows = lock(&self.windows);
        let window = windows[slot].get_or_insert_with(|| (Instant::now(), 0));
        if window.0.elapsed() >= quotas.window {
            *window = (Instant::now(), 0);
        }
        window.1 += 1;
        if window.1 <= most {
            return None;
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        let left = quotas.window.saturating_sub(window.0.elapsed()).as_secs() + 1;
        let (word, whole) = (class.word(), quotas.window.as_secs());
        Some(api::with_status(
            429,
            &[
                ("RateLimit", format!("\"{word}\";r=0;t={left}")),
                ("RateLimit-Policy", format!("\"fixed window\";\"{word}\";q={most};w={whole}")),
            ],
        ))
    }
}
