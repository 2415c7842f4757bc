//! Diffusers pipelines: the components that `model_index.json` names, one family for all of them,
//! variants per component.

use std::collections::BTreeSet;

use serde_json::Value;

use super::choose::{Stems, report_broken, variants};
use super::classify::{classify, has_ext};
use super::code::{self, Reference};
use super::model;
use super::names;
use super::picks::{Picks, Wish, found};
use super::sets::{Found, Query, Set, resolve, want_indexes};
use super::view::{CONFIG_LIMIT, Doc, View};
use super::{Family, Purpose, SelectError};
use crate::repo::{RepoId, RepoPath};
use crate::report::{Code, Finding, Severity};
use crate::text::printable;

/// Components beyond this many are not looked at.
const MOST_COMPONENTS: usize = 200;

/// A component of the pipeline.
struct Component {
    /// Its folder; empty for the root of a flat repo.
    dir: String,
    /// The library that loads it, as `model_index.json` says: `diffusers`, `transformers` or a module's name.
    library: String,
    /// Without it the pipeline does not load. The root's weights are extra when every component has a folder.
    needed: bool,
}

/// Asks for the indexes that components of any name may have: saves a round.
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
    for (dir, module) in &plain {
        whole_folder(view, wish, dir, module, picks);
    }
    let mut weighty = weighty;
    let flat = view.files("").iter().any(|e| names::parse(e.path.file_name()).is_some());
    if flat {
        weighty.push(Component {
            dir: String::new(),
            library: "transformers".to_owned(),
            needed: !missing.is_empty() || weighty.is_empty(),
        });
    } else if view.needs().is_empty() {
        for name in &missing {
            let message = format!("{by} names the component \"{}\", which is not in the repo", printable(name));
            view.find_out(Finding::new(Code::CompanionMissing, by, message));
        }
    }
    let taken = weights(view, wish, &weighty, picks)?;
    for component in weighty.iter().filter(|c| !c.dir.is_empty()) {
        weight_folder(view, wish, component, picks);
    }
    if taken && picks.weights.iter().any(|set| set.scope == view.scope("")) {
        let config = view.json("", "config.json").here();
        model::companions(view, wish, "", config.as_ref(), picks);
    }
    for name in ignored {
        if let Some(entry) = view.find("", name) {
            picks.drop(entry, format!("{by}'s _ignore_files"));
        }
    }
    Ok(taken)
}

/// Splits what the index names into folders with weights, folders without, and absent ones.
fn components<'i>(
    view: &View<'_>,
    index: &'i Value,
    by: &str,
    picks: &mut Picks,
) -> (Vec<Component>, Vec<(&'i str, &'i str)>, Vec<&'i str>) {
    let (mut weighty, mut plain, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    let lists = index.as_object().into_iter().flatten().filter_map(|(k, v)| Some((k.as_str(), v.as_array()?)));
    for (name, value) in lists.filter(|(name, _)| !name.starts_with('_')).take(MOST_COMPONENTS) {
        let library = value.first().and_then(Value::as_str).unwrap_or("");
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
            Ok(_) if !view.has_dir(name) => {
                if value.iter().any(Value::is_string) {
                    missing.push(name);
                }
            }
            Ok(_) if view.files(name).iter().any(|e| has_weights(e.path.file_name())) => {
                weighty.push(Component { dir: name.to_owned(), library: library.to_owned(), needed: true });
            }
            Ok(_) => plain.push((name, library)),
        }
    }
    (weighty, plain, missing)
}

/// A modular pipeline's component may live in another repo.
fn elsewhere(view: &View<'_>, value: &[Value], by: &str, picks: &mut Picks) {
    let info = &view.listing().info;
    let Some(details) = value.get(2) else { return };
    let repo = ["pretrained_model_name_or_path", "repo"].iter().find_map(|key| details.get(*key)?.as_str());
    if let Some(id) = repo.and_then(|r| r.parse::<RepoId>().ok())
        && id != info.id
        && id != info.canonical_id
        && picks.repos.insert(id.as_str().to_owned())
    {
        view.find_out(Finding::new(
            Code::BaseModel,
            by,
            format!("a component of the pipeline lives in another repo, {id}"),
        ));
    }
}

/// diffusers' `filter_model_files`: what makes a folder one that holds weights.
fn has_weights(name: &str) -> bool {
    has_ext(name, &["bin", "safetensors", "onnx", "pb", "flashpack"])
}

fn root_files(view: &View<'_>, wish: &Wish, index: &Value, picks: &mut Picks) {
    const ROOT: &[(&str, Purpose)] = &[
        ("model_index.json", Purpose::Pipeline),
        ("modular_model_index.json", Purpose::Pipeline),
        ("scheduler_config.json", Purpose::Pipeline),
        ("config.json", Purpose::Config),
        // Files of a component that lies at the root of a flat repo (pipeline_utils.py:76).
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
    model::take_code(view, wish, "", &references, picks);
    connected(view, class, picks);
}

/// Kandinsky's and Wuerstchen's combined pipelines load a second repo that the model card names
/// under `prior:` (`_load_connected_pipes`).
fn connected(view: &View<'_>, class: Option<&Value>, picks: &mut Picks) {
    let class = class.and_then(Value::as_str).unwrap_or("");
    if !class.starts_with("Kandinsky") && !class.starts_with("Wuerstchen") {
        return;
    }
    let Some(card) = view.find("", "README.md") else { return };
    picks.take(card, Purpose::Pipeline, "its card names the prior pipeline");
    let Doc::Here(bytes) = view.bytes(card, CONFIG_LIMIT) else { return };
    for repo in priors(&String::from_utf8_lossy(bytes)) {
        let message = format!("the combined pipeline also loads {repo}");
        view.find_out(Finding::new(Code::BaseModel, &card.path, message).hint(format!("fetch {repo} as well")));
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
            picks.leave(entry, None, "--no-code");
        } else if classify(below).family.is_none() || purpose == Purpose::Tokenizer {
            picks.take(entry, purpose, reason);
        }
    }
    component_code(view, wish, dir, module, picks);
}

/// Of a folder with weights, only its configuration and own code go with them.
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
            model::take_code(view, wish, dir, &[reference], picks);
        } else {
            for (entry, reason) in code::follow(view, dir, &[reference]).files {
                picks.take(entry, Purpose::Code, reason);
            }
        }
    }
}

/// diffusers' weight names, the component's own library's first.
fn query<'q>(dir: &'q str, library: &str, family: Family, variant: Option<&'q str>) -> Query<'q> {
    const TRANSFORMERS: Stems = |family| match family {
        Family::Bin => (&["pytorch_model", "model", "diffusion_pytorch_model"], &[]),
        _ => (&["model", "pytorch_model", "diffusion_pytorch_model"], &[]),
    };
    const DIFFUSERS: Stems = |family| match family {
        Family::Bin => (&["diffusion_pytorch_model", "pytorch_model", "model"], &[]),
        _ => (&["diffusion_pytorch_model", "model", "pytorch_model"], &[]),
    };
    let (stems, loose_stems) = if library == "transformers" { TRANSFORMERS(family) } else { DIFFUSERS(family) };
    Query { dir, family, variant, stems, loose_stems, nested: false, any_name: false }
}

/// One component's sets in one family: with the variant where it has it, else without.
struct Resolved {
    sets: Vec<Set>,
    broken: Vec<(Family, RepoPath, String)>,
}

fn resolve_component(view: &View<'_>, wish: &Wish, component: &Component, family: Family) -> Resolved {
    let mut out = Resolved { sets: Vec::new(), broken: Vec::new() };
    let variants = wish.variant.as_deref().map(Some).into_iter().chain([None]);
    for variant in variants {
        let whole = query(&component.dir, &component.library, family, variant);
        // A flat repo may hold a diffusers model and a transformers model side by side.
        let groups: Vec<Query<'_>> = if component.dir.is_empty() {
            let (diffusion, others): (&[&str], &[&str]) = (&["diffusion_pytorch_model"], &["model", "pytorch_model"]);
            vec![Query { stems: diffusion, ..whole }, Query { stems: others, ..whole }]
        } else {
            vec![whole]
        };
        for group in groups {
            if out.sets.iter().any(|set| overlaps(set, group.stems)) {
                continue;
            }
            match resolve(view, group) {
                Found::Complete(set) => out.sets.push(set),
                Found::Incomplete(broken) => {
                    out.broken.extend(broken.into_iter().map(|(path, why)| (family, path, why)));
                }
                Found::Several { at, choices, how } => {
                    let why = format!("there are several: {}; {how}", choices.join(", "));
                    out.broken.push((family, at, why));
                }
                Found::Absent => {}
            }
        }
    }
    out
}

fn overlaps(set: &Set, stems: &[&str]) -> bool {
    let Some(path) = set.index.as_ref().or(set.files.first()) else { return true };
    names::parse(path.file_name()).is_some_and(|n| stems.contains(&n.stem))
}

/// Decides the family for the whole pipeline and takes its weights; `false` when there are none at all.
fn weights(view: &View<'_>, wish: &Wish, components: &[Component], picks: &mut Picks) -> Result<bool, SelectError> {
    let order: Vec<Family> = wish.order.iter().copied().filter(|f| *f != Family::Mistral).collect();
    let mut broken = Vec::new();
    let mut lacking: Vec<String> = Vec::new();
    for &family in &order {
        let all: Vec<Resolved> = components.iter().map(|c| resolve_component(view, wish, c, family)).collect();
        let lacks = components.iter().zip(&all).find(|(c, r)| c.needed && r.sets.is_empty());
        let needed = components.iter().any(|c| c.needed);
        let variant = wish.variant.is_none() || all.iter().flat_map(|r| &r.sets).any(|s| s.variant.is_some());
        let hurt = all.iter().any(|r| !r.broken.is_empty());
        if lacks.is_none() && needed && variant {
            for (component, resolved) in components.iter().zip(&all) {
                report_broken(view, &resolved.broken);
                take(view, wish, component, &resolved.sets, picks);
            }
            report_fallback(view, wish, Some(family), &lacking, &broken);
            return Ok(true);
        }
        if let Some((component, _)) = lacks {
            lacking.push(format!("{}/ has no {family} weights", component.dir));
        } else if !variant {
            lacking.push(format!("no {family} weights have the variant"));
        }
        broken.extend(all.into_iter().flat_map(|r| r.broken));
        if hurt {
            for &other in &order {
                for component in components {
                    want_indexes(view, query(&component.dir, &component.library, other, wish.variant.as_deref()));
                    want_indexes(view, query(&component.dir, &component.library, other, None));
                }
            }
        }
    }
    if !view.needs().is_empty() {
        return Ok(true);
    }
    report_broken(view, &broken);
    mixed(view, wish, components, &order, &lacking, &broken, picks)
}

/// No family has every component: the best of each, which `from_pretrained` loads, but says so.
fn mixed(
    view: &View<'_>,
    wish: &Wish,
    components: &[Component],
    order: &[Family],
    lacking: &[String],
    broken: &[(Family, RepoPath, String)],
    picks: &mut Picks,
) -> Result<bool, SelectError> {
    let dirs: Vec<&str> = components.iter().map(|c| c.dir.as_str()).collect();
    let mut chosen: Vec<(&Component, Vec<Set>)> = Vec::new();
    for component in components {
        let mut options: Vec<Set> =
            order.iter().flat_map(|&family| resolve_component(view, wish, component, family).sets).collect();
        // The variant in any family before its absence; the sort is stable.
        options.sort_by_key(|set| wish.variant.is_some() && set.variant.is_none());
        options.truncate(1);
        if !options.is_empty() || component.needed {
            chosen.push((component, options));
        }
    }
    let variant_seen = chosen.iter().flat_map(|(_, sets)| sets).any(|set| set.variant.is_some());
    let lost: Vec<&str> = chosen.iter().filter(|(_, sets)| sets.is_empty()).map(|(c, _)| c.dir.as_str()).collect();
    if let Some(variant) = wish.variant.as_ref().filter(|_| !variant_seen && !components.is_empty()) {
        return Err(SelectError::VariantAbsent { variant: variant.clone(), found: variants(view, &dirs, variant) });
    }
    let found = found(view);
    let mut why: Vec<String> = broken.iter().take(3).map(|(f, path, why)| format!("{f}: {path}: {why}")).collect();
    why.extend(lacking.iter().take(3).cloned());
    let only_variants = variants(view, &dirs, "");
    if !lost.is_empty() && !only_variants.is_empty() && wish.variant.is_none() {
        why.push(format!("try --variant {}", only_variants.join(" or --variant ")));
    }
    let why = printable(&why.join("; ")).into_owned();
    if let Some(family) = wish.only {
        return Err(SelectError::FamilyAbsent { family, why, found });
    }
    if !lost.is_empty() || chosen.is_empty() {
        return if found.is_empty() { Ok(false) } else { Err(SelectError::NothingSelectable { found, why }) };
    }
    for (component, sets) in &chosen {
        take(view, wish, component, sets, picks);
    }
    report_fallback(view, wish, None, lacking, broken);
    Ok(true)
}

fn report_fallback(
    view: &View<'_>,
    wish: &Wish,
    family: Option<Family>,
    lacking: &[String],
    broken: &[(Family, RepoPath, String)],
) {
    let why = lacking.first().cloned().or_else(|| broken.first().map(|(_, path, why)| format!("{path}: {why}")));
    let why = why.unwrap_or_else(|| "it is in no component".to_owned());
    match (family, wish.prefer) {
        (None, _) => view.find_out(Finding::repo(
            Code::FamilyFallback,
            format!("no family has every component ({why}): each component's best was taken"),
        )),
        (Some(family), Some(prefer)) if family != prefer => {
            view.find_out(Finding::repo(
                Code::FamilyFallback,
                format!("{prefer} was preferred, but {why}: {family} was taken"),
            ));
        }
        _ => report_broken(view, broken),
    }
}

fn take(view: &View<'_>, wish: &Wish, component: &Component, sets: &[Set], picks: &mut Picks) {
    for set in sets {
        if let Some(variant) = wish.variant.as_deref().filter(|_| set.variant.is_none()) {
            let place = if component.dir.is_empty() { "the root" } else { &component.dir };
            let message =
                format!("{} has no {} files: its plain weights were taken", printable(place), printable(variant));
            view.find_out(Finding::repo(Code::VariantFallback, message));
        }
        let sharded = set.index.is_some() && component.library != "diffusers";
        let tied = sharded && view.json(&component.dir, "config.json").here().is_some_and(|c| model::tied(&c));
        picks.take_set(view, &component.dir, set, tied);
        if let Some(path) = set.files.first()
            && set.loose
            && picks.has(path)
        {
            view.find_out(
                Finding::new(Code::IndexInvalid, path, "the shards have no index").severity(Severity::Warning),
            );
        }
    }
}
