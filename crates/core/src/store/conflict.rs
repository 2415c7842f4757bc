//! Paths of one listing that cannot be side by side on a disk. No disk is read.

use std::collections::HashMap;

use icu_normalizer::DecomposingNormalizerBorrowed;
use unicase::UniCase;

use crate::model::RepoPath;

/// Two paths that need the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// The first is a file, and a folder on the way to the second.
    FileIsFolder(RepoPath, RepoPath),
    /// They differ only in case or in the Unicode form of their letters (in their last segment or in a folder).
    CaseOnly(RepoPath, RepoPath),
}

/// Every conflict among `paths`, each path named as the second of a pair at most once.
pub(crate) fn conflicts<'a>(paths: impl IntoIterator<Item = &'a RepoPath>) -> Vec<Conflict> {
    let paths: Vec<&RepoPath> = paths.into_iter().collect();
    let mut out = Vec::new();
    let exact: HashMap<&str, &RepoPath> = paths.iter().map(|p| (p.as_str(), *p)).collect();
    // Maps the folded spelling of every file and folder to the path that has it, and to its own spelling.
    let mut folded: HashMap<String, (&RepoPath, &str)> = HashMap::new();
    for path in &paths {
        let text = path.as_str();
        let prefixes = text.match_indices('/').map(|(at, _)| &text[..at]);
        if let Some(file) = prefixes.clone().find_map(|prefix| exact.get(prefix)) {
            out.push(Conflict::FileIsFolder((*file).clone(), (*path).clone()));
        }
        for part in prefixes.chain([text]) {
            let (other, spelling) = *folded.entry(fold(part)).or_insert((path, part));
            if spelling != part {
                out.push(Conflict::CaseOnly(other.clone(), (*path).clone()));
                break;
            }
        }
    }
    out
}

/// Pairs of paths of which the second needs a folder with the name of a local dir's own file about the
/// first: `a` has `a.lock` and `a.metadata`.
pub(crate) fn noted_clashes<'a>(paths: impl IntoIterator<Item = &'a RepoPath>) -> Vec<(RepoPath, RepoPath)> {
    let paths: Vec<&RepoPath> = paths.into_iter().collect();
    let exact: HashMap<&str, &RepoPath> = paths.iter().map(|p| (p.as_str(), *p)).collect();
    let clash = |path: &&RepoPath| {
        let text = path.as_str();
        let mut folders = text.match_indices('/').map(|(at, _)| &text[..at]);
        let noted = |folder: &str| [".lock", ".metadata"].iter().find_map(|end| exact.get(folder.strip_suffix(end)?));
        folders.find_map(noted).map(|file| ((*file).clone(), (*path).clone()))
    };
    paths.iter().filter_map(clash).collect()
}

/// A form that is equal for all spellings of a name on a file system that ignores case, the form of letters, or
/// both: Unicode's canonical caseless match. The second pass is needed because folded parts may compose again.
fn fold(name: &str) -> String {
    let form = DecomposingNormalizerBorrowed::new_nfd();
    form.normalize(&UniCase::unicode(form.normalize(name)).to_folded_case()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_conflicts_are_named() {
        let paths: Vec<RepoPath> = ["a", "a/b", "README.md", "readme.MD", "Sub/x", "sub/y", "ab", "c/d", "c/e"]
            .map(|p| p.parse().unwrap())
            .to_vec();
        let p = |text: &str| text.parse::<RepoPath>().unwrap();
        assert_eq!(
            conflicts(&paths),
            [
                Conflict::FileIsFolder(p("a"), p("a/b")),
                Conflict::CaseOnly(p("README.md"), p("readme.MD")),
                Conflict::CaseOnly(p("Sub/x"), p("sub/y")),
            ]
        );
    }

    fn clash(one: &str, other: &str) -> bool {
        let paths = [one.parse::<RepoPath>().unwrap(), other.parse().unwrap()];
        !conflicts(&paths).is_empty()
    }

    /// Spellings that some file system treats as one name are one here, in any script.
    #[test]
    fn every_spelling_of_a_name_is_found() {
        for (one, other) in [
            ("ΟΔΟΣ", "οδος"),
            ("οδοσ", "οδος"),
            ("straße", "STRASSE"),
            ("ẞ", "ss"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("CAF\u{c9}", "cafe\u{301}"),
            ("\u{212b}", "\u{e5}"),
            ("K\u{212a}", "kk"),
            ("İ", "i\u{307}"),
            ("\u{fb01}le", "FILE"),
            ("\u{345}\u{301}", "\u{301}\u{3b9}"),
            ("d\u{e9}/a", "de\u{301}/b"),
        ] {
            assert!(clash(one, other), "{one} {other}");
            assert!(clash(other, one), "{other} {one}");
        }
    }

    /// Names that every file system distinguishes are not conflicts.
    #[test]
    fn other_letters_are_other_names() {
        for (one, other) in [("ı", "i"), ("cafe", "caf\u{e9}"), ("ß", "s"), ("а", "a"), ("o", "0"), ("\u{fb01}", "f")]
        {
            assert!(!clash(one, other), "{one} {other}");
        }
    }
}
