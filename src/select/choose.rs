//! Choosing one family for one folder: the first complete one in the order of the wish.

use super::picks::Wish;
use super::sets::{Found, Query, Set, resolve, want_indexes};
use super::view::View;
use super::{Family, names, packed};
use crate::repo::RepoPath;
use crate::report::{Code, Finding};
use crate::text::distance;

/// Which stems count for a family: standard ones, and those that yield to any standard set.
pub(super) type Stems = fn(Family) -> (&'static [&'static str], &'static [&'static str]);

/// What came of choosing.
#[derive(Debug)]
pub(super) struct Choice {
    pub set: Option<Set>,
    /// Families that are there in part: where, and what is wrong.
    pub broken: Vec<(Family, RepoPath, String)>,
    /// A family of which there are several sets, what they are called, and how to name one.
    pub several: Option<(Family, Vec<String>, &'static str)>,
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
        crate::text::printable(&told.join("; ")).into_owned()
    }

    /// Says which families were passed over, and that the preferred one was not to be had.
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
            Found::Complete(set) if set.loose => {
                spare.get_or_insert(set);
            }
            Found::Complete(set) => {
                choice.set = Some(set);
                return choice;
            }
            Found::Incomplete(broken) => {
                choice.broken.extend(broken.into_iter().map(|(path, why)| (family, path, why)));
                // The rest may be needed now: ask for all of it at once.
                for &other in &wish.order {
                    want_indexes(view, query(other));
                }
            }
            Found::Several { at, choices, how } => {
                let why = format!("there are several: {}; {how}", listed(&choices));
                choice.broken.push((family, at, why));
                choice.several.get_or_insert((family, choices, how));
            }
            Found::Absent => {}
        }
    }
    choice.set = spare;
    choice
}

/// The first few names.
fn listed(names: &[String]) -> String {
    const FEW: usize = 10;
    let text = names.iter().take(FEW).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > FEW { format!("{text} and {} more", names.len() - FEW) } else { text }
}

/// The variants that weights in `dir` have, closest spelling to `wanted` first. Without a `wanted`
/// only those that loaders do not take by themselves.
pub(super) fn variants<'a>(view: &View<'a>, dirs: &[&str], wanted: &str) -> Vec<String> {
    let mut found: Vec<&'a str> = dirs
        .iter()
        .flat_map(|dir| view.files(dir).iter().copied())
        .filter_map(|e| {
            let name = e.path.file_name();
            names::parse(name).and_then(|n| n.variant).or_else(|| packed::variant(name).filter(|_| !wanted.is_empty()))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.sort_by_cached_key(|v| distance(wanted, v));
    found.into_iter().take(50).map(str::to_owned).collect()
}
