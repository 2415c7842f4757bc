//! Verifies every byte of the files in an object store with their manifests or a lockfile. Asks no Hub.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::remote_snapshot::{RemoteSnapshot, choose};
use crate::finding::{Code, Evidence, Finding, Origin, Outcome, Remedy, Severity};
use crate::lock::LockedRepo;
use crate::model::{Listing, Purpose, RepoPath, RepoSpec, Revision};
use crate::object_store::{Keys, ObjectError, ObjectUrl, Objects};
use crate::report::Report;
use crate::select::Selection;
use crate::session::signed::{Known, Signatures, candidates};
use crate::session::{Error, Session, local};
use crate::signature::BUNDLE_LIMIT;
use crate::verify::{Subject, SubjectFile};

#[doc(hidden)] // for the command
impl Session {
    /// The manifests at a URL: of all repos below a prefix, of one repo's folder, or of one commit.
    ///
    /// # Errors
    /// If the store does not answer, or has no manifest there.
    pub async fn manifests(&self, target: &ObjectUrl) -> Result<Vec<LockedRepo>, Error> {
        let objects = self.objects()?;
        let (_, wanted) = target.split();
        let folders = match &wanted {
            Some((folder, _)) => vec![folder.clone()],
            None => objects.folders().await?,
        };
        let mut repos = Vec::new();
        for folder in folders {
            let Some((repo_type, id)) = Keys::repo(&folder) else { continue };
            let keys = Keys::new(repo_type, &id);
            let commits = match &wanted {
                Some((_, Some(commit))) => vec![*commit],
                _ => objects.commits(&keys).await?,
            };
            for commit in commits {
                repos.extend(objects.manifest(&keys, &commit).await?);
            }
        }
        if repos.is_empty() {
            return Err(ObjectError::Empty { url: target.to_string() }.into());
        }
        Ok(repos)
    }

    /// Verifies the files of a repo's revision in the store with the manifest.
    pub(in crate::session) async fn verify_stored(
        &self,
        objects: &Arc<Objects>,
        spec: &RepoSpec,
        revision: &Revision,
    ) -> Result<Report, Error> {
        let keys = Keys::new(spec.repo_type, &spec.id);
        let Some(locked) = objects.manifest_of(&keys, revision).await? else {
            let url = format!("{} ({}@{})", objects.url(), spec.id, revision.shown());
            return Err(ObjectError::Empty { url }.into());
        };
        self.verify_objects(objects, &locked).await
    }

    /// Verifies every byte of the files in the object store with a lockfile.
    pub(in crate::session) async fn verify_objects(
        &self,
        objects: &Arc<Objects>,
        locked: &LockedRepo,
    ) -> Result<Report, Error> {
        let started = Instant::now();
        let keys = Keys::new(locked.repo_type, &locked.id);
        let mut there = RemoteSnapshot::look(objects, keys, locked.commit, self.config.records.as_deref()).await?;
        if there.found.is_empty() {
            return Err(Error::LockedNotHere {
                repo: locked.name(),
                commit: locked.commit.to_string(),
                place: there.url(),
            });
        }
        let listing = locked.listing();
        let selection = choose(&there, &listing).await?;
        let signatures = self.signatures_there(&there, &listing, &selection).await?;
        let mut findings = selection.findings.clone();
        let expected: BTreeSet<&str> =
            locked.files.iter().chain(there.manifest.iter().flat_map(|m| &m.files)).map(|f| f.path.as_str()).collect();
        for name in there.found.keys().filter(|name| !expected.contains(name.as_str())) {
            findings.push(Finding::new(Code::FileExtra, name, "the manifest does not name it"));
        }
        let mut subject = Subject { weights: selection.weights.clone(), ..Subject::default() };
        for entry in &listing.entries {
            let selected = selection.files.binary_search_by(|f| f.path.cmp(&entry.path));
            let purpose = selected.map_or(Purpose::Other, |at| selection.files[at].purpose);
            subject.files.push(SubjectFile {
                path: entry.path.clone(),
                content: there.content(&entry.path),
                size: Some(entry.size),
                digest: Some(entry.digest()),
                xet: None,
                origin: Origin::Manifest,
                known: Evidence::Unread,
                purpose,
            });
        }
        let files = subject.files.clone();
        let outcome = self.verify_far(objects, subject).await?;
        // A wrong object must not stay in the record.
        for finding in outcome.findings.iter().filter(|f| f.severity == Severity::Error) {
            there.record.forget(finding.path.as_deref().unwrap_or_default());
        }
        there.record.save().await;
        findings.extend(self.denied_code(&selection));
        let spec = RepoSpec { revision: Some(locked.revision.clone()), ..locked.spec() };
        let mut draft =
            local::folder_draft(there.url(), Some(locked.commit), Some(&spec), &selection, &files, &outcome, findings);
        for finding in draft.findings.iter_mut().filter(|f| f.remedy.is_some() && f.severity == Severity::Error) {
            finding.remedy = Some(Remedy::FillStoreAgain { repo: locked.name(), store: objects.url().to_string() });
        }
        // A manifest has the uploaded files, which may be only a selection of the repo.
        let known = Known { listing: &listing, whole: false };
        let content = |path: &RepoPath| Some(there.content(path));
        self.check_signatures(&signatures, &known, &mut draft, content).await;
        draft.totals.milliseconds = crate::session::outcome::milliseconds_since(started);
        Ok(draft.conclude(&self.config.policy))
    }

    /// The signatures among the files of a commit in a store.
    async fn signatures_there(
        &self,
        there: &RemoteSnapshot,
        listing: &Listing,
        selection: &Selection,
    ) -> Result<Signatures, Error> {
        let trusted = &self.config.trusted_signers;
        let listed = listing.entries.iter().map(|entry| (&entry.path, entry.size));
        let mut files = Vec::new();
        for path in candidates(listed, selection, !trusted.is_empty()) {
            let key = there.keys.file(&there.commit, &path);
            if let Some(bytes) = there.objects.small(&key, BUNDLE_LIMIT).await? {
                files.push((path, bytes.to_vec()));
            }
        }
        Ok(Signatures::among(files, trusted))
    }

    fn objects(&self) -> Result<&Arc<Objects>, Error> {
        self.objects.as_ref().ok_or_else(|| {
            let (url, why) = (String::new(), "this session has no object store".to_owned());
            Error::Objects(ObjectError::Setup { url, why })
        })
    }

    /// Checks files in a store. A file that could not be read because the store did not answer is an error, not a
    /// finding.
    pub(in crate::session) async fn verify_far(
        &self,
        objects: &Objects,
        mut subject: Subject,
    ) -> Result<Outcome, Error> {
        subject.allow_unsafe_pickle = self.config.allow_unsafe_pickle;
        subject.deep = self.config.deep;
        let outcome = self.verify_subject(subject).await;
        match objects.take_trouble() {
            Some(error) => Err(error.into()),
            None => Ok(outcome),
        }
    }
}
