//! The image whose layers come before a model's: `KServe`'s modelcar mode runs its shell from it. Its layers are
//! mounted if the registry is the same, and copied otherwise.

use std::sync::Arc;

use futures_util::StreamExt as _;

use crate::model::{Hasher, OciDigest, OciPlace, OciReference};
use crate::oci::{
    self, Base, Blobstream, Body, Content, Descriptor, INDEX, Index, MANIFEST_LIMIT, Manifest, ManifestName, OciConfig,
    OciError, Push, PushDigest, small,
};
use crate::progress::Progress;
use crate::session::{Error, Session, registry_http};
use crate::source::name_of;

/// The media type of an index, as Docker names it.
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// The platform that is taken from an image for several platforms. Other platforms are named by the image's digest.
const PLATFORM: (&str, &str) = ("linux", "amd64");

/// A base, and the content that has it.
pub(in crate::session) struct BaseImage {
    content: Arc<dyn Content>,
    reference: OciReference,
    image: Base,
}

impl BaseImage {
    /// Reads the manifest and the config of a base.
    pub async fn look(session: &Session, config: &OciConfig) -> Result<Self, Error> {
        let content = oci::open(config, &registry_http(&session.config))?;
        let reference = config.reference().clone();
        let place = reference.to_string();
        let invalid = |why: String| OciError::Setup { place: place.clone(), why };
        let mut name = name_of(&reference);
        // An index names images, not further indexes.
        for _ in 0..2 {
            let got = content.manifest(&name).await?;
            let got = got.ok_or_else(|| OciError::NotFound { place: place.clone() })?;
            if got.media_type == INDEX || got.media_type == DOCKER_INDEX {
                let index: Index = serde_json::from_slice(&got.bytes).map_err(|e| invalid(e.to_string()))?;
                let fits = |found: &&Descriptor| {
                    let says = |key: &str| found.more.get("platform").and_then(|p| p.get(key)).and_then(|v| v.as_str());
                    (says("os"), says("architecture")) == (Some(PLATFORM.0), Some(PLATFORM.1))
                };
                let image = index.manifests.iter().find(fits).ok_or_else(|| {
                    invalid(format!("it has no image for {}/{}: name one by its digest", PLATFORM.0, PLATFORM.1))
                })?;
                name = ManifestName::Digest(image.digest);
                continue;
            }
            let manifest: Manifest = serde_json::from_slice(&got.bytes).map_err(|e| invalid(e.to_string()))?;
            let config = small(&*content, &manifest.config, MANIFEST_LIMIT).await?;
            let image = Base::read(&manifest, &config).map_err(invalid)?;
            return Ok(BaseImage { content, reference, image });
        }
        Err(invalid("it is a list of lists of images".to_owned()).into())
    }

    /// The parts that the new image takes over.
    pub fn image(&self) -> &Base {
        &self.image
    }

    /// Its layers.
    pub fn layers(&self) -> &[Descriptor] {
        &self.image.layers
    }

    /// Copies the missing ones of its layers. They were announced before all others. After a failed push, the whole
    /// layer is sent again, like that of a file.
    pub async fn copy_to(&self, to: &dyn Content, target: &OciReference, watch: &dyn Progress) -> Result<(), OciError> {
        for (number, layer) in self.image.layers.iter().enumerate() {
            if to.blob_size(&layer.digest).await? == Some(layer.size) {
                continue;
            }
            if let (OciPlace::Registry { registry: from, name }, OciPlace::Registry { registry, .. }) =
                (self.reference.place(), target.place())
                && from == registry
                && to.mount(&layer.digest, name).await?
            {
                continue;
            }
            let mut failures = 0;
            while let Err(error) = self.copy(layer, number, to).await {
                if !error.is_worth_retrying() {
                    return Err(error);
                }
                failures += 1;
                to.back_off(None, error, failures, watch).await?;
            }
        }
        Ok(())
    }

    /// Sends one layer.
    async fn copy(&self, layer: &Descriptor, number: usize, to: &dyn Content) -> Result<(), OciError> {
        let stream = self.content.open_blob(&layer.digest, 0..layer.size).await?;
        let place = format!("{}@{}", self.content.shown(), layer.digest);
        let body = Body::Stream(checked(stream, layer.digest, place));
        let digest = PushDigest::Before(layer.digest);
        to.push_blob(Push { size: layer.size, digest, number: Some(number), body }).await.map(drop)
    }
}

/// The same bytes, with an error after the last one if they have another digest.
fn checked(stream: Blobstream, digest: OciDigest, place: String) -> Blobstream {
    let state = Some((stream, Hasher::sha256()));
    futures_util::stream::unfold(state, move |state| {
        let place = place.clone();
        async move {
            let (mut stream, mut hasher) = state?;
            match stream.next().await {
                Some(Ok(bytes)) => {
                    hasher.update(&bytes);
                    Some((Ok(bytes), Some((stream, hasher))))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None if hasher.finish().digest() == crate::model::Digest::Sha256(digest.0) => None,
                None => Some((Err(OciError::WrongDigest { place, digest }), None)),
            }
        }
    })
    .fuse()
    .boxed()
}
