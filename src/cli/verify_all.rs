//! `hfget verify --all`: verifies every snapshot in the cache, some at once.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt as _};
use hfget_core::model::{CommitId, Options, RepoSpec, Revision};
use hfget_core::session::DestinationConfig;
use hfget_core::unstable::session::snapshots;

use super::args::VerifyArgs;
use super::outcomes::Outcomes;
use super::screen::Screen;
use super::setup::{hub_cache, session};
use super::signers::trusted;
use super::verify::checks;
use crate::exit::ExitCode;

/// How many snapshots are checked at once: while one waits for the Hub, others are hashed.
const AT_ONCE: usize = 4;

/// Checks the whole cache, and on request fetches wrong files again.
pub(super) async fn verify_all(
    args: &VerifyArgs,
    screen: &Screen,
    outcomes: &mut Outcomes<'_>,
) -> Result<(), ExitCode> {
    let refused = [
        (args.selection.options() != Options { all: true, ..Options::default() }, "flags that choose files"),
        (args.revision.is_some(), "--revision"),
        (args.place.local_dir.is_some(), "--local-dir"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(given, _)| *given) {
        let text = format!("--all without repos checks the whole cache: it cannot be used with {what}");
        screen.fail("", &text, Some("name the repos, or leave it out"));
        return Err(ExitCode::Usage);
    }
    let place = hub_cache(&args.place, screen)?;
    let trusted = trusted(&args.signers, screen)?;
    let session = session(&args.place, &args.transfer, checks(args), screen, None, Some(place.clone()), trusted)?;
    let DestinationConfig::Cache { root, .. } = place else { return Err(ExitCode::Usage) };
    let shown = root.display().to_string();
    let all = tokio::task::spawn_blocking(move || snapshots(&root)).await.unwrap_or_default();
    if all.is_empty() {
        screen.fail("", &format!("there is no snapshot in {shown}"), Some("name the cache with --cache-dir"));
        return Err(ExitCode::NotAvailable);
    }
    screen.expect(all.len());
    let names = names(&all);
    let checked = all.iter().enumerate().map(|(at, spec)| {
        let session = &session;
        async move { (at, session.verify_snapshot(spec, args.repair).await) }
    });
    let mut checked = stream::iter(checked).buffer_unordered(AT_ONCE);
    while let Some((at, ended)) = checked.next().await {
        let name = names.get(at).map_or("", String::as_str);
        match ended {
            Ok(report) => outcomes.report_at(at, name, report),
            Err(error) => outcomes.error_at(at, name, &error),
        }
    }
    Ok(())
}

/// The name of each snapshot: its repo, with the commit if the repo has several.
fn names(all: &[RepoSpec]) -> Vec<String> {
    let name = |spec: &RepoSpec| spec.repo_type.qualify(&spec.id);
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for spec in all {
        *count.entry(name(spec)).or_default() += 1;
    }
    let commit = |spec: &RepoSpec| spec.revision.as_ref().and_then(Revision::as_commit);
    let full = |spec: &RepoSpec| match commit(spec).filter(|_| count.get(&name(spec)).is_some_and(|n| *n > 1)) {
        Some(commit) => format!("{}@{}", name(spec), CommitId::short(&commit)),
        None => name(spec),
    };
    all.iter().map(full).collect()
}
