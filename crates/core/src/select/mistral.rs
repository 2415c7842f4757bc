//! Mistral's own layout: `consolidated*.safetensors` with `params.json` and a tokenizer with the version
//! in its name (`vllm`'s load format "mistral").

use std::collections::BTreeMap;

use super::Reason;
use super::classify::has_ext;
use super::companions::mistral_tokenizer;
use super::names;
use super::picks::{Picks, Wish};
use super::sets::{Found, Query, Set};
use super::shards::shards;
use super::view::View;
use crate::finding::{Code, Finding, Remedy, Severity};
use crate::model::{Family, Purpose, RepoPath};

/// The set of this layout in one folder: the single file, the files that its index names, or all of its files.
pub(super) fn resolve(view: &View<'_>, query: Query<'_>) -> Found {
    if query.variant.is_some() {
        return Found::Absent;
    }
    let query = Query { nested: false, ..query };
    let set = |files| Found::Complete(Set::new(Family::Mistral, None, files, "Mistral's own layout"));
    if let Some(single) = view.find(query.dir, "consolidated.safetensors") {
        return set(vec![single.path.clone()]);
    }
    if let Some(index) = view.find(query.dir, "consolidated.safetensors.index.json") {
        return match shards(view, query, index) {
            Ok((files, notes)) => Found::Complete(Set::indexed(query, index, files, notes)),
            Err(why) => Found::Incomplete(vec![(index.path.clone(), why)]),
        };
    }
    let files: Vec<RepoPath> = view
        .files(query.dir)
        .iter()
        .map(|e| &e.path)
        .filter(|path| is_consolidated(path.file_name()))
        .cloned()
        .collect();
    let mut series: BTreeMap<(&str, u32), BTreeMap<u32, &RepoPath>> = BTreeMap::new();
    for path in &files {
        if let Some((prefix, (number, total))) = names::split_shard(names::stem(path.file_name())) {
            series.entry((prefix, total)).or_default().insert(number, path);
        }
    }
    for ((_, total), parts) in &series {
        if let Some((_, first)) = parts.first_key_value().filter(|_| !names::whole(parts, *total)) {
            let why = format!("there is no index, and only {} of {total} shards", parts.len());
            return Found::Incomplete(vec![((*first).clone(), why)]);
        }
    }
    if files.is_empty() { Found::Absent } else { set(files) }
}

fn is_consolidated(name: &str) -> bool {
    name.starts_with("consolidated") && has_ext(name, &["safetensors"])
}

/// Takes the other files of this layout if it was chosen or if nothing replaces them; otherwise notes that they belong
/// to it.
pub(super) fn beside(view: &View<'_>, wish: &Wish, dir: &str, set: &Set, picks: &mut Picks) {
    let chosen = set.family == Family::Mistral;
    let other_tokenizer = ["tokenizer.json", "tokenizer.model"].iter().any(|name| view.find(dir, name).is_some());
    let here = chosen || view.files(dir).iter().any(|e| e.path.file_name().starts_with("consolidated"));
    for entry in view.files(dir) {
        match entry.path.file_name() {
            "params.json" if chosen => picks.take(entry, Purpose::Config, "Mistral's configuration"),
            "params.json" if here => picks.leave(entry, Some(Family::Mistral), Reason::Family(Family::Mistral)),
            name if mistral_tokenizer(name) && (chosen || !other_tokenizer) => {
                picks.take(entry, Purpose::Tokenizer, "Mistral's tokenizer");
            }
            name if mistral_tokenizer(name) => {
                picks.leave(entry, Some(Family::Mistral), Reason::Family(Family::Mistral));
            }
            _ => {}
        }
    }
    let asked = wish.only.is_some() || wish.prefer == Some(Family::Mistral);
    if let Some(first) = set.files.first().filter(|_| chosen && !asked) {
        view.find_out(
            Finding::new(Code::FamilyFallback, first, "these weights are in Mistral's own layout, not transformers'")
                .severity(Severity::Note)
                .remedy(Remedy::UseMistralLoader),
        );
    }
}
