//! Weights of a diffusers pipeline: one family for all its components, a variant for each.
//! `diffusers` finds the components.

use super::SelectError;
use super::choose::{FEW, Stems, names_of, only_variants, report_broken, variant_absent};
use super::diffusers::Component;
use super::model::tied;
use super::names;
use super::picks::{Picks, Wish, found};
use super::sets::{Found, Query, Set, resolve, want_indexes};
use super::view::View;
use crate::finding::{Code, Finding, Severity};
use crate::model::{Family, RepoPath};
use crate::text::{few, printable};

/// diffusers' weight names, the component's own library's first.
pub(super) fn query<'q>(dir: &'q str, library: &str, family: Family, variant: Option<&'q str>) -> Query<'q> {
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

/// One component's sets in one family: with the variant if the component has it, otherwise without.
struct Resolved {
    sets: Vec<Set>,
    broken: Vec<(Family, RepoPath, String)>,
}

fn resolve_component(view: &View<'_>, wish: &Wish, component: &Component, family: Family) -> Resolved {
    let mut out = Resolved { sets: Vec::new(), broken: Vec::new() };
    let variants = wish.variant.as_deref().map(Some).into_iter().chain([None]);
    for variant in variants {
        let whole = query(&component.dir, &component.library, family, variant);
        // A flat repo may have a diffusers model and a transformers model side by side.
        let groups: Vec<Query<'_>> = if component.dir.is_empty() {
            let (diffusion, others): (&[&str], &[&str]) = (&["diffusion_pytorch_model"], &["model", "pytorch_model"]);
            let both = [Query { stems: diffusion, ..whole }, Query { stems: others, ..whole }];
            both.into_iter().take(if component.library == "diffusers" { 1 } else { 2 }).collect()
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
                Found::Several { at, choices, .. } => {
                    let why = format!("there are several: {}", few(&names_of(&choices), FEW));
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

/// Decides the family for the whole pipeline and takes its weights; `false` if there are none at all.
pub(super) fn weights(
    view: &View<'_>,
    wish: &Wish,
    components: &[Component],
    picks: &mut Picks,
) -> Result<bool, SelectError> {
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

/// No family has every component: takes the best family of each, which `from_pretrained` loads, with a warning.
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
        // A set with the variant comes first, whatever its family; the sort is stable.
        options.sort_by_key(|set| wish.variant.is_some() && set.variant.is_none());
        options.truncate(1);
        if !options.is_empty() || component.needed {
            chosen.push((component, options));
        }
    }
    let variant_seen = chosen.iter().flat_map(|(_, sets)| sets).any(|set| set.variant.is_some());
    let lost: Vec<&str> = chosen.iter().filter(|(_, sets)| sets.is_empty()).map(|(c, _)| c.dir.as_str()).collect();
    if let Some(variant) = wish.variant.as_ref().filter(|_| !variant_seen && !components.is_empty()) {
        return Err(variant_absent(view, wish, &dirs, variant));
    }
    let found = found(view);
    let mut why: Vec<String> =
        broken.iter().take(3).map(|(f, path, why)| format!("{f}: {}: {why}", path.shown())).collect();
    why.extend(lacking.iter().take(3).cloned());
    let only_variants = only_variants(view, &dirs);
    let variants = if !lost.is_empty() && wish.variant.is_none() { only_variants } else { Vec::new() };
    let why = printable(&why.join("; ")).into_owned();
    if let Some(family) = wish.only {
        return Err(SelectError::FamilyAbsent { family, why, found, variants });
    }
    if !lost.is_empty() || chosen.is_empty() {
        return if found.is_empty() { Ok(false) } else { Err(SelectError::NothingSelectable { found, why, variants }) };
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
    let why =
        lacking.first().cloned().or_else(|| broken.first().map(|(_, path, why)| format!("{}: {why}", path.shown())));
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
        let tied = sharded && view.json(&component.dir, "config.json").here().is_some_and(|c| tied(&c));
        picks.take_set(view, &component.dir, set, tied);
        if let Some(path) = set.files.first()
            && set.loose
        {
            view.find_out(
                Finding::new(Code::IndexInvalid, path, "the shards have no index").severity(Severity::Warning),
            );
        }
    }
}
