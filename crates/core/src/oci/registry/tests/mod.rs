//! The wire protocol against a registry with the faults of real ones. Tests of the session use the binary.

mod debian;
mod faults;
mod manifests;
mod parts;
mod reading;
mod tokens;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hfget_loopback_registry::Registry;

use crate::hub::HubConfig;
use crate::model::OciDigest;
use crate::oci::{Blobstream, Body, Content, ManifestName, OciConfig, OciError, Push, PushDigest};
use crate::progress::Silent;

/// The size of a large blob: more than any buffer.
const LARGE: usize = 12 << 20;

/// Bytes that differ from offset to offset.
fn bytes(length: usize) -> Bytes {
    static LINES: OnceLock<Bytes> = OnceLock::new();
    let lines = (0u32..).flat_map(|line| [line.to_be_bytes(); 64]).flatten();
    let all = LINES.get_or_init(|| lines.take(2 * LARGE + 16).collect());
    all.slice(..length)
}

/// The patience of a test.
fn http() -> HubConfig {
    let mut http = HubConfig::new("https://hub.example").unwrap();
    let timing = &mut http.timing;
    timing.stall_timeout = Duration::from_millis(400);
    timing.response_timeout = Duration::from_secs(2);
    timing.retry.base = Duration::from_millis(1);
    timing.retry.cap = Duration::from_millis(20);
    timing.retry.patience = Duration::from_secs(2);
    timing.retry.first_patience = Duration::from_secs(1);
    http
}

fn at(address: &str, name: &str, options: &[(&str, &str)]) -> Arc<dyn Content> {
    let reference: crate::model::OciReference = format!("oci://{address}/{name}:main").parse().unwrap();
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    super::open(&OciConfig::from(reference).with_options(options), &http()).unwrap()
}

/// The repository `acme/m` of a registry without login.
fn open(registry: &Registry) -> Arc<dyn Content> {
    at(registry.address(), "acme/m", &[])
}

fn tag(name: &str) -> ManifestName {
    ManifestName::Tag(name.to_owned())
}

/// The bytes in pieces, as a Hub sends them. The stream panics if it is polled after its end.
fn pieces(bytes: &Bytes) -> Blobstream {
    let split = stream::unfold(bytes.clone(), |mut left| async move {
        let piece = left.split_to(left.len().min(32 << 10));
        (!piece.is_empty()).then_some((Ok(piece), left))
    });
    split.boxed()
}

/// The same, with a digest that is known after the last byte.
fn hashing(bytes: &Bytes) -> (Blobstream, Arc<OnceLock<OciDigest>>) {
    let cell = Arc::new(OnceLock::new());
    let (set, digest) = (Arc::clone(&cell), OciDigest::of(bytes));
    let end = stream::once(async move {
        set.set(digest).unwrap();
        Ok(Bytes::new())
    });
    (pieces(bytes).chain(end).boxed(), cell)
}

/// The way in which a blob is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Bytes in memory.
    Whole,
    /// A stream whose digest is known.
    Before,
    /// A stream whose digest is known at its end.
    After,
}

const WAYS: [Way; 3] = [Way::Whole, Way::Before, Way::After];

async fn push_once(content: &dyn Content, way: Way, bytes: &Bytes) -> Result<OciDigest, OciError> {
    let digest = OciDigest::of(bytes);
    let (body, digest) = match way {
        Way::Whole => (Body::Whole(bytes.clone()), PushDigest::Before(digest)),
        Way::Before => (Body::Stream(pieces(bytes)), PushDigest::Before(digest)),
        Way::After => {
            let (stream, cell) = hashing(bytes);
            (Body::Stream(stream), PushDigest::After(cell))
        }
    };
    content.push_blob(Push { size: bytes.len() as u64, digest, number: None, body }).await
}

/// The session's loop: it makes the stream again as long as a retry may succeed.
async fn push(content: &dyn Content, way: Way, bytes: &Bytes) -> Result<OciDigest, OciError> {
    let mut failures = 0;
    loop {
        match push_once(content, way, bytes).await {
            Err(error) if error.is_worth_retrying() => {
                failures += 1;
                content.back_off(None, error, failures, &Silent).await?;
            }
            other => return other,
        }
    }
}

async fn read(content: &dyn Content, digest: &OciDigest, range: std::ops::Range<u64>) -> Result<Bytes, OciError> {
    let stream = content.open_blob(digest, range).await?;
    let parts: Vec<Bytes> = stream.try_collect().await?;
    Ok(parts.concat().into())
}
