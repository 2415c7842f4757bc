//! Marks for names that loaders ask for and that a repo lacks, as `huggingface_hub` writes them: with a mark a loader
//! makes no request. [`PROBED`] has the names; the listing has the repo's files.

use std::collections::BTreeMap;
use std::path::Path;

use super::layout::Kind;
use super::within::Folder;
use super::{Store, StoreError, StoreErrorKind};
use crate::model::{Listing, RepoType};

/// Names at the root that transformers 5.24, sentence-transformers 6.2, PEFT 0.21 and timm 1.0.31 ask for and do not
/// need (measured by the marks that `huggingface_hub` wrote in each call on a fresh cache).
const PROBED: &[&str] = &[
    "adapter_config.json",
    "added_tokens.json",
    "audio_tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "model.safetensors",
    "model.safetensors.index.json",
    "modules.json",
    "preprocessor_config.json",
    "processor_config.json",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
    "vocab.txt",
];

/// The name that diffusers asks for beside the weights of a component.
const INDEX: &str = "diffusion_pytorch_model.safetensors.index.json";

/// The names that the listing lacks and loaders ask for.
fn absent(listing: &Listing) -> Vec<String> {
    let mut names: Vec<String> = PROBED.iter().map(|name| (*name).to_owned()).collect();
    for entry in &listing.entries {
        if entry.path.file_name() == "diffusion_pytorch_model.safetensors" && !entry.path.dir().is_empty() {
            names.push(format!("{}/{INDEX}", entry.path.dir()));
        }
    }
    names.retain(|name| listing.get(name).is_none());
    names
}

impl Store {
    /// Marks the names that a model's complete listing lacks. A mark hides a file of that name, so `listing` must be
    /// complete at its commit. Does nothing in a plain folder, or if an earlier run did it.
    pub(crate) fn mark_absent(&self, listing: &Listing) -> Result<(), StoreError> {
        let Kind::Cache(cache) = &self.layout.kind else { return Ok(()) };
        if listing.info.repo_type != RepoType::Model || !listing.rejected.is_empty() {
            return Ok(());
        }
        let marks = cache.below(".no_exist").join(listing.info.commit.to_string());
        let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let names = absent(listing);
        for (folder, name) in names.iter().map(|name| name.rsplit_once('/').unwrap_or(("", name))) {
            folders.entry(folder).or_default().push(name);
        }
        for (folder, names) in folders {
            match self.mark_in(&cache.root, &marks.join(folder), &names) {
                // A read-only cache needs no marks.
                Err(error) if matches!(error.kind(), StoreErrorKind::ReadOnly | StoreErrorKind::Permission) => break,
                done => done?,
            }
        }
        Ok(())
    }

    /// Makes the marks that a folder does not have yet.
    fn mark_in(&self, root: &Path, below: &Path, names: &[&str]) -> Result<(), StoreError> {
        let folder = Folder::make(root, below)?;
        let lacking = names.iter().filter(|name| folder.identity(name).is_none());
        lacking.copied().try_for_each(|name| folder.write(name, &self.layout.partial_folder()?, b"", false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, Entry, RepoInfo};

    #[test]
    fn only_names_that_the_listing_lacks_are_absent() {
        let digest = Digest::GitBlob("ce013625030ba8dba906f756967f9e9ca394464a".parse().unwrap());
        let entry = |path: &str| Entry::new(path.parse().unwrap(), 1, digest);
        let commit = "103caa40027ebfd8450289ca2f278eac4ff26405".parse().unwrap();
        let info = RepoInfo::new(RepoType::Model, "a/b".parse().unwrap(), "main".parse().unwrap(), commit);
        let entries = ["config.json", "tokenizer.json", "unet/diffusion_pytorch_model.safetensors"].map(entry).to_vec();
        let names = absent(&Listing::new(info, entries, Vec::new()));
        assert!(names.contains(&"adapter_config.json".to_owned()));
        assert!(names.contains(&format!("unet/{INDEX}")));
        assert!(!names.iter().any(|name| name == "config.json" || name == "tokenizer.json"));
    }
}
