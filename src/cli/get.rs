//! `hfget REPO...`: fetches each repo and reports on it.

use std::sync::Arc;

use hfget_core::model::RepoSpec;
use hfget_core::session::{Error, Session};
use hfget_core::unstable::text::printable;

use super::advice::Advisor;
use super::args::GetArgs;
use super::fleet::get_parts;
use super::follow::CodeRepos;
use super::job::{Asked, Job, code_session, setup};
use super::outcomes::Outcomes;
use super::screen::Screen;
use super::upfront::resolve_all;
use crate::exit::ExitCode;

pub async fn get(args: &GetArgs) -> ExitCode {
    let screen = Screen::new(&args.output, Advisor::new(args.place.cache_dir.as_deref()).of_commands());
    if let Some(note) = args.habits.note() {
        screen.note(&note);
    }
    let mut outcomes = match Outcomes::new(&screen, &args.reports, "get") {
        Ok(outcomes) => outcomes,
        Err(end) => return end,
    };
    if let Some(layout) = args.into.on_disk().filter(|_| args.share.partition.is_some()) {
        // Its index is written by one process, and an archive is one file.
        let what = format!("{} is filled by one run", printable(&layout));
        screen.fail("--partition", &what, Some("leave out --partition, or fill a registry or an object store"));
        return ExitCode::Usage;
    }
    let jobs = match setup(&Asked::to_get(args), &screen).await {
        Ok(ready) => ready,
        Err(end) => return end,
    };
    screen.expect(jobs.len());
    if let Some(partition) = args.share.partition {
        get_parts(&jobs, partition, args.publish_when_complete, &screen, &mut outcomes).await;
        return outcomes.finish();
    }
    let mut ends = before_the_first_byte(&jobs, args).await;
    // Errors that are known now are printed before hours of transfer; the report keeps the order of the command line.
    for (at, ((job, _), end)) in jobs.iter().zip(&mut ends).enumerate() {
        if let Some(error) = end.take() {
            outcomes.error_at(at, &job.name(), &error);
            // If a word is not a repo, it and the words beside it were meant in another way.
            if job.is_bare_word() && at < args.repos.named.len() {
                return outcomes.finish();
            }
        }
    }
    let mut code = CodeRepos::of(&args.repos, jobs.iter().map(|(job, _)| job.name()));
    for (at, (job, session)) in jobs.iter().enumerate().filter(|(at, _)| !outcomes.has(*at)).collect::<Vec<_>>() {
        match job.get(session).await {
            Ok(report) => {
                code.add(&report.code_repos);
                outcomes.report_at(at, &job.name(), report);
            }
            Err(error) => {
                outcomes.error_at(at, &job.name(), &error);
                // The words after a misspelt command are not repos to fetch.
                if at == 0 && screen.advisor.command_meant(&error).is_some() {
                    break;
                }
            }
        }
    }
    if let Some((_, session)) = jobs.first().filter(|_| !code.is_empty()) {
        match code_session(&Asked::to_get(args), &screen, session) {
            Ok(session) => code.get(&session, jobs.len(), &mut outcomes).await,
            Err(end) => outcomes.worsen(end),
        }
    }
    outcomes.finish()
}

/// The errors of those repos that are not available, if there are several repos. For one repo, the job itself reports
/// it.
async fn before_the_first_byte(jobs: &[(Job, Arc<Session>)], args: &GetArgs) -> Vec<Option<Error>> {
    let Some((_, session)) = jobs.first().filter(|_| jobs.len() > 1 && !args.place.offline) else {
        return jobs.iter().map(|_| None).collect();
    };
    let specs: Vec<Option<&RepoSpec>> = jobs
        .iter()
        .map(|(job, _)| match job {
            Job::Chosen(spec, _) => Some(spec),
            Job::Locked(_) => None,
        })
        .collect();
    resolve_all(&specs, session).await
}
