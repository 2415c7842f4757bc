//! Publishes a verified job in OCI content: configs, manifests, the lockfile and the tag, which moves last.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::registry::Registry;
use crate::finding::Origin;
use crate::lock::{Lock, LockedFile, LockedRepo};
use crate::model::{OciDigest, Purpose, RepoPath};
use crate::oci::{
    Contents, Descriptor, EMPTY_CONFIG, Form, Layer, MANIFEST, MANIFEST_LIMIT, Made, Manifest, ManifestName, OciError,
    OciLayout, Part, Push, Statement, lock_referrer,
};
use crate::report::Report;
use crate::session::oci::BaseImage;
use crate::session::{Error, Prepared};

/// The tag of the `ModelPack` artifact over the layers of an image.
const BESIDE: &str = "-modelpack";
/// The most characters of a tag.
const TAG_LIMIT: usize = 128;

impl Registry<'_> {
    fn statement(&self, job: &Prepared, report: Option<&Report>) -> Statement {
        let info = &job.listing.info;
        let endpoint = self.session.endpoint();
        let source = endpoint
            .starts_with("http")
            .then(|| format!("{}/{}", endpoint.trim_end_matches('/'), info.repo_type.qualify(&info.id)));
        Statement {
            repo: LockedRepo {
                repo_type: info.repo_type,
                id: info.id.clone(),
                revision: info.revision.clone(),
                commit: info.commit,
                options: self.options.clone(),
                files: job.plan.items.iter().map(|item| LockedFile::from(&item.entry)).collect(),
            },
            family: job.selection.weights.first().map(|set| set.family.to_string()),
            license: info.card.license.clone(),
            source,
            verdict: report.map_or("verified", |report| report.verdict.as_str()),
            against: report.map_or(Some("local-metadata"), |report| report.verdict.against().map(Origin::as_str)),
        }
    }

    /// The layers of a statement's files. Files without a layer are left out.
    fn layers<'a>(
        &self,
        job: &Prepared,
        statement: &'a Statement,
        layer: impl Fn(&RepoPath) -> Option<OciDigest>,
    ) -> Vec<Layer<'a>> {
        let purposes: BTreeMap<&RepoPath, Purpose> =
            job.plan.items.iter().map(|item| (&item.entry.path, item.purpose)).collect();
        let of = |file: &'a LockedFile| {
            let form = Form::new(self.target.layout, &file.path, file.size)?;
            let (digest, size) = (layer(&file.path)?, form.layer_size(file.size));
            // The files of other workers are here only to be counted.
            let purpose = purposes.get(&file.path).copied().unwrap_or(Purpose::Other);
            Some(Layer { file, purpose, digest, size })
        };
        statement.repo.files.iter().filter_map(of).collect()
    }

    /// The manifests of a statement: the one that gets the tag, and the artifact beside it, if there is one.
    fn made(&self, statement: &Statement, layers: &[Layer<'_>]) -> (Made, Option<Made>) {
        match self.target.layout {
            OciLayout::Image => {
                let base = self.base.as_ref().map(BaseImage::image);
                (statement.image(layers, base), Some(statement.model(layers, OciLayout::Image)))
            }
            OciLayout::ModelPack => (statement.model(layers, OciLayout::ModelPack), None),
        }
    }

    /// Checks, before any byte moves, that registries will accept the size of the manifest and the length of a worker's
    /// tag.
    pub(super) fn check_fits(&self, job: &Prepared) -> Result<(), Error> {
        let mut statement = self.statement(job, None);
        let others = job.aim.others().filter_map(|path| job.listing.get(path.as_str()));
        statement.repo.files.extend(others.map(LockedFile::from));
        let layers = self.layers(job, &statement, |_| Some(OciDigest::of(b"")));
        let (first, second) = self.made(&statement, &layers);
        if let Some(partition) = job.aim.partition() {
            let tag = Part::tag(self.target.content.reference().tag(), partition.of());
            if tag.len() > TAG_LIMIT {
                let why = format!("a worker notes its part at {tag}, and a tag has {TAG_LIMIT} characters at most");
                return Err(OciError::Setup { place: self.shown(), why }.into());
            }
        }
        for made in [Some(first), second].into_iter().flatten() {
            self.bytes(&made.manifest)?;
        }
        Ok(())
    }

    fn bytes(&self, manifest: &Manifest) -> Result<Bytes, OciError> {
        let invalid = |why: String| OciError::Setup { place: self.shown(), why };
        let bytes = serde_json::to_vec(manifest).map_err(|error| invalid(error.to_string()))?;
        if bytes.len() as u64 > MANIFEST_LIMIT {
            let (files, limit) = (manifest.layers.len(), MANIFEST_LIMIT >> 20);
            return Err(invalid(format!(
                "a manifest of {files} files is larger than {limit} MiB, which registries refuse"
            )));
        }
        Ok(bytes.into())
    }

    /// Pushes a small blob, unless it exists already.
    async fn put(&self, bytes: Vec<u8>) -> Result<(), OciError> {
        let digest = OciDigest::of(&bytes);
        if self.content.blob_size(&digest).await? != Some(bytes.len() as u64) {
            self.content.push_blob(Push::whole(bytes.into())).await?;
        }
        Ok(())
    }

    async fn put_manifest(&self, name: &ManifestName, made: &Made) -> Result<(), OciError> {
        self.put(made.config.clone()).await?;
        self.content.push_manifest(name, MANIFEST, self.bytes(&made.manifest)?).await.map(drop)
    }

    /// Publishes the files. The tag moves last, so its readers find everything that it names.
    pub(super) async fn tell(&self, job: &Prepared, report: &Report) -> Result<(), Error> {
        let statement = self.statement(job, Some(report));
        let (made, beside) =
            self.made(&statement, &self.layers(job, &statement, |path| self.layers.get(path).copied()));
        let same = self.old.as_ref().filter(|old| says_the_same(&old.manifest, &made.manifest));
        if let Some(old) = same.filter(|_| !self.session.config.fetch.force) {
            // With another digest for the same files, everyone who follows the tag would fetch them again.
            self.restore(old, &made, beside.as_ref(), statement.repo).await?;
            self.forget_parts(job).await;
            return Ok(self.content.finish().await?);
        }
        if let Some(base) = &self.base {
            self.copy_base(base).await?;
        }
        if let (Some(beside), Some(name)) = (&beside, self.beside()) {
            self.put_manifest(&name, beside).await?;
        }
        let bytes = self.bytes(&made.manifest)?;
        let digest = OciDigest::of(&bytes);
        self.put_manifest(&ManifestName::Digest(digest), &made).await?;
        self.put_lock(statement.repo, Descriptor::new(MANIFEST, digest, bytes.len() as u64)).await?;
        self.content.push_manifest(&self.tag(), MANIFEST, bytes).await?;
        self.forget_parts(job).await;
        Ok(self.content.finish().await?)
    }

    /// The tag of the artifact beside an image; `None` if it is too long for a tag.
    fn beside(&self) -> Option<ManifestName> {
        let tag = format!("{}{BESIDE}", self.target.content.reference().tag());
        (tag.len() <= TAG_LIMIT).then_some(ManifestName::Tag(tag))
    }

    /// Pushes the lockfile as a referrer of a manifest.
    async fn put_lock(&self, repo: LockedRepo, subject: Descriptor) -> Result<(), OciError> {
        let lock = Lock { repos: vec![repo] }.to_string().into_bytes();
        let digest = subject.digest;
        let referrer = self.bytes(&lock_referrer(&lock, subject))?;
        self.put(lock).await?;
        self.put(EMPTY_CONFIG.to_vec()).await?;
        self.content.push_referrer(&digest, MANIFEST, referrer).await.map(drop)
    }

    /// Pushes again what somebody removed beside an intact manifest: its config, its artifact, its lockfile. An archive
    /// is always written as a whole.
    async fn restore(
        &self,
        old: &Contents,
        made: &Made,
        beside: Option<&Made>,
        repo: LockedRepo,
    ) -> Result<(), OciError> {
        if self.is_whole() {
            return Ok(());
        }
        self.put(made.config.clone()).await?;
        if let (Some(beside), Some(name)) = (beside, self.beside()) {
            let there = self.content.manifest(&name).await?;
            let there = there.and_then(|got| serde_json::from_slice::<Manifest>(&got.bytes).ok());
            if there.is_none_or(|there| !says_the_same(&there, &beside.manifest)) {
                self.put_manifest(&name, beside).await?;
            }
        }
        match old.lock(&**self.content).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(OciError::NotFound { .. } | OciError::Invalid { .. } | OciError::WrongDigest { .. }) => {
                self.put_lock(repo, Descriptor::new(MANIFEST, old.digest, old.size)).await
            }
            Err(error) => Err(error),
        }
    }

    /// Notes which layers a worker has pushed, for the worker that publishes. A job that is not a part of a fleet notes
    /// nothing.
    pub(super) async fn tell_part(&mut self, job: &Prepared) -> Result<(), Error> {
        let Some(partition) = job.aim.partition() else { return Ok(()) };
        let statement = self.statement(job, None);
        let layers = self.layers(job, &statement, |path| self.layers.get(path).copied());
        // The first part states the number of parts, so it is noted even if it has no files. Files that the tag names
        // already need no note.
        if layers.is_empty() && partition.part() != 1 || self.is_at_tag(job) {
            return Ok(());
        }
        let tag = self.target.content.reference().tag();
        let manifest = self.bytes(&statement.part(&layers, self.target.layout, partition, tag))?;
        let digest = OciDigest::of(&manifest);
        if self.parts.iter().any(|part| part.digest == digest) {
            return Ok(());
        }
        let name = ManifestName::Tag(Part::tag(tag, partition.part()));
        self.put(EMPTY_CONFIG.to_vec()).await?;
        self.content.push_manifest(&name, MANIFEST, manifest).await?;
        let commit = Some(job.listing.info.commit);
        self.parts = vec![Part { partition, commit, files: BTreeMap::new(), digest }];
        Ok(())
    }

    /// Removes the notes of workers about this commit, if the registry allows it: the tag names all of their layers
    /// now. Notes about other commits stay.
    async fn forget_parts(&self, job: &Prepared) {
        let is_named = |part: &&Part| {
            part.commit == Some(job.listing.info.commit)
                && part.files.iter().all(|(path, placed)| self.layers.get(path) == Some(&placed.layer))
        };
        for part in self.parts.iter().filter(is_named) {
            if !self.content.remove_manifest(&part.digest).await {
                break;
            }
        }
    }
}

/// Whether two manifests differ at most in the origin of their files' digests.
fn says_the_same(old: &Manifest, new: &Manifest) -> bool {
    let told = |manifest: &Manifest| {
        let mut annotations = manifest.annotations.clone();
        annotations.retain(|key, _| !Statement::is_verdict(key));
        annotations
    };
    old.config == new.config
        && old.layers == new.layers
        && old.artifact_type == new.artifact_type
        && told(old) == told(new)
}
