//! OCI content as a destination: a registry, or an image layout on disk. Files go there as layers, without a copy on
//! this disk. The room `oci` knows the form of a layer, `upload` sends the bytes, `there` finds existing layers, and
//! `publish` publishes the result.

mod there;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

pub(in crate::session) use self::there::missing;
use super::{Destination, Present};
use crate::finding::{Evidence, Finding, Outcome};
use crate::model::{Digest, Entry, Location, OciDigest, OciPlace, Options, Presence, RepoPath};
use crate::oci::{Content, Contents, Form, ManifestName, OciError, Part, Placed, Trouble};
use crate::progress::Event;
use crate::report::Report;
use crate::session::oci::{BaseImage, Reader};
use crate::session::outcome::paths_of;
use crate::session::{Error, OciTarget, Prepared, Session, Statuses};
use crate::store::{SnapshotRecord, free_space};
use crate::upload::{LAYER_PART, Layers, Nearby, PART, PushError, Pushed};
use crate::verify::{Content as FileContent, Subject, SubjectFile};

/// The most large files that are sent at once; each has several parts.
const LARGE: usize = 4;
/// The most concurrent requests to a registry.
const ASKED: usize = 8;

/// A job's content in a registry.
pub(super) struct Registry<'a> {
    pub(super) session: &'a Session,
    pub(super) content: &'a Arc<dyn Content>,
    pub(super) target: &'a OciTarget,
    /// The request, as the lockfile records it.
    pub(super) options: &'a Options,
    /// The content of the tag, once it was read.
    pub(super) old: Option<Contents>,
    pub(super) base: Option<BaseImage>,
    /// What workers have noted of the same job.
    pub(super) parts: Vec<Part>,
    /// The layer of each file that the registry has.
    pub(super) layers: BTreeMap<RepoPath, OciDigest>,
    record: SnapshotRecord,
}

impl<'a> Registry<'a> {
    pub(super) fn new(
        session: &'a Session,
        content: &'a Arc<dyn Content>,
        target: &'a OciTarget,
        options: &'a Options,
    ) -> Self {
        let (layers, record) = (BTreeMap::new(), SnapshotRecord::default());
        Registry { session, content, target, options, old: None, base: None, parts: Vec::new(), layers, record }
    }

    /// The content's name and the tag, for people.
    pub(super) fn shown(&self) -> String {
        format!("{}:{}", self.content.shown(), self.target.content.reference().tag())
    }

    pub(super) fn tag(&self) -> ManifestName {
        ManifestName::Tag(self.target.content.reference().tag().to_owned())
    }

    /// Whether it is an archive, which is written as a whole: no part of an earlier one stays.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.target.content.reference().place(), OciPlace::Archive(_))
    }

    fn reader(&self) -> Reader<'_> {
        Reader { session: self.session, content: self.content }
    }
}

impl Destination for Registry<'_> {
    async fn look(&mut self, job: &mut Prepared) -> Result<(), Error> {
        self.base = match &self.target.base {
            Some(base) => Some(BaseImage::look(self.session, base).await?),
            None => None,
        };
        self.check_fits(job)?;
        // Why this order: the publishing worker moves the tag first, and then removes the workers' notes.
        self.parts = self.look_at_parts(job).await?;
        self.old = self.look_at_tag(job).await?;
        let records = self.session.config.records.as_deref();
        let place = format!("{} {} {:?}", self.content.shown(), job.listing.info.commit, self.target.layout);
        self.record = SnapshotRecord::read(records, place).await;
        // A forced run ignores the existing content, which may be unreadable.
        let candidates = if self.session.config.fetch.force { Vec::new() } else { self.candidates(job) };
        let content = self.content;
        let found = stream::iter(candidates).map(|placed| async move {
            let size = content.blob_size(&placed.layer).await?;
            Ok::<_, OciError>((size == Some(placed.layer_size())).then_some(placed))
        });
        let found: Vec<Option<Placed>> = found.buffer_unordered(ASKED).try_collect().await?;
        let mut there: BTreeMap<RepoPath, Placed> =
            found.into_iter().flatten().map(|placed| (placed.file.path.clone(), placed)).collect();
        let complete = there.len() == job.plan.items.len()
            && self.old.as_ref().is_some_and(|old| old.files.len() == there.len() && self.has_base(old));
        if self.is_whole() && !complete {
            there.clear();
        }
        for item in &mut job.plan.items {
            item.presence = match there.get(&item.entry.path) {
                None => Presence::Absent,
                Some(placed) => {
                    self.layers.insert(item.entry.path.clone(), placed.layer);
                    if self.knows(placed) { Presence::Verified } else { Presence::Unverified }
                }
            };
        }
        job.plan.free_space = self.target.content.reference().path().and_then(free_space);
        job.place = Location::Store(self.shown());
        Ok(())
    }

    async fn check_present(&mut self, job: &mut Prepared, statuses: &mut Statuses) -> Result<Present, Error> {
        if self.session.config.fetch.force {
            for item in &mut job.plan.items {
                item.presence = Presence::Absent;
            }
            statuses.seen.clear();
            self.layers.clear();
            return Ok(Present::default());
        }
        let mut unknown = Vec::new();
        for item in job.plan.items.iter_mut().filter(|item| item.presence == Presence::Unverified) {
            let Some(placed) = self.placed(&item.entry) else { continue };
            // The registry compared this digest with the bytes, and it is the file's own. A tar layer's digest proves
            // nothing about the file in it: the link between them is an annotation, which anybody may have written.
            let is_own = item.entry.digest() == Digest::Sha256(placed.layer.0);
            if is_own && self.content.checks_digests() {
                item.presence = Presence::Verified;
                statuses.seen.insert(item.entry.path.clone(), (Evidence::Stated(item.entry.digest()), None));
            } else {
                unknown.push(placed);
            }
        }
        let (read, bytes_hashed) = self.reader().read_all(unknown).await?;
        for item in job.plan.items.iter_mut().filter(|item| item.presence == Presence::Unverified) {
            let path = &item.entry.path;
            if let Some(Ok(hashed)) = read.get(path).copied() {
                item.presence = Presence::Verified;
                statuses.seen.insert(path.clone(), (Evidence::Hashed(hashed), None));
            } else {
                // It is pushed again.
                item.presence = Presence::Absent;
                statuses.seen.remove(path);
                self.layers.remove(path);
            }
        }
        // An archive that is written as a whole has all files, or is written again.
        if self.is_whole() && job.plan.items.iter().any(|item| item.presence != Presence::Verified) {
            for item in &mut job.plan.items {
                item.presence = Presence::Absent;
            }
            statuses.seen.clear();
            self.layers.clear();
        }
        Ok(Present { bytes_hashed, findings: Vec::new() })
    }

    async fn check_room(&mut self, job: &Prepared) -> Result<(), Error> {
        let path = self.target.content.reference().path();
        let (Some(path), Some(free)) = (path, job.plan.free_space.filter(|_| self.session.config.fetch.check_space))
        else {
            return Ok(());
        };
        let missing = job.plan.items.iter().filter(|item| item.presence != Presence::Verified);
        let needed = missing.fold(0u64, |sum, item| sum.saturating_add(self.layer_size(&item.entry)));
        let fits = |free: u64| free >= needed;
        // Files of killed runs are removed if their space is needed.
        if fits(free) || self.content.drop_left().await && crate::store::free_space(path).is_none_or(fits) {
            return Ok(());
        }
        Err(Error::NoSpace { needed, free, place: path.to_path_buf() })
    }

    async fn receive(&mut self, job: &mut Prepared, statuses: &mut Statuses) -> Result<Vec<Finding>, Error> {
        let numbered = |(number, item): (usize, &crate::plan::Item)| {
            (item.presence != Presence::Verified).then(|| (number, item.entry.clone()))
        };
        let below = self.base.as_ref().map_or(0, |base| base.layers().len());
        let missing: Vec<(usize, Entry)> = job.plan.items.iter().enumerate().filter_map(numbered).collect();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        self.session.progress.event(Event::Planned(job.plan.figures()));
        let sizes: Vec<u64> = (self.base.iter().flat_map(BaseImage::layers).map(|layer| layer.size))
            .chain(job.plan.items.iter().map(|item| self.layer_size(&item.entry)))
            .collect();
        let left = if self.session.config.fetch.force { Vec::new() } else { self.content.left(&sizes).await };
        self.content.expect(&sizes).await?;
        // The publishing worker pushes the base.
        if let Some(base) = self.base.as_ref().filter(|_| job.aim.partition().is_none()) {
            self.copy_base(base).await?;
        }
        let nearby = missing.iter().filter_map(|(number, entry)| {
            let left = left.get(below + number)?.as_ref()?;
            let form = Form::new(self.target.layout, &entry.path, entry.size)?;
            Some((entry.path.clone(), Nearby { path: left.path.clone(), at: left.at.checked_add(form.at())? }))
        });
        let nearby = nearby.collect();
        let wanted = missing.iter().map(|(_, entry)| entry.clone()).collect();
        let layers = Layers {
            supply: self.session.fetched_from(job, wanted, nearby, LAYER_PART).await?,
            content: Arc::clone(self.content),
            layout: self.target.layout,
        };
        let one = |(number, entry): (usize, Entry)| {
            let layers = &layers;
            async move {
                let done = layers.file(&entry, below + number).await;
                (entry, done)
            }
        };
        let (large, small): (Vec<_>, Vec<_>) = missing.into_iter().partition(|(_, entry)| entry.size > LAYER_PART);
        let large = stream::iter(large).map(one).buffer_unordered(LARGE);
        let small = stream::iter(small).map(one).buffer_unordered(self.session.config.fetch.jobs.max(1));
        let mut all = std::pin::pin!(stream::select(small, large));
        let (mut failed, mut ended) = (Vec::new(), None);
        while let Some((entry, done)) = all.next().await {
            match done {
                Ok(Pushed::There { layer, hashed, received }) => {
                    statuses.sent(&entry, hashed, received);
                    self.layers.insert(entry.path.clone(), layer);
                    if entry.size > PART {
                        self.keep(job, &entry).await?;
                    }
                }
                Ok(Pushed::Wrong(finding)) => failed.push(finding),
                Err(error) => {
                    ended = Some(error);
                    break;
                }
            }
        }
        match ended {
            None => Ok(failed),
            Some(PushError::Hub(error)) => Err(error.into()),
            Some(PushError::Oci(error)) => Err(error.into()),
        }
    }

    async fn check(
        &mut self,
        job: &mut Prepared,
        statuses: &mut Statuses,
        failed: &mut Vec<Finding>,
    ) -> Result<(Outcome, bool), Error> {
        failed.extend(self.lost(job, failed).await?);
        let known: BTreeSet<String> = paths_of(failed.iter()).into_iter().map(str::to_owned).collect();
        let recorded = |item: &crate::plan::Item| self.placed(&item.entry).is_some_and(|placed| self.knows(&placed));
        let key = self.session.contents_key(job);
        if known.is_empty()
            && job.plan.items.iter().all(recorded)
            && let Some(outcome) = self.record.check(&key)
        {
            return Ok((outcome.clone(), true));
        }
        let trouble = Arc::new(Trouble::default());
        let mut subject = Subject { weights: job.selection.weights.clone(), ..Subject::default() };
        for item in &mut job.plan.items {
            let path = &item.entry.path;
            let Some(placed) = self.placed(&item.entry).filter(|_| !known.contains(path.as_str())) else {
                subject.unavailable.insert(path.clone());
                item.presence = Presence::Absent;
                continue;
            };
            item.presence = Presence::Verified;
            let file = crate::oci::LayerFile::new(self.content, &placed, &trouble);
            subject.files.push(SubjectFile {
                path: path.clone(),
                content: FileContent::Far(Arc::new(file)),
                size: Some(item.entry.size),
                digest: Some(item.entry.digest()),
                xet: None,
                origin: job.origin,
                known: statuses.evidence(path),
                purpose: item.purpose,
            });
        }
        subject.allow_unsafe_pickle = self.session.config.allow_unsafe_pickle;
        subject.deep = self.session.config.deep;
        let outcome = self.session.verify_subject(subject).await;
        if let Some(error) = trouble.take() {
            return Err(error.into());
        }
        self.remember(job, statuses, &outcome, failed.is_empty().then_some(key)).await;
        Ok((outcome, false))
    }

    fn content(&self, _job: &Prepared, entry: &Entry) -> Option<FileContent> {
        let placed = self.placed(entry)?;
        // An unreadable file proves nothing about a signature.
        Some(FileContent::Far(Arc::new(crate::oci::LayerFile::new(
            self.content,
            &placed,
            &Arc::new(Trouble::default()),
        ))))
    }

    async fn publish(&mut self, job: Prepared, _statuses: &Statuses, report: &Report) -> Result<(), Error> {
        self.tell(&job, report).await
    }

    async fn note_part(&mut self, job: &Prepared) -> Result<(), Error> {
        self.tell_part(job).await
    }
}

impl Registry<'_> {
    pub(super) async fn copy_base(&self, base: &BaseImage) -> Result<(), OciError> {
        let target = self.target.content.reference();
        base.copy_to(&**self.content, target, &*self.session.progress).await
    }

    /// Notes a large layer that was just pushed: if the run is killed later, the next one finds it.
    async fn keep(&mut self, job: &Prepared, entry: &Entry) -> Result<(), Error> {
        if let Some(placed) = self.placed(entry) {
            self.record.remember(&entry.path, entry.digest(), &Self::mark(&placed));
            self.record.save().await;
        }
        self.tell_part(job).await
    }

    /// Notes the layers that this run hashed and the registry has. The registry's claim alone is not noted.
    async fn remember(&mut self, job: &Prepared, statuses: &Statuses, outcome: &Outcome, key: Option<String>) {
        for item in &job.plan.items {
            let (path, digest) = (&item.entry.path, item.entry.digest());
            let Some(placed) = self.placed(&item.entry).filter(|_| item.presence == Presence::Verified) else {
                self.record.forget(path.as_str());
                continue;
            };
            if matches!(statuses.evidence(path), Evidence::Hashed(hashed) if hashed.digest() == digest) {
                self.record.remember(path, digest, &Self::mark(&placed));
            }
        }
        if let Some(key) = key {
            self.record.remember_check(key, Outcome { bytes_hashed: 0, ..outcome.clone() });
        }
        self.record.save().await;
    }
}
