//! The names of partial files: one name for all processes if locks separate writers, otherwise one for each process,
//! with the machine in it. Also which partials of dead processes a run may continue. `partial` has their content.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use super::within::Folder;
use super::{StoreError, journal};
use crate::model::{Digest, Hasher};

/// Partials of dead processes, by the digest of the file that they become.
pub(super) type Orphans = HashMap<Digest, Vec<Names>>;

/// The names of a partial and its journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub part: String,
    pub journal: String,
}

impl Names {
    /// The names of the partial for the process that holds the file's lock.
    pub fn shared(digest: &Digest) -> Self {
        Names { part: format!("{digest}.part"), journal: format!("{digest}.journal") }
    }

    /// The names of this process's own partial.
    pub fn own(digest: &Digest) -> Self {
        Self::of(digest, &format!("{}-{}-{}", machine(), boot(), std::process::id()))
    }

    fn of(digest: &Digest, writer: &str) -> Self {
        Names { part: format!("{digest}.{writer}.part"), journal: format!("{digest}.{writer}.journal") }
    }

    /// The partials in `folder` that dead processes of this machine have left, each with its digest.
    pub fn orphans(folder: &Folder) -> Orphans {
        let mut orphans = Orphans::new();
        for name in folder.names() {
            let Some((digest, writer)) = name.strip_suffix(".part").and_then(|name| name.split_once('.')) else {
                continue;
            };
            if let Ok(digest) = Digest::from_etag(digest)
                && is_dead(writer)
            {
                orphans.entry(digest).or_default().push(Self::of(&digest, writer));
            }
        }
        orphans
    }

    /// Gives a partial of a dead process these names. Its journal comes first: a partial without a journal is useless.
    pub fn take_over(&self, folder: &Folder, orphan: &Names) -> Result<(), StoreError> {
        folder.rename(&orphan.journal, &self.journal)?;
        folder.rename(&orphan.part, &self.part)
    }
}

/// The digest in the name of a partial, and whether a process that may be alive owns it.
pub(super) fn read_name(name: &str) -> Option<(Digest, bool)> {
    let (digest, writer) = name.split_once('.').map_or((name, ""), |(digest, writer)| (digest, writer));
    let digest = Digest::from_etag(digest).ok()?;
    Some((digest, !writer.is_empty() && !is_dead(writer)))
}

/// Whether the process that a partial is named after was on this machine and has ended.
fn is_dead(writer: &str) -> bool {
    let parts: Vec<&str> = writer.split('-').collect();
    let [host, then, process] = parts[..] else { return false };
    if host != machine() || host == NOWHERE {
        return false;
    }
    // Every process from before this boot has ended.
    if then != boot() {
        return true;
    }
    process.parse::<u32>().is_ok_and(|process| !Path::new("/proc").join(process.to_string()).exists())
        && Path::new("/proc/self").exists()
}

/// The machine's name if the system does not state one.
const NOWHERE: &str = "0";

/// A short name of this machine.
fn machine() -> &'static str {
    static MACHINE: OnceLock<String> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        if host.trim().is_empty() { NOWHERE.to_owned() } else { short(host.trim()) }
    })
}

/// A short name of this boot.
fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| short(journal::boot()))
}

fn short(text: &str) -> String {
    let mut hasher = Hasher::sha256();
    hasher.update(text.as_bytes());
    hasher.finish().digest().to_string().chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        "0".repeat(64).parse::<crate::model::Sha256>().map(Digest::Sha256).unwrap()
    }

    #[test]
    fn a_partial_of_a_process_that_has_ended_may_be_taken_over_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(dir.path(), Path::new("")).unwrap();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let name = |writer: String| format!("{}.{writer}.part", digest());
        let dead = name(format!("{}-{}-{}", machine(), boot(), ended.id()));
        let earlier = name(format!("{}-00000000-1", machine()));
        for alive in [
            name(format!("{}-{}-{}", machine(), boot(), std::process::id())),
            name(format!("ffffffff-{}-{}", boot(), ended.id())),
            name("x".into()),
            Names::shared(&digest()).part,
        ] {
            std::fs::write(dir.path().join(alive), "").unwrap();
        }
        for orphan in [&dead, &earlier] {
            std::fs::write(dir.path().join(orphan), "").unwrap();
        }
        let mut found: Vec<String> =
            Names::orphans(&folder)[&digest()].iter().map(|names| names.part.clone()).collect();
        let mut expected = vec![dead, earlier];
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_name_of_a_partial_says_whether_its_writer_may_be_alive() {
        let part = |names: Names| names.part.strip_suffix(".part").unwrap().to_owned();
        assert_eq!(read_name(&part(Names::shared(&digest()))), Some((digest(), false)));
        assert_eq!(read_name(&part(Names::own(&digest()))), Some((digest(), true)));
        assert_eq!(read_name("x"), None);
    }
}
