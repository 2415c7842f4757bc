//! Uses the library's rooms one by one, with a store and a progress of its own: lists a repo, chooses one weight
//! family, streams its files into memory, and verifies digests, headers and index there. `Session` does all of this in
//! one call, with retries, resuming and files on disk. Runs on the loopback Hub unless `$HF_ENDPOINT` names another.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Cursor};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hfget_core::finding::{Evidence, Origin};
use hfget_core::hub::{Hub, HubConfig, Remote};
use hfget_core::model::{Entry, Family, Listing, Options, RepoPath, RepoSpec};
use hfget_core::progress::{Event, Progress};
use hfget_core::select::{Documents, Selection, Step, select};
use hfget_core::verify::{Content, Far, ReadSeek, Subject, SubjectFile, verify};

/// The store: files in memory. Anything that can be read at any place can be a store.
type Files = BTreeMap<RepoPath, Arc<[u8]>>;

/// A file as the verifiers read it.
#[derive(Debug)]
struct InMemory(Arc<[u8]>);

impl Far for InMemory {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn open(&self) -> io::Result<Box<dyn ReadSeek>> {
        Ok(Box::new(Cursor::new(Arc::clone(&self.0))))
    }
}

/// The progress: counts the bytes that are read while verifying.
#[derive(Default)]
struct Counter(AtomicU64);

impl Progress for Counter {
    fn event(&self, event: Event<'_>) {
        if let Event::VerifyBytes { bytes, .. } = event {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (config, _loopback) = hub_config()?;
    let hub = Hub::new(config);
    let counter = Counter::default();
    let spec: RepoSpec = std::env::args().nth(1).as_deref().unwrap_or("THUDM/chatglm3-6b").parse()?;

    let info = hub.info(spec.repo_type, &spec.id, &spec.revision.clone().unwrap_or_default(), &counter).await?;
    let listing = hub.listing(&info, &counter).await?;
    let mut files = Files::new();
    let selection = choose(&hub, &listing, &mut files).await?;
    println!("{}@{}: {} of {} files", info.id, info.commit.short(), selection.files.len(), listing.entries.len());

    for wanted in &selection.files {
        if !files.contains_key(&wanted.path) {
            let entry = listing.get(wanted.path.as_str()).ok_or("every selected file is listed")?;
            files.insert(wanted.path.clone(), fetch(&hub, &listing, entry).await?);
        }
    }

    let subject = subject(&listing, &selection, &files);
    // Hashing and reading headers must not block the threads that wait for the network.
    let (outcome, counter) = tokio::task::spawn_blocking(move || (verify(&subject, 2, &counter), counter)).await?;
    println!("{} digests right, {} bytes hashed", outcome.proven(), counter.0.load(Ordering::Relaxed));
    println!("{} tensors, {} index entries compared", outcome.tensors, outcome.indexed);
    for finding in &outcome.findings {
        println!("{:?} {}: {}", finding.severity, finding.code, finding.message);
    }
    if outcome.findings.is_empty() { Ok(()) } else { Err("not verified".into()) }
}

/// Selection is a pure function that asks for the small files it must read.
async fn choose(hub: &Hub, listing: &Listing, files: &mut Files) -> Result<Selection, Box<dyn Error>> {
    let options = Options { prefer: Some(Family::Safetensors), ..Options::default() };
    let mut documents = Documents::new();
    loop {
        match select(listing, &options, &documents)? {
            Step::Done(selection) => return Ok(*selection),
            Step::Need(paths) => {
                for path in paths {
                    let bytes = match listing.get(path.as_str()) {
                        Some(entry) => Some(fetch(hub, listing, entry).await?),
                        None => None,
                    };
                    documents.insert(path.clone(), bytes.as_deref().map(<[u8]>::to_vec));
                    files.extend(bytes.map(|bytes| (path, bytes)));
                }
            }
        }
    }
}

/// Fetches a whole file. It follows redirects, and sends tokens only to the endpoint; the caller repeats a failed
/// request.
async fn fetch(hub: &Hub, listing: &Listing, entry: &Entry) -> Result<Arc<[u8]>, Box<dyn Error>> {
    let remote = Remote::new(Arc::new(listing.info.clone()), entry.clone());
    let mut bytes = Vec::new();
    let mut body = hub.open(&remote, 0..entry.size).await?;
    while let Some(chunk) = body.chunk().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// The files to verify: each with the size and digest that the Hub lists, and the sets of weights.
fn subject(listing: &Listing, selection: &Selection, files: &Files) -> Subject {
    let file = |entry: &Entry, bytes: &Arc<[u8]>, purpose| SubjectFile {
        path: entry.path.clone(),
        content: Content::Far(Arc::new(InMemory(Arc::clone(bytes)))),
        size: Some(entry.size),
        digest: Some(entry.digest()),
        xet: None,
        origin: Origin::Hub,
        known: Evidence::Unread,
        purpose,
    };
    let wanted = selection.files.iter();
    let found = wanted
        .filter_map(|wanted| Some(file(listing.get(wanted.path.as_str())?, files.get(&wanted.path)?, wanted.purpose)));
    Subject { files: found.collect(), weights: selection.weights.clone(), ..Subject::default() }
}

/// The Hub that the environment names, or a loopback Hub, which runs until the second value is dropped.
fn hub_config() -> Result<(HubConfig, Option<hfget_loopback_hub::Hub>), Box<dyn Error>> {
    use hfget_loopback_hub::{Hub, Repo};
    if std::env::var_os("HF_ENDPOINT").is_some() {
        return Ok((HubConfig::from_env(None, |name| std::env::var_os(name))?, None));
    }
    let id = "THUDM/chatglm3-6b";
    let repos = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/repos");
    let loopback = Hub::start([Repo::new(id).dir(&repos.join(id))]);
    Ok((HubConfig::new(&loopback.endpoint())?, Some(loopback)))
}
