//! `--follow-code`: takes the code that models name in other repos in the same run. Selection finds those repos.

use std::collections::{BTreeSet, VecDeque};

use hfget_core::model::{Options, RepoId, RepoSpec};
use hfget_core::session::Session;

use super::args::Repos;
use super::outcomes::Outcomes;

/// The most repos that are followed. Longer chains of repos are not plausible.
const MOST: usize = 32;

/// Repos with code that models of this run name, each once.
#[derive(Debug, Default)]
pub(super) struct CodeRepos {
    wanted: bool,
    known: BTreeSet<String>,
    waiting: VecDeque<RepoId>,
}

impl CodeRepos {
    /// An empty list; `named` are the run's own repos, which are taken anyway.
    pub(super) fn of(repos: &Repos, named: impl Iterator<Item = String>) -> Self {
        CodeRepos { wanted: repos.follow_code, known: named.collect(), waiting: VecDeque::new() }
    }

    /// Adds repos that must be followed and were not named yet.
    pub(super) fn add(&mut self, repos: &[RepoId]) {
        for repo in repos.iter().filter(|_| self.wanted) {
            if self.known.len() < MOST && self.known.insert(repo.as_str().to_owned()) {
                self.waiting.push_back(repo.clone());
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next repo, and the options for it.
    pub(super) fn next(&mut self) -> Option<(RepoSpec, Options)> {
        let spec = std::iter::from_fn(|| self.waiting.pop_front()).find_map(|id| id.as_str().parse().ok())?;
        // The repo may be a model itself, whose weights the user did not ask for.
        let options = Options { include: vec!["*.py".to_owned()], ..Options::default() };
        Some((spec, options))
    }

    /// Takes all of them, and the repos that they name in turn. `at` is their place in the report.
    pub(super) async fn get(mut self, session: &Session, mut at: usize, outcomes: &mut Outcomes<'_>) {
        while let Some((spec, options)) = self.next() {
            let name = spec.repo_type.qualify(&spec.id);
            match session.get(&spec, &options).await {
                Ok(report) => {
                    self.add(&report.code_repos);
                    outcomes.report_at(at, &name, report);
                }
                Err(error) => outcomes.error_at(at, &name, &error),
            }
            at += 1;
        }
    }
}
