//! The groups of files that were left out: the change of options that takes each group, and the warning for parts that
//! are not just another format of the model. `picks` decides why a file is left out.

use std::collections::BTreeSet;

use super::classify::classify;
use super::names;
use super::picks::{Picks, weights_of};
use super::view::View;
use super::{LeftOut, Reason, Selection};
use crate::finding::{Code, Finding, Remedy, Take};
use crate::model::{Family, RepoPath};
use crate::text::{bytes, few, printable};

/// The change of options that takes a group of files: a change for this group alone if there is one, otherwise
/// everything.
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
        // In a pipeline, another family may lack the variant in some component.
        if let Reason::Variant(variant) = reason
            && (!picks.pipeline || chosen(family))
        {
            let family = (!chosen(family)).then_some(family);
            return Take::Weights { family, variant: Some(variant.clone()) };
        }
        // A family can be chosen only if it has weights, not just an index, and if it is complete.
        let weights =
            paths.iter().filter_map(|p| view.listing().get(p.as_str())).any(|e| weights_of(view, e).is_some());
        let whole = weights && !view.incomplete(paths) && *reason == Reason::Family(family);
        if whole && !chosen(family) && !picks.pipeline {
            return Take::Weights { family: Some(family), variant: one_variant(family, paths) };
        }
    }
    glob(view, paths).map_or(Take::All, |glob| Take::Files { glob })
}

/// The variant to name if the family has only variants, or several models.
fn one_variant(family: Family, paths: &[RepoPath]) -> Option<String> {
    let of = |path: &RepoPath| match family {
        Family::Pt | Family::TorchScript | Family::Tf | Family::Flax => Some(names::stem(path.file_name()).to_owned()),
        _ => None,
    };
    let stems: BTreeSet<String> = paths.iter().filter_map(of).collect();
    let several = stems.len() > 1 && !paths.iter().any(|p| classify(p.file_name()).family != Some(family));
    stems.into_iter().next().filter(|_| several)
}

/// A glob that matches exactly the one file, or exactly the files of the one folder.
fn glob(view: &View<'_>, paths: &[RepoPath]) -> Option<String> {
    let literal = |text: &str| !text.contains(['*', '?', '[', ']', '\'']) && !text.chars().any(char::is_control);
    if let [one] = paths {
        return literal(one.as_str()).then(|| one.as_str().to_owned());
    }
    let first = paths.first()?.as_str().split('/').next()?;
    let together = paths.iter().all(|path| path.as_str().strip_prefix(first).is_some_and(|rest| rest.starts_with('/')));
    // All files of the folder must be left out; otherwise the glob would match other files too.
    let whole = view.listing().entries.iter().filter(|e| e.path.as_str().starts_with(&format!("{first}/"))).count();
    (together && literal(first) && whole == paths.len()).then(|| format!("{first}/*"))
}

/// Warns about weights that were left out and are not another format, a variant or a training state of the model:
/// a loader may need this part.
pub(super) fn warn(view: &View<'_>, pipeline: bool, selection: &Selection) {
    let torch = |family: Family| matches!(family, Family::Safetensors | Family::Bin);
    let chosen = selection.weights.iter().any(|set| torch(set.family));
    // A pipeline's index names its parts.
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
    // Shards of a standard name are the same weights again, and have a finding elsewhere.
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
        "{what} left out ({}), although not just another format of the model: {}",
        bytes(sum),
        printable(&few(&names, 3))
    );
    Some(Finding::new(Code::PartLeftOut, &first.path, message).remedy(Remedy::Take { take: group.take.clone() }))
}
