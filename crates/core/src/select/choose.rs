//! Chooses one family for one folder: the first complete one in the wished order.

use std::collections::BTreeSet;

use super::picks::{Wish, found};
use super::sets::{Found, Query, Set, resolve, want_indexes};
use super::view::View;
use super::{Documents, SelectError, names, packed};
use crate::finding::{ChooseBy, Code, Finding};
use crate::model::{Family, Listing, RepoPath};
use crate::text::{few, printable};

/// The stems that count for a family: standard ones, and loose ones, whose sets yield to any standard set.
pub(super) type Stems = fn(Family) -> (&'static [&'static str], &'static [&'static str]);

/// The most sets that a reason names.
pub(super) const FEW: usize = 10;

/// A family, the names and bytes of its sets, and how to name one of them.
type Several = (Family, Vec<(String, u64)>, ChooseBy);

/// The result of choosing.
#[derive(Debug)]
pub(super) struct Choice {
    pub set: Option<Set>,
    /// Families that are incomplete: the file, and what is wrong.
    pub broken: Vec<(Family, RepoPath, String)>,
    /// A family with several sets.
    pub several: Option<Several>,
}

impl Choice {
    /// The reasons in one line.
    pub fn why(&self) -> String {
        let told: Vec<String> = self
            .broken
            .iter()
            .take(3)
            .map(|(family, path, why)| format!("{family}: {}: {why}", path.file_name()))
            .collect();
        printable(&told.join("; ")).into_owned()
    }

    /// Adds findings about the families that were skipped, and about a preferred family that is not available.
    pub fn report(&self, view: &View<'_>, dir: &str, wish: &Wish) {
        report_broken(view, &self.broken);
        if let (Some(set), Some(prefer)) = (&self.set, wish.prefer)
            && set.family != prefer
        {
            let why = match self.broken.iter().find(|(family, ..)| *family == prefer) {
                Some((_, path, why)) => format!("is incomplete ({}: {why})", path.file_name()),
                None => "is not in this repo".to_owned(),
            };
            let place = if dir.is_empty() { String::new() } else { format!(" in {dir}/") };
            let message = format!("{prefer} was preferred{place}, but {why}: {} was taken", set.family);
            view.find_out(Finding::repo(Code::FamilyFallback, message));
        }
    }
}

pub(super) fn report_broken(view: &View<'_>, broken: &[(Family, RepoPath, String)]) {
    for (family, path, why) in broken {
        view.find_out(Finding::new(
            Code::FamilyIncomplete,
            path,
            format!("the {family} family is not complete here: {why}"),
        ));
    }
}

/// Tries the families in order. A loose set yields to any standard one.
pub(super) fn choose(view: &View<'_>, wish: &Wish, base: Query<'static>, dir: &str, stems: Stems) -> Choice {
    let query = |family: Family| {
        let (standard, loose) = stems(family);
        Query { dir, family, variant: wish.variant.as_deref(), stems: standard, loose_stems: loose, ..base }
    };
    let mut choice = Choice { set: None, broken: Vec::new(), several: None };
    let mut spare: Option<Set> = None;
    for &family in &wish.order {
        match resolve(view, query(family)) {
            Found::Complete(mut set) if set.loose => {
                let passed = std::mem::take(&mut set.passed);
                choice.broken.extend(passed.into_iter().map(|(path, why)| (family, path, why)));
                spare.get_or_insert(set);
            }
            Found::Complete(set) => {
                choice.set = Some(set);
                return choice;
            }
            Found::Incomplete(broken) => {
                choice.broken.extend(broken.into_iter().map(|(path, why)| (family, path, why)));
                // The other families may be needed now, so ask for all their indexes at once.
                for &other in &wish.order {
                    want_indexes(view, query(other));
                }
            }
            Found::Several { at, choices, by } => {
                let why = format!("there are several: {}", few(&names_of(&choices), FEW));
                choice.broken.push((family, at, why));
                choice.several.get_or_insert((family, choices, by));
            }
            Found::Absent => {}
        }
    }
    choice.set = spare;
    choice
}

/// The names of some choices.
pub(super) fn names_of(choices: &[(String, u64)]) -> Vec<&str> {
    choices.iter().map(|(name, _)| name.as_str()).collect()
}

/// The error if no weights in `dirs` have the variant.
pub(super) fn variant_absent(view: &View<'_>, wish: &Wish, dirs: &[&str], variant: &str) -> SelectError {
    let all = variants(view, dirs, true);
    let has = |family: &Family| all.iter().any(|(f, v)| f == family && v.eq_ignore_ascii_case(variant));
    let families = Family::ALL.iter().copied().filter(|family| !wish.order.contains(family) && has(family)).collect();
    // Other families are named only if the repo has no wished family.
    let wished = found(view).iter().any(|(family, _)| wish.order.contains(family));
    let names = all.into_iter().filter(|(family, _)| !wished || wish.order.contains(family)).map(|(_, v)| v);
    SelectError::VariantAbsent { variant: variant.to_owned(), found: each(names), families }
}

/// The variants in `dirs` that loaders do not take automatically.
pub(super) fn only_variants(view: &View<'_>, dirs: &[&str]) -> Vec<String> {
    each(variants(view, dirs, false).into_iter().map(|(_, variant)| variant))
}

/// The variants in the names of a repo's weights, each once: the values that `variant` may have.
#[must_use]
pub fn variants_of(listing: &Listing) -> Vec<String> {
    let documents = Documents::new();
    let view = View::new(listing, "", &documents);
    let dirs: Vec<&str> = view.dirs().collect();
    let named: BTreeSet<&str> = variants(&view, &dirs, true).into_iter().map(|(_, variant)| variant).collect();
    named.into_iter().map(str::to_owned).collect()
}

/// Every variant in a file's name, with its family; also those of GGUF and ONNX files if `also_packed`.
fn variants<'a>(view: &View<'a>, dirs: &[&str], also_packed: bool) -> Vec<(Family, &'a str)> {
    let mut all: Vec<(Family, &str)> = dirs
        .iter()
        .flat_map(|dir| view.files(dir).iter().copied())
        .filter_map(|e| names::parse(e.path.file_name()))
        .filter_map(|name| Some((name.family, name.variant?)))
        .collect();
    if also_packed {
        all.extend(dirs.iter().flat_map(|dir| packed::variants(view, dir)));
    }
    all
}

/// The error if the repo does not have the folder.
pub(super) fn subfolder_absent(view: &View<'_>, folder: &RepoPath) -> SelectError {
    let mut folders: BTreeSet<&str> = BTreeSet::new();
    for entry in &view.listing().entries {
        let mut dir = entry.path.dir();
        while !dir.is_empty() && folders.insert(dir) {
            dir = dir.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }
    SelectError::SubfolderAbsent { folder: folder.clone(), found: each(folders.into_iter()) }
}

/// Each name once, up to a limit.
fn each<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    /// The most names that are listed.
    const MOST: usize = 2000;
    names.collect::<BTreeSet<_>>().into_iter().take(MOST).map(str::to_owned).collect()
}
