//! What is told of a verified job in OCI content: configs, manifests, the lockfile, and the tag, which moves last.

use bytes::Bytes;

use super::registry::Registry;
use crate::finding::Origin;
use crate::lock::{Lock, LockedFile, LockedRepo};
use crate::model::{OciDigest, RepoPath};
use crate::oci::{
    Descriptor, Form, Layer, MANIFEST, MANIFEST_LIMIT, Made, Manifest, ManifestName, OciError, OciLayout, Push,
    Statement, lock_referrer,
};
use crate::report::Report;
use crate::session::oci::BaseImage;
use crate::session::{Error, Prepared};

/// The tag of the `ModelPack` artifact over the layers of an image.
const BESIDE: &str = "-modelpack";
/// A tag has so many characters at most.
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

    /// The manifests of a statement: the one that gets the tag, and the one beside it.
    fn made(
        &self,
        job: &Prepared,
        statement: &Statement,
        layer: impl Fn(&RepoPath) -> Option<OciDigest>,
    ) -> (Made, Option<Made>) {
        let layers: Vec<Layer<'_>> = (statement.repo.files.iter().zip(&job.plan.items))
            .filter_map(|(file, item)| {
                let form = Form::new(self.target.layout, &file.path, file.size)?;
                let (digest, size) = (layer(&file.path)?, form.layer_size(file.size));
                Some(Layer { file, purpose: item.purpose, digest, size })
            })
            .collect();
        match self.target.layout {
            OciLayout::Image => {
                let base = self.base.as_ref().map(BaseImage::image);
                (statement.image(&layers, base), Some(statement.model(&layers, OciLayout::Image)))
            }
            OciLayout::ModelPack => (statement.model(&layers, OciLayout::ModelPack), None),
        }
    }

    /// That the manifest will not be larger than registries take. Said before any byte moves.
    pub(super) fn check_fits(&self, job: &Prepared) -> Result<(), Error> {
        let statement = self.statement(job, None);
        let (first, second) = self.made(job, &statement, |_| Some(OciDigest::of(b"")));
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

    /// Puts a small blob there, where it is not there yet.
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

    /// Says what is there. The tag moves last: whoever reads it finds all that it names.
    pub(super) async fn tell(&self, job: &Prepared, report: &Report) -> Result<(), Error> {
        let statement = self.statement(job, Some(report));
        let (made, beside) = self.made(job, &statement, |path| self.layers.get(path).copied());
        let same = self.old.as_ref().is_some_and(|old| says_the_same(&old.manifest, &made.manifest));
        if same && !self.session.config.fetch.force {
            // Another name for the same would make whoever follows the tag fetch it anew.
            return Ok(self.content.finish().await?);
        }
        let tag = self.target.content.reference().tag();
        let beside_tag = format!("{tag}{BESIDE}");
        if let Some(beside) = beside.filter(|_| beside_tag.len() <= TAG_LIMIT) {
            self.put_manifest(&ManifestName::Tag(beside_tag), &beside).await?;
        }
        let bytes = self.bytes(&made.manifest)?;
        let digest = OciDigest::of(&bytes);
        self.put_manifest(&ManifestName::Digest(digest), &made).await?;
        let lock = Lock { repos: vec![statement.repo] }.to_string().into_bytes();
        let subject = Descriptor::new(MANIFEST, digest, bytes.len() as u64);
        let referrer = self.bytes(&lock_referrer(&lock, subject))?;
        self.put(lock).await?;
        self.put(EMPTY_CONFIG.to_vec()).await?;
        self.content.push_referrer(&digest, MANIFEST, referrer).await?;
        self.content.push_manifest(&self.tag(), MANIFEST, bytes).await?;
        Ok(self.content.finish().await?)
    }
}

/// The config of a manifest that has none.
const EMPTY_CONFIG: &[u8] = b"{}";

/// Whether two manifests differ at most in who said that their files are right.
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
