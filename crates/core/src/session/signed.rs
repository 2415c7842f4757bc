//! Signatures in a job: finds a repo's signatures, whether they are trusted, and compares them with the files that are
//! taken. `signature` finds the signer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

mod candidates;

pub(super) use self::candidates::candidates;
use self::candidates::take;
use super::documents::Early;
use super::{Error, Prepared, Session};
use crate::finding::{Code, Evidence, Finding, Origin, Proof, Remedy, Severity};
use crate::model::{Digest, Hasher, Listing, RepoPath, Sha256};
use crate::report::{Draft, SignatureReport, SignatureStanding};
use crate::select::Selection;
use crate::signature::{Bundle, SignatureError, Signed, Trust, is_bundle};
use crate::store::Store;
use crate::text::{few, many};
use crate::verify::Content;

/// The most bytes of a git file that is read a second time for a signature; git files are small.
const READ_LIMIT: u64 = 1 << 30;
/// The most names in one message.
const SHOWN: usize = 3;

/// A signature among the files of a job.
#[derive(Debug, Clone)]
struct Found {
    path: RepoPath,
    /// The SHA-256 of its own bytes: a signature does not sign itself.
    own: Sha256,
    standing: Standing,
}

#[derive(Debug, Clone)]
enum Standing {
    /// A trusted signer signed it.
    Counts(Box<Signed>),
    /// It is not trusted.
    Refused(SignatureError),
    /// No trusted signer is configured; the text is the signature's own claim about its kind.
    Unchecked(String),
}

/// The signatures of a job.
#[derive(Debug, Clone, Default)]
pub(super) struct Signatures {
    found: Vec<Found>,
    required: bool,
}

/// The facts about the repo other than the job's files.
pub(super) struct Known<'a> {
    /// The listed files.
    pub listing: &'a Listing,
    /// Whether the repo has no other files.
    pub whole: bool,
}

impl Signatures {
    /// Finds the signatures among some small files, by their content.
    pub fn among(files: impl IntoIterator<Item = (RepoPath, Vec<u8>)>, trusted: &[Trust]) -> Self {
        let now = SystemTime::now();
        let bundles = files.into_iter().filter(|(_, bytes)| is_bundle(bytes));
        let found = bundles.filter_map(|(path, bytes)| {
            let standing = standing(&bytes, trusted, now)?;
            let mut hasher = Hasher::sha256();
            hasher.update(&bytes);
            Some(Found { path, own: hasher.finish().sha256(), standing })
        });
        Signatures { found: found.collect(), required: !trusted.is_empty() }
    }

    pub fn paths(&self) -> impl Iterator<Item = &RepoPath> {
        self.found.iter().map(|found| &found.path)
    }

    /// Whether files are compared with a signature.
    pub fn are_checked(&self) -> bool {
        self.required || self.counting().next().is_some()
    }

    fn counting(&self) -> impl Iterator<Item = (&RepoPath, &Signed)> {
        self.found.iter().filter_map(|found| match &found.standing {
            Standing::Counts(signed) => Some((&found.path, &**signed)),
            _ => None,
        })
    }

    /// The signed digest of a file, by a trusted signature. For the signature's own file, its digest when it was
    /// checked.
    pub fn stated_of(&self, path: &RepoPath) -> Option<Sha256> {
        let itself =
            self.found.iter().find(|found| found.path == *path && matches!(found.standing, Standing::Counts(_)));
        itself.map(|found| found.own).or_else(|| self.signed_of(path))
    }

    fn signed_of(&self, path: &RepoPath) -> Option<Sha256> {
        self.counting().find_map(|(at, signed)| signed.digest_of(at.dir(), path))
    }

    /// The findings about the signatures themselves, without the files.
    fn of_themselves(&self) -> Vec<Finding> {
        if !self.required {
            let unchecked = self.found.iter().filter_map(|found| match &found.standing {
                Standing::Unchecked(claims) => Some((found, claims)),
                _ => None,
            });
            return unchecked
                .map(|(found, claims)| {
                    let message = format!("it claims to be a signature made by {claims}; hfget did not check it");
                    Finding::new(Code::SignatureUnchecked, &found.path, message).remedy(Remedy::RequireSignature)
                })
                .collect();
        }
        if self.found.is_empty() {
            let message = "a signature is required, but none of the files is one";
            return vec![Finding::repo(Code::SignatureMissing, message)];
        }
        let counts = self.counting().next().is_some();
        let refused = self.found.iter().filter_map(|found| match &found.standing {
            Standing::Refused(why) => Some((found, why)),
            _ => None,
        });
        refused
            .map(|(found, why)| match why {
                // Beside a trusted signature, another signer's does no harm.
                _ if counts => {
                    Finding::new(Code::SignatureUnchecked, &found.path, format!("it is not accepted: {why}"))
                }
                SignatureError::Unsupported { .. } | SignatureError::OtherPurpose { .. } => {
                    let message = format!("a signature is required, and this one is not accepted: {why}");
                    Finding::new(Code::SignatureMissing, &found.path, message).remedy(Remedy::CheckSignatureElsewhere)
                }
                _ => Finding::new(Code::SignatureInvalid, &found.path, why.to_string()),
            })
            .collect()
    }

    /// The findings that are known before a byte of the files moves.
    fn early(&self, job: &Prepared) -> Vec<Finding> {
        let listed = job.plan.items.iter().map(|item| {
            let sha256 = item.entry.lfs.map(|lfs| lfs.sha256);
            (item.entry.path.clone(), sha256)
        });
        let files = listed.collect();
        let mut findings = self.of_themselves();
        // For a git file the listing has no SHA-256, so its bytes are checked later.
        findings.extend(self.of_files(&files, &job.known(), true).0);
        findings
    }

    /// Compares the trusted signatures with these files. `early`: a file that is not proven yet has no finding.
    fn of_files(
        &self,
        files: &BTreeMap<RepoPath, Option<Sha256>>,
        known: &Known<'_>,
        early: bool,
    ) -> (Vec<Finding>, Vec<SignatureReport>) {
        let mut findings = Vec::new();
        let mut reports = Vec::new();
        let own: BTreeSet<&RepoPath> = self.paths().collect();
        let mut signed_by_any: BTreeSet<RepoPath> = BTreeSet::new();
        let mut unsigned: BTreeSet<RepoPath> = files.keys().filter(|path| !own.contains(path)).cloned().collect();
        for found in &self.found {
            let Standing::Counts(signed) = &found.standing else {
                reports.push(SignatureReport::not_checked(&found.path, matches!(found.standing, Standing::Refused(_))));
                continue;
            };
            let coverage = signed.cover(found.path.dir(), files);
            for (path, digest) in &coverage.wrong {
                let message =
                    format!("{} states the SHA-256 {digest} for it, but it has another one", found.path.shown());
                findings.push(Finding::new(Code::SignatureInvalid, path, message));
            }
            let unproven = coverage.unproven.iter().filter(|_| !early);
            findings.extend(unproven.map(|path| {
                let message = format!("{} signs it, but its SHA-256 is not known", found.path.shown());
                Finding::new(Code::SignatureInvalid, path, message)
            }));
            let in_repo = |path: &&RepoPath| known.listing.get(path.as_str()).is_some();
            let (left, gone): (Vec<&RepoPath>, Vec<&RepoPath>) =
                coverage.elsewhere.iter().partition(|path| !known.whole || in_repo(path));
            findings.extend(gone.iter().map(|path| {
                Finding::new(
                    Code::SignatureInvalid,
                    path,
                    format!("{} signs it, but it is missing", found.path.shown()),
                )
            }));
            if !left.is_empty() {
                let names: Vec<&str> = left.iter().map(|path| path.as_str()).collect();
                let (count, were) = (many(left.len() as u64, "file"), if left.len() == 1 { "was" } else { "were" });
                let message = format!("{count} that it signs {were} not selected: {}", few(&names, SHOWN));
                findings.push(Finding::new(Code::SignaturePartial, &found.path, message));
            }
            let bare = coverage.unsigned.iter().filter(|path| !own.contains(path)).count();
            let fails = !coverage.wrong.is_empty() || !coverage.unproven.is_empty() || !gone.is_empty() || bare > 0;
            let standing = match (fails, left.is_empty()) {
                (true, _) => SignatureStanding::Failed,
                (false, true) => SignatureStanding::Verified,
                (false, false) => SignatureStanding::Partial,
            };
            let report = SignatureReport::new(&found.path, standing, signed.signer());
            reports.push(report.with_counts(coverage.right.len(), left.len()));
            signed_by_any.extend(coverage.right.iter().cloned());
            // A signature does not cover files outside its folder, nor files that its signer left out on purpose.
            let silent: BTreeSet<&RepoPath> = coverage.unsigned.iter().collect();
            let spoken_for: Vec<RepoPath> = unsigned
                .iter()
                .filter(|path| is_below(found.path.dir(), path) && !silent.contains(path))
                .cloned()
                .collect();
            for path in &spoken_for {
                unsigned.remove(path);
            }
        }
        if self.counting().next().is_some() {
            findings.extend(unsigned.iter().filter(|path| !signed_by_any.contains(*path)).map(|path| {
                Finding::new(Code::FileUnsigned, path, "a signature is required, but none signs this file")
            }));
        }
        (findings, reports)
    }
}

fn is_below(folder: &str, path: &RepoPath) -> bool {
    folder.is_empty() || path.as_str().strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Adds the remedies, once for each kind of finding.
fn advised(mut findings: Vec<Finding>) -> Vec<Finding> {
    let advice = [
        (Code::SignatureInvalid, Remedy::AskSigner),
        (Code::SignatureMissing, Remedy::AskSigner),
        (Code::FileUnsigned, Remedy::LeaveOutUnsigned),
    ];
    for (code, remedy) in advice {
        if let Some(last) = findings.iter_mut().rfind(|finding| finding.code == code) {
            last.remedy.get_or_insert(remedy);
        }
    }
    findings
}

/// The state of a bundle; `None` if it is not the signature of a model.
fn standing(bytes: &[u8], trusted: &[Trust], now: SystemTime) -> Option<Standing> {
    let bundle = match Bundle::parse(bytes) {
        Ok(bundle) => bundle,
        Err(SignatureError::OtherPurpose { .. }) => return None,
        Err(error) => return Some(Standing::Refused(error)),
    };
    if trusted.is_empty() {
        return Some(Standing::Unchecked(bundle.claims()));
    }
    let mut refused = None;
    for trust in trusted {
        match trust.check(&bundle, now) {
            Ok(signed) => return Some(Standing::Counts(Box::new(signed))),
            // An error about the signature helps more than the note that another kind is trusted.
            Err(error @ SignatureError::OtherKind { .. }) => refused = refused.or(Some(error)),
            Err(error) => refused = Some(error),
        }
    }
    refused.map(Standing::Refused)
}

impl Session {
    /// The signatures of a listing. If one is required, they become part of the selection: a later verification needs
    /// them.
    pub(super) async fn signatures(
        &self,
        listing: &Listing,
        selection: &mut Selection,
        early: &mut Early,
        store: Option<&Arc<Store>>,
    ) -> Result<Signatures, Error> {
        let required = !self.config.trusted_signers.is_empty();
        let listed = listing.entries.iter().map(|entry| (&entry.path, entry.size));
        let paths = candidates(listed, selection, required);
        if paths.is_empty() {
            return Ok(Signatures { found: Vec::new(), required });
        }
        let read = self.documents(listing, &paths, store, early).await?;
        let files = read.into_iter().filter_map(|(path, bytes)| Some((path, bytes?)));
        let signatures = Signatures::among(files, &self.config.trusted_signers);
        if required && !selection.files.is_empty() {
            for path in signatures.paths() {
                take(selection, path, listing);
            }
        }
        Ok(signatures)
    }

    /// Errors of signatures that are known before the weights move.
    pub(super) fn signed_early(&self, job: &Prepared) -> Vec<Finding> {
        if self.config.trusted_signers.is_empty() {
            return Vec::new();
        }
        let mut findings = job.signatures.early(job);
        self.config.policy.judge(&mut findings);
        findings.retain(|finding| finding.severity == Severity::Error);
        advised(findings)
    }

    /// Compares the signatures of a job with its files. If no hash of this run has a digest, `content` reads the file.
    pub(super) async fn check_signatures(
        &self,
        signatures: &Signatures,
        known: &Known<'_>,
        draft: &mut Draft,
        content: impl Fn(&RepoPath) -> Option<Content>,
    ) {
        let mut files: BTreeMap<RepoPath, Option<Sha256>> = BTreeMap::new();
        let mut unread: Vec<(Proof, Content)> = Vec::new();
        let wanted = signatures.counting().next().is_some();
        for (proof, ..) in &draft.files {
            files.insert(proof.path.clone(), proof.evidence.sha256().filter(|_| proof.holds()));
            let recorded = matches!(proof.evidence, Evidence::Recorded(Digest::GitBlob(_))) && proof.holds();
            if wanted && recorded && signatures.signed_of(&proof.path).is_some() {
                unread.extend(content(&proof.path).map(|content| (proof.clone(), content)));
            }
        }
        let read =
            move || unread.into_iter().map(|(proof, content)| (proof.path.clone(), read_sha256(&proof, &content)));
        let read = tokio::task::spawn_blocking(move || read().collect::<Vec<_>>()).await;
        let read = read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        files.extend(read);
        // A file that is wrong or missing has its finding already.
        let told: BTreeSet<String> = draft
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .filter_map(|finding| finding.path.clone())
            .collect();
        let (mut findings, reports) = signatures.of_files(&files, known, false);
        findings.retain(|finding| finding.path.as_ref().is_none_or(|path| !told.contains(path)));
        findings.extend(signatures.of_themselves());
        draft.findings.extend(advised(findings));
        draft.signatures = reports;
    }
}

impl Prepared {
    /// The facts about the repo other than the selection. A lockfile or a manifest has only a selection.
    pub(super) fn known(&self) -> Known<'_> {
        let whole = self.whole && !matches!(self.origin, Origin::Lock | Origin::Manifest);
        Known { listing: &self.listing, whole }
    }
}

/// The SHA-256 of a git file whose git digest an earlier run recorded. The bytes that are read must have that git
/// digest too.
fn read_sha256(proof: &Proof, content: &Content) -> Option<Sha256> {
    let expected = proof.expected.digest?;
    let (file, length) = content.open().ok()?;
    if length > READ_LIMIT {
        return None;
    }
    let hashed = expected.read(file, length, &mut |_| {}).ok()?;
    (hashed.digest() == expected).then(|| hashed.sha256())
}
