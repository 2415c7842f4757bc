//! The tensors of weights in a file, a folder, a cached repo, or a repo on the Hub, of which only
//! headers are fetched. Only the headers are checked, no digest.

use crate::model::Options;
use std::path::{Path, PathBuf};

use hfget_formats::registry::{self, Format};

use super::{Error, Session};
use crate::finding::{Finding, Severity};
use crate::model::{Family, Purpose, RepoPath, RepoSpec};
use crate::select;
use crate::verify::{self, TensorTable};

/// The most files of one folder that are read.
const FILES_LIMIT: usize = 100_000;
/// Levels of folders in folders.
const DEPTH_LIMIT: usize = 32;

/// The tensors of one file.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// Its name in the repo or folder.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its tensors; `None` if they could not be read, or if the format has no table that is read here.
    pub table: Option<TensorTable>,
    /// Its findings.
    pub findings: Vec<Finding>,
}

impl Inspected {
    /// Whether something about the file is an error.
    pub fn is_wrong(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }
}

/// The family whose reader fits a name, if the name alone determines it.
fn family_of(name: &str) -> Option<Family> {
    Some(match registry::by_name(name)? {
        Format::Safetensors => Family::Safetensors,
        Format::Torch if name.to_ascii_lowercase().ends_with(".bin") => Family::Bin,
        Format::Torch => Family::Pt,
        Format::Gguf => Family::Gguf,
        Format::Onnx => Family::Onnx,
        Format::Hdf5 => Family::Tf,
        Format::TfCheckpoint => Family::TfCheckpoint,
        Format::Flax => Family::Flax,
        _ => return None,
    })
}

/// Reads the tensors of a local file, or of every weight file in a folder. Blocks.
///
/// # Errors
/// If the place cannot be read or has no weights.
pub fn inspect_path(place: &Path) -> Result<Vec<Inspected>, Error> {
    let fail = |source| Error::Folder { path: place.to_path_buf(), source };
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    if std::fs::metadata(place).map_err(fail)?.is_dir() {
        walk(place, "", 0, &mut files).map_err(fail)?;
        files.sort();
    } else {
        files.push((place.to_path_buf(), place.file_name().unwrap_or_default().to_string_lossy().into_owned()));
    }
    let mut inspected = Vec::new();
    for (local, path) in files {
        inspected.extend(inspect_file(&local, path));
    }
    if inspected.is_empty() { Err(Error::NoWeights { place: place.display().to_string() }) } else { Ok(inspected) }
}

/// Reads one file; `None` if no format claims its name. A `.bin` of an unknown format is listed without a table.
fn inspect_file(local: &Path, path: String) -> Option<Inspected> {
    registry::by_name(&path)?;
    let size = std::fs::metadata(local).map_or(0, |meta| meta.len());
    let (table, findings) = verify::table_by_bytes(local, &path);
    Some(Inspected { path, size, table, findings })
}

fn walk(dir: &Path, prefix: &str, depth: usize, files: &mut Vec<(PathBuf, String)>) -> std::io::Result<()> {
    for item in std::fs::read_dir(dir)? {
        let item = item?;
        let name = item.file_name().to_string_lossy().into_owned();
        let text = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if item.file_type()?.is_dir() {
            if depth < DEPTH_LIMIT && !matches!(name.as_str(), ".git" | ".cache") {
                walk(&item.path(), &text, depth + 1, files)?;
            }
        } else if family_of(&name).is_some() && std::fs::metadata(item.path()).is_ok_and(|m| m.is_file()) {
            files.push((item.path(), text));
        }
        if files.len() > FILES_LIMIT {
            return Err(std::io::Error::other(format!("it has more than {FILES_LIMIT} weight files")));
        }
    }
    Ok(())
}

#[doc(hidden)] // for the command
impl Session {
    /// Reads the tensors of the weights that `options` select, or of the one file that `spec` names:
    /// from disk if they are there, otherwise by range requests. Fetches no weights.
    pub async fn inspect(&self, spec: &RepoSpec, options: &Options) -> Result<Vec<Inspected>, Error> {
        let one = spec.path.as_ref().map(|p| p.as_str().to_owned());
        let prepared = match self.plan(spec, options).await {
            // A repo of other formats is read file by file.
            Err(Error::Select(
                select::SelectError::NothingSelectable { .. }
                | select::SelectError::Several { .. }
                | select::SelectError::Ambiguous { .. },
            )) => self.plan(spec, &Options { all: true, ..options.clone() }).await?,
            other => other?,
        };
        let mut wanted: Vec<(RepoPath, Family)> = Vec::new();
        let of_set = |path: &RepoPath| prepared.selection.weights.iter().find(|s| s.files.contains(path));
        for file in &prepared.selection.files {
            let family = of_set(&file.path).map(|set| set.family).or_else(|| {
                let other = matches!(file.purpose, Purpose::Other | Purpose::Weights);
                family_of(file.path.file_name()).filter(|_| other)
            });
            let named =
                one.as_ref().is_none_or(|one| prepared.listing.get(one).is_none_or(|entry| entry.path == file.path));
            // TensorFlow's shards and folders have no table of their own.
            let read = |family: &Family| match family {
                Family::TfCheckpoint | Family::SavedModel => verify::has_table(&file.path, *family),
                _ => true,
            };
            if let Some(family) = family.filter(read).filter(|_| named) {
                wanted.push((file.path.clone(), family));
            }
        }
        let places = self.places(&prepared);
        let mut inspected = Vec::new();
        for (path, family) in wanted {
            let fail = |why: String| Error::Document { path: path.clone(), why };
            let place = places.of(&path).ok_or_else(|| fail("it cannot be opened".into()))?;
            if self.config.offline && place.is_remote() {
                return Err(self.not_cached(spec));
            }
            let (name, length) = (path.clone(), place.size());
            let read = tokio::task::spawn_blocking(move || {
                let mut source = place.open()?;
                let read = verify::table_of(&mut source, length, &name, family);
                std::io::Result::Ok((read, source.error))
            });
            let read = read.await.map_err(|e| fail(e.to_string()))?;
            let ((table, findings), error) = read.map_err(|e| fail(format!("it cannot be opened: {e}")))?;
            if let Some(error) = error {
                return Err(Error::Hub(error));
            }
            inspected.push(Inspected { path: path.as_str().to_owned(), size: length, table, findings });
        }
        if inspected.is_empty() {
            Err(Error::NoWeights { place: spec.repo_type.qualify(&spec.id) })
        } else {
            Ok(inspected)
        }
    }
}
