//! Runs the readers of registries' documents and of docker's credential files on arbitrary bytes, for fuzzing. No run
//! uses this file.

use std::ops::Range;

use super::contents::{Contents, parse_index};
use super::layout::{Base, OciLayout};
use super::manifest::Manifest;
use super::part::Part;
use super::{Placed, registry};
use crate::model::{OciDigest, RepoPath};

/// The readers' results.
#[doc(hidden)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readings {
    /// What is inconsistent, one sentence each.
    pub complaints: Vec<String>,
    /// Files, the place of each in its layer, and the layer's bytes.
    pub files: Vec<(RepoPath, Range<u64>, u64)>,
}

/// Reads bytes as each of the documents.
#[doc(hidden)]
#[must_use]
pub fn any_bytes(bytes: &[u8]) -> Readings {
    let mut readings = Readings::default();
    readings.complaints.extend(parse_index(bytes).err());
    readings.complaints.extend(registry::read_logins(bytes).err());
    let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) else { return readings };
    let digest = OciDigest::of(bytes);
    for layout in [OciLayout::Image, OciLayout::ModelPack] {
        let part = Part::parse(&manifest, digest, layout);
        readings.add(part.iter().flat_map(|part| part.files.values()));
    }
    readings.complaints.extend(Base::read(&manifest, bytes).err());
    match Contents::parse(manifest, digest, bytes.len() as u64) {
        Ok(contents) => readings.add(contents.files.values()),
        Err(why) => readings.complaints.push(why),
    }
    readings
}

impl Readings {
    fn add<'a>(&mut self, placed: impl Iterator<Item = &'a Placed>) {
        let of = |placed: &Placed| (placed.file.path.clone(), placed.within(0..placed.file.size), placed.layer_size());
        self.files.extend(placed.map(of));
    }
}
