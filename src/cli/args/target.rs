//! Flags that name a destination other than a disk of this machine: an object store, a registry or an image layout.

use clap::{Args, ValueHint};
use hfget_core::session::{DestinationConfig, OciLayout, OciTarget};
use hfget_core::unstable::model::OciReference;

use super::values::{Place, Template, layout, oci, place};

/// A destination that is not a disk.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where")]
pub struct Target {
    /// Fill an object store, a registry or an OCI archive: s3://, gs://, az://, oci://, oci-archive:, oci:
    ///
    /// Into s3://BUCKET/PREFIX (gs://, az://) or oci://REGISTRY/NAME:TAG without a local copy; a file gets its name
    /// after its digest matched, and a tag moves after everything is verified. oci-archive:FILE.tar and oci:FOLDER are
    /// OCI image layouts, for machines without a network. Credentials come from the environment (AWS_ACCESS_KEY_ID and
    /// so on), and for registries from the files of docker login and podman login. A tag is for one repo: for several,
    /// write {owner} and {name} into NAME.
    #[arg(long, hide_short_help = true, value_name = "URL", value_parser = place, conflicts_with_all = ["local_dir", "cache_dir", "offline", "prefer_offline"], value_hint = ValueHint::Url)]
    pub to: Option<Place>,
    /// How to store files in a registry: image or modelpack [default: image]
    ///
    /// image: one tar layer a file, below /models. containerd and CRI-O mount it as an image volume; KServe's oci+native:// takes it,
    /// and its oci:// with a --base. The same layers are a ModelPack artifact at TAG-modelpack. modelpack: raw layers, for CRI-O and
    /// ModelPack clients; a layer that the registry has already is not pushed. containerd mounts raw layers as an empty
    /// folder, without an error.
    #[arg(long, hide_short_help = true, value_name = "LAYOUT", requires = "to", value_parser = layout(), hide_possible_values = true)]
    pub layout: Option<OciLayout>,
    /// Put the layers of this image first: KServe's oci:// needs a shell beside the files
    ///
    /// An image with sh, ln, sleep and ls, as oci://REGISTRY/NAME:TAG, oci-archive:FILE.tar or oci:FOLDER. Of an image
    /// for several platforms, hfget takes linux/amd64; name another by its digest.
    #[arg(long, hide_short_help = true, value_name = "IMAGE", requires = "to", value_parser = oci, value_hint = ValueHint::Url)]
    pub base: Option<OciReference>,
}

impl Target {
    pub fn destination(&self) -> Option<DestinationConfig> {
        Some(match self.to.clone()? {
            #[cfg(feature = "object-store")]
            Place::Store(url) => DestinationConfig::Objects(super::super::setup::store_config(url)),
            Place::Oci(reference) => self.content(reference),
            // The place is known only with the repos.
            Place::Each(_) => return None,
        })
    }

    /// How to fill OCI content.
    pub fn content(&self, reference: OciReference) -> DestinationConfig {
        let mut target = OciTarget::new(super::super::setup::oci_config(reference));
        target.layout = self.layout.unwrap_or_default();
        target.base = self.base.clone().map(super::super::setup::oci_config);
        DestinationConfig::Oci(Box::new(target))
    }

    /// The name of the tag, if all goes to one tag.
    pub fn tag(&self) -> Option<&OciReference> {
        match &self.to {
            Some(Place::Oci(reference)) => Some(reference),
            _ => None,
        }
    }

    /// The places, if each repo has a tag of its own.
    pub fn each(&self) -> Option<&Template> {
        match &self.to {
            Some(Place::Each(template)) => Some(template),
            _ => None,
        }
    }

    /// The name, for people, of an image layout on a disk. Only one run fills it.
    pub fn on_disk(&self) -> Option<String> {
        match &self.to {
            Some(Place::Oci(reference)) if reference.path().is_some() => Some(reference.to_string()),
            Some(Place::Each(template)) if !template.is_registry() => Some(template.text().to_owned()),
            _ => None,
        }
    }

    /// Flags that contradict each other: one of them, and a sentence.
    pub fn complaint(&self) -> Option<(&'static str, String)> {
        let is_image = self.layout.unwrap_or_default() == OciLayout::Image;
        let flag = if self.base.is_some() { "--base" } else { "--layout" };
        let is_oci = self.tag().is_some() || self.each().is_some();
        match self.tag() {
            None if !is_oci && (self.base.is_some() || self.layout.is_some()) => {
                Some((flag, "it is for registries, but --to names an object store".to_owned()))
            }
            _ if is_oci && self.base.is_some() && !is_image => {
                Some(("--base", "a base is for --layout image: a ModelPack artifact has no other layers".to_owned()))
            }
            Some(to) if to.digest().is_some() => {
                Some(("--to", "a digest names existing content: name a tag".to_owned()))
            }
            _ => None,
        }
    }
}
