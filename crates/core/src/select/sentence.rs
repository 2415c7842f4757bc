//! sentence-transformers repos: `modules.json` and the folders it names.

use serde_json::Value;

use super::Reason;
use super::SelectError;
use super::choose::{Stems, choose};
use super::classes::{self, Weights};
use super::classify::classify;
use super::code::{Reference, reference};
use super::companions::companion;
use super::lacking;
use super::model::{self, MODEL};
use super::parts;
use super::picks::{Picks, Wish, weights_of};
use super::sets::Query;
use super::siblings;
use super::view::{CONFIG_LIMIT, View, inside};
use crate::finding::{Code, Finding, Severity};
use crate::model::{Family, Purpose, RepoPath};
use crate::text::{brief, printable};

/// The most module folders that are read.
const MOST_MODULES: usize = 200;

/// Selects the modules that `modules.json` names (`sentence_transformers/util/file_io.py`,
/// `models/Module.py`): the transformer by transformers' rules, the rest folder by folder.
pub(super) fn select(view: &View<'_>, wish: &Wish, modules: &Value, picks: &mut Picks) -> Result<bool, SelectError> {
    // A router may name folders of its own. Its settings are asked for by their name, before the router is known.
    for dir in view.dirs() {
        if let Some(entry) = view.find(dir, "router_config.json") {
            view.want(entry, CONFIG_LIMIT);
        }
    }
    let mut found: Vec<Module> = Vec::new();
    let mut references: Vec<Reference> = Vec::new();
    for module in modules.as_array().into_iter().flatten().take(MOST_MODULES) {
        let kind = module.get("type").and_then(Value::as_str).unwrap_or("");
        if let Some(path) = module.get("path").and_then(Value::as_str) {
            add(view, "modules.json", "", path, kind, &mut found);
        }
        if !kind.starts_with("sentence_transformers.") && !kind.starts_with("torch.") && !installed(view, kind) {
            references.extend(reference(kind, "modules.json"));
        }
    }
    let mut at = 0;
    while at < found.len() && found.len() <= MOST_MODULES {
        let dir = found[at].dir.clone();
        if let Some(router) = view.json(&dir, "router_config.json").here()
            && let Some(Value::Object(types)) = router.get("types")
        {
            for (path, kind) in types.iter().take(MOST_MODULES) {
                add(view, "router_config.json", &dir, path, kind.as_str().unwrap_or(""), &mut found);
            }
        }
        at += 1;
    }
    siblings::take_code(view, wish, "", &references, picks);

    let mut weights = false;
    for module in found.iter().filter(|module| !module.dir.is_empty()) {
        weights |= folder(view, wish, module, picks)?;
    }
    let root: Vec<Kind> = found.iter().filter(|module| module.dir.is_empty()).map(|module| module.kind).collect();
    if root.is_empty() {
        let config = view.json("", "config.json").here();
        siblings::companions(view, wish, "", config.as_ref(), picks);
        // Other formats of the whole model are at the root, for any modules.
        let other = wish.only.is_some_and(|only| !matches!(only, Family::Safetensors | Family::Bin));
        return if other { model::select(view, wish, "", picks) } else { Ok(weights) };
    }
    // The class determines what its folder needs; the usual rules would demand a config of every model.
    let own = Wish { module: true, ..wish.clone() };
    match model::select(view, &own, "", picks) {
        // The router's weights are in the folders that it chooses from.
        Err(_) if weights && root.iter().all(|kind| *kind == Kind::Router) => Ok(true),
        Err(error) => Err(error),
        Ok(taken) => {
            for module in found.iter().filter(|module| module.dir.is_empty() && taken) {
                lacking::module(view, "", &module.class);
            }
            parts::beside(view, wish, "", true, picks);
            Ok(weights | taken)
        }
    }
}

/// Whether a class belongs to an installed package, such as `pylate.models.Dense.Dense`: the repo has no file or folder
/// with the first name of its dotted path (`util/misc.py` `import_module_class`).
fn installed(view: &View<'_>, class: &str) -> bool {
    let Some((module, _)) = class.rsplit_once('.') else { return false };
    module
        .split_once('.')
        .is_some_and(|(package, _)| view.find("", &format!("{package}.py")).is_none() && !view.has_dir(package))
}

/// A module of the repo.
struct Module {
    /// Its folder; empty for the root.
    dir: String,
    kind: Kind,
    /// Whether its class has weights.
    weights: Weights,
    /// Its class, by `modules.json`.
    class: String,
}

/// The rules that decide which weights a module loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The transformer: of any family, with variants.
    Model,
    /// A class of the repo's own code: the transformer's rules, and the whole folder if they find nothing.
    Custom,
    /// A layer beside it (`Dense`, `LayerNorm`, `WordEmbeddings`): safetensors, otherwise bin, regardless of the wish
    /// for the transformer (`Module.load_torch_weights`).
    Layer,
    /// It has no weights, but names folders that have some.
    Router,
}

impl Kind {
    /// The kind of a class that `modules.json` names.
    fn of(class: &str) -> Self {
        let name = class.rsplit('.').next().unwrap_or(class);
        if matches!(name, "Router" | "Asym") {
            Kind::Router
        } else if !class.starts_with("sentence_transformers.") {
            Kind::Custom
        } else if name.contains("Transformer") || name == "CLIPModel" {
            Kind::Model
        } else {
            Kind::Layer
        }
    }
}

/// Adds the module that a document names by its folder, unless there is no such folder.
fn add(view: &View<'_>, by: &str, parent: &str, path: &str, class: &str, found: &mut Vec<Module>) {
    let kind = Kind::of(class);
    let weights = classes::of_module(class);
    let path = path.trim_end_matches('/');
    let dir = match (parent, path) {
        (_, "" | ".") => parent.to_owned(),
        (parent, path) => inside(parent, path),
    };
    if !dir.is_empty() {
        if let Err(error) = dir.parse::<RepoPath>() {
            view.find_out(Finding::new(Code::PathUnsafe, by, format!("it names a folder outside the repo: {error}")));
            return;
        }
        if !view.has_dir(&dir) {
            absent(view, by, &dir, class);
            return;
        }
    }
    if found.iter().all(|module| module.dir != dir) && found.len() <= MOST_MODULES {
        found.push(Module { dir, kind, weights, class: class.to_owned() });
    }
}

/// Adds the finding about a module whose folder is not in the repo.
fn absent(view: &View<'_>, by: &str, dir: &str, class: &str) {
    let message = format!("{by} names the module \"{}\", which is not in the repo", brief(dir));
    match classes::of_module(class) {
        Weights::Needed => {
            view.find_out(Finding::new(Code::FamilyIncomplete, by, message).severity(Severity::Error));
        }
        // Modules without state have an empty folder, which git does not keep.
        Weights::None if class.ends_with(".Normalize") => {}
        Weights::None => view.find_out(Finding::new(Code::CompanionMissing, by, message)),
        Weights::Unknown => {}
    }
}

/// Takes one module's folder: its weights in the usual order of families, and every small file. Returns
/// whether it has weights.
fn folder(view: &View<'_>, wish: &Wish, module: &Module, picks: &mut Picks) -> Result<bool, SelectError> {
    let dir = module.dir.as_str();
    let stems: Stems = |family| match family {
        Family::Bin => (&["pytorch_model"], &[]),
        _ => (&["model"], &[]),
    };
    let mut wish = wish.clone();
    if matches!(module.kind, Kind::Layer | Kind::Router) {
        wish.variant = None;
        wish.order.retain(|family| matches!(family, Family::Safetensors | Family::Bin));
        if wish.order.is_empty() {
            wish.only = None;
            wish.order = vec![Family::Safetensors, Family::Bin];
        }
        wish.prefer = wish.prefer.filter(|family| wish.order.contains(family));
    }
    let choice = choose(view, &wish, Query { any_name: false, ..MODEL }, dir, stems);
    let config = view.find(dir, "config.json").filter(|_| choice.set.as_ref().is_some_and(|s| s.index.is_some()));
    let tied = config.is_some() && view.json(dir, "config.json").here().is_some_and(|c| model::tied(&c));
    choice.report(view, dir, &wish);
    let own = module.kind == Kind::Custom && wish.only.is_none() && choice.broken.is_empty();
    if let Some(set) = &choice.set {
        picks.take_set(view, dir, set, tied);
    } else if own {
        for entry in view.tree(dir).filter(|entry| weights_of(view, entry).is_some()) {
            picks.take(entry, Purpose::Other, "part of a custom module; the whole folder is taken");
        }
    } else if view.needs().is_empty()
        && view.tree(dir).any(|entry| weights_of(view, entry).is_some())
        && let Some(error) = model::failure(view, &wish, dir, &choice)
    {
        return Err(in_folder(error, dir));
    }
    let bare = module.weights == Weights::Needed && choice.set.is_none() && view.needs().is_empty();
    if bare && !view.tree(dir).any(|entry| weights_of(view, entry).is_some()) {
        let message = format!("modules.json names the module \"{}\", but its folder has no weights", brief(dir));
        view.find_out(Finding::new(Code::FamilyIncomplete, "modules.json", message).severity(Severity::Error));
    }
    if choice.set.is_some() {
        lacking::module(view, dir, &module.class);
    }
    for entry in view.tree(dir) {
        let below = view.rel(&entry.path).and_then(|rel| rel.strip_prefix(dir)?.strip_prefix('/')).unwrap_or("");
        let class = classify(below);
        if let Some((purpose, reason)) = companion(entry.path.file_name()).filter(|_| !below.contains('/')) {
            picks.take(entry, purpose, reason);
        } else if class.family.is_none()
            && ![Reason::Training, Reason::Documentation, Reason::Script].contains(&class.reason)
        {
            picks.take(entry, Purpose::Pipeline, "part of a sentence-transformers module");
        }
    }
    Ok(choice.set.is_some())
}

/// The same error, with the module in its reason.
fn in_folder(error: SelectError, dir: &str) -> SelectError {
    let at = |why: String| {
        let why = if why.is_empty() { "it has weights of other families only".to_owned() } else { why };
        format!("the module {}: {why}", printable(dir))
    };
    match error {
        SelectError::FamilyAbsent { family, why, found, variants } => {
            SelectError::FamilyAbsent { family, why: at(why), found, variants }
        }
        SelectError::NothingSelectable { found, why, variants } => {
            SelectError::NothingSelectable { found, why: at(why), variants }
        }
        other => other,
    }
}
