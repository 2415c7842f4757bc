//! sentence-transformers repos: `modules.json` and the folders it names.

use serde_json::Value;

use super::choose::choose;
use super::classify::classify;
use super::code::{Reference, reference};
use super::model::{self, MODEL};
use super::picks::{Picks, Wish};
use super::sets::Query;
use super::view::{CONFIG_LIMIT, View};
use super::{Family, Purpose, SelectError};
use crate::repo::RepoPath;
use crate::report::{Code, Finding, Severity};
use crate::text::printable;

/// Module folders beyond this many are not looked at.
const MOST_MODULES: usize = 200;

/// Selects the modules that `modules.json` names (`sentence_transformers/util/file_io.py`,
/// `models/Module.py`): the transformer by transformers' rules, the rest folder by folder.
pub(super) fn select(view: &View<'_>, wish: &Wish, modules: &Value, picks: &mut Picks) -> Result<bool, SelectError> {
    // A router may name folders of its own; its settings can only be asked for by name beforehand.
    for dir in view.dirs() {
        if let Some(entry) = view.find(dir, "router_config.json") {
            view.want(entry, CONFIG_LIMIT);
        }
    }
    let mut dirs: Vec<String> = Vec::new();
    let mut references: Vec<Reference> = Vec::new();
    for module in modules.as_array().into_iter().flatten().take(MOST_MODULES) {
        if let Some(path) = module.get("path").and_then(Value::as_str) {
            add_dir(view, "modules.json", "", path, &mut dirs);
        }
        if let Some(kind) = module.get("type").and_then(Value::as_str)
            && !kind.starts_with("sentence_transformers.")
            && !kind.starts_with("torch.")
        {
            references.extend(reference(kind, "modules.json"));
        }
    }
    let mut at = 0;
    while at < dirs.len() && dirs.len() <= MOST_MODULES {
        let dir = dirs[at].clone();
        if let Some(router) = view.json(&dir, "router_config.json").here()
            && let Some(Value::Object(types)) = router.get("types")
        {
            for path in types.keys().take(MOST_MODULES) {
                add_dir(view, "router_config.json", &dir, path, &mut dirs);
            }
        }
        at += 1;
    }
    model::take_code(view, wish, "", &references, picks);

    let root_module = dirs.iter().any(String::is_empty);
    let mut weights = false;
    for dir in dirs.iter().filter(|d| !d.is_empty()) {
        weights |= module(view, wish, dir, picks);
    }
    if root_module {
        weights |= match model::select(view, wish, "", picks) {
            // A transformer at the root is what the repo is about; other root modules (a router) have no weights.
            Err(error) if !weights => return Err(error),
            Err(_) => false,
            Ok(found) => found,
        };
    } else {
        let config = view.json("", "config.json").here();
        model::companions(view, wish, "", config.as_ref(), picks);
    }
    Ok(weights)
}

fn add_dir(view: &View<'_>, by: &str, parent: &str, path: &str, dirs: &mut Vec<String>) {
    let path = path.trim_end_matches('/');
    let dir = match (parent, path) {
        (_, "" | ".") => parent.to_owned(),
        ("", path) => path.to_owned(),
        (parent, path) => format!("{parent}/{path}"),
    };
    if !dir.is_empty() {
        if let Err(error) = dir.parse::<RepoPath>() {
            view.find_out(Finding::new(Code::PathUnsafe, by, format!("it names a folder outside the repo: {error}")));
            return;
        }
        if !view.has_dir(&dir) {
            // Normalize and other modules without state have an empty folder, which git does not keep.
            return;
        }
    }
    if !dirs.contains(&dir) && dirs.len() <= MOST_MODULES {
        dirs.push(dir);
    }
}

/// Takes one module's folder: its weights by the usual order, every small file with them.
fn module(view: &View<'_>, wish: &Wish, dir: &str, picks: &mut Picks) -> bool {
    let stems: super::choose::Stems = |family| match family {
        Family::Bin => (&["pytorch_model"], &[]),
        _ => (&["model"], &[]),
    };
    let choice = choose(view, wish, Query { any_name: false, ..MODEL }, dir, stems);
    let config = view.find(dir, "config.json").filter(|_| choice.set.as_ref().is_some_and(|s| s.index.is_some()));
    let tied = config.is_some() && view.json(dir, "config.json").here().is_some_and(|c| model::tied(&c));
    choice.report(view, dir, wish);
    if let Some(set) = &choice.set {
        picks.take_set(view, dir, set, tied);
    } else if !choice.broken.is_empty() {
        view.find_out(
            Finding::repo(Code::WeightsAbsent, format!("the module {} has no complete weights", printable(dir)))
                .severity(Severity::Error),
        );
    }
    for entry in view.tree(dir) {
        let below = view.rel(&entry.path).and_then(|rel| rel.strip_prefix(dir)?.strip_prefix('/')).unwrap_or("");
        let class = classify(below);
        if let Some((purpose, reason)) =
            super::companions::companion(entry.path.file_name()).filter(|_| !below.contains('/'))
        {
            picks.take(entry, purpose, reason);
        } else if class.family.is_none()
            && ![super::classify::TRAINING, super::classify::DOCUMENTATION, super::classify::CODE]
                .contains(&class.reason.as_str())
        {
            picks.take(entry, Purpose::Pipeline, "part of a sentence-transformers module");
        }
    }
    choice.set.is_some()
}
