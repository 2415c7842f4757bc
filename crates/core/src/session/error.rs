//! Everything that can end a job without a report, with its exit code and advice.

use std::path::PathBuf;

use crate::fetch::FetchError;
use crate::finding::ExitCode;
use crate::hub::HubError;
use crate::model::{Location, RepoPath};
use crate::select::SelectError;
use crate::store::StoreError;
use crate::text::{bytes, choices, few};

/// Why a job could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The Hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The Hub is away, and everything that is asked for is here.
    #[error("{source}")]
    Away {
        /// What became of the request.
        source: Box<HubError>,
        /// Since when all of it is here.
        since: String,
    },
    /// The transfer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// This machine's disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to choose.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The object store.
    #[cfg(feature = "object-store")]
    #[error(transparent)]
    Objects(#[from] crate::objects::ObjectError),
    /// Of the whole repo no file is wanted: to call that verified would help nobody.
    #[error("{repo}: {why}")]
    NothingSelected {
        /// The repo.
        repo: String,
        /// Why there is nothing.
        why: String,
        /// What can be done about it.
        hint: Option<String>,
    },
    /// What is to be fetched does not fit.
    #[error("{} are to be fetched, and only {} are free at {}", bytes(*.needed), bytes(*.free), .place.display())]
    NoSpace {
        /// Bytes to be fetched.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// Where.
        place: PathBuf,
    },
    /// A plain folder holds files of something else.
    #[error("{} holds {holds}, not {wanted}: the two must not mix, so nothing was fetched", .dir.display())]
    OtherFiles {
        /// The folder.
        dir: PathBuf,
        /// What is noted there.
        holds: String,
        /// What was asked for.
        wanted: String,
    },
    /// Nobody here knows what the repo holds as a whole, so a selection of it cannot be fixed.
    #[error("{repo}: its listing is not here, so nobody can tell whether its files are all there")]
    ListingUnknown {
        /// The repo.
        repo: String,
    },
    /// What a lockfile names was never fetched here.
    #[error("{repo} as it is locked ({commit}) is not in {place}")]
    LockedNotHere {
        /// The repo.
        repo: String,
        /// The locked commit.
        commit: String,
        /// Where it was looked for.
        place: Location,
    },
    /// The revision was never fetched, and it is not to be fetched now.
    #[error("{repo}@{revision} is not in {place}")]
    NotCached {
        /// The repo.
        repo: String,
        /// The revision.
        revision: String,
        /// Where it was looked for.
        place: Location,
    },
    /// A small file that selection depends on could not be had right.
    #[error("{}: {why}", .path.shown())]
    Document {
        /// Which.
        path: RepoPath,
        /// Why not.
        why: String,
    },
    /// There is nothing to inspect.
    #[error("{} contains no weight files in a supported format", crate::text::printable(.place))]
    NoWeights {
        /// The file, folder or repo.
        place: String,
    },
    /// A folder cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
}

impl Error {
    /// How the process should end on its account.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Error::Hub(error) => error.exit_code(),
            Error::Away { source, .. } => source.exit_code(),
            Error::Fetch(error) => error.exit_code(),
            #[cfg(feature = "object-store")]
            Error::Objects(error) => error.exit_code(),
            Error::Store(_) | Error::NoSpace { .. } | Error::OtherFiles { .. } => ExitCode::Local,
            Error::Select(SelectError::BadGlob { .. }) => ExitCode::Usage,
            Error::Select(_)
            | Error::NothingSelected { .. }
            | Error::NotCached { .. }
            | Error::LockedNotHere { .. }
            | Error::ListingUnknown { .. }
            | Error::Folder { .. }
            | Error::NoWeights { .. } => ExitCode::NotAvailable,
            Error::Document { .. } => ExitCode::VerificationFailed,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Hub(error) => error.hint(),
            Error::Away { source, since } => {
                let here = format!("everything is here, as of {since}: --offline uses it");
                Some(source.hint().map_or(here.clone(), |hint| format!("{here}; {hint}")))
            }
            Error::Fetch(error) => error.hint(),
            #[cfg(feature = "object-store")]
            Error::Objects(error) => error.hint(),
            Error::Store(error) => error.hint(),
            Error::Select(error) => select_hint(error),
            Error::NothingSelected { hint, .. } => hint.clone(),
            Error::NoSpace { .. } => {
                Some("free some space, or choose another place with --cache-dir or --local-dir; --no-space-check tries all the same".into())
            }
            Error::OtherFiles { .. } => Some(
                "name another folder with --local-dir, or use --force: it takes the new files whatever is there".into(),
            ),
            Error::NotCached { repo, revision, .. } => {
                let revision = if revision == "main" { String::new() } else { format!("@{revision}") };
                Some(format!("`hfget {repo}{revision}`, without --offline, fetches it"))
            }
            Error::ListingUnknown { repo } => Some(format!("`hfget lock {repo}`, without --offline, asks the Hub")),
            Error::LockedNotHere { .. } => Some("`hfget --locked` fetches it".into()),
            Error::Document { .. } => Some("the server sends other bytes than it lists: try another --endpoint".into()),
            Error::NoWeights { .. } => {
                Some("safetensors, torch, gguf, onnx, TensorFlow, HDF5 and Flax files are read".into())
            }
            Error::Folder { .. } => Some("name a repo, or a file or folder that exists and may be read".into()),
        }
    }
}

/// Some choices, each with its size.
fn sized(choices: &[(String, u64)], most: usize) -> String {
    let all: Vec<String> = choices.iter().map(|(name, size)| format!("{name} ({})", bytes(*size))).collect();
    few(&all, most)
}

fn select_hint(error: &SelectError) -> Option<String> {
    const SHOWN: usize = 20;
    let list = |found: &[(crate::model::Family, u64)]| {
        found.iter().map(|(family, size)| format!("{family} ({})", bytes(*size))).collect::<Vec<_>>().join(", ")
    };
    match error {
        SelectError::FamilyAbsent { found, .. } if !found.is_empty() => {
            Some(format!("the repo has {}; --prefer falls back by itself", list(found)))
        }
        SelectError::NothingSelectable { found, .. } if !found.is_empty() => {
            Some(format!("the repo has {}; take files with --include GLOB, or everything with --all", list(found)))
        }
        SelectError::VariantAbsent { families, .. } if !families.is_empty() => {
            let names: Vec<&str> = families.iter().map(|family| family.as_str()).collect();
            Some(format!("the {} weights have it: add --only {}", names.join(" and "), names.join(" or --only ")))
        }
        SelectError::VariantAbsent { variant, found, .. } if !found.is_empty() => Some(choices(variant, found)),
        SelectError::VariantAbsent { .. } => Some("its weights have no variants: leave out --variant".into()),
        SelectError::Ambiguous { choices } => {
            Some(format!("name one with --subfolder, or take everything with --all: {}", sized(choices, SHOWN)))
        }
        SelectError::Several { choices, how, .. } => {
            Some(format!("{how}, or take everything with --all: {}", sized(choices, SHOWN)))
        }
        SelectError::BadGlob { .. } => Some("'*' and '?' match anything, '[abc]' a set; quote the pattern".into()),
        SelectError::SubfolderAbsent { folder, found } if !found.is_empty() => Some(choices(folder.as_str(), found)),
        SelectError::DocumentsTooLarge { .. } => {
            Some("take single files with --include, or leave out with --exclude".into())
        }
        SelectError::NoMatch { near, .. } if !near.is_empty() => Some(format!("did you mean {}?", few(near, 3))),
        SelectError::NoMatch { .. } | SelectError::SubfolderAbsent { .. } => {
            Some("`hfget plan -v` shows the repo's files".into())
        }
        _ => None,
    }
}
