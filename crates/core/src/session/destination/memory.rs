//! Memory as a destination and as a source, for tests: a job between them shows what a third kind of each needs.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;

use super::{Destination, Present};
use crate::finding::{Evidence, Finding, Origin, Outcome, Verdict};
use crate::hub::{Body, HubError, Retries, Timing};
use crate::model::{
    CommitId, Entry, Hasher, Listing, Options, Presence, RepoId, RepoInfo, RepoPath, RepoSpec, RepoType, Revision,
};
use crate::progress::{Progress, Silent};
use crate::report::Report;
use crate::session::outcome::paths_of;
use crate::session::{Config, DestinationConfig, Error, Prepared, Session, Statuses};
use crate::source::{Source, SourceFile};
use crate::transfer::mismatch_finding;
use crate::verify::{Content, Far, ReadSeek, Subject, SubjectFile};

/// Files by their names.
type Files = BTreeMap<RepoPath, Bytes>;

/// A server that has one repo in memory.
#[derive(Debug)]
struct MemorySource {
    /// The files that it lists.
    listed: Vec<Entry>,
    /// The bytes that it sends.
    sent: Files,
    retries: Retries,
}

#[derive(Debug)]
struct MemoryFile {
    source: Arc<MemorySource>,
    entry: Entry,
}

fn commit() -> CommitId {
    "103caa40027ebfd8450289ca2f278eac4ff26405".parse().unwrap()
}

fn entry(path: &str, bytes: &[u8]) -> Entry {
    let mut hasher = Hasher::git_blob(bytes.len() as u64);
    hasher.update(bytes);
    let oid = hasher.finish().digest().to_string().parse().unwrap();
    Entry { path: path.parse().unwrap(), size: bytes.len() as u64, oid, lfs: None, xet_hash: None }
}

impl MemorySource {
    fn new(listed: &[(&str, &[u8])], sent: &[(&str, &[u8])]) -> Arc<Self> {
        let sent = sent.iter().map(|(path, bytes)| (path.parse().unwrap(), Bytes::copy_from_slice(bytes)));
        Arc::new(MemorySource {
            listed: listed.iter().map(|(path, bytes)| entry(path, bytes)).collect(),
            sent: sent.collect(),
            retries: Retries::new(&Timing::default(), &"memory://source".parse().unwrap()),
        })
    }
}

impl Source for MemorySource {
    fn endpoint(&self) -> String {
        "memory://source".to_owned()
    }

    fn origin(&self) -> Origin {
        Origin::Hub
    }

    fn retries(&self) -> &Retries {
        &self.retries
    }

    fn resolve<'a>(
        &'a self,
        repo_type: RepoType,
        id: &'a RepoId,
        revision: &'a Revision,
        _progress: &'a dyn Progress,
    ) -> BoxFuture<'a, Result<RepoInfo, HubError>> {
        let info = RepoInfo::new(repo_type, id.clone(), revision.clone(), commit());
        Box::pin(async move { Ok(info) })
    }

    fn list<'a>(&'a self, info: &'a RepoInfo, _progress: &'a dyn Progress) -> BoxFuture<'a, Result<Listing, HubError>> {
        Box::pin(async move { Ok(Listing::new(info.clone(), self.listed.clone(), Vec::new())) })
    }

    fn file(self: Arc<Self>, _info: Arc<RepoInfo>, entry: Entry) -> Box<dyn SourceFile> {
        Box::new(MemoryFile { source: self, entry })
    }
}

impl SourceFile for MemoryFile {
    fn path(&self) -> &RepoPath {
        &self.entry.path
    }

    fn source(&self) -> &dyn Source {
        &*self.source
    }

    fn open(&self, range: Range<u64>) -> BoxFuture<'_, Result<Body<'_>, HubError>> {
        let (start, end) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
        let bytes = self.source.sent[&self.entry.path].slice(start..end);
        let stream = futures_util::stream::iter([Ok(bytes)]).boxed();
        let url = "memory://source/file".parse().unwrap();
        Box::pin(async move { Ok(Body::of_stream(&self.source.retries, url, stream, range)) })
    }
}

/// Files in memory. Nothing is visible in `published` before all files are verified.
struct Memory<'a> {
    session: &'a Session,
    received: Files,
    published: &'a Mutex<Files>,
}

#[derive(Debug)]
struct InMemory(Bytes);

impl Far for InMemory {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn open(&self) -> io::Result<Box<dyn ReadSeek>> {
        Ok(Box::new(Cursor::new(self.0.clone())))
    }
}

impl Destination for Memory<'_> {
    async fn look(&mut self, job: &mut Prepared) -> Result<(), Error> {
        for item in &mut job.plan.items {
            item.presence = Presence::Absent;
        }
        Ok(())
    }

    async fn check_present(&mut self, _job: &mut Prepared, _statuses: &mut Statuses) -> Result<Present, Error> {
        Ok(Present::default())
    }

    async fn receive(&mut self, job: &mut Prepared, statuses: &mut Statuses) -> Result<Vec<Finding>, Error> {
        let info = Arc::new(job.listing.info.clone());
        let mut failed = Vec::new();
        for item in &job.plan.items {
            let file = Arc::clone(&self.session.sources[0]).file(Arc::clone(&info), item.entry.clone());
            let mut body = file.open(0..item.entry.size).await?;
            let (mut hasher, mut all) = (item.entry.digest().hasher(item.entry.size), Vec::new());
            while let Some(bytes) = body.chunk().await? {
                hasher.update(&bytes);
                all.extend_from_slice(&bytes);
            }
            let hashed = hasher.finish();
            let path = item.entry.path.clone();
            if hashed.digest() == item.entry.digest() {
                statuses.seen.insert(path.clone(), (Evidence::Hashed(hashed), None));
                statuses.fetched.insert(path.clone(), item.entry.size);
                self.received.insert(path, all.into());
            } else {
                failed.push(mismatch_finding(&path, item.entry.digest(), hashed.digest()));
            }
        }
        Ok(failed)
    }

    async fn check(
        &mut self,
        job: &mut Prepared,
        statuses: &mut Statuses,
        failed: &mut Vec<Finding>,
    ) -> Result<(Outcome, bool), Error> {
        let known = paths_of(failed.iter());
        let here = job.plan.items.iter().filter(|item| !known.contains(item.entry.path.as_str()));
        let files = here.map(|item| SubjectFile {
            path: item.entry.path.clone(),
            content: Content::Far(Arc::new(InMemory(self.received[&item.entry.path].clone()))),
            size: Some(item.entry.size),
            digest: Some(item.entry.digest()),
            xet: None,
            origin: job.origin,
            known: statuses.evidence(&item.entry.path),
            purpose: item.purpose,
        });
        let subject = Subject { files: files.collect(), weights: job.selection.weights.clone(), ..Subject::default() };
        Ok((self.session.verify_subject(subject).await, false))
    }

    fn content(&self, _job: &Prepared, entry: &Entry) -> Option<Content> {
        let bytes = self.received.get(&entry.path)?;
        Some(Content::Far(Arc::new(InMemory(bytes.clone()))))
    }

    async fn publish(&mut self, _job: Prepared, _statuses: &Statuses, _report: &Report) -> Result<(), Error> {
        *self.published.lock().unwrap() = std::mem::take(&mut self.received);
        Ok(())
    }
}

/// A safetensors file of no tensors.
const WEIGHTS: &[u8] = b"\x08\0\0\0\0\0\0\0{}      ";
const CONFIG: &[u8] = br#"{"architectures":["LlamaForCausalLM"],"model_type":"llama"}"#;

fn session_over(source: Arc<MemorySource>) -> Session {
    let config = Config::new(crate::hub::HubConfig::new("https://unused.example").unwrap(), DestinationConfig::Nowhere);
    Session::over(vec![source], config, Arc::new(Silent)).unwrap()
}

async fn job_between(source: Arc<MemorySource>) -> (Report, Files) {
    let session = session_over(source);
    let spec: RepoSpec = "org/model".parse().unwrap();
    let job = session.prepare(&spec, &Options::default(), false).await.unwrap();
    let published = Mutex::default();
    let memory = Memory { session: &session, received: Files::new(), published: &published };
    let report = session.run(memory, job, Instant::now()).await.unwrap();
    (report, published.into_inner().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_job_verifies_and_publishes_between_a_new_source_and_a_new_destination() {
    let files: &[(&str, &[u8])] = &[("config.json", CONFIG), ("model.safetensors", WEIGHTS)];
    let (report, published) = job_between(MemorySource::new(files, files)).await;
    assert_eq!(report.verdict, Verdict::Verified { against: Origin::Hub }, "{:?}", report.findings);
    let names: Vec<&str> = published.keys().map(RepoPath::as_str).collect();
    assert_eq!(names, ["config.json", "model.safetensors"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_differ_from_the_listing_are_never_published() {
    let files: &[(&str, &[u8])] = &[("config.json", CONFIG), ("model.safetensors", WEIGHTS)];
    let wrong: &[(&str, &[u8])] = &[("config.json", CONFIG), ("model.safetensors", b"\x08\0\0\0\0\0\0\0{}     X")];
    let (report, published) = job_between(MemorySource::new(files, wrong)).await;
    assert_eq!(report.verdict, Verdict::Failed);
    assert!(published.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_a_destination_says_so() {
    let files: &[(&str, &[u8])] = &[("config.json", CONFIG), ("model.safetensors", WEIGHTS)];
    let session = session_over(MemorySource::new(files, files));
    let spec: RepoSpec = "org/model".parse().unwrap();
    assert!(matches!(session.get(&spec, &Options::default()).await, Err(Error::NoDestination)));
}
