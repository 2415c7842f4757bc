//! Diffusers pipelines: the components that `model_index.json` names, one family for all of them,
//! variants per component.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Reason;
use super::SelectError;
use super::classes::{self, Weights};
use super::classify::{classify, has_ext};
use super::code::{self, Reference};
use super::components::{query, weights};
use super::lacking;
use super::names;
use super::picks::{Picks, Wish, weights_of};
use super::sets::want_indexes;
use super::siblings;
use super::view::{CONFIG_LIMIT, Doc, View};
use crate::finding::{Code, Finding, Remedy, Severity};
use crate::model::{Entry, Purpose, RepoId, RepoPath};
use crate::text::brief;

/// The most components that are read.
const MOST_COMPONENTS: usize = 200;

/// A component of the pipeline.
pub(super) struct Component {
    /// Its folder; empty for the root of a flat repo.
    pub dir: String,
    /// The library that loads it, by `model_index.json`: `diffusers`, `transformers` or a module's name.
    pub library: String,
    /// Its class, by `model_index.json`; empty if that names none.
    pub class: String,
    /// Whether the pipeline needs it to load. The root's weights are optional if every component has a folder.
    pub needed: bool,
}

/// A component's entry in the index.
struct Part<'i> {
    name: &'i str,
    library: &'i str,
    class: &'i str,
}

/// Asks for the indexes that components of any name may have: this saves a round.
pub(super) fn want_likely(view: &View<'_>, wish: &Wish) {
    for dir in view.dirs().filter(|d| !d.contains('/')) {
        if let Some(&family) = wish.order.first() {
            want_indexes(view, query(dir, "", family, wish.variant.as_deref()));
            if wish.variant.is_some() {
                want_indexes(view, query(dir, "", family, None));
            }
        }
    }
}

/// Selects the pipeline (`DiffusionPipeline.download`, `pipeline_loading_utils.py`).
pub(super) fn select(
    view: &View<'_>,
    wish: &Wish,
    index: &Value,
    by: &str,
    picks: &mut Picks,
) -> Result<bool, SelectError> {
    picks.pipeline = true;
    let ignored: BTreeSet<&str> =
        index.get("_ignore_files").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let (weighty, plain, missing) = components(view, index, by, picks);
    root_files(view, wish, index, picks);
    for part in &plain {
        whole_folder(view, wish, part.name, part.library, picks);
    }
    let mut weighty = weighty;
    // The root's weights belong to a component only if a component has no folder, or if they have diffusers' own name.
    let rooted = weighty.is_empty() || missing.iter().any(|part| classes::of_pipeline(part.class) != Weights::None);
    let of = |e: &&Entry| names::parse(e.path.file_name()).is_some_and(|n| rooted || n.stem.starts_with("diffusion"));
    let flat = view.files("").iter().any(of);
    if flat {
        weighty.push(Component {
            dir: String::new(),
            library: if rooted { "transformers" } else { "diffusers" }.to_owned(),
            class: String::new(),
            needed: !missing.is_empty() || weighty.is_empty(),
        });
    } else if view.needs().is_empty() {
        for part in &missing {
            absent(view, by, part);
        }
    }
    for part in plain.iter().filter(|part| classes::of_pipeline(part.class) == Weights::Needed) {
        if !view.tree(part.name).any(|entry| weights_of(view, entry).is_some()) {
            let message = format!("{by} names the component \"{}\", but its folder has no weights", brief(part.name));
            view.find_out(Finding::new(Code::FamilyIncomplete, by, message).severity(Severity::Error));
        }
    }
    for part in plain.iter().filter(|part| classes::of_pipeline(part.class) != Weights::Needed) {
        lacking::component(view, by, part.name, part.class);
    }
    let taken = weights(view, wish, &weighty, picks)?;
    for component in weighty.iter().filter(|c| !c.dir.is_empty()) {
        lacking::component(view, by, &component.dir, &component.class);
    }
    for component in weighty.iter().filter(|c| !c.dir.is_empty()) {
        weight_folder(view, wish, component, picks);
    }
    if taken && picks.weights.iter().any(|set| set.scope == view.scope("")) {
        let config = view.json("", "config.json").here();
        siblings::companions(view, wish, "", config.as_ref(), picks);
    }
    for name in ignored {
        if let Some(entry) = view.find("", name) {
            picks.drop(entry, Reason::NotInPipeline);
        }
    }
    Ok(taken)
}

/// Splits the components that the index names into folders with weights, folders without, and absent ones.
fn components<'i>(
    view: &View<'_>,
    index: &'i Value,
    by: &str,
    picks: &mut Picks,
) -> (Vec<Component>, Vec<Part<'i>>, Vec<Part<'i>>) {
    let (mut weighty, mut plain, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    let lists = index.as_object().into_iter().flatten().filter_map(|(k, v)| Some((k.as_str(), v.as_array()?)));
    for (name, value) in lists.filter(|(name, _)| !name.starts_with('_')).take(MOST_COMPONENTS) {
        let library = value.first().and_then(Value::as_str).unwrap_or("");
        let part = Part { name, library, class: value.get(1).and_then(Value::as_str).unwrap_or("") };
        elsewhere(view, value, by, picks);
        match name.parse::<RepoPath>() {
            Err(error) => {
                view.find_out(Finding::new(
                    Code::PathUnsafe,
                    by,
                    format!("it names a component outside the repo: {error}"),
                ));
            }
            Ok(_) if name.contains('/') => {}
            Ok(_) if only_documentation(view, name) => {
                // A component that comes from another repo is not missing here.
                if value.iter().any(Value::is_string) && repo_of(value).is_none() {
                    missing.push(part);
                }
            }
            Ok(_) if view.files(name).iter().any(|e| has_weights(e.path.file_name())) => {
                weighty.push(Component {
                    dir: name.to_owned(),
                    library: library.to_owned(),
                    class: part.class.to_owned(),
                    needed: true,
                });
            }
            Ok(_) => plain.push(part),
        }
    }
    (weighty, plain, missing)
}

/// Whether `dir` has no files, or only documentation. Such a folder is not a component.
fn only_documentation(view: &View<'_>, dir: &str) -> bool {
    let documentation =
        |entry: &Entry| view.rel(&entry.path).is_some_and(|rel| classify(rel).reason == Reason::Documentation);
    view.tree(dir).all(documentation)
}

/// The repo that a modular pipeline's component is loaded from, if its entry names one.
fn repo_of(value: &[Value]) -> Option<&str> {
    let details = value.get(2)?;
    ["pretrained_model_name_or_path", "repo"].iter().find_map(|key| details.get(*key)?.as_str())
}

/// Adds the finding about a component that the index names and that has no folder here.
fn absent(view: &View<'_>, by: &str, part: &Part<'_>) {
    let message = format!("{by} names the component \"{}\", which is not in the repo", brief(part.name));
    let finding = Finding::new(Code::CompanionMissing, by, &message);
    view.find_out(match classes::of_pipeline(part.class) {
        Weights::Needed => Finding::new(Code::FamilyIncomplete, by, message).severity(Severity::Error),
        Weights::None | Weights::Unknown => finding,
    });
}

/// Notes the other repo of a modular pipeline's component, if there is one.
fn elsewhere(view: &View<'_>, value: &[Value], by: &str, picks: &mut Picks) {
    let info = &view.listing().info;
    if let Some(id) = repo_of(value).and_then(|r| r.parse::<RepoId>().ok())
        && id != info.id
        && id != info.canonical_id
        && picks.repos.insert(id.as_str().to_owned())
    {
        view.find_out(Finding::new(
            Code::BaseModel,
            by,
            format!("a component of the pipeline is in another repo, {id}"),
        ));
    }
}

/// diffusers' `filter_model_files`: whether a file of this name makes its folder one with weights.
fn has_weights(name: &str) -> bool {
    has_ext(name, &["bin", "safetensors", "onnx", "pb", "flashpack"])
}

fn root_files(view: &View<'_>, wish: &Wish, index: &Value, picks: &mut Picks) {
    const ROOT: &[(&str, Purpose)] = &[
        ("model_index.json", Purpose::Pipeline),
        ("modular_model_index.json", Purpose::Pipeline),
        ("scheduler_config.json", Purpose::Pipeline),
        ("config.json", Purpose::Config),
        // Files of a component at the root of a flat repo (pipeline_utils.py:76).
        ("chat_template.jinja", Purpose::ChatTemplate),
        ("generation_config.json", Purpose::Generation),
        ("processor_config.json", Purpose::Processor),
        ("tokenizer.json", Purpose::Tokenizer),
        ("tokenizer_config.json", Purpose::Tokenizer),
    ];
    for (name, purpose) in ROOT {
        if let Some(entry) = view.find("", name) {
            picks.take(entry, *purpose, "diffusers reads it at the root");
        }
    }
    let class = index.get("_class_name");
    let mut references = vec!["pipeline".to_owned()];
    if let Some(module) = class.and_then(Value::as_array).and_then(|c| c.first()).and_then(Value::as_str) {
        references.push(module.to_owned());
    }
    let references: Vec<Reference> = references
        .into_iter()
        .filter(|module| view.find("", &format!("{module}.py")).is_some())
        .map(|module| Reference { repo: None, module, by: "model_index.json".to_owned() })
        .collect();
    siblings::take_code(view, wish, "", &references, picks);
    connected(view, class, picks);
}

/// The pipelines whose class sets `_load_connected_pipes`, and the decoders from which `AutoPipeline` makes
/// such pipelines (diffusers 0.42, `auto_pipeline.py` `_AUTO_*_DECODER_PIPELINES_MAPPING`).
const CONNECTED: &[&str] = &[
    "KandinskyPipeline",
    "KandinskyImg2ImgPipeline",
    "KandinskyInpaintPipeline",
    "KandinskyV22Pipeline",
    "KandinskyV22Img2ImgPipeline",
    "KandinskyV22InpaintPipeline",
    "WuerstchenDecoderPipeline",
    "StableCascadeDecoderPipeline",
    "KandinskyCombinedPipeline",
    "KandinskyImg2ImgCombinedPipeline",
    "KandinskyInpaintCombinedPipeline",
    "KandinskyV22CombinedPipeline",
    "KandinskyV22Img2ImgCombinedPipeline",
    "KandinskyV22InpaintCombinedPipeline",
    "StableCascadeCombinedPipeline",
    "WuerstchenCombinedPipeline",
];

/// Combined pipelines load a second repo that the model card names under `prior:` (`_load_connected_pipes`).
fn connected(view: &View<'_>, class: Option<&Value>, picks: &mut Picks) {
    let class = class.and_then(Value::as_str).unwrap_or("");
    if !CONNECTED.contains(&class) {
        return;
    }
    let Some(card) = view.find("", "README.md") else { return };
    picks.take(card, Purpose::Pipeline, "its card names the prior pipeline");
    let Doc::Here(bytes) = view.bytes(card, CONFIG_LIMIT) else { return };
    for repo in priors(&String::from_utf8_lossy(bytes)) {
        let message = format!("the combined pipeline also loads {repo}");
        view.find_out(Finding::new(Code::BaseModel, &card.path, message).remedy(Remedy::Fetch {
            repo: repo.to_string(),
            revision: None,
            was_offline: false,
        }));
        picks.repos.insert(repo.as_str().to_owned());
    }
}

/// The list under `prior:` in a model card's front matter.
fn priors(card: &str) -> Vec<RepoId> {
    let mut lines = card.lines();
    if lines.next().map(str::trim) != Some("---") {
        return Vec::new();
    }
    lines
        .take_while(|line| line.trim() != "---")
        .skip_while(|line| line.trim_end() != "prior:")
        .skip(1)
        .map_while(|line| line.trim_start().strip_prefix('-'))
        .filter_map(|id| id.trim().trim_matches(['"', '\'']).parse().ok())
        .take(10)
        .collect()
}

/// Folders without weights (tokenizer, scheduler, feature extractor) are taken whole.
fn whole_folder(view: &View<'_>, wish: &Wish, dir: &str, module: &str, picks: &mut Picks) {
    for entry in view.tree(dir) {
        let name = entry.path.file_name();
        let below = view.rel(&entry.path).unwrap_or("");
        let (purpose, reason) = super::companions::companion(name).unwrap_or(match () {
            () if has_ext(name, &["py"]) => (Purpose::Code, "a component's code"),
            () if name == "scheduler_config.json" => (Purpose::Config, "the scheduler's configuration"),
            () => (Purpose::Pipeline, "a component's folder, taken whole"),
        });
        if purpose == Purpose::Code && wish.no_code {
            picks.leave(entry, None, Reason::RemoteCode);
        } else if classify(below).family.is_none() || purpose == Purpose::Tokenizer {
            picks.take(entry, purpose, reason);
        }
    }
    component_code(view, wish, dir, module, picks);
}

/// From a folder with weights, takes only its configuration and its own code.
fn weight_folder(view: &View<'_>, wish: &Wish, component: &Component, picks: &mut Picks) {
    for (name, purpose) in [("config.json", Purpose::Config), ("generation_config.json", Purpose::Generation)] {
        if let Some(entry) = view.find(&component.dir, name) {
            picks.take(entry, purpose, "a component's configuration");
        }
    }
    component_code(view, wish, &component.dir, &component.library, picks);
}

fn component_code(view: &View<'_>, wish: &Wish, dir: &str, module: &str, picks: &mut Picks) {
    if !module.is_empty() && view.find(dir, &format!("{module}.py")).is_some() {
        let reference = Reference { repo: None, module: module.to_owned(), by: "model_index.json".to_owned() };
        if wish.no_code {
            siblings::take_code(view, wish, dir, &[reference], picks);
        } else {
            for (entry, reason) in code::follow(view, dir, &[reference]).files {
                picks.take(entry, Purpose::Code, reason);
            }
        }
    }
}
