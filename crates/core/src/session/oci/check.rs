//! Verifies a tag against its manifest or a lockfile.
//!
//! Of a registry's layers, only existence and size are checked. The registry compared each layer's bytes with its name
//! when it accepted the layer; the report says that this is the registry's claim. With `deep`, and always for files and
//! folders, every layer is read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::Reader;
use crate::finding::{Code, Evidence, Expectation, Finding, Origin, Proof, Remedy, Severity};
use crate::lock::{LockedFile, LockedRepo};
use crate::model::{Listing, Location, OciReference, Purpose, RepoPath, RepoSpec};
use crate::oci::{Content, Contents, LayerFile, OciConfig, OciError, Placed, Trouble, small, whole};
use crate::report::Report;
use crate::select::Selection;
use crate::session::choosing::{DOCUMENT_LIMIT, choose_far};
use crate::session::destination::missing_layer;
use crate::session::signed::{Known, Signatures, candidates};
use crate::session::{Error, Session, local, registry_http};
use crate::source::name_of;
use crate::verify::{Content as FileContent, Subject, SubjectFile};

/// The most concurrent requests to a registry.
const ASKED: usize = 8;
/// The largest config of an image; it has a few lines for each layer.
const CONFIG_LIMIT: u64 = 64 << 20;

#[doc(hidden)] // for the command
impl Session {
    /// Verifies the content of a tag against its manifest or a lockfile.
    ///
    /// # Errors
    /// If hfget did not write the tag, or it cannot be read.
    pub async fn verify_oci(&self, config: &OciConfig, locked: Option<&LockedRepo>) -> Result<Report, Error> {
        let started = Instant::now();
        let content = crate::oci::open(config, &registry_http(&self.config))?;
        let (reference, name) = (config.reference(), name_of(config.reference()));
        let contents = Contents::read(&*content, &name).await?;
        let contents = contents.ok_or_else(|| OciError::NotFound { place: reference.to_string() })?;
        let checked = Checked { session: self, content: &content, contents: &contents, reference };
        checked.report(locked, started).await
    }
}

/// The content of a tag, while it is checked.
struct Checked<'a> {
    session: &'a Session,
    content: &'a Arc<dyn Content>,
    contents: &'a Contents,
    reference: &'a OciReference,
}

impl Checked<'_> {
    async fn report(&self, locked: Option<&LockedRepo>, started: Instant) -> Result<Report, Error> {
        let there = &self.contents.repo;
        let expected = locked.unwrap_or(there);
        if (expected.repo_type, &expected.id) != (there.repo_type, &there.id) || expected.commit != there.commit {
            return Err(Error::LockedNotHere {
                repo: expected.name(),
                commit: expected.commit.to_string(),
                place: Location::Store(self.reference.to_string()),
            });
        }
        let listing = expected.listing();
        let mut findings = self.said_otherwise(locked).await?;
        findings.extend(self.wrong_config().await?);
        let (seen, hashed) = self.evidence(expected, &mut findings).await?;
        let trouble = Arc::new(Trouble::default());
        let selection = self.choose(&listing, &seen).await?;
        findings.extend(selection.findings.iter().cloned());
        let mut subject = Subject { weights: selection.weights.clone(), ..Subject::default() };
        let mut unproven = Vec::new();
        for entry in &listing.entries {
            let selected = selection.files.binary_search_by(|f| f.path.cmp(&entry.path));
            let purpose = selected.map_or(Purpose::Other, |at| selection.files[at].purpose);
            let known = seen.get(&entry.path).copied().unwrap_or(Evidence::Absent);
            let origin = if locked.is_some() { Origin::Lock } else { Origin::Manifest };
            let Some(placed) = self.contents.files.get(&entry.path).filter(|_| known.digest().is_some()) else {
                subject.unavailable.insert(entry.path.clone());
                let expected = Expectation::new(entry.size, entry.digest(), origin);
                let proof = Proof { path: entry.path.clone(), expected, evidence: known, stamp: None };
                unproven.push((proof, purpose, false));
                continue;
            };
            let file = LayerFile::new(self.content, placed, &trouble);
            subject.files.push(SubjectFile {
                path: entry.path.clone(),
                content: FileContent::Far(Arc::new(file)),
                size: Some(entry.size),
                digest: Some(entry.digest()),
                xet: None,
                origin,
                known,
                purpose,
            });
        }
        let files = subject.files.clone();
        subject.allow_unsafe_pickle = self.session.config.allow_unsafe_pickle;
        subject.deep = self.session.config.deep;
        let mut outcome = self.session.verify_subject(subject).await;
        if let Some(error) = trouble.take() {
            return Err(error.into());
        }
        outcome.bytes_hashed += hashed;
        findings.extend(self.session.denied_code(&selection));
        let spec = RepoSpec { revision: Some(expected.revision.clone()), ..expected.spec() };
        let place = Location::Store(self.reference.to_string());
        let mut draft =
            local::folder_draft(place, Some(expected.commit), Some(&spec), &selection, &files, &outcome, findings);
        draft.files.extend(unproven);
        draft.files.sort_by(|(a, ..), (b, ..)| a.path.cmp(&b.path));
        for finding in draft.findings.iter_mut().filter(|f| f.severity == Severity::Error) {
            let store = self.reference.to_string();
            finding.remedy = Some(Remedy::FillStoreAgain { repo: expected.name(), store });
        }
        // A manifest has the pushed files, which may be only a selection of the repo.
        let known = Known { listing: &listing, whole: false };
        let signatures = self.signatures(&listing, &selection).await?;
        let read = |path: &RepoPath| {
            let placed = self.contents.files.get(path)?;
            Some(FileContent::Far(Arc::new(LayerFile::new(self.content, placed, &trouble))))
        };
        self.session.check_signatures(&signatures, &known, &mut draft, read).await;
        draft.totals.milliseconds = crate::session::outcome::milliseconds_since(started);
        Ok(draft.conclude(&self.session.config.policy))
    }

    /// The findings for files on which the manifest, the lockfile that refers to it and the user's lockfile disagree.
    async fn said_otherwise(&self, locked: Option<&LockedRepo>) -> Result<Vec<Finding>, OciError> {
        let there = &self.contents.repo;
        let mut findings = Vec::new();
        // A manifest does not state the Xet hash.
        let plain = |file: &LockedFile| LockedFile { xet_hash: None, ..file.clone() };
        let beside = self.contents.lock(&**self.content).await?;
        for (lock, whose) in [(beside.as_ref(), "the lockfile beside it"), (locked, "the lockfile")] {
            let Some(lock) = lock else { continue };
            let known: BTreeMap<&RepoPath, LockedFile> =
                lock.files.iter().map(|file| (&file.path, plain(file))).collect();
            for file in &there.files {
                let message = match known.get(&file.path) {
                    None => format!("the manifest names it, but {whose} does not"),
                    Some(other) if *other != *file => {
                        format!("the manifest states another size or digest than {whose}")
                    }
                    Some(_) => continue,
                };
                let code = if known.contains_key(&file.path) { Code::ChecksumMismatch } else { Code::FileExtra };
                findings.push(Finding::new(code, &file.path, message));
            }
            for path in lock.files.iter().map(|file| &file.path).filter(|path| !self.contents.files.contains_key(*path))
            {
                findings.push(Finding::new(
                    Code::FileMissing,
                    path,
                    format!("{whose} names it, but the manifest does not"),
                ));
            }
        }
        Ok(findings)
    }

    /// Whether the config names the same layers as the manifest: runtimes that mount the image follow the config.
    async fn wrong_config(&self) -> Result<Vec<Finding>, OciError> {
        let config = &self.contents.manifest.config;
        let wrong = |message: String| vec![Finding::repo(Code::ChecksumMismatch, message)];
        let bytes = match small(&**self.content, config, CONFIG_LIMIT).await {
            Ok(bytes) => bytes,
            Err(OciError::NotFound { .. }) => return Ok(wrong(format!("its config {} is missing", config.digest))),
            Err(error @ (OciError::WrongDigest { .. } | OciError::Invalid { .. })) => {
                return Ok(wrong(format!("its config: {error}")));
            }
            Err(error) => return Err(error),
        };
        let config: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let ids = config.pointer("/rootfs/diff_ids").or_else(|| config.pointer("/modelfs/diffIds"));
        let ids: Vec<&str> =
            ids.and_then(|ids| ids.as_array()).into_iter().flatten().filter_map(|id| id.as_str()).collect();
        let ours = self.contents.manifest.layers.iter().rev().take(self.contents.files.len());
        let same = ids.len() == self.contents.manifest.layers.len()
            && ours.zip(ids.iter().rev()).all(|(layer, id)| layer.digest.to_string() == **id);
        Ok(if same { Vec::new() } else { wrong("its config names other layers than its manifest".to_owned()) })
    }

    /// The evidence for each expected file, and the count of bytes read for it.
    async fn evidence(
        &self,
        expected: &LockedRepo,
        findings: &mut Vec<Finding>,
    ) -> Result<(BTreeMap<RepoPath, Evidence>, u64), OciError> {
        let content = self.content;
        let asked: Vec<&Placed> =
            expected.files.iter().filter_map(|file| self.contents.files.get(&file.path)).collect();
        let asked = stream::iter(asked).map(|placed| async move {
            let size = content.blob_size(&placed.layer).await?;
            Ok::<_, OciError>((placed, size))
        });
        let sizes: Vec<(&Placed, Option<u64>)> = asked.buffer_unordered(ASKED).try_collect().await?;
        let mut seen = BTreeMap::new();
        let mut there = Vec::new();
        for (placed, size) in sizes {
            match missing_layer(placed, size) {
                Some(finding) => findings.push(finding),
                None => there.push(placed.clone()),
            }
        }
        if content.checks_digests() && !self.session.config.deep {
            let stated = |placed: &Placed| (placed.file.path.clone(), Evidence::Stated(placed.file.digest));
            return Ok((there.iter().map(stated).collect(), 0));
        }
        let reader = Reader { session: self.session, content };
        let (read, bytes) = reader.findings_of(there).await?;
        for (path, found) in read {
            match found {
                Ok(hashed) => drop(seen.insert(path, Evidence::Hashed(hashed))),
                Err(finding) => {
                    let evidence = if finding.code == Code::FileMissing { Evidence::Absent } else { Evidence::Wrong };
                    seen.insert(path, evidence);
                    findings.push(finding);
                }
            }
        }
        Ok((seen, bytes))
    }

    /// The signatures among the files.
    async fn signatures(&self, listing: &Listing, selection: &Selection) -> Result<Signatures, Error> {
        let trusted = &self.session.config.trusted_signers;
        let listed = listing.entries.iter().map(|entry| (&entry.path, entry.size));
        let mut files = Vec::new();
        for path in candidates(listed, selection, !trusted.is_empty()) {
            let Some(placed) = self.contents.files.get(&path) else { continue };
            // A missing file has its finding already.
            let range = placed.within(0..placed.file.size);
            if let Ok(bytes) = whole(&**self.content, &placed.layer, range).await {
                files.push((path, bytes.to_vec()));
            }
        }
        Ok(Signatures::among(files, trusted))
    }

    /// Runs selection on the files, with the small ones among them.
    async fn choose(&self, listing: &Listing, seen: &BTreeMap<RepoPath, Evidence>) -> Result<Selection, Error> {
        let read = |path: RepoPath| async move {
            // A wrong file has its finding already; a file that is too large is not a document.
            let placed = self.contents.files.get(&path).filter(|placed| {
                seen.get(&path).is_some_and(|evidence| evidence.digest().is_some())
                    && placed.file.size <= DOCUMENT_LIMIT
            });
            let Some(placed) = placed else { return Ok(None) };
            let range = placed.within(0..placed.file.size);
            Ok(Some(whole(&**self.content, &placed.layer, range).await?.to_vec()))
        };
        choose_far(listing, read).await
    }
}
