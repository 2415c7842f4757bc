//! The form of a repo in OCI content: one layer for each file, the annotations that name the file, and the configs
//! that the readers of each layout need. Pure functions: they fetch and send nothing.
//!
//! Sources: OCI image specification 1.1 (manifest, config, annotations); modelpack/model-spec v0.0.7 (`docs/spec.md`,
//! `docs/annotations.md`, `schema/config-schema.json`).

use std::collections::BTreeMap;

use serde_json::json;

use super::manifest::{Descriptor, MANIFEST, Manifest};
use super::tar::Framing;
use crate::lock::{LockedFile, LockedRepo};
use crate::model::{Digest, OciDigest, Purpose, RepoPath, RepoType};

/// The folder of the files in an image, where `KServe` looks for them.
const FOLDER: &str = "models/";

pub(crate) const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const IMAGE_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MODEL: &str = "application/vnd.cncf.model.manifest.v1+json";
const MODEL_CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
/// The type of the lockfile, which is a referrer of the manifest that it describes.
pub(crate) const LOCK: &str = "application/vnd.hfget.lock.v1+toml";
pub(crate) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Annotations for other tools.
const TITLE: &str = "org.opencontainers.image.title";
const REVISION: &str = "org.opencontainers.image.revision";
const FILE_PATH: &str = "org.cncf.model.filepath";
const FILE_METADATA: &str = "org.cncf.model.file.metadata+json";
/// Annotations of a manifest that hfget reads back.
pub(super) const REPO: &str = "dev.hfget.repo";
pub(super) const REPO_TYPE: &str = "dev.hfget.repo.type";
pub(super) const ASKED: &str = "dev.hfget.repo.revision";
pub(super) const COMMIT: &str = "dev.hfget.repo.commit";
const FAMILY: &str = "dev.hfget.family";
const VERDICT: &str = "dev.hfget.verdict";
const AGAINST: &str = "dev.hfget.against";
/// Annotations of a layer that hfget reads back.
pub(super) const PATH: &str = "dev.hfget.file.path";
pub(super) const SIZE: &str = "dev.hfget.file.size";
pub(super) const SHA256: &str = "dev.hfget.file.sha256";
pub(super) const GIT: &str = "dev.hfget.file.git";

/// The form of the files in the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum OciLayout {
    /// An image with one tar layer for each file, which containerd and CRI-O mount. The same layers are a `ModelPack`
    /// artifact too.
    #[default]
    Image,
    /// A `ModelPack` artifact with one raw layer for each file.
    ModelPack,
}

/// The position of a file's bytes in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// The layer is the file.
    Raw,
    /// The layer is a tar of this one file.
    Tar(Framing),
}

impl Form {
    /// `None` if the size is out of range.
    pub fn new(layout: OciLayout, path: &RepoPath, size: u64) -> Option<Self> {
        match layout {
            OciLayout::ModelPack => Some(Form::Raw),
            OciLayout::Image => Framing::new(&format!("{FOLDER}{}", path.as_str()), size).map(Form::Tar),
        }
    }

    /// The offset of the file's first byte.
    pub fn at(&self) -> u64 {
        match self {
            Form::Raw => 0,
            Form::Tar(framing) => framing.at(),
        }
    }

    /// The size of the whole layer, for a file of `size` bytes.
    pub fn layer_size(&self, size: u64) -> u64 {
        match self {
            Form::Raw => size,
            Form::Tar(framing) => framing.size,
        }
    }
}

/// What a run states about a repo that it verified.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub repo: LockedRepo,
    pub family: Option<String>,
    pub license: Option<String>,
    /// The URL of the server and the repo.
    pub source: Option<String>,
    /// The word of the verdict.
    pub verdict: &'static str,
    pub against: Option<&'static str>,
}

/// A file, its layer and its purpose.
#[derive(Debug, Clone)]
pub(crate) struct Layer<'a> {
    pub file: &'a LockedFile,
    pub purpose: Purpose,
    pub digest: OciDigest,
    pub size: u64,
}

/// A manifest, with its config.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub manifest: Manifest,
    pub config: Vec<u8>,
}

impl Layer<'_> {
    /// What the layer's annotations state about the file.
    fn annotations(&self) -> BTreeMap<String, String> {
        let path = self.file.path.as_str();
        let (key, digest) = match self.file.digest {
            Digest::Sha256(sum) => (SHA256, sum.to_string()),
            Digest::GitBlob(oid) => (GIT, oid.to_string()),
        };
        [(PATH, path.to_owned()), (SIZE, self.file.size.to_string()), (key, digest)]
            .into_iter()
            .chain([(TITLE, path.to_owned())])
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    pub(super) fn of_image(&self) -> Descriptor {
        Descriptor { annotations: self.annotations(), ..Descriptor::new(IMAGE_LAYER, self.digest, self.size) }
    }

    pub(super) fn of_model(&self, repo_type: RepoType, form: &str) -> Descriptor {
        let path = self.file.path.as_str();
        let metadata = json!({
            "name": path, "mode": 0o644, "uid": 0, "gid": 0, "size": self.file.size,
            "mtime": "1970-01-01T00:00:00Z", "typeflag": 48,
        });
        let mut annotations = self.annotations();
        annotations.insert(FILE_PATH.to_owned(), path.to_owned());
        annotations.insert(FILE_METADATA.to_owned(), metadata.to_string());
        let media_type = format!("application/vnd.cncf.model.{}.v1.{form}", kind(self.purpose, path, repo_type));
        Descriptor { annotations, ..Descriptor::new(&media_type, self.digest, self.size) }
    }
}

/// The word of `ModelPack` for a file's purpose.
fn kind(purpose: Purpose, path: &str, repo_type: RepoType) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let is_doc = name.starts_with("readme") || name.starts_with("license") || extension == Some("md");
    match purpose {
        _ if repo_type == RepoType::Dataset && !is_doc => "dataset",
        Purpose::Weights => "weight",
        Purpose::Code => "code",
        Purpose::Other if is_doc => "doc",
        Purpose::Other if extension == Some("py") => "code",
        _ => "weight.config",
    }
}

impl Statement {
    /// Whether an annotation states who verified the files.
    pub fn is_verdict(key: &str) -> bool {
        matches!(key, VERDICT | AGAINST)
    }

    pub(super) fn annotations(&self) -> BTreeMap<String, String> {
        let repo = &self.repo;
        let kind = serde_json::to_value(repo.repo_type).ok().and_then(|v| v.as_str().map(str::to_owned));
        [
            (TITLE, Some(repo.name())),
            (REVISION, Some(repo.commit.to_string())),
            ("org.opencontainers.image.source", self.source.clone()),
            ("org.opencontainers.image.licenses", self.license.clone()),
            (REPO, Some(repo.id.as_str().to_owned())),
            (REPO_TYPE, kind),
            (ASKED, Some(repo.revision.as_str().to_owned())),
            (COMMIT, Some(repo.commit.to_string())),
            (FAMILY, self.family.clone()),
            (VERDICT, Some(self.verdict.to_owned())),
            (AGAINST, self.against.map(str::to_owned)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
    }

    fn made(&self, config_type: &str, config: &serde_json::Value, layers: Vec<Descriptor>) -> Made {
        let config = config.to_string().into_bytes();
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: None,
            config: Descriptor::new(config_type, OciDigest::of(&config), config.len() as u64),
            layers,
            subject: None,
            annotations: self.annotations(),
        };
        Made { manifest, config }
    }

    /// An image: first the base's layers, if there is a base, then one layer for each file.
    pub fn image(&self, layers: &[Layer<'_>], base: Option<&Base>) -> Made {
        let mut config = base.map_or_else(
            // Runtimes do not check the platform of a plain manifest, but a config must name one. Files are the same
            // on every platform.
            || json!({"architecture": "amd64", "os": "linux", "config": {}}),
            |base| base.config.clone(),
        );
        let below = base.map(|base| base.diff_ids.clone()).unwrap_or_default();
        let ids: Vec<String> = below.into_iter().chain(layers.iter().map(|layer| layer.digest.to_string())).collect();
        if let Some(object) = config.as_object_mut() {
            object.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": ids}));
            // A history would have to describe the added layers too.
            object.remove("history");
        }
        let below = base.map(|base| base.layers.clone()).unwrap_or_default();
        let layers = below.into_iter().chain(layers.iter().map(Layer::of_image)).collect();
        self.made(IMAGE_CONFIG, &config, layers)
    }

    /// A `ModelPack` artifact over raw layers, or over the layers of an image.
    pub fn model(&self, layers: &[Layer<'_>], layout: OciLayout) -> Made {
        let form = match layout {
            OciLayout::Image => "tar",
            OciLayout::ModelPack => "raw",
        };
        let repo = &self.repo;
        let mut descriptor = json!({"name": repo.name(), "revision": repo.commit.to_string()});
        let mut config = json!({});
        if let (Some(descriptor), Some(config)) = (descriptor.as_object_mut(), config.as_object_mut()) {
            descriptor.extend(self.source.clone().map(|url| ("sourceURL".to_owned(), json!(url))));
            descriptor.extend(self.license.clone().map(|name| ("licenses".to_owned(), json!([name]))));
            config.extend(self.family.clone().map(|family| ("format".to_owned(), json!(family))));
        }
        let ids: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
        let config = json!({"descriptor": descriptor, "config": config, "modelfs": {"type": "layers", "diffIds": ids}});
        let layers = layers.iter().map(|layer| layer.of_model(repo.repo_type, form)).collect();
        let mut made = self.made(MODEL_CONFIG, &config, layers);
        made.manifest.artifact_type = Some(MODEL.to_owned());
        made
    }
}

/// The config of a manifest that has none.
pub(crate) const EMPTY_CONFIG: &[u8] = b"{}";

/// The same as a descriptor.
pub(super) fn empty_config() -> Descriptor {
    Descriptor::new(EMPTY, OciDigest::of(EMPTY_CONFIG), EMPTY_CONFIG.len() as u64)
}

/// The lockfile, as a referrer of a manifest.
pub(crate) fn lock_referrer(lock: &[u8], subject: Descriptor) -> Manifest {
    Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        artifact_type: Some(LOCK.to_owned()),
        config: empty_config(),
        layers: vec![Descriptor {
            annotations: BTreeMap::from([(TITLE.to_owned(), "hfget.lock".to_owned())]),
            ..Descriptor::new(LOCK, OciDigest::of(lock), lock.len() as u64)
        }],
        subject: Some(subject),
        annotations: BTreeMap::new(),
    }
}

/// The image whose layers come first.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub layers: Vec<Descriptor>,
    /// The whole config; the fields that do not depend on layers are kept.
    pub config: serde_json::Value,
    pub diff_ids: Vec<String>,
}

impl Base {
    /// Reads an image's manifest and config. The error is a sentence about the image.
    pub fn read(manifest: &Manifest, config: &[u8]) -> Result<Self, String> {
        let config: serde_json::Value =
            serde_json::from_slice(config).map_err(|error| format!("its config is not JSON: {error}"))?;
        let ids = config.pointer("/rootfs/diff_ids").and_then(|ids| ids.as_array());
        let ids: Option<Vec<String>> =
            ids.and_then(|ids| ids.iter().map(|id| id.as_str().map(str::to_owned)).collect());
        let diff_ids = ids.unwrap_or_default();
        if diff_ids.is_empty() || diff_ids.len() != manifest.layers.len() {
            return Err("not an image: its config does not name the content of each layer".to_owned());
        }
        let layers = manifest.layers.iter().map(oci_layer).collect::<Result<_, String>>()?;
        Ok(Base { layers, config, diff_ids })
    }
}

/// Replaces docker's names of layer types by OCI's. The bytes are the same, and not every registry accepts a manifest
/// of both kinds.
fn oci_layer(layer: &Descriptor) -> Result<Descriptor, String> {
    let media_type = match layer.media_type.as_str() {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar" => IMAGE_LAYER,
        other if other.starts_with("application/vnd.oci.image.layer.v1.tar") => other,
        other => return Err(format!("it has a layer of the type {}", crate::text::printable(other))),
    };
    Ok(Descriptor { media_type: media_type.to_owned(), ..layer.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_pack_config_has_its_three_parts_and_the_digest_of_each_layer() {
        let file = LockedFile {
            path: "model.safetensors".parse().unwrap(),
            size: 9,
            digest: crate::model::Hasher::sha256().finish().digest(),
            xet_hash: None,
        };
        let statement = Statement {
            repo: LockedRepo {
                repo_type: RepoType::Model,
                id: "org/one".parse().unwrap(),
                revision: "main".parse().unwrap(),
                commit: "103caa40027ebfd8450289ca2f278eac4ff26405".parse().unwrap(),
                options: crate::model::Options::default(),
                files: vec![file],
            },
            family: Some("safetensors".to_owned()),
            license: Some("mit".to_owned()),
            source: Some("https://huggingface.co/org/one".to_owned()),
            verdict: "verified",
            against: Some("hub"),
        };
        let layer = |form: OciLayout| {
            let file = &statement.repo.files[0];
            let size = Form::new(form, &file.path, file.size).unwrap().layer_size(file.size);
            Layer { file, purpose: Purpose::Weights, digest: OciDigest::of(b"layer"), size }
        };
        for (form, media_type) in [
            (OciLayout::Image, "application/vnd.cncf.model.weight.v1.tar"),
            (OciLayout::ModelPack, "application/vnd.cncf.model.weight.v1.raw"),
        ] {
            let made = statement.model(&[layer(form)], form);
            assert_eq!(made.manifest.artifact_type.as_deref(), Some(MODEL));
            assert_eq!(made.manifest.layers[0].media_type, media_type);
            let config: serde_json::Value = serde_json::from_slice(&made.config).unwrap();
            let digest = OciDigest::of(b"layer").to_string();
            assert_eq!(config["modelfs"], json!({"type": "layers", "diffIds": [digest]}));
            assert_eq!(config["config"], json!({"format": "safetensors"}));
            assert_eq!(config["descriptor"]["licenses"], json!(["mit"]));
            assert_eq!(config.as_object().unwrap().len(), 3, "the schema allows no more");
            assert_eq!(made.manifest.config.digest, OciDigest::of(&made.config));
        }
    }

    #[test]
    fn a_base_keeps_its_config_and_its_layers_come_first() {
        let base = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: None,
            config: Descriptor::new(IMAGE_CONFIG, OciDigest::of(b""), 0),
            layers: vec![Descriptor::new("application/vnd.docker.image.rootfs.diff.tar.gzip", OciDigest::of(b"x"), 9)],
            subject: None,
            annotations: BTreeMap::new(),
        };
        let config = json!({
            "architecture": "arm64", "os": "linux", "config": {"Env": ["A=b"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:of-the-base"]}, "history": [{}],
        });
        let read = Base::read(&base, config.to_string().as_bytes()).unwrap();
        assert_eq!(read.layers[0].media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
        // Content without layers to unpack is not an image.
        assert!(Base::read(&base, b"{}").is_err());
        let mut other = base.clone();
        other.layers[0].media_type = "application/octet-stream".to_owned();
        assert!(Base::read(&other, config.to_string().as_bytes()).is_err());
    }
}
