//! Fetches ranges of one file from the Hub or its mirrors, for upload. The parent hashes and uploads them.

use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};

use super::{UploadError, UploadFile};
use crate::hub::{HubError, ShownUrl};
use crate::progress::Event;
use crate::source::SourceFile;

/// The failures in a row of one file.
#[derive(Default)]
pub(super) struct Trouble {
    failures: u32,
    /// How many bytes had arrived at the last failure.
    received: u64,
}

impl UploadFile {
    /// Fetches a range, from any endpoint that has it. Bytes that arrived before a failure are not asked for again.
    #[tracing::instrument(level = "debug", name = "part", skip_all, fields(from = range.start, to = range.end))]
    pub(super) async fn fetch(&self, range: Range<u64>) -> Result<Bytes, UploadError> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        // Wrong bytes from a cache are handled like those from a mirror: after that only the endpoint is asked.
        if !self.alone.load(Ordering::Relaxed)
            && let Some(bytes) = self.read_nearby(range.start, length).await
        {
            return Ok(bytes);
        }
        let mut bytes = BytesMut::with_capacity(length);
        loop {
            let waits = self.waits.load(Ordering::Relaxed);
            let turn = self.turn.load(Ordering::Relaxed);
            let endpoints = if self.alone.load(Ordering::Relaxed) { 1 } else { self.remotes.len().max(1) };
            let endpoint = turn % endpoints;
            let at = range.start + bytes.len() as u64;
            let remote = &*self.remotes[endpoint];
            let Err(error) = self.try_fetch(remote, at..range.end, &mut bytes).await else {
                return Ok(bytes.freeze());
            };
            // Another endpoint may have it. Parts that fail at the same time move on only once.
            let _ = self.turn.compare_exchange(turn, turn + 1, Ordering::Relaxed, Ordering::Relaxed);
            let mut trouble = self.trouble.lock().await;
            if self.waits.load(Ordering::Relaxed) > waits {
                // Another part has waited meanwhile.
                continue;
            }
            let received = self.received.load(Ordering::Relaxed);
            trouble.failures = if received > trouble.received { 1 } else { trouble.failures + 1 };
            trouble.received = received;
            if trouble.failures as usize >= endpoints {
                let retries = remote.source().retries();
                retries.back_off(Some(&self.entry.path), error, trouble.failures, &*self.upload.progress).await?;
            }
            self.waits.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Reads a range from this machine's copy; `None` if it cannot be read.
    async fn read_nearby(&self, at: u64, length: usize) -> Option<Bytes> {
        let file = Arc::clone(self.nearby.as_ref()?);
        let read = move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at).ok().map(|()| Bytes::from(bytes))
        };
        let bytes = tokio::task::spawn_blocking(read).await.ok()??;
        self.upload.progress.event(Event::FileBytes { path: &self.entry.path, bytes: bytes.len() as u64 });
        Some(bytes)
    }

    async fn try_fetch(
        &self,
        remote: &dyn SourceFile,
        range: Range<u64>,
        bytes: &mut BytesMut,
    ) -> Result<(), HubError> {
        let mut body = remote.open(range.clone()).await?;
        if body.start != range.start {
            let what = "it ignores requests for ranges, which are needed to upload without a disk".into();
            let url = ShownUrl::of_text(&remote.source().endpoint());
            return Err(HubError::Protocol { url, what });
        }
        while let Some(chunk) = body.chunk().await? {
            if let Some(limiter) = &self.upload.limiter {
                limiter.pass(chunk.len()).await;
            }
            bytes.extend_from_slice(&chunk);
            self.received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            remote.source().retries().arrived(chunk.len() as u64);
            let event = Event::FileBytes { path: &self.entry.path, bytes: chunk.len() as u64 };
            self.upload.progress.event(event);
        }
        Ok(())
    }
}
