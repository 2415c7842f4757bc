//! Compares bytes of files: ranges from both sides, and whole files by their digest. Nothing is kept.

use std::ops::Range;
use std::sync::atomic::Ordering;

use reqwest::StatusCode;

use super::metadata::{is_page, stopped};
use super::{Error, Pair};
use crate::finding::{Code, Finding};
use crate::hashing::Lane;
use crate::hub::{Answer, Ask, HubError, Remote};
use crate::model::{Entry, Hashed, RepoPath};
use crate::report::{Checked, ComparedFile, Level};

/// The size of one range in bytes.
const RANGE: u64 = 64 << 10;
/// Ranges at random places, besides the first and the last.
const RANDOM: usize = 3;

/// The ranges to compare: the start, the end, and random places that follow from `seed` and the name.
/// A file that is no larger than these has none, since it is read whole.
pub(super) fn ranges(seed: u64, path: &RepoPath, size: u64) -> Vec<Range<u64>> {
    if size <= RANGE * (RANDOM as u64 + 2) {
        return Vec::new();
    }
    // FNV-1a: each file has places of its own, the same in every run and on every machine.
    let name = path
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut random = fastrand::Rng::with_seed(seed ^ name);
    let mut starts = vec![0, size - RANGE];
    starts.extend((0..RANDOM).map(|_| random.u64(0..=size - RANGE)));
    starts.sort_unstable();
    starts.into_iter().map(|start| start..start + RANGE).collect()
}

impl Pair<'_> {
    /// Compares a file's bytes as far as the level demands.
    pub(super) async fn content(&self, entry: &Entry, file: &mut ComparedFile) -> Result<Vec<Finding>, Error> {
        let ranges = ranges(self.config.seed, &entry.path, entry.size);
        for range in &ranges {
            file.checked = Checked::Ranges;
            file.ranges.push([range.start, range.end]);
            if let Some(finding) = self.range(entry, range.clone()).await? {
                return Ok(vec![finding]);
            }
        }
        if self.config.level == Level::Full || ranges.is_empty() {
            file.checked = Checked::Digest;
            return Ok(self.whole(entry).await.into_iter().collect());
        }
        Ok(Vec::new())
    }

    /// Compares one range from both sides.
    async fn range(&self, entry: &Entry, range: Range<u64>) -> Result<Option<Finding>, Error> {
        let theirs = match self.mirror_range(entry, range.clone()).await {
            Ok(bytes) => bytes,
            Err(finding) => return Ok(Some(*finding)),
        };
        let ours = self.reference_range(entry, range.clone()).await?;
        let Some(at) = theirs.iter().zip(&ours).position(|(a, b)| a != b) else { return Ok(None) };
        let differing = theirs.iter().zip(&ours).filter(|(a, b)| a != b).count();
        let at = range.start + at as u64;
        let message = format!(
            "{differing} of the bytes {}-{} are others on the mirror, the first at {at}",
            range.start,
            range.end - 1
        );
        Ok(Some(Finding::new(Code::BytesDiffer, &entry.path, message)))
    }

    async fn reference_range(&self, entry: &Entry, range: Range<u64>) -> Result<Vec<u8>, HubError> {
        let mut failures = 0;
        loop {
            let remote = Remote::new(self.reference_info.clone(), entry.clone());
            match self.reference_try(&remote, range.clone()).await {
                Err(error) if error.is_retryable() => {
                    failures += 1;
                    self.reference.retries().back_off(Some(&entry.path), error, failures, self.progress).await?;
                }
                other => return other.inspect(|_| self.reference.retries().answered()),
            }
        }
    }

    async fn reference_try(&self, remote: &Remote, range: Range<u64>) -> Result<Vec<u8>, HubError> {
        let mut body = self.reference.open(remote, range.clone()).await?;
        // An endpoint that ignores ranges also sends the bytes before the range.
        let (mut skip, length) = (range.start - body.start, range.end - range.start);
        let mut bytes = Vec::new();
        while let Some(chunk) = body.chunk().await? {
            let from = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= from as u64;
            bytes.extend_from_slice(&chunk[from..]);
            if bytes.len() as u64 >= length {
                bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
                break;
            }
        }
        Ok(bytes)
    }

    /// A range as the mirror sends it, or what is wrong with the answer.
    async fn mirror_range(&self, entry: &Entry, range: Range<u64>) -> Result<Vec<u8>, Box<Finding>> {
        let mut failures = 0;
        loop {
            let ask = Ask::Part(range.clone());
            let refused = |error: HubError| Box::new(self.refused(entry, &error));
            let mut answer = self
                .mirror
                .ask(&self.mirror_info, &entry.path, &ask, &self.hosts, self.watch)
                .await
                .map_err(refused)?;
            if let Some(finding) = judge(entry, &answer, &range) {
                return Err(Box::new(finding));
            }
            let length = range.end - range.start;
            let mut bytes = Vec::new();
            let broken = loop {
                match self.mirror.next_bytes(&mut answer).await {
                    Ok(Some(chunk)) => {
                        self.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                        bytes.extend_from_slice(&chunk);
                        if bytes.len() as u64 > length {
                            break None;
                        }
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            match broken {
                Some(error) => {
                    failures += 1;
                    self.mirror
                        .retries()
                        .back_off(Some(&entry.path), error, failures, self.watch)
                        .await
                        .map_err(refused)?;
                }
                None if bytes.len() as u64 == length => {
                    self.mirror.retries().answered();
                    return Ok(bytes);
                }
                None => {
                    let got = bytes.len();
                    let message = format!("bytes {}-{} came as {got} bytes", range.start, range.end - 1);
                    return Err(Box::new(Finding::new(Code::RangeBroken, &entry.path, message)));
                }
            }
        }
    }

    /// Compares the digest of a whole file.
    async fn whole(&self, entry: &Entry) -> Option<Finding> {
        let (found, digest) = match self.stream(entry).await {
            Ok(hashed) => (hashed.digest(), entry.digest()),
            Err(finding) => return Some(*finding),
        };
        (found != digest).then(|| {
            let message = format!("what the mirror sends hashes to {found:?}, the endpoint lists {digest:?}");
            Finding::new(Code::ChecksumMismatch, &entry.path, message)
        })
    }

    /// Hashes a file as it comes. After a broken connection it continues at the same offset.
    async fn stream(&self, entry: &Entry) -> Result<Hashed, Box<Finding>> {
        let begin = || Lane::new(&self.lanes, entry.digest().hasher(entry.size), entry.size);
        let mut lane = begin();
        let fail = |code, message: String| Err(Box::new(Finding::new(code, &entry.path, message)));
        let refused = |error: HubError| Box::new(self.refused(entry, &error));
        let (mut at, mut most, mut failures) = (0u64, 0u64, 0);
        loop {
            let rest = at..entry.size;
            let ask = if at == 0 { Ask::All } else { Ask::Part(rest.clone()) };
            let asked = self.mirror.ask(&self.mirror_info, &entry.path, &ask, &self.hosts, self.watch).await;
            let mut answer = asked.map_err(refused)?;
            if at > 0 && answer.status == StatusCode::OK {
                // The mirror ignores ranges, so the file comes again from the start.
                at = 0;
                lane = begin();
            } else if let Some(finding) = judge(entry, &answer, &rest) {
                return Err(Box::new(finding));
            }
            let broken = loop {
                match self.mirror.next_bytes(&mut answer).await {
                    Ok(Some(chunk)) => {
                        at += chunk.len() as u64;
                        // A file that starts again and again makes no progress.
                        if at > most {
                            self.mirror.retries().arrived(at - most);
                            (most, failures) = (at, 0);
                        }
                        self.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                        if at > entry.size {
                            let message =
                                format!("the mirror sends more than the {} bytes that are listed", entry.size);
                            return fail(Code::SizeMismatch, message);
                        }
                        lane.push(chunk).await;
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            match broken {
                None if at == entry.size => return Ok(lane.finish().await),
                None => {
                    let message = format!("the mirror sends {at} bytes, the endpoint lists {}", entry.size);
                    return fail(Code::SizeMismatch, message);
                }
                Some(error) => {
                    failures += 1;
                    let waited = self.mirror.retries().back_off(Some(&entry.path), error, failures, self.watch).await;
                    waited.map_err(refused)?;
                }
            }
        }
    }
}

/// What is wrong with an answer before its body is read; `range` is the requested range.
fn judge(entry: &Entry, answer: &Answer, range: &Range<u64>) -> Option<Finding> {
    let finding = |code, message: String| Some(Finding::new(code, &entry.path, message));
    if let Some(finding) = stopped(entry, answer) {
        return Some(finding);
    }
    if is_page(entry, answer) && answer.length != Some(range.end - range.start) {
        return finding(Code::HtmlInsteadOfBytes, format!("{} sends a web page instead of the file", answer.url));
    }
    let (first, last) = (range.start, range.end.saturating_sub(1));
    let whole = *range == (0..entry.size);
    let total = answer.covers.as_ref().and_then(|(_, total)| *total);
    match answer.status {
        StatusCode::OK if whole => match answer.length {
            Some(length) if length != entry.size => finding(
                Code::SizeMismatch,
                format!("the mirror sends {length} bytes, the endpoint lists {}", entry.size),
            ),
            _ => None,
        },
        StatusCode::OK => finding(
            Code::RangeBroken,
            format!("a request for bytes {first}-{last} is answered with 200 and the whole file"),
        ),
        StatusCode::RANGE_NOT_SATISFIABLE => finding(
            Code::SizeMismatch,
            format!("the mirror has no bytes {first}-{last} of the {} that the endpoint lists", entry.size),
        ),
        _ if total.is_some_and(|total| total != entry.size) => finding(
            Code::SizeMismatch,
            format!("the mirror has {} bytes, the endpoint lists {}", total.unwrap_or(0), entry.size),
        ),
        _ if answer.covers.as_ref().map(|(covers, _)| covers) != Some(range) => {
            let got = match &answer.covers {
                Some((covers, _)) => format!("bytes {}-{}", covers.start, covers.end - 1),
                None => "no range that can be read".to_owned(),
            };
            finding(Code::RangeBroken, format!("a request for bytes {first}-{last} is answered with {got}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_from_seed_and_name_and_reach_both_ends() {
        let path: RepoPath = "model.safetensors".parse().unwrap();
        let size = 10 << 20;
        let some = ranges(7, &path, size);
        assert_eq!(some, ranges(7, &path, size));
        assert_ne!(some, ranges(8, &path, size));
        assert_ne!(some, ranges(7, &"other".parse().unwrap(), size));
        assert_eq!((some.len(), some[0].start, some[4].end), (5, 0, size));
        assert!(some.iter().all(|r| r.end <= size && r.end - r.start == RANGE));
        assert!(ranges(7, &path, RANGE * 5).is_empty(), "read whole");
        assert_eq!(ranges(u64::MAX, &path, u64::MAX).len(), 5);
    }
}
