//! Paths of one listing that cannot lie side by side on a disk. No disk is asked.

use std::collections::HashMap;

use crate::model::RepoPath;

/// Two paths that need the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// The first is a file, and a folder on the way to the second.
    FileIsFolder(RepoPath, RepoPath),
    /// They differ only in case (of their last segment or of a folder).
    CaseOnly(RepoPath, RepoPath),
}

/// Every conflict among `paths`, each path named as the second of a pair at most once.
pub(crate) fn conflicts<'a>(paths: impl IntoIterator<Item = &'a RepoPath>) -> Vec<Conflict> {
    let paths: Vec<&RepoPath> = paths.into_iter().collect();
    let mut out = Vec::new();
    let exact: HashMap<&str, &RepoPath> = paths.iter().map(|p| (p.as_str(), *p)).collect();
    // Folded spelling of every file and folder, to the path that brought it in and its own spelling.
    let mut folded: HashMap<String, (&RepoPath, &str)> = HashMap::new();
    for path in &paths {
        let text = path.as_str();
        let prefixes = text.match_indices('/').map(|(at, _)| &text[..at]);
        if let Some(file) = prefixes.clone().find_map(|prefix| exact.get(prefix)) {
            out.push(Conflict::FileIsFolder((*file).clone(), (*path).clone()));
        }
        for part in prefixes.chain([text]) {
            let (other, spelling) = *folded.entry(part.to_lowercase()).or_insert((path, part));
            if spelling != part {
                out.push(Conflict::CaseOnly(other.clone(), (*path).clone()));
                break;
            }
        }
    }
    out
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
}
