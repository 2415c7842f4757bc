//! One request: opens and reads a range, and hands its bytes on to be written. The schedule decides what a
//! failure means.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::debug;

use super::{Ended, Part, Run};
use crate::hub::Body;
use crate::transfer::assemble::{BLOCK, Writer};

/// How often a connection compares its rate with the others.
const COMPARE_EVERY: Duration = Duration::from_secs(3);

/// Streams a part into its file.
#[tracing::instrument(
    level = "debug", name = "part", parent = &part.open.work.span, skip_all,
    fields(from = part.claim.range.start, to = part.claim.range.end, endpoint = endpoint)
)]
pub(in crate::transfer) async fn fetch(run: &Arc<impl Run>, part: &Part, endpoint: usize) -> Result<(), Ended> {
    let work = &part.open.work;
    let range = part.claim.range.clone();
    let asked = Instant::now();
    let mut body = part.open.remotes[endpoint].open(range.clone()).await?;
    let answered = Instant::now();
    let skip = range.start - body.start.min(range.start);
    if skip > 0 && work.takes_ranges() {
        // A server that ignores ranges sends the whole file to every connection, so use only one.
        work.ranges_are_ignored();
        if range.start != work.frontier() {
            return Err(Ended::Aside);
        }
    }
    let mut writer = Writer::new(run, work, &part.claim, body.is_over_xet());
    let outcome = stream(&**run, part, &mut writer, &mut body, skip).await;
    let (came, rate) = (part.at.load(Ordering::Relaxed).saturating_sub(range.start), part.rate());
    if body.is_over_xet() {
        run.came_over_xet(came);
    } else {
        run.measured(answered - asked, came, answered.elapsed());
    }
    debug!(bytes = came, bytes_per_second = rate, "the part ended");
    // Why this order: the bytes that came are written and noted before the failure is handled, because they are worth
    // keeping. An error of the disk ends the run, so it comes before one of the network.
    let finished = writer.finish().await;
    if !matches!(outcome, Err(Ended::Fatal(_))) {
        finished?;
    }
    outcome
}

/// Moves a body's bytes into blocks until the part is complete.
async fn stream(
    run: &impl Run,
    part: &Part,
    writer: &mut Writer<impl Run>,
    body: &mut Body<'_>,
    mut skip: u64,
) -> Result<(), Ended> {
    let mut compared = Instant::now();
    let mut near = false;
    let mut came = Bytes::new();
    loop {
        if came.is_empty() {
            let Some(more) = body.chunk().await? else { return Ok(()) };
            came = more;
            if run.takes_turns() {
                // So bytes of two files come in turn, and are hashed together while they are in the processor's cache.
                tokio::task::yield_now().await;
            }
        }
        // Megabytes may come at once. If a write fails, the blocks before it are kept, and a limit of the rate holds between
        // them too.
        let mut bytes = came.split_to(came.len().min(BLOCK));
        if let Some(limiter) = run.limiter() {
            limiter.pass(bytes.len()).await;
        }
        if skip > 0 {
            let drop = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            let _ = bytes.split_to(drop);
            skip -= drop as u64;
        }
        // The end may have come nearer, if another worker took the bytes after it.
        let end = part.end.load(Ordering::Relaxed);
        bytes.truncate(usize::try_from(end.saturating_sub(writer.block.end())).unwrap_or(usize::MAX));
        writer.block.push(bytes);
        part.at.store(writer.block.end(), Ordering::Relaxed);
        let over = writer.block.end() >= end;
        if writer.block.len >= BLOCK || over {
            writer.flush().await?;
        }
        if !near && part.is_near_its_end() {
            // Another worker may ask for the next part, so that no worker waits for its first bytes.
            near = true;
            run.has_room();
        }
        if over && end < part.claim.range.end || run.is_over() {
            return Ok(());
        }
        if compared.elapsed() > COMPARE_EVERY {
            if run.lags(part) {
                return Err(Ended::Aside);
            }
            compared = Instant::now();
        }
    }
}
