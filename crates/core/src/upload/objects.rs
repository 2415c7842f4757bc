//! One file from the Hub into an object store, without a local copy: parts are fetched by ranges,
//! hashed in order, and uploaded. The object gets its name only after its digest matched.
//!
//! Only the parts in transfer are in memory, and the budget limits them. After a failure or a kill, the next run
//! continues after the last part in the journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use object_store::PutPayload;
use object_store::multipart::PartId;
use tokio::sync::oneshot;

use super::PART;
use super::fetch::{Fetcher, Supply};
use super::journal::{self, Journal};
use super::room::length;
use super::task::Task;
use crate::finding::Finding;
use crate::hashing::Lane;
use crate::hub::HubError;
use crate::model::{Digest, Entry, Hashed, Hasher};
use crate::object_store::{Keys, Known, Mark, ObjectError, Objects};
use crate::progress::Event;
use crate::transfer::{integrity_finding, mismatch_finding};

/// The most parts of a file. S3 and Google accept 10,000.
const PARTS: u64 = 9_500;
/// The bytes between two writes of the journal, and so the most that a kill costs.
const NOTE: u64 = 32 << 20;
/// Parts of one file on their way to us, and as many on their way to the store.
const WIDTH: usize = 6;

/// Why a file could not be uploaded.
#[derive(Debug)]
pub(crate) enum UploadError {
    Hub(HubError),
    Objects(ObjectError),
}

impl From<HubError> for UploadError {
    fn from(error: HubError) -> Self {
        UploadError::Hub(error)
    }
}

impl From<ObjectError> for UploadError {
    fn from(error: ObjectError) -> Self {
        UploadError::Objects(error)
    }
}

/// The result of an attempt to upload a file.
enum Attempt {
    /// It is there.
    Done(Done),
    /// The received bytes have this digest.
    Digest(Digest),
    /// The server itself states another size or digest.
    Said(Box<Finding>),
}

/// The state of an object's bytes.
enum Stored {
    /// They are stored, and right.
    Right(Mark, Hashed),
    /// They have this digest, so they were not stored.
    Differs(Digest),
}

/// The result for a file.
#[derive(Debug)]
pub(crate) enum Done {
    /// It is stored. Its bytes were hashed in this run, and this many of them came from the Hub.
    Put { mark: Mark, hashed: Hashed, received: u64 },
    /// The Hub sends other bytes than it lists; none of them is visible there.
    Wrong(Finding),
}

/// What the uploads of a run share.
pub(crate) struct Upload {
    pub supply: Arc<Supply>,
    pub objects: Arc<Objects>,
    pub keys: Keys,
}

/// One file that is being uploaded.
pub(super) struct UploadFile {
    upload: Arc<Upload>,
    fetcher: Fetcher,
    /// The store accepted a part in this run, and was not asked yet to join the parts.
    taken: AtomicBool,
}

/// A part that was fetched.
struct UploadPart {
    number: usize,
    /// They keep their room in memory until the store has them and they are hashed.
    pieces: Vec<Bytes>,
    /// Their SHA-256 will come, because they are hashed as bytes of the file too.
    digest: Option<oneshot::Receiver<Hashed>>,
}

/// The progress of an upload.
struct Progressed {
    id: String,
    part_size: u64,
    parts: Vec<PartId>,
}

impl Upload {
    /// Uploads one file.
    #[tracing::instrument(level = "debug", name = "file", skip_all, fields(file = %entry.path.shown()))]
    pub async fn file(self: &Arc<Self>, entry: &Entry) -> Result<Done, UploadError> {
        let fetcher = self.supply.file(entry).await;
        let file = Arc::new(UploadFile { upload: Arc::clone(self), fetcher, taken: AtomicBool::new(false) });
        match file.attempt(true).await? {
            Attempt::Done(done) => return Ok(done),
            Attempt::Said(finding) => return Ok(Done::Wrong(*finding)),
            // The transfer may have damaged a byte, so the whole file is tried once more.
            Attempt::Digest(_) => {
                file.fetcher.start_again_alone("its checksum is wrong");
            }
        }
        match file.attempt(false).await? {
            Attempt::Done(done) => Ok(done),
            Attempt::Said(finding) => Ok(Done::Wrong(*finding)),
            Attempt::Digest(actual) => Ok(Done::Wrong(mismatch_finding(&entry.path, entry.digest(), actual))),
        }
    }
}

/// The size of a file's parts, so that there are not too many; in whole MiB, and never below the least size that stores
/// accept.
pub(super) fn part_size(size: u64) -> u64 {
    size.div_ceil(PARTS).next_multiple_of(1 << 20).max(PART)
}

impl UploadFile {
    fn key(&self) -> String {
        self.upload.keys.file(&self.upload.supply.info.commit, &self.entry().path)
    }

    fn journal_key(&self) -> String {
        self.upload.keys.journal(&self.upload.supply.info.commit, &self.entry().path)
    }

    fn entry(&self) -> &Entry {
        &self.fetcher.entry
    }

    /// A hasher of the file, beside those of other files.
    fn lane(&self) -> Lane {
        self.lane_of(self.entry().digest().hasher(self.entry().size), self.entry().size)
    }

    fn lane_of(&self, hasher: Hasher, size: u64) -> Lane {
        Lane::new(&self.upload.supply.lanes, hasher, size)
    }

    /// Uploads it, or returns how it differs from the listing.
    async fn attempt(self: &Arc<Self>, resume: bool) -> Result<Attempt, UploadError> {
        let put = if self.entry().size <= PART { self.whole().await } else { self.parts(resume).await };
        match put {
            Ok(Stored::Right(mark, hashed)) => {
                self.upload.supply.progress.event(Event::FileDone { path: &self.entry().path });
                Ok(Attempt::Done(Done::Put { mark, hashed, received: self.fetcher.received() }))
            }
            Ok(Stored::Differs(actual)) => Ok(Attempt::Digest(actual)),
            Err(UploadError::Hub(error @ (HubError::WrongLength { .. } | HubError::Changed { .. }))) => {
                Ok(Attempt::Said(Box::new(integrity_finding(&self.entry().path, &error))))
            }
            Err(error) => Err(error),
        }
    }

    /// A file of one part: fetches, hashes and uploads it as a whole.
    async fn whole(self: &Arc<Self>) -> Result<Stored, UploadError> {
        let room = self.upload.supply.space.room(self.entry().size).await;
        self.fetcher.started(0);
        let pieces = self.fetcher.fetch(0..self.entry().size, room).await?;
        let hashed = hash(self.lane(), &pieces).await;
        if hashed.digest() != self.entry().digest() {
            return Ok(Stored::Differs(hashed.digest()));
        }
        let _known = self.upload.objects.know(pieces.clone(), hashed);
        Ok(Stored::Right(self.upload.objects.put(&self.key(), PutPayload::from_iter(pieces)).await?, hashed))
    }

    /// A file of many parts.
    async fn parts(self: &Arc<Self>, resume: bool) -> Result<Stored, UploadError> {
        let mut known = if resume { self.resumed().await? } else { None };
        loop {
            let before = known.is_some();
            let from = match known.take() {
                Some(progressed) => progressed,
                None => self.begin().await?,
            };
            match self.go_on(from).await {
                // Stores forget unfinished uploads, and their errors for that differ.
                Err(UploadError::Objects(ObjectError::NotFound { .. } | ObjectError::Failed { .. }))
                    if before && !self.taken.load(Ordering::Relaxed) =>
                {
                    self.fetcher.restarted("the store forgot its upload");
                }
                other => return other,
            }
        }
    }

    async fn begin(&self) -> Result<Progressed, UploadError> {
        let objects = &self.upload.objects;
        let key = self.key();
        let made = objects.store.create_multipart(&objects.path(&key)?).await;
        let id = made.map_err(objects.wrong(&key))?;
        let part_size = part_size(self.entry().size);
        // From now on the next run knows about this upload and can continue it, so no parts stay behind.
        self.note(&id, part_size, &[]).await?;
        Ok(Progressed { id, part_size, parts: Vec::new() })
    }

    /// The upload that an earlier run began, if it can be used.
    async fn resumed(&self) -> Result<Option<Progressed>, UploadError> {
        let text = self.upload.objects.small(&self.journal_key(), journal::LIMIT).await?;
        let journal = text.and_then(|text| Journal::read(&text, &self.entry().digest(), self.entry().size));
        Ok(journal.map(|Journal { upload, part_size, parts, .. }| {
            let parts = parts.into_iter().map(|content_id| PartId { content_id }).collect();
            Progressed { id: upload, part_size, parts }
        }))
    }

    async fn go_on(self: &Arc<Self>, from: Progressed) -> Result<Stored, UploadError> {
        let Progressed { id, part_size, mut parts } = from;
        // Parts of an earlier run did not go through this run's hash, and no note can replace that.
        let resumed = !parts.is_empty();
        let size = self.entry().size;
        let range = move |n: usize| {
            (n as u64).saturating_mul(part_size).min(size)..((n as u64 + 1).saturating_mul(part_size)).min(size)
        };
        let count = usize::try_from(size.div_ceil(part_size)).unwrap_or(usize::MAX);
        self.fetcher.started(range(parts.len()).start);
        let id: Arc<str> = id.into();
        // One part after another goes into it, and after the last one its digest is needed: so the stream of parts only borrows
        // it, one part at a time.
        let lane = tokio::sync::Mutex::new((!resumed).then(|| self.lane()));
        let beside_the_file = self.upload.objects.needs_digests() && Hasher::adds_same_bytes_fast();
        let fetched = stream::iter(parts.len()..count)
            .then(|number| async move {
                // In order, so that the part that is hashed next always has its room.
                let range = range(number);
                let room = self.upload.supply.space.room(range.end - range.start).await;
                let file = Arc::clone(self);
                let task = Task::spawn(async move { file.fetcher.fetch(range, room).await });
                (number, task)
            })
            .map(|(number, task)| async move { Ok::<_, UploadError>((number, task.join().await?)) })
            .buffered(WIDTH);
        let hashing = fetched.then(|part| async {
            let (number, pieces) = part?;
            // At once: a rest that waited for another file would keep the part's room from that file.
            let digest = match &mut *lane.lock().await {
                Some(lane) if beside_the_file => Some(lane.push_part(pieces.clone()).await),
                Some(lane) => {
                    lane.push_all(pieces.clone()).await;
                    None
                }
                None => None,
            };
            Ok(UploadPart { number, pieces, digest })
        });
        let uploaded = hashing
            .map(|part: Result<UploadPart, UploadError>| {
                let (file, id) = (Arc::clone(self), Arc::clone(&id));
                async move {
                    let part = part?;
                    let task = Task::spawn(async move { file.put_part(&id, part).await });
                    task.join().await
                }
            })
            .buffered(WIDTH);
        let mut uploaded = Box::pin(uploaded);
        let mut unnoted = 0;
        while let Some(done) = uploaded.next().await {
            let part = match done {
                Ok(part) => part,
                Err(error) => {
                    // The next run continues from here. A failure to note that is not reported: the upload has an error
                    // already.
                    if unnoted > 0 {
                        let _ = self.note(&id, part_size, &parts).await;
                    }
                    return Err(error);
                }
            };
            parts.push(part);
            unnoted += part_size;
            if unnoted >= NOTE && parts.len() < count {
                self.note(&id, part_size, &parts).await?;
                unnoted = 0;
            }
        }
        drop(uploaded);
        let hashed = match lane.into_inner() {
            Some(lane) => Some(lane.finish().await),
            None => None,
        };
        self.finish(&id, parts, hashed).await
    }

    /// Joins the parts to an object. `actual`: the digest of all parts; `None` if an earlier run uploaded some.
    async fn finish(&self, id: &str, parts: Vec<PartId>, actual: Option<Hashed>) -> Result<Stored, UploadError> {
        let objects = &self.upload.objects;
        let (key, journal) = (self.key(), self.journal_key());
        let (path, id) = (objects.path(&key)?, id.to_owned());
        if let Some(actual) = actual.map(|hashed| hashed.digest()).filter(|actual| *actual != self.entry().digest()) {
            objects.store.abort_multipart(&path, &id).await.map_err(objects.wrong(&key))?;
            objects.delete(&journal).await?;
            return Ok(Stored::Differs(actual));
        }
        // The parts that an earlier run noted may not join: then the upload is treated like one that the store forgot.
        self.taken.store(false, Ordering::Relaxed);
        let put = objects.store.complete_multipart(&path, &id, parts).await;
        let stored = match (put, actual) {
            (Ok(put), Some(hashed)) => Stored::Right(Mark::new(self.entry().size, put.e_tag), hashed),
            (Ok(_), None) => match self.read_back().await? {
                Some(read) => read,
                None => return Err(ObjectError::NotFound { url: objects.shown(&key) }.into()),
            },
            // An earlier request may have completed it, and its answer was lost.
            (Err(error @ object_store::Error::NotFound { .. }), _) => match self.read_back().await? {
                Some(right @ Stored::Right(..)) => right,
                _ => return Err(objects.wrong(&key)(error).into()),
            },
            (Err(error), _) => return Err(objects.wrong(&key)(error).into()),
        };
        if let Stored::Differs(_) = stored {
            objects.delete(&key).await?;
        }
        objects.delete(&journal).await?;
        Ok(stored)
    }

    /// The object under its final name, or the digest of its bytes; `None` if it does not exist.
    async fn read_back(&self) -> Result<Option<Stored>, UploadError> {
        let (objects, key) = (&self.upload.objects, self.key());
        let Some(mark) = objects.mark(&key).await? else { return Ok(None) };
        let (_, mut bytes) = objects.stream(&key, 0..mark.size).await?;
        let mut lane = self.lane();
        while let Some(chunk) = bytes.next().await {
            lane.push(chunk?).await;
        }
        let hashed = lane.finish().await;
        if hashed.digest() != self.entry().digest() {
            return Ok(Some(Stored::Differs(hashed.digest())));
        }
        match objects.mark(&key).await? {
            Some(now) if now.is_still(&mark) || mark.etag.is_none() => Ok(Some(Stored::Right(now, hashed))),
            _ => {
                let why = "it was replaced while it was read".into();
                Err(ObjectError::Failed { url: objects.shown(&key), why }.into())
            }
        }
    }

    async fn note(&self, id: &str, part_size: u64, parts: &[PartId]) -> Result<(), ObjectError> {
        let parts = parts.iter().map(|part| part.content_id.clone()).collect();
        let text = Journal::new(&self.entry().digest(), self.entry().size, id.to_owned(), part_size, parts).text();
        self.upload.objects.put(&self.journal_key(), text.into()).await.map(drop)
    }

    /// Gets a part's SHA-256 for its request's signature: from the file's lane, or from a lane of its own.
    async fn known(&self, part: &mut UploadPart) -> Option<Known> {
        if !self.upload.objects.needs_digests() {
            return None;
        }
        let pieces = &part.pieces;
        let beside_the_file = match part.digest.take() {
            Some(digest) => digest.await.ok(),
            None => None,
        };
        let hashed = match beside_the_file {
            Some(hashed) => hashed,
            None => hash(self.lane_of(Hasher::sha256(), length(pieces)), pieces).await,
        };
        self.upload.objects.know(pieces.clone(), hashed)
    }

    #[tracing::instrument(level = "debug", name = "part", skip_all, fields(number = part.number, bytes = length(&part.pieces)))]
    async fn put_part(&self, id: &str, mut part: UploadPart) -> Result<PartId, UploadError> {
        let objects = &self.upload.objects;
        let key = self.key();
        let _known = self.known(&mut part).await;
        let payload = part.pieces.into_iter().collect();
        let put = objects.store.put_part(&objects.path(&key)?, &id.to_owned(), part.number, payload).await;
        let part = put.map_err(objects.wrong(&key))?;
        self.taken.store(true, Ordering::Relaxed);
        Ok(part)
    }
}

/// The digest of all pieces.
async fn hash(mut lane: Lane, pieces: &[Bytes]) -> Hashed {
    lane.push_all(pieces.to_vec()).await;
    lane.finish().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_neither_too_many_nor_too_small() {
        for size in [1, PART, PART + 1, 80 << 30, 1 << 40, 5 << 40] {
            let part = part_size(size);
            assert!(part >= PART && part.is_multiple_of(1 << 20), "{size}: {part}");
            assert!(size.div_ceil(part) <= 10_000, "{size}: {part}");
        }
    }
}
