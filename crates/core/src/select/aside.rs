//! What was left out: the change that takes each group after all, and the warning for parts that are no other format of
//! the model. Why a file is left out is decided in `picks`.

use std::collections::BTreeSet;

use super::classify::classify;
use super::names;
use super::picks::{Picks, weights_of};
use super::view::View;
use super::{LeftOut, Reason, Selection};
use crate::finding::{Code, Finding, Remedy, Take};
use crate::model::{Family, RepoPath};
use crate::text::{bytes, few, printable};

/// The change to what is asked for that takes a group of files: what takes the group alone where there is such a change,
/// otherwise everything.
pub(super) fn take(
    view: &View<'_>,
    picks: &Picks,
    family: Option<Family>,
    reason: &Reason,
    paths: &[RepoPath],
) -> Take {
    match reason {
        Reason::Excluded(pattern) => return Take::NotExcluded { pattern: pattern.clone() },
        Reason::RemoteCode => return Take::Code,
        Reason::NoVariant => return Take::NoVariant,
        Reason::Outside(_) => return Take::NoSubfolder,
        _ => {}
    }
    let chosen = |family: Family| picks.weights.iter().any(|set| set.family == family);
    if let Some(family) = family.filter(|family| *family != Family::Other) {
        // A pipeline's other family need not have the variant in every component.
        if let Reason::Variant(variant) = reason
            && (!picks.pipeline || chosen(family))
        {
            let family = (!chosen(family)).then_some(family);
            return Take::Weights { family, variant: Some(variant.clone()) };
        }
        // An index alone is no family, and one that is not complete is no choice.
        let weights =
            paths.iter().filter_map(|p| view.listing().get(p.as_str())).any(|e| weights_of(view, e).is_some());
        let whole = weights && !view.incomplete(paths) && *reason == Reason::Family(family);
        if whole && !chosen(family) && !picks.pipeline {
            return Take::Weights { family: Some(family), variant: one_variant(family, paths) };
        }
    }
    glob(view, paths).map_or(Take::All, |glob| Take::Files { glob })
}

/// The variant to name where a family is there as variants only, or as several models.
fn one_variant(family: Family, paths: &[RepoPath]) -> Option<String> {
    let of = |path: &RepoPath| match family {
        Family::Pt | Family::TorchScript | Family::Tf | Family::Flax => Some(names::stem(path.file_name()).to_owned()),
        _ => None,
    };
    let stems: BTreeSet<String> = paths.iter().filter_map(of).collect();
    let several = stems.len() > 1 && !paths.iter().any(|p| classify(p.file_name()).family != Some(family));
    stems.into_iter().next().filter(|_| several)
}

/// The file, or all that is in the one folder, as a glob that matches nothing but that.
fn glob(view: &View<'_>, paths: &[RepoPath]) -> Option<String> {
    let literal = |text: &str| !text.contains(['*', '?', '[', ']', '\'']) && !text.chars().any(char::is_control);
    if let [one] = paths {
        return literal(one.as_str()).then(|| one.as_str().to_owned());
    }
    let first = paths.first()?.as_str().split('/').next()?;
    let together = paths.iter().all(|path| path.as_str().strip_prefix(first).is_some_and(|rest| rest.starts_with('/')));
    // The whole folder must be what was left out, or it takes more than is said.
    let whole = view.listing().entries.iter().filter(|e| e.path.as_str().starts_with(&format!("{first}/"))).count();
    (together && literal(first) && whole == paths.len()).then(|| format!("{first}/*"))
}

/// Warns of weights that were left out though they are no other format of the model, nor a variant, nor of a training:
/// a part that somebody may miss.
pub(super) fn warn(view: &View<'_>, pipeline: bool, selection: &Selection) {
    let torch = |family: Family| matches!(family, Family::Safetensors | Family::Bin);
    let chosen = selection.weights.iter().any(|set| torch(set.family));
    // A pipeline says itself what its parts are.
    if pipeline || !chosen {
        return;
    }
    selection.left_out.iter().filter_map(|group| part_left_out(view, selection, group)).for_each(|f| view.find_out(f));
}

fn part_left_out(view: &View<'_>, selection: &Selection, group: &LeftOut) -> Option<Finding> {
    let family = group.family?;
    let same = selection.weights.iter().any(|set| set.family == family);
    let part = same
        && matches!(
            group.reason,
            Reason::OtherFolders(_) | Reason::NotInIndex(_) | Reason::OtherFiles(Family::Safetensors)
        );
    // Shards of a standard name are the same weights once more, which is said elsewhere.
    let again = |path: &&RepoPath| {
        view.rel(path).is_some_and(|rel| !rel.contains('/')) && names::parse(path.file_name()).is_some()
    };
    let entries: Vec<_> = group
        .paths
        .iter()
        .filter(|path| !again(path))
        .filter_map(|path| view.listing().get(path.as_str()))
        .filter(|entry| part && weights_of(view, entry).is_some())
        .collect();
    let first = entries.first()?;
    let sum = entries.iter().fold(0u64, |sum, entry| sum.saturating_add(entry.size));
    let names: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    let what =
        if names.len() == 1 { "a weight file was".to_owned() } else { format!("{} weight files were", names.len()) };
    let message = format!(
        "{what} left out ({}), though no other format of the model: {}",
        bytes(sum),
        printable(&few(&names, 3))
    );
    Some(Finding::new(Code::PartLeftOut, &first.path, message).remedy(Remedy::Take { take: group.take.clone() }))
}
