//! The shards that an index names: whether they are in the repo, and whether their names are valid.

use super::classify::has_ext;
use super::names::extension;
use super::sets::Query;
use super::view::{Doc, View};
use crate::finding::{Code, Finding, Severity};
use crate::model::{Entry, Family, INDEX_LIMIT, RepoPath};
use crate::text::brief;

/// The shards of an index that are in the repo; an error if the file is not an index.
pub(super) fn shards_here(view: &View<'_>, index: &Entry) -> Result<Vec<RepoPath>, String> {
    let Some(entry) = view.listing().get(index.path.as_str()) else { return Ok(Vec::new()) };
    let Doc::Here(bytes) = view.quietly(|| view.bytes(entry, INDEX_LIMIT)) else { return Ok(Vec::new()) };
    let parsed = view.parse(entry, bytes).map_err(|e| e.to_string())?;
    let here = |name: &&str| view.listing().get(RepoPath::join(index.path.dir(), name).ok()?.as_str());
    Ok(parsed.shards().iter().filter_map(|name| Some(here(name)?.path.clone())).collect())
}

/// Whether a file is an index and the repo has none of its shards. Then it was copied from another repo, as
/// exllamav2 does with every file without tensors (`conversion/compile.py:250`).
pub(super) fn stale(view: &View<'_>, index: &RepoPath) -> bool {
    let Some(entry) = view.listing().get(index.as_str()).filter(|e| e.size <= INDEX_LIMIT) else { return false };
    let parsed = view.quietly(|| view.bytes(entry, INDEX_LIMIT)).here().is_some_and(|b| view.parse(entry, b).is_ok());
    parsed && shards_here(view, entry).is_ok_and(|here| here.is_empty())
}

/// The shards that an index names, if all of them are in the repo and valid.
pub(super) fn shards(
    view: &View<'_>,
    query: Query<'_>,
    index: &Entry,
) -> Result<(Vec<RepoPath>, Vec<Finding>), String> {
    // The listing outlives the borrow of `index` only through the view.
    let Some(entry) = view.listing().get(index.path.as_str()) else { return Err("it is not in the listing".into()) };
    if entry.size > INDEX_LIMIT {
        return Err(format!("the index has {} and was not read", crate::text::bytes(entry.size)));
    }
    let bytes = match view.quietly(|| view.bytes(entry, INDEX_LIMIT)) {
        Doc::Pending => return Ok((Vec::new(), Vec::new())),
        Doc::Absent => return Err("the index is not available".to_owned()),
        Doc::Here(bytes) => bytes,
    };
    let parsed = view.parse(entry, bytes).map_err(|e| format!("the index is not usable: {e}"))?;
    let dir = index.path.dir();
    let names = parsed.shards();
    let mut files = Vec::with_capacity(names.len());
    let mut missing: Vec<&str> = Vec::new();
    for &name in &names {
        let path = RepoPath::join(dir, name).map_err(|error| {
            view.find_out(Finding::new(
                Code::PathUnsafe,
                &index.path,
                format!("it names a shard outside the repo: {error}"),
            ));
            format!("it names an unsafe path: {error}")
        })?;
        if !query.nested && name.contains('/') {
            return Err(format!("it names \"{}\" in another folder, which diffusers refuses", brief(name)));
        }
        let fits = if query.family == Family::Bin {
            !name.ends_with(".safetensors") && has_ext(name, &["bin", "pt", "pth", "ckpt"])
        } else {
            has_ext(name, &[extension(query.family)])
        };
        if !fits {
            return Err(format!("it names \"{}\", which is not a {} file", brief(name), extension(query.family)));
        }
        match view.listing().get(path.as_str()) {
            Some(entry) => files.push(entry.path.clone()),
            None => missing.push(name),
        }
    }
    if let Some(first) = missing.first() {
        return Err(format!(
            "it names {} shards, of which {} are not in the repo (such as \"{}\")",
            names.len(),
            missing.len(),
            brief(first)
        ));
    }
    let mut notes = Vec::new();
    if !parsed.has_metadata {
        notes.push(
            Finding::new(
                Code::IndexInvalid,
                &index.path,
                "it has no \"metadata\", which transformers and diffusers read",
            )
            .severity(Severity::Warning),
        );
    }
    files.sort();
    files.dedup();
    Ok((files, notes))
}
