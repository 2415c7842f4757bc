//! Reads the small files for selection from the tag that a job will move, so that a second run fetches none of them.

use std::collections::BTreeMap;

use crate::model::{Entry, RepoPath};
use crate::oci::{Contents, ManifestName, OciError, whole};
use crate::session::documents::is_content;
use crate::session::{DestinationConfig, Error, Session};

impl Session {
    /// The small files of a job that the tag has already.
    pub(in crate::session) async fn tagged_documents(
        &self,
        wanted: &[&Entry],
    ) -> Result<BTreeMap<RepoPath, Option<Vec<u8>>>, Error> {
        let mut found = BTreeMap::new();
        let (Some(content), DestinationConfig::Oci(target)) = (&self.oci, &self.config.destination) else {
            return Ok(found);
        };
        let tag = ManifestName::Tag(target.content.reference().tag().to_owned());
        let contents = match Contents::read(&**content, &tag).await {
            // The job itself reports the error.
            Err(OciError::Invalid { .. } | OciError::WrongDigest { .. }) => None,
            other => other?,
        };
        let Some(contents) = contents else { return Ok(found) };
        for entry in wanted {
            let same =
                |placed: &&crate::oci::Placed| placed.file.digest == entry.digest() && placed.file.size == entry.size;
            let Some(placed) = contents.files.get(&entry.path).filter(same) else { continue };
            // An unreadable file is fetched.
            let range = placed.within(0..entry.size);
            if let Ok(text) = whole(&**content, &placed.layer, range).await
                && is_content(&text, entry)
            {
                found.insert(entry.path.clone(), Some(text.to_vec()));
            }
        }
        Ok(found)
    }
}
