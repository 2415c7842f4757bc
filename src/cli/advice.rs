//! Advice about an error: first from this cache and this command line, then the library's remedy.

use std::path::{Path, PathBuf};

use hfget_core::hub::{HubError, cache_dir};
use hfget_core::session::Error;
use hfget_core::unstable::store::cached_repos;

use super::args::command;
use crate::render::remedies::words;
use crate::render::suggest::meant;

/// The sources of advice.
#[derive(Debug)]
pub(super) struct Advisor {
    cache: Option<PathBuf>,
    /// Whether the first word could be a misspelt command.
    commands: bool,
}

impl Advisor {
    /// Advice from the cache that the flags or the environment name.
    pub(super) fn new(cache: Option<&Path>) -> Self {
        Advisor {
            cache: cache.map(Path::to_path_buf).or_else(|| cache_dir(|name| std::env::var_os(name))),
            commands: false,
        }
    }

    /// For a command line whose first word could be a misspelt command.
    pub(super) fn of_commands(self) -> Self {
        Advisor { commands: true, ..self }
    }

    /// One line for each thing that the user can do.
    pub(super) fn on(&self, error: &Error) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(command) = self.command_meant(error) {
            lines.push(if absent_repo(error) == Some(&command) {
                format!("a command comes first: `hfget {command}`")
            } else {
                format!("did you mean `hfget {command}`?")
            });
        }
        if let Some(wanted) = absent_repo(error)
            && let Some(cache) = &self.cache
        {
            let here = cached_repos(cache).into_iter().map(|(repo_type, id)| repo_type.qualify(&id));
            if let Some(near) = near_repo(wanted, &here.collect::<Vec<_>>()) {
                lines.push(format!("did you mean {near}? It is in the cache"));
            }
        }
        lines.extend(error.remedy().as_ref().map(words));
        lines
    }

    /// The command that the user may have meant by a repo's name, if there is no such repo.
    pub(super) fn command_meant(&self, error: &Error) -> Option<String> {
        let word = absent_repo(error).filter(|word| self.commands && !word.contains('/'))?;
        let whole = command();
        let names = whole.get_subcommands().filter(|one| !one.is_hide_set()).map(clap::Command::get_name);
        meant(word, names).first().map(|name| (*name).to_owned())
    }
}

/// The repo that is not available, if that is the error.
fn absent_repo(error: &Error) -> Option<&str> {
    match error {
        Error::Hub(HubError::RepoNotFound { repo, .. }) | Error::NotCached { repo, .. } => Some(repo),
        _ => None,
    }
}

/// A repo with nearly this name, or with the same name and another owner or none.
pub(super) fn near_repo<'a>(wanted: &str, here: &'a [String]) -> Option<&'a str> {
    fn last(id: &str) -> &str {
        id.rsplit('/').next().unwrap_or(id)
    }
    let others = || here.iter().map(String::as_str).filter(|id| *id != wanted);
    meant(wanted, others())
        .into_iter()
        .next()
        .or_else(|| others().find(|id| last(id).eq_ignore_ascii_case(last(wanted))))
        .or_else(|| {
            // Without an owner only the name is compared.
            let near = if wanted.contains('/') { None } else { meant(wanted, others().map(last)).into_iter().next() }?;
            others().find(|id| last(id) == near)
        })
}

#[cfg(test)]
mod tests {
    use super::near_repo;

    #[test]
    fn a_repo_in_the_cache_is_named_when_its_name_is_near() {
        let here = ["THUDM/chatglm3-6b", "gpt2", "datasets/rajpurkar/squad"].map(String::from);
        for (wanted, near) in [
            ("THUDM/chatglm-6b", Some("THUDM/chatglm3-6b")),
            ("thudm/ChatGLM3-6B", Some("THUDM/chatglm3-6b")),
            ("chatglm3-6b", Some("THUDM/chatglm3-6b")),
            ("chatglm3-6", Some("THUDM/chatglm3-6b")),
            ("openai/gpt2", Some("gpt2")),
            ("rajpurkar/squad", Some("datasets/rajpurkar/squad")),
            ("gtp2", Some("gpt2")),
            ("org/model", None),
            ("gpt2", None),
        ] {
            assert_eq!(near_repo(wanted, &here), near, "{wanted}");
        }
    }
}
