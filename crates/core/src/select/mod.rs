//! Which files make up exactly one weight family per scope, with its companions, and why. Pure:
//! from a [`Listing`] and the few small files it asks for to a [`Selection`]; no network, no disk.
//!
//! Each pass runs all rules on the known documents. A rule that needs a missing document asks for it and continues as
//! if nothing was wrong, so that one round of requests serves every rule. A pass that asks for nothing gives the
//! result.

mod adapter;
mod alike;
mod aside;
mod asked;
mod budget;
mod choose;
mod classes;
mod classify;
mod code;
mod companions;
mod components;
mod diffusers;
mod everything;
mod exl;
mod external;
pub(crate) mod filter;
mod folders;
mod graphs;
mod lacking;
mod mistral;
mod model;
mod named;
mod names;
mod native;
mod packed;
mod parts;
mod pickled;
mod picks;
mod quants;
mod reason;
mod sentence;
mod sets;
mod shards;
mod siblings;
mod standard;
mod tensorflow;
mod types;
mod view;
mod whole;

use crate::model::{Family, Options, Purpose};

pub(crate) use budget::Budget;
pub(crate) use choose::variants_of;
pub use reason::Reason;
pub use types::{Documents, LeftOut, SelectError, Selected, Selection, Step};

use filter::Globs;
use folders::elsewhere;
use native::Loader;
use picks::{Picks, Wish};
use view::{Doc, View};

use crate::finding::{Code, Finding, Remedy, Severity};
use crate::model::{Entry, Listing, RepoPath, RepoType};
use crate::text::printable;

/// The families that are tried first, best first.
const STANDARD: &[Family] = &[Family::Safetensors, Family::Bin, Family::Mistral];
/// The families that are tried if the repo has no standard one, best first.
const OTHERS: &[Family] = &[
    Family::Meta,
    Family::Gguf,
    Family::Pt,
    Family::TorchScript,
    Family::Onnx,
    Family::Flax,
    Family::Tf,
    Family::SavedModel,
    Family::TfCheckpoint,
    Family::Mlx,
    Family::CTranslate2,
    Family::OpenVino,
    Family::CoreMl,
    Family::TfLite,
    Family::TfJs,
    Family::Rust,
    Family::Other,
];

/// The files that name a pipeline's components.
const PIPELINE_INDEXES: [&str; 2] = ["model_index.json", "modular_model_index.json"];
/// The reason for a file if everything is taken.
const EVERYTHING: &str = "everything was asked for";
/// The file that names the modules of sentence-transformers.
const MODULES: &str = "modules.json";

/// Chooses files from a listing.
///
/// Call it with no documents first. While it returns [`Step::Need`], fetch those files, add each to
/// `documents` (`None` if it is not available) and call again. It takes at most four rounds, mostly
/// one, and never asks for a file twice.
///
/// # Errors
/// If nothing can be selected: see [`SelectError`].
pub fn select(listing: &Listing, options: &Options, documents: &Documents) -> Result<Step, SelectError> {
    let paths = listing.entries.iter().map(|e| e.path.as_str());
    let include = Globs::typed(&options.include, &paths)?;
    let with = Globs::typed(&options.with, &paths)?;
    let exclude = Globs::new(&options.exclude)?;
    if let Some(pattern) = include.unused(&paths).or_else(|| with.unused(&paths)) {
        return Err(SelectError::NoMatch {
            glob: pattern.to_owned(),
            near: filter::any_case(pattern, paths.clone()),
            names: filter::some(paths),
        });
    }
    let root = options.subfolder.as_ref().map_or("", RepoPath::as_str);
    let globs = (&with, &exclude);
    if !include.is_empty() {
        let view = View::new(listing, root, documents);
        let mut picks = Picks::default();
        asked::select(&view, &include, &mut picks);
        return Ok(match step(&view, picks, globs) {
            Step::Done(selection) => Step::Done(Box::new(asked::say(listing, *selection))),
            need @ Step::Need(_) => need,
        });
    }
    let first = run(listing, options, documents, root, globs, None);
    match first {
        // An incomplete standard family, with the reason, is a better answer than another family.
        Err(SelectError::NothingSelectable { ref why, ref found, .. })
            if why.is_empty() || !found.iter().any(|(family, _)| STANDARD.contains(family)) => {}
        // Other families are tried for the variant, unless the repo has weights that loaders read but none with that
        // variant.
        Err(SelectError::VariantAbsent { .. }) if options.only.is_none() => {
            let plain = Options { variant: None, ..options.clone() };
            if run(listing, &plain, documents, root, globs, None).is_ok() {
                return first;
            }
        }
        other => return other,
    }
    for &family in OTHERS {
        let narrow = Options { only: Some(family), prefer: None, ..options.clone() };
        match run(listing, &narrow, documents, root, globs, None) {
            Ok(Step::Done(mut selection)) => {
                selection.findings.insert(0, fallback(family, options.prefer));
                return Ok(Step::Done(selection));
            }
            Err(SelectError::FamilyAbsent { .. } | SelectError::VariantAbsent { .. }) => {}
            asked_or_ambiguous => return asked_or_ambiguous,
        }
    }
    first
}

/// The finding that none of the families was there that the user asked for, or that are tried first.
fn fallback(taken: Family, preferred: Option<Family>) -> Finding {
    match preferred {
        Some(family) if family != taken => Finding::repo(
            Code::FamilyFallback,
            format!("{family} was preferred, but is not in this repo: {taken} was taken"),
        ),
        _ => Finding::repo(
            Code::FamilyFallback,
            format!("there are no safetensors or bin weights in this repo: {taken} was taken"),
        )
        .severity(Severity::Note),
    }
}

/// [`select`] below `root`. `parent`: the folder whose companions are taken too, because the user
/// did not name `root`, which is the only folder with weights.
fn run(
    listing: &Listing,
    options: &Options,
    documents: &Documents,
    root: &str,
    globs: (&Globs, &Globs),
    parent: Option<&View<'_>>,
) -> Result<Step, SelectError> {
    let view = View::new(listing, root, documents);
    if let Some(folder) = options.subfolder.as_ref().filter(|_| !view.has_dir("")) {
        return Err(choose::subfolder_absent(&view, folder));
    }
    let mut picks = Picks::default();
    if listing.info.repo_type != RepoType::Model {
        whole_repo(&view, &mut picks);
        return Ok(Step::Done(Box::new(finish(&view, picks, globs))));
    }
    if options.all {
        // A repo with names that are refused is asked for nothing.
        let refused = listing.rejected.iter().any(|name| globs.1.matching(&name.error.text).is_none());
        everything::select(&view, refused, &mut picks);
        return Ok(step(&view, picks, globs));
    }
    let wish = wish(options);
    picks.variant.clone_from(&wish.variant);
    let weights = scope(&view, &wish, &mut picks);
    if !view.needs().is_empty() {
        return Ok(Step::Need(view.needs()));
    }
    for entry in parent.iter().flat_map(|parent| parent.files("")) {
        if let Some((purpose, reason)) = companions::companion(entry.path.file_name()) {
            picks.take(entry, purpose, reason);
        }
    }
    let elsewhere = |error| match parent {
        None => elsewhere(listing, options, documents, &view, &wish, globs, error),
        Some(_) => Err(error),
    };
    match weights {
        Err(error) => elsewhere(error),
        Ok(true) => Ok(step(&view, picks, globs)),
        Ok(false) => match elsewhere(no_weights(&wish)) {
            Err(SelectError::NothingSelectable { found, .. }) if found.is_empty() => {
                // The `auto_map` of other repos names such a repo, so its code is its content.
                let code =
                    |e: &&Entry| classify::has_ext(e.path.file_name(), &["py"]) && !code::is_script(e.path.file_name());
                for entry in view.tree("").filter(code).filter(|_| !options.no_code) {
                    picks.take(entry, Purpose::Code, "code of a repo without weights");
                }
                let message = match () {
                    () if listing.entries.is_empty() => "there are no files in this repo",
                    () if picks.is_empty() => {
                        "there are no weights in this repo, and no files that belong to any: nothing was taken"
                    }
                    () => "there are no weights in this repo: its other files were taken",
                };
                let mut finding = Finding::repo(Code::WeightsAbsent, message);
                if picks.is_empty() && !listing.entries.is_empty() {
                    finding = finding.remedy(Remedy::NameFiles);
                }
                view.find_out(finding);
                Ok(step(&view, picks, globs))
            }
            other => other,
        },
    }
}

/// The error for a repo without weights of any kind.
fn no_weights(wish: &Wish) -> SelectError {
    match wish.only {
        Some(family) => {
            let why = "there are no weights in this repo".to_owned();
            SelectError::FamilyAbsent { family, why, found: Vec::new(), variants: Vec::new() }
        }
        None => SelectError::NothingSelectable { found: Vec::new(), why: String::new(), variants: Vec::new() },
    }
}

fn wish(options: &Options) -> Wish {
    let mut order: Vec<Family> = options.only.or(options.prefer).into_iter().collect();
    if options.only.is_none() {
        order.extend(STANDARD);
    }
    let mut seen = Vec::new();
    order.retain(|family| {
        let new = !seen.contains(family);
        seen.push(*family);
        new
    });
    Wish {
        order,
        prefer: options.prefer.filter(|_| options.only.is_none()),
        only: options.only,
        variant: options.variant.clone().filter(|v| !v.is_empty()),
        no_code: options.no_code,
        module: false,
    }
}

/// Runs the rules for the kind of root folder: a pipeline, modules, or one model.
fn scope(view: &View<'_>, wish: &Wish, picks: &mut Picks) -> Result<bool, SelectError> {
    for name in PIPELINE_INDEXES {
        if view.find("", name).is_none() {
            continue;
        }
        match view.json("", name) {
            Doc::Pending => {
                diffusers::want_likely(view, wish);
                return Ok(true);
            }
            Doc::Here(index) => {
                let selected = diffusers::select(view, wish, &index, name, picks);
                // The root may have weights beside the components: a GGUF file, the pipeline in one file.
                return match (&selected, wish.only) {
                    (Err(SelectError::FamilyAbsent { .. }), Some(family)) if !STANDARD.contains(&family) => {
                        model::select(view, wish, "", picks).or(selected)
                    }
                    _ => selected,
                };
            }
            Doc::Absent => {}
        }
    }
    if view.find("", MODULES).is_some() {
        match view.json("", MODULES) {
            Doc::Pending => {
                // Most such repos have their transformer at the root.
                for dir in view.dirs() {
                    if let Some(entry) = view.find(dir, "router_config.json") {
                        view.want(entry, view::CONFIG_LIMIT);
                    }
                }
                return view.quietly(|| model::select(view, wish, "", picks)).or(Ok(true));
            }
            Doc::Here(modules) if modules.is_array() => return sentence::select(view, wish, &modules, picks),
            Doc::Here(_) | Doc::Absent => {}
        }
    }
    if native::select(view, wish, picks) {
        return Ok(true);
    }
    native::want(view);
    let found = model::select(view, wish, "", picks)?;
    if found {
        parts::beside(view, wish, "", native::loader(view) == Loader::Known, picks);
    }
    Ok(found)
}

/// Whether a document may name code in other repos, by its name.
pub(crate) fn may_name_code(path: &RepoPath) -> bool {
    code::CARRIERS.contains(&path.file_name())
}

/// Datasets and Spaces have no families: everything is taken.
fn whole_repo(view: &View<'_>, picks: &mut Picks) {
    for entry in view.tree("") {
        picks.take(entry, Purpose::Other, "the whole repo");
    }
}

fn step(view: &View<'_>, picks: Picks, globs: (&Globs, &Globs)) -> Step {
    let needs = view.needs();
    if needs.is_empty() { Step::Done(Box::new(finish(view, picks, globs))) } else { Step::Need(needs) }
}

/// Applies the globs, and makes the selection from the taken files.
fn finish(view: &View<'_>, mut picks: Picks, (with, exclude): (&Globs, &Globs)) -> Selection {
    for entry in &view.listing().entries {
        if let Some(pattern) = with.matching(entry.path.as_str()) {
            picks.take(entry, Purpose::Other, format!("asked for by {}", printable(pattern)));
        }
    }
    for entry in &view.listing().entries {
        if let Some(pattern) = exclude.matching(entry.path.as_str()) {
            let reason = Reason::Excluded(pattern.to_owned());
            match picks.drop(entry, reason) {
                Some(purpose) if purpose != Purpose::Other => {
                    let message =
                        format!("{} excludes it, but loaders need it ({})", printable(pattern), purpose.as_str());
                    let mut finding = Finding::new(Code::Excluded, &entry.path, message);
                    // A model does not load at all without a part of its weights.
                    if matches!(purpose, Purpose::Weights | Purpose::Index) {
                        finding = finding.severity(Severity::Warning);
                    }
                    view.find_out(finding);
                }
                _ => {}
            }
        }
    }
    let pipeline = picks.pipeline;
    let mut selection = picks.finish(view);
    aside::warn(view, pipeline, &selection);
    let had_weights = !selection.weights.is_empty();
    // A set without some of its files cannot be checked as a whole; its remaining files can.
    let taken = |path: &RepoPath| selection.files.binary_search_by(|s| s.path.cmp(path)).is_ok();
    for set in &mut selection.weights {
        let whole = set.files.len();
        set.files.retain(taken);
        set.index = set.index.take().filter(|path| set.files.len() == whole && taken(path));
    }
    selection.weights.retain(|set| !set.files.is_empty());
    selection.weights_excluded = had_weights && selection.weights.is_empty();
    selection.findings = view.take_findings();
    selection
}
