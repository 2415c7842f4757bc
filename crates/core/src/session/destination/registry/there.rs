//! Finds the layers that OCI content has already: by the tag, by this machine's record, and by the notes of a fleet's
//! workers. These only say where to look; `check_present` checks the layers.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{ASKED, Registry};
use crate::finding::{Code, Finding};
use crate::lock::LockedFile;
use crate::model::{Digest, Entry, OciDigest, OciPlace, RepoPath};
use crate::oci::{Contents, Form, OciError, OciLayout, Part, Placed};
use crate::session::fleet::Aim;
use crate::session::oci::BaseImage;
use crate::session::outcome::paths_of;
use crate::session::{Error, Prepared};
use crate::store::Mark;

impl Registry<'_> {
    /// The content of the tag. Content that hfget did not write is replaced only by a forced run, and so is another
    /// repo's on disk.
    pub(super) async fn look_at_tag(&self, job: &Prepared) -> Result<Option<Contents>, Error> {
        let old = match Contents::read(&**self.content, &self.tag()).await {
            Err(OciError::Invalid { .. } | OciError::WrongDigest { .. }) if self.session.config.fetch.force => None,
            other => other?,
        };
        let info = &job.listing.info;
        let other = old.as_ref().filter(|old| (old.repo.repo_type, &old.repo.id) != (info.repo_type, &info.id));
        if let Some(other) = other
            && !self.session.config.fetch.force
            && self.target.content.reference().path().is_some()
        {
            let why = format!("it has {}, not {}", other.repo.name(), info.repo_type.qualify(&info.id));
            return Err(OciError::Invalid { place: self.shown(), why }.into());
        }
        Ok(old)
    }

    /// What the workers of a fleet have noted: a worker reads its own part, and the publishing one reads all parts.
    pub(super) async fn look_at_parts(&self, job: &Prepared) -> Result<Vec<Part>, Error> {
        let (content, tag) = (&**self.content, self.target.content.reference().tag());
        let layout = self.target.layout;
        let in_registry = matches!(self.target.content.reference().place(), OciPlace::Registry { .. });
        Ok(match &job.aim {
            Aim::Part { partition, .. } if in_registry => {
                Part::read(content, tag, partition.part(), layout).await?.into_iter().collect()
            }
            Aim::Publish if in_registry => Part::read_all(content, tag, layout).await?,
            _ => Vec::new(),
        })
    }

    /// The existing layers that may contain the files of a job.
    pub(super) fn candidates(&self, job: &Prepared) -> Vec<Placed> {
        let noted = noted(&self.parts);
        let of = |item: &crate::plan::Item| self.candidate(&item.entry, &noted);
        job.plan.items.iter().filter_map(of).collect()
    }

    /// The existing layer that may contain a file, and the file's offset in it.
    fn candidate(&self, entry: &Entry, noted: &BTreeMap<&RepoPath, Vec<&Placed>>) -> Option<Placed> {
        let file = LockedFile::from(entry);
        let old = self.old.as_ref().filter(|old| old.layout == self.target.layout);
        let at_tag = old.and_then(|old| old.files.get(&entry.path));
        let known = at_tag.into_iter().chain(noted.get(&entry.path).into_iter().flatten().copied());
        if let Some(placed) = known.into_iter().find(|placed| is_of(placed, entry)) {
            return Some(placed.clone());
        }
        let layer = match (self.target.layout, entry.digest()) {
            // The digest of the file is that of its layer, whichever program pushed it and for whichever model.
            (OciLayout::ModelPack, Digest::Sha256(digest)) => OciDigest(digest),
            // A run on this machine pushed it, and was killed before a tag named it.
            _ => self.record.tag(&entry.path, entry.digest())?.parse().ok()?,
        };
        let form = Form::new(self.target.layout, &entry.path, entry.size)?;
        Some(Placed { file, layer, form })
    }

    /// Whether the tag names all files of the whole job already.
    pub(in crate::session::destination) fn is_at_tag(&self, job: &Prepared) -> bool {
        let Some(old) = self.old.as_ref().filter(|old| old.layout == self.target.layout) else { return false };
        let same = |entry: &Entry| old.files.get(&entry.path).is_some_and(|placed| is_of(placed, entry));
        let others = job.aim.others().filter_map(|path| job.listing.get(path.as_str()));
        old.repo.commit == job.listing.info.commit
            && job.plan.items.iter().map(|item| &item.entry).chain(others).all(same)
    }

    pub(super) fn mark(placed: &Placed) -> Mark {
        // A layer's name is its content's digest, so the content of a name never changes.
        Mark { modified: Some(0), ..Mark::new(placed.layer_size(), Some(placed.layer.to_string())) }
    }

    /// Whether this machine proved a layer before and the layer cannot have changed since. In files and folders anybody
    /// can change the bytes of a layer, so there a note says only where to look.
    pub(super) fn knows(&self, placed: &Placed) -> bool {
        let (path, digest) = (&placed.file.path, placed.file.digest);
        self.content.checks_digests() && self.record.knows(path, digest, &Self::mark(placed))
    }

    /// The evidence for a file with an existing layer.
    pub(in crate::session::destination) fn placed(&self, entry: &Entry) -> Option<Placed> {
        let form = Form::new(self.target.layout, &entry.path, entry.size)?;
        Some(Placed { file: LockedFile::from(entry), layer: *self.layers.get(&entry.path)?, form })
    }

    pub(super) fn layer_size(&self, entry: &Entry) -> u64 {
        let form = Form::new(self.target.layout, &entry.path, entry.size);
        form.map_or(entry.size, |form| form.layer_size(entry.size))
    }

    /// Whether the tag's manifest begins with the layers of the base.
    pub(super) fn has_base(&self, old: &Contents) -> bool {
        let wanted = self.base.as_ref().map(BaseImage::layers).unwrap_or_default();
        let ours = old.manifest.layers.len().saturating_sub(old.files.len());
        ours == wanted.len() && old.manifest.layers.iter().zip(wanted).all(|(old, base)| old.digest == base.digest)
    }

    /// Checks the existence and size of every layer once more: registries accept manifests with wrong sizes.
    pub(super) async fn lost(&self, job: &Prepared, failed: &[Finding]) -> Result<Vec<Finding>, Error> {
        let known = paths_of(failed);
        let placed = job.plan.items.iter().filter(|item| !known.contains(item.entry.path.as_str()));
        let placed: Vec<Placed> = placed.filter_map(|item| self.placed(&item.entry)).collect();
        let asked = stream::iter(placed).map(|placed| async move {
            let size = self.content.blob_size(&placed.layer).await?;
            Ok::<_, OciError>((placed, size))
        });
        let sizes: Vec<(Placed, Option<u64>)> = asked.buffer_unordered(ASKED).try_collect().await?;
        let mut lost: Vec<Finding> = sizes.into_iter().filter_map(|(placed, size)| missing(&placed, size)).collect();
        lost.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(lost)
    }
}

/// Whether a layer's annotations name this file.
fn is_of(placed: &Placed, entry: &Entry) -> bool {
    placed.file.digest == entry.digest() && placed.file.size == entry.size
}

/// The layers that the parts name for each file. Several parts may name one file, since a fleet of another size may
/// have run before.
fn noted(parts: &[Part]) -> BTreeMap<&RepoPath, Vec<&Placed>> {
    let mut noted: BTreeMap<&RepoPath, Vec<&Placed>> = BTreeMap::new();
    for (path, placed) in parts.iter().flat_map(|part| &part.files) {
        noted.entry(path).or_default().push(placed);
    }
    noted
}

/// The finding about a layer that is missing or has another size.
pub(in crate::session) fn missing(placed: &Placed, size: Option<u64>) -> Option<Finding> {
    let path = &placed.file.path;
    match size {
        None => Some(Finding::new(Code::FileMissing, path, format!("its layer {} is missing", placed.layer))),
        Some(size) if size != placed.layer_size() => {
            let message = format!("its layer {} has {size} bytes instead of {}", placed.layer, placed.layer_size());
            Some(Finding::new(Code::SizeMismatch, path, message))
        }
        Some(_) => None,
    }
}
