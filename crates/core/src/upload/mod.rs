//! One file from the Hub into an object store, without a local copy: parts are fetched by ranges,
//! hashed in order, and uploaded. The object gets its name only after the digest matched.
//!
//! Memory: the parts on their way, which the budget bounds. A failed or killed upload goes on from the
//! last part that the journal notes.

mod fetch;
mod journal;
mod task;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use object_store::PutPayload;
use object_store::multipart::PartId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::fetch::Trouble;
use self::journal::Journal;
use self::task::{Task, hash};
use crate::finding::Finding;
use crate::hub::HubError;
use crate::model::{Digest, Entry, Hashed, RepoInfo, RepoPath};
use crate::object_store::{Keys, Mark, ObjectError, Objects};
use crate::progress::{Event, Progress};
use crate::source::{Source, SourceFile};
use crate::transfer::{Limiter, integrity_finding, mismatch_finding};

/// The bytes of a part, and the size up to which a file is uploaded in one request.
pub(crate) const PART: u64 = 8 << 20;
/// The most parts: S3 and Google allow 10,000.
const PARTS: u64 = 9_500;
/// How many parts of one file are on their way to us, and as many on their way to the store.
const WIDTH: usize = 6;
/// The journal is written again after so many bytes, so a kill costs at most these.
const NOTE: u64 = 32 << 20;

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
    /// The upload is done.
    Done(Done),
    /// The bytes that came have this digest, which is not the listed one.
    Digest(Digest),
    /// The server itself says that its bytes differ from the listing.
    Said(Box<Finding>),
}

/// The state of an object after an upload.
enum Stored {
    /// Its bytes are there, and right.
    Right(Mark, Hashed),
    /// Its bytes had this wrong digest, so the object was not kept.
    Differs(Digest),
}

/// The result for a file.
#[derive(Debug)]
pub(crate) enum Done {
    /// It is in the store, its bytes were hashed in this run, and `received` of them came over the network.
    Put { mark: Mark, hashed: Hashed, received: u64 },
    /// The Hub sends bytes that differ from its listing; none of them were kept.
    Wrong(Finding),
}

/// The state that all files of a run share.
pub(crate) struct Upload {
    /// Endpoints: the first one listed the files.
    pub sources: Vec<Arc<dyn Source>>,
    pub objects: Arc<Objects>,
    pub keys: Keys,
    pub info: Arc<RepoInfo>,
    pub limiter: Option<Limiter>,
    pub progress: Arc<dyn Progress>,
    /// Copies of files on this machine, by path. Their bytes are hashed as any others.
    pub nearby: HashMap<RepoPath, PathBuf>,
    /// Permits for memory, in units of [`PART`] bytes.
    pub budget: Arc<Semaphore>,
    pub permits: u32,
}

/// One file during its upload.
pub(super) struct UploadFile {
    pub(super) upload: Arc<Upload>,
    pub(super) entry: Entry,
    pub(super) remotes: Vec<Box<dyn SourceFile>>,
    /// This machine's copy of the file.
    pub(super) nearby: Option<Arc<std::fs::File>>,
    /// The endpoint that is asked at present.
    pub(super) turn: AtomicUsize,
    /// Whether only the first endpoint is asked, since some mirror sent wrong bytes and nobody knows which.
    pub(super) alone: AtomicBool,
    pub(super) received: AtomicU64,
    /// Whether the store has taken a part in this run, and the upload is not being completed yet.
    taken: AtomicBool,
    /// Parts that fail at the same time wait together.
    trouble: tokio::sync::Mutex<Trouble>,
    /// How often they have waited.
    pub(super) waits: AtomicUsize,
}

/// A part that was fetched and hashed.
struct UploadPart {
    number: usize,
    bytes: Bytes,
    permit: OwnedSemaphorePermit,
}

/// The state of a multipart upload.
struct Progressed {
    id: String,
    part_size: u64,
    parts: Vec<PartId>,
}

impl Upload {
    /// Uploads one file.
    #[tracing::instrument(level = "debug", name = "file", skip_all, fields(file = %entry.path.shown()))]
    pub async fn file(self: &Arc<Self>, entry: &Entry) -> Result<Done, UploadError> {
        let remotes =
            self.sources.iter().map(|source| Arc::clone(source).file(Arc::clone(&self.info), entry.clone())).collect();
        let file = Arc::new(UploadFile {
            upload: Arc::clone(self),
            entry: entry.clone(),
            remotes,
            nearby: self.open_nearby(entry).await,
            turn: AtomicUsize::new(0),
            alone: AtomicBool::new(false),
            received: AtomicU64::new(0),
            taken: AtomicBool::new(false),
            trouble: tokio::sync::Mutex::default(),
            waits: AtomicUsize::new(0),
        });
        match file.attempt(true).await? {
            Attempt::Done(done) => return Ok(done),
            Attempt::Said(finding) => return Ok(Done::Wrong(*finding)),
            // A byte may have changed on its way, so the file is uploaded once more from its first byte.
            Attempt::Digest(_) => {
                file.alone.store(true, Ordering::Relaxed);
                file.restarted("its checksum is wrong");
            }
        }
        match file.attempt(false).await? {
            Attempt::Done(done) => Ok(done),
            Attempt::Said(finding) => Ok(Done::Wrong(*finding)),
            Attempt::Digest(actual) => Ok(Done::Wrong(mismatch_finding(&entry.path, entry.digest(), actual))),
        }
    }

    /// Opens this machine's copy of a file. If it cannot be opened, the file is fetched.
    async fn open_nearby(&self, entry: &Entry) -> Option<Arc<std::fs::File>> {
        let path = self.nearby.get(&entry.path)?.clone();
        tokio::task::spawn_blocking(move || std::fs::File::open(path)).await.ok()?.ok().map(Arc::new)
    }

    fn permits_of(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(PART)).unwrap_or(u32::MAX).clamp(1, self.permits)
    }

    async fn permit(&self, bytes: u64) -> OwnedSemaphorePermit {
        let wanted = Arc::clone(&self.budget).acquire_many_owned(self.permits_of(bytes)).await;
        // No code closes the budget.
        wanted.unwrap_or_else(|_| unreachable!("the budget is never closed"))
    }
}

/// The size of parts in bytes, so that there are not too many; in whole MiB, and never below the stores' minimum.
pub(super) fn part_size(size: u64) -> u64 {
    size.div_ceil(PARTS).next_multiple_of(1 << 20).max(PART)
}

impl UploadFile {
    fn key(&self) -> String {
        self.upload.keys.file(&self.upload.info.commit, &self.entry.path)
    }

    fn journal_key(&self) -> String {
        self.upload.keys.journal(&self.upload.info.commit, &self.entry.path)
    }

    fn restarted(&self, why: &str) {
        self.upload.progress.event(Event::FileRestarted { path: &self.entry.path, why });
    }

    /// Uploads the file, or returns how it differs from the listing.
    async fn attempt(self: &Arc<Self>, resume: bool) -> Result<Attempt, UploadError> {
        let put = if self.entry.size <= PART { self.whole().await } else { self.parts(resume).await };
        match put {
            Ok(Stored::Right(mark, hashed)) => {
                self.upload.progress.event(Event::FileDone { path: &self.entry.path });
                Ok(Attempt::Done(Done::Put { mark, hashed, received: self.received.load(Ordering::Relaxed) }))
            }
            Ok(Stored::Differs(actual)) => Ok(Attempt::Digest(actual)),
            Err(UploadError::Hub(error @ (HubError::WrongLength { .. } | HubError::Changed { .. }))) => {
                Ok(Attempt::Said(Box::new(integrity_finding(&self.entry.path, &error))))
            }
            Err(error) => Err(error),
        }
    }

    fn started(&self, have: u64) {
        let (path, size) = (&self.entry.path, self.entry.size);
        self.upload.progress.event(Event::FileStarted { path, size, have });
    }

    /// Uploads a file of one part: fetches it, hashes it, and puts it there in one request.
    async fn whole(self: &Arc<Self>) -> Result<Stored, UploadError> {
        let _permit = self.upload.permit(self.entry.size).await;
        self.started(0);
        let bytes = self.fetch(0..self.entry.size).await?;
        let hasher = hash(self.entry.digest().hasher(self.entry.size), bytes.clone()).await;
        let hashed = hasher.finish();
        if hashed.digest() != self.entry.digest() {
            return Ok(Stored::Differs(hashed.digest()));
        }
        Ok(Stored::Right(self.upload.objects.put(&self.key(), bytes).await?, hashed))
    }

    /// Uploads a file of many parts.
    async fn parts(self: &Arc<Self>, resume: bool) -> Result<Stored, UploadError> {
        let mut known = if resume { self.resumed().await? } else { None };
        loop {
            let before = known.is_some();
            let from = match known.take() {
                Some(progressed) => progressed,
                None => self.begin().await?,
            };
            match self.go_on(from).await {
                // Stores drop unfinished uploads, and report that with different errors.
                Err(UploadError::Objects(ObjectError::NotFound { .. } | ObjectError::Failed { .. }))
                    if before && !self.taken.load(Ordering::Relaxed) =>
                {
                    self.restarted("the store has forgotten its upload");
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
        let part_size = part_size(self.entry.size);
        // With the journal, a later run can continue or remove the upload, so that no parts stay behind.
        self.note(&id, part_size, &[]).await?;
        Ok(Progressed { id, part_size, parts: Vec::new() })
    }

    /// The upload that an earlier run began, if it can be continued.
    async fn resumed(&self) -> Result<Option<Progressed>, UploadError> {
        let text = self.upload.objects.small(&self.journal_key(), journal::LIMIT).await?;
        let journal = text.and_then(|text| Journal::read(&text, &self.entry.digest(), self.entry.size));
        Ok(journal.map(|Journal { upload, part_size, parts, .. }| {
            let parts = parts.into_iter().map(|content_id| PartId { content_id }).collect();
            Progressed { id: upload, part_size, parts }
        }))
    }

    async fn go_on(self: &Arc<Self>, from: Progressed) -> Result<Stored, UploadError> {
        let Progressed { id, part_size, mut parts } = from;
        // Parts from before did not pass through this run's hasher, and a note is no evidence for them.
        let resumed = !parts.is_empty();
        let hasher = self.entry.digest().hasher(self.entry.size);
        let size = self.entry.size;
        let range = move |n: usize| {
            (n as u64).saturating_mul(part_size).min(size)..((n as u64 + 1).saturating_mul(part_size)).min(size)
        };
        let count = usize::try_from(size.div_ceil(part_size)).unwrap_or(usize::MAX);
        self.started(range(parts.len()).start);
        let mut whole = hasher.clone();
        let id: Arc<str> = id.into();
        let fetched = stream::iter(parts.len()..count)
            .then(|number| async move {
                // Why this order: permits go out in the order of parts, so that the part which is hashed next always
                // has one.
                let permit = self.upload.permit(part_size).await;
                let file = Arc::clone(self);
                let task = Task::spawn(async move { file.fetch(range(number)).await });
                (number, permit, task)
            })
            .map(|(number, permit, task)| async move { Ok::<_, UploadError>((number, permit, task.join().await?)) })
            .buffered(WIDTH);
        let hashed = stream::unfold(Some((Box::pin(fetched), hasher)), |state| async move {
            let (mut fetched, hasher) = state?;
            match fetched.next().await? {
                Ok((number, permit, bytes)) => {
                    let hasher = if resumed { hasher } else { hash(hasher, bytes.clone()).await };
                    let part = UploadPart { number, bytes, permit };
                    // The last part carries the hasher of the whole file.
                    Some((Ok((part, hasher.clone())), Some((fetched, hasher))))
                }
                Err(error) => Some((Err(error), None)),
            }
        });
        let uploaded = hashed
            .map(|part| {
                let (file, id) = (Arc::clone(self), Arc::clone(&id));
                async move {
                    let (part, hasher) = part?;
                    let task = Task::spawn(async move { file.put_part(&id, part).await });
                    Ok::<_, UploadError>((task.join().await?, hasher))
                }
            })
            .buffered(WIDTH);
        let mut uploaded = std::pin::pin!(uploaded);
        let mut unnoted = 0;
        while let Some(done) = uploaded.next().await {
            let (part, hasher) = match done {
                Ok(done) => done,
                Err(error) => {
                    // The next run goes on from here. A failure to write the journal is not worth a second error.
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
            whole = hasher;
        }
        self.finish(&id, parts, (!resumed).then(|| whole.finish())).await
    }

    /// Completes the upload. `actual`: this run's hash of all parts; `None` if an earlier run uploaded some.
    async fn finish(&self, id: &str, parts: Vec<PartId>, actual: Option<Hashed>) -> Result<Stored, UploadError> {
        let objects = &self.upload.objects;
        let (key, journal) = (self.key(), self.journal_key());
        let (path, id) = (objects.path(&key)?, id.to_owned());
        if let Some(actual) = actual.map(|hashed| hashed.digest()).filter(|actual| *actual != self.entry.digest()) {
            objects.store.abort_multipart(&path, &id).await.map_err(objects.wrong(&key))?;
            objects.delete(&journal).await?;
            return Ok(Stored::Differs(actual));
        }
        // The parts that an earlier run noted may not be complete. That is treated like an upload which the store has
        // dropped.
        self.taken.store(false, Ordering::Relaxed);
        let put = objects.store.complete_multipart(&path, &id, parts).await;
        let stored = match (put, actual) {
            (Ok(put), Some(hashed)) => Stored::Right(Mark::new(self.entry.size, put.e_tag), hashed),
            (Ok(_), None) => match self.read_back().await? {
                Some(read) => read,
                None => return Err(ObjectError::NotFound { url: objects.shown(&key) }.into()),
            },
            // The upload may have been completed before, and the answer was lost.
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

    /// Reads the object under its final name and hashes it; `None` if there is none.
    async fn read_back(&self) -> Result<Option<Stored>, UploadError> {
        let (objects, key) = (&self.upload.objects, self.key());
        let Some(mark) = objects.mark(&key).await? else { return Ok(None) };
        let (_, mut bytes) = objects.stream(&key, 0..mark.size).await?;
        let mut hasher = self.entry.digest().hasher(self.entry.size);
        while let Some(chunk) = bytes.next().await {
            hasher = hash(hasher, chunk?).await;
        }
        let hashed = hasher.finish();
        if hashed.digest() != self.entry.digest() {
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
        let text = Journal::new(&self.entry.digest(), self.entry.size, id.to_owned(), part_size, parts).text();
        self.upload.objects.put(&self.journal_key(), text.into()).await.map(drop)
    }

    #[tracing::instrument(level = "debug", name = "part", skip_all, fields(number = part.number, bytes = part.bytes.len()))]
    async fn put_part(&self, id: &str, part: UploadPart) -> Result<PartId, UploadError> {
        let objects = &self.upload.objects;
        let key = self.key();
        let payload = PutPayload::from_bytes(part.bytes);
        let put = objects.store.put_part(&objects.path(&key)?, &id.to_owned(), part.number, payload).await;
        drop(part.permit);
        let part = put.map_err(objects.wrong(&key))?;
        self.taken.store(true, Ordering::Relaxed);
        Ok(part)
    }
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
