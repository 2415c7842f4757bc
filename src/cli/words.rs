//! The meaning of a command line's words: repos, or files of the first repo. If a word could be both, the error
//! says how to name either. No request is made here.

use hfget_core::model::{RepoPath, RepoSpec, RepoType};

use super::args::Repos;
use super::habits;

/// The repos and files that the command line names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    pub specs: Vec<RepoSpec>,
    /// Files of the first repo, as names or patterns.
    pub files: Vec<String>,
    /// Words that could be repos, or files of the first one.
    pub unclear: Vec<(String, RepoSpec)>,
}

/// An error as a sentence, and a hint.
pub(super) type Complaint = (String, Option<String>);

enum Word {
    Repo(RepoSpec),
    File,
    Either(RepoSpec),
}

/// Reads the words; the first one is a repo.
pub(super) fn read(repos: &Repos) -> Result<Named, Complaint> {
    let mut named = Named::default();
    for (at, text) in repos.named.iter().enumerate() {
        match word(text, at == 0, repos.repo_type)? {
            Word::Repo(spec) => named.specs.push(spec),
            Word::File => named.files.push(text.clone()),
            Word::Either(spec) => named.unclear.push((text.clone(), spec)),
        }
    }
    if let Some(file) = named.files.first() {
        if named.specs.len() > 1 {
            return Err((
                format!("\"{file}\" is a file, but it could be of several repos"),
                Some("run hfget once for each repo whose files you name".to_owned()),
            ));
        }
        // A word beside a file is a file too.
        named.files.extend(named.unclear.drain(..).map(|(text, _)| text));
    }
    if named.specs.first().is_some_and(|spec| spec.path.is_some()) {
        // The words beside a link to one file are not files of that repo.
        named.specs.extend(named.unclear.drain(..).map(|(_, spec)| spec));
    }
    if let Some(spec) = named.specs.first().filter(|spec| spec.path.is_some())
        && let Some(file) = named.files.first()
    {
        let what = format!("the address of {} names a file or folder already", spec.repo_type.qualify(&spec.id));
        return Err((what, Some(format!("leave out \"{file}\", or name the repo alone and then its files"))));
    }
    Ok(named)
}

fn word(text: &str, first: bool, repo_type: Option<RepoType>) -> Result<Word, Complaint> {
    if first {
        return repo(text, repo_type).map(Word::Repo);
    }
    let prefixed = ["hf://", "huggingface://", "https://", "http://", "git@", "hf.co/", "huggingface.co/"];
    if prefixed.iter().any(|prefix| text.starts_with(prefix)) {
        return repo(text, repo_type).map(Word::Repo);
    }
    let whole = text.trim_end_matches('/');
    let segments = whole.split('/').count();
    if text.contains(['*', '?', '[']) || whole != text && segments == 1 {
        return Ok(Word::File);
    }
    match repo(text, repo_type) {
        Ok(spec) if spec.revision.is_some() => Ok(Word::Repo(spec)),
        Ok(spec) => Ok(Word::Either(spec)),
        Err(_) if whole.parse::<RepoPath>().is_ok() => Ok(Word::File),
        Err(complaint) => Err(complaint),
    }
}

/// The repo that a word names, in the name space of `--repo-type`.
fn repo(text: &str, repo_type: Option<RepoType>) -> Result<RepoSpec, Complaint> {
    if let Some(answer) = habits::misplaced(text) {
        return Err((format!("\"{text}\" names no repo"), Some(answer)));
    }
    let mut spec: RepoSpec = text.parse().map_err(|error: hfget_core::model::SpecError| {
        let hint = crate::render::remedies::of_spec(&error);
        (error.to_string(), hint)
    })?;
    if let Some(repo_type) = repo_type {
        let says_models = text.contains("models/") && spec.repo_type == RepoType::Model;
        if spec.repo_type != repo_type && (spec.repo_type != RepoType::Model || says_models) {
            let what = format!("\"{text}\" names a {}, but --repo-type says {repo_type}", spec.repo_type);
            return Err((what, Some("leave out --repo-type".to_owned())));
        }
        spec.repo_type = repo_type;
    }
    Ok(spec)
}

/// The error for a word that could be both, with the way to name either.
pub(super) fn ambiguous(text: &str, spec: &RepoSpec, of: &RepoSpec) -> Complaint {
    let (repo, other) = (of.repo_type.qualify(&of.id), spec.repo_type.qualify(&spec.id));
    (
        format!("\"{text}\" is a file of {repo}, and also a repo"),
        Some(format!("`hfget {repo} --include {text}` takes the file, `hfget {repo} hf://{other}` takes both repos")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(line: &str) -> Result<Named, String> {
        let repos = Repos {
            named: line.split(' ').map(str::to_owned).collect(),
            from_file: None,
            locked: None,
            revision: None,
            repo_type: None,
            follow_code: false,
        };
        read(&repos).map_err(|(what, _)| what)
    }

    #[test]
    fn words_are_repos_or_files_by_their_form() {
        for (line, files, unclear) in [
            ("org/a", vec![], vec![]),
            ("org/a org/b", vec![], vec!["org/b"]),
            ("org/a config.json", vec![], vec!["config.json"]),
            ("org/a *.json", vec!["*.json"], vec![]),
            ("org/a data/", vec!["data/"], vec![]),
            ("org/a a/b/c.txt", vec!["a/b/c.txt"], vec![]),
            ("org/a *.json README.md", vec!["*.json", "README.md"], vec![]),
            ("org/a org/b@main", vec![], vec![]),
            ("org/a x_.bin .gitattributes", vec![".gitattributes", "x_.bin"], vec![]),
        ] {
            let named = named(line).unwrap();
            assert_eq!(named.files, files, "{line}");
            assert_eq!(named.unclear.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>(), unclear, "{line}");
        }
        assert_eq!(named("org/a hf://org/b").unwrap().specs.len(), 2);
        assert!(named("org/a hf://org/b *.json").unwrap_err().contains("several repos"));
        assert!(named("hf://org/a/x.json *.json").unwrap_err().contains("already"));
        assert!(named("--quiet login").is_err());
    }
}
