//! `--include`, `--with` and `--exclude`: globs as `huggingface_hub` reads them. Other rules apply them.

use globset::{GlobBuilder, GlobMatcher};

use super::SelectError;

/// The compiled patterns of one flag.
#[derive(Debug, Default)]
pub(super) struct Globs(Vec<(String, GlobMatcher)>);

impl Globs {
    /// Compiles patterns by the rules of `filter_repo_objects` (Python's `fnmatch`): `*` and `?` also
    /// match `/`, `{` and `\` mean themselves, a `/` at the end means everything in that folder.
    pub fn new(patterns: &[String]) -> Result<Self, SelectError> {
        patterns
            .iter()
            .map(|pattern| Ok((pattern.clone(), compile(pattern, Case::Matters)?)))
            .collect::<Result<_, _>>()
            .map(Globs)
    }

    /// The first pattern that matches the path.
    pub fn matching(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|(_, glob)| glob.is_match(path)).map(|(pattern, _)| pattern.as_str())
    }

    /// Whether a pattern is exactly the name of this file, even if it has the characters of a glob.
    pub fn names(&self, path: &str) -> bool {
        self.0.iter().any(|(pattern, _)| pattern == path)
    }

    /// Compiles patterns for a user who types names of files: a file's whole name matches only that file, and a
    /// folder's name matches the files in it.
    ///
    /// # Errors
    /// [`SelectError::BadGlob`], as [`Globs::new`].
    pub fn typed<'p>(
        patterns: &[String],
        paths: &(impl Iterator<Item = &'p str> + Clone),
    ) -> Result<Self, SelectError> {
        let read = |pattern: &String| {
            if paths.clone().any(|path| path == pattern) {
                return Ok((pattern.clone(), compile(&literal(pattern), Case::Matters)?));
            }
            let glob = compile(pattern, Case::Matters)?;
            let folder = format!("{pattern}/");
            let is_folder =
                !paths.clone().any(|path| glob.is_match(path)) && paths.clone().any(|path| path.starts_with(&folder));
            Ok((pattern.clone(), if is_folder { compile(&literal(&folder), Case::Matters)? } else { glob }))
        };
        patterns.iter().map(read).collect::<Result<_, _>>().map(Globs)
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first pattern that matches none of `paths`.
    pub fn unused<'p>(&self, paths: &(impl Iterator<Item = &'p str> + Clone)) -> Option<&str> {
        self.0.iter().find(|(_, glob)| !paths.clone().any(|p| glob.is_match(p))).map(|(pattern, _)| pattern.as_str())
    }
}

/// Whether letters also match those of the other case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Matters,
    Ignored,
}

fn compile(pattern: &str, case: Case) -> Result<GlobMatcher, SelectError> {
    GlobBuilder::new(&translate(pattern))
        .literal_separator(false)
        .backslash_escape(false)
        .case_insensitive(case == Case::Ignored)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| SelectError::BadGlob { glob: pattern.to_owned(), reason: error.kind().to_string() })
}

/// A glob that matches exactly this text, or everything below it if it ends with a `/`.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '*' | '?' | '[' => out.extend(['[', c, ']']),
            _ => out.push(c),
        }
    }
    out
}

/// Whether a glob in the users' form matches any of `paths`.
///
/// # Errors
/// [`SelectError::BadGlob`].
pub fn any_matches<'p>(pattern: &str, paths: &(impl Iterator<Item = &'p str> + Clone)) -> Result<bool, SelectError> {
    let globs = Globs::typed(&[pattern.to_owned()], paths)?;
    Ok(globs.unused(paths).is_none())
}

/// A few files that match a pattern if case is ignored.
pub(super) fn any_case<'p>(pattern: &str, paths: impl Iterator<Item = &'p str>) -> Vec<String> {
    const MOST: usize = 20;
    let Ok(glob) = compile(pattern, Case::Ignored) else { return Vec::new() };
    paths.filter(|path| glob.is_match(path)).take(MOST).map(str::to_owned).collect()
}

/// The names that a user's misspelling is compared with, up to a limit.
pub(super) fn some<'p>(paths: impl Iterator<Item = &'p str>) -> Vec<String> {
    const MOST: usize = 20_000;
    paths.take(MOST).map(str::to_owned).collect()
}

/// Translates `fnmatch`'s language to `globset`'s: braces have no meaning, and a run of `*` is one.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut class = false;
    for c in pattern.chars() {
        match c {
            '{' | '}' if !class => {
                out.push('[');
                out.push(c);
                out.push(']');
            }
            '*' if !class && out.ends_with('*') => {}
            '[' if !class => {
                class = true;
                out.push(c);
            }
            ']' if class => {
                class = false;
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    if pattern.ends_with('/') {
        out.push('*');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_read_as_huggingface_hub_reads_them() {
        for (glob, path, want) in [
            ("*.json", "config.json", true),
            ("*.json", "a/b/config.json", true),
            ("data/", "data/a/b", true),
            ("data/", "data2/a", false),
            ("data", "data/a", false),
            ("data/*.bin", "data/x/y.bin", true),
            ("**/*.json", "config.json", false),
            ("**/*.json", "a/config.json", true),
            ("?.txt", "a.txt", true),
            ("[ab].txt", "a.txt", true),
            ("[!ab].txt", "a.txt", false),
            ("{a,b}.txt", "a.txt", false),
            ("{a,b}.txt", "{a,b}.txt", true),
            ("*.JSON", "config.json", false),
            ("模型*", "模型.bin", true),
        ] {
            let globs = Globs::new(&[glob.to_owned()]).unwrap();
            assert_eq!(globs.matching(path).is_some(), want, "{glob} on {path}");
        }
    }

    #[test]
    fn a_file_with_the_name_of_a_glob_and_a_folder_are_named_by_their_own_names() {
        let paths = ["a[1].txt", "a1.txt", "data/x", "data/sub/y", "data2/z", "w*/q", "wx/q"];
        let matching = |pattern: &str| {
            let globs = Globs::typed(&[pattern.to_owned()], &paths.into_iter()).unwrap();
            paths.into_iter().filter(|path| globs.matching(path).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(matching("a[1].txt"), ["a[1].txt"]);
        assert_eq!(matching("a[12].txt"), ["a1.txt"], "a text that names no file is a glob");
        assert_eq!(matching("data"), ["data/x", "data/sub/y"]);
        assert_eq!(matching("data/"), ["data/x", "data/sub/y"]);
        assert_eq!(matching("w*/q"), ["w*/q"]);
        assert!(matching("dat").is_empty());
    }

    #[test]
    fn a_glob_without_a_match_suggests_names_in_another_case() {
        let paths = ["config.json", "data/train.csv", "tokenizer.json"];
        assert_eq!(any_case("*.JSON", paths.into_iter()), ["config.json", "tokenizer.json"]);
        assert!(any_case("*.bin", paths.into_iter()).is_empty());
    }

    #[test]
    fn a_glob_that_does_not_parse_is_named() {
        let error = Globs::new(&["[a".to_owned()]).unwrap_err();
        assert!(matches!(error, SelectError::BadGlob { glob, .. } if glob == "[a"));
    }
}
