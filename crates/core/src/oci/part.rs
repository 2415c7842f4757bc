//! What one worker of a fleet has pushed to a registry: a small manifest at a tag of its own, which names the layers of
//! the worker's files. The worker that publishes the whole needs it to find tar layers, because only their maker knows
//! their digests. It also keeps a registry from removing layers that no image names yet. What it states about a file
//! proves nothing.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::contents::placed;
use super::layout::{COMMIT, Layer, OciLayout, PATH, Statement, empty_config};
use super::manifest::{Descriptor, MANIFEST, Manifest};
use super::{Content, ManifestName, OciError};
use crate::model::{CommitId, OciDigest, Partition, RepoPath};
use crate::oci::Placed;

/// The type of such a manifest.
const PART: &str = "application/vnd.hfget.part.v1";
/// Its annotations: which part of how many, and of which tag. So no two tags share such a manifest, and removing one
/// does not affect another fleet.
const NUMBER: &str = "dev.hfget.part";
const TAG: &str = "dev.hfget.part.tag";
/// The most concurrent requests to a registry.
const ASKED: usize = 8;

/// A worker's part of a tag's future content.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub partition: Partition,
    /// Its commit.
    pub commit: Option<CommitId>,
    /// Those of its files that the registry has.
    pub files: BTreeMap<RepoPath, Placed>,
    /// The digest of its manifest.
    pub digest: OciDigest,
}

impl Part {
    /// The tag that names a part.
    pub fn tag(tag: &str, number: u32) -> String {
        format!("{tag}-part-{number}")
    }

    /// What a worker has noted. `None` if it has noted nothing usable: then it pushes its files again.
    pub async fn read(
        content: &dyn Content,
        tag: &str,
        number: u32,
        layout: OciLayout,
    ) -> Result<Option<Self>, OciError> {
        let got = match content.manifest(&ManifestName::Tag(Part::tag(tag, number))).await {
            Err(OciError::Invalid { .. } | OciError::WrongDigest { .. }) => None,
            other => other?,
        };
        let parsed = got.and_then(|got| Some((serde_json::from_slice(&got.bytes).ok()?, got.digest)));
        Ok(parsed.and_then(|(manifest, digest)| Part::parse(&manifest, digest, layout)))
    }

    /// What all workers have noted. The first part states their number.
    pub async fn read_all(content: &dyn Content, tag: &str, layout: OciLayout) -> Result<Vec<Self>, OciError> {
        let Some(first) = Part::read(content, tag, 1, layout).await? else { return Ok(Vec::new()) };
        let numbers = 2..=first.partition.of();
        let others = stream::iter(numbers).map(|number| Part::read(content, tag, number, layout));
        let others: Vec<Option<Part>> = others.buffered(ASKED).try_collect().await?;
        Ok([first].into_iter().chain(others.into_iter().flatten()).collect())
    }

    pub(super) fn parse(manifest: &Manifest, digest: OciDigest, layout: OciLayout) -> Option<Self> {
        if manifest.artifact_type.as_deref() != Some(PART) {
            return None;
        }
        let partition = manifest.annotations.get(NUMBER)?.parse().ok()?;
        let mut files = BTreeMap::new();
        for layer in &manifest.layers {
            // A part without files has one layer, which is not a file.
            let Some(path) = layer.annotations.get(PATH) else { continue };
            let placed = placed(layer, path, layout).ok()?;
            files.insert(placed.file.path.clone(), placed);
        }
        let commit = manifest.annotations.get(COMMIT).and_then(|commit| commit.parse().ok());
        Some(Part { partition, commit, files, digest })
    }
}

impl Statement {
    /// What a worker notes about its part: its layers, but no config and no verdict, which belong to the whole.
    pub fn part(&self, layers: &[Layer<'_>], layout: OciLayout, partition: Partition, tag: &str) -> Manifest {
        let mut annotations = self.annotations();
        annotations.retain(|key, _| !Self::is_verdict(key));
        annotations.insert(NUMBER.to_owned(), partition.to_string());
        annotations.insert(TAG.to_owned(), tag.to_owned());
        let nothing = empty_config();
        let of = |layer: &Layer<'_>| match layout {
            OciLayout::Image => layer.of_image(),
            OciLayout::ModelPack => layer.of_model(self.repo.repo_type, "raw"),
        };
        let mut layers: Vec<Descriptor> = layers.iter().map(of).collect();
        if layers.is_empty() {
            layers.push(nothing.clone());
        }
        Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: Some(PART.to_owned()),
            config: nothing,
            layers,
            subject: None,
            annotations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{LockedFile, LockedRepo};
    use crate::model::{Hasher, Options, Purpose, RepoType};
    use crate::oci::Form;

    fn statement() -> Statement {
        let mut hasher = Hasher::sha256();
        hasher.update(&[7; 700]);
        let digest = hasher.finish().digest();
        Statement {
            repo: LockedRepo {
                repo_type: RepoType::Model,
                id: "org/one".parse().unwrap(),
                revision: "main".parse().unwrap(),
                commit: "103caa40027ebfd8450289ca2f278eac4ff26405".parse().unwrap(),
                options: Options::default(),
                files: vec![LockedFile { path: "w.bin".parse().unwrap(), size: 700, digest, xet_hash: None }],
            },
            family: None,
            license: None,
            source: None,
            verdict: "verified",
            against: Some("hub"),
        }
    }

    fn noted(layout: OciLayout) -> Manifest {
        let statement = statement();
        let file = &statement.repo.files[0];
        let digest = match (layout, file.digest) {
            (OciLayout::ModelPack, crate::model::Digest::Sha256(digest)) => OciDigest(digest),
            _ => OciDigest::of(b"a layer"),
        };
        let size = Form::new(layout, &file.path, file.size).unwrap().layer_size(file.size);
        let layers = [Layer { file, purpose: Purpose::Weights, digest, size }];
        statement.part(&layers, layout, Partition::new(3, 8).unwrap(), "v1")
    }

    fn read(manifest: &Manifest, layout: OciLayout) -> Option<Part> {
        Part::parse(manifest, OciDigest::of(b"x"), layout)
    }

    #[test]
    fn a_workers_note_reads_back_and_calls_nothing_verified() {
        for layout in [OciLayout::Image, OciLayout::ModelPack] {
            let manifest = noted(layout);
            let part = read(&manifest, layout).unwrap();
            assert_eq!(part.partition, Partition::new(3, 8).unwrap());
            assert_eq!(part.commit, Some(statement().repo.commit));
            assert_eq!(part.files["w.bin"].file.digest, statement().repo.files[0].digest);
            assert!(!manifest.annotations.keys().any(|key| Statement::is_verdict(key)));
            let none = statement().part(&[], layout, Partition::new(1, 2).unwrap(), "v1");
            assert_eq!(none.layers.len(), 1, "some registries refuse a manifest without a layer");
            assert!(read(&none, layout).unwrap().files.is_empty());
        }
    }

    #[test]
    fn an_inconsistent_note_is_ignored() {
        type Change = fn(&mut Manifest);
        let changes: [Change; 4] = [
            |m| m.artifact_type = None,
            |m| drop(m.annotations.insert(NUMBER.into(), "9/8".into())),
            |m| m.layers[0].size += 1,
            |m| drop(m.layers[0].annotations.insert(PATH.into(), "../x".into())),
        ];
        for change in changes {
            let mut manifest = noted(OciLayout::Image);
            change(&mut manifest);
            assert!(read(&manifest, OciLayout::Image).is_none());
        }
        assert!(read(&noted(OciLayout::Image), OciLayout::ModelPack).is_none(), "layers of another layout");
    }
}
