//! `--partition` and `hfget publish`: one worker's part of a fleet's jobs, and the last step of the fleet.

use std::sync::Arc;

use hfget_core::session::{Error, Prepared, Session};
use hfget_core::unstable::model::Partition;
use hfget_core::unstable::session::Published;

use super::advice::Advisor;
use super::args::PublishArgs;
use super::job::{Asked, Job, setup};
use super::outcomes::Outcomes;
use super::screen::Screen;
use crate::exit::ExitCode;

/// One part of all jobs. Its files depend on all jobs, so the error of a repo that cannot be listed, with its place,
/// ends the run.
pub(super) async fn parts(jobs: &[(Job, Arc<Session>)], partition: Partition) -> Result<Vec<Prepared>, (usize, Error)> {
    let mut wanted = Vec::with_capacity(jobs.len());
    for (at, (job, session)) in jobs.iter().enumerate() {
        wanted.push(job.wanted(session).await.map_err(|error| (at, error))?);
    }
    Session::keep_part(&mut wanted, partition);
    Ok(wanted)
}

/// Fetches one part of all jobs. On request, publishes the jobs with all parts in place.
pub(super) async fn get_parts(
    jobs: &[(Job, Arc<Session>)],
    partition: Partition,
    publish: bool,
    screen: &Screen,
    outcomes: &mut Outcomes<'_>,
) {
    let parts = match parts(jobs, partition).await {
        Ok(parts) => parts,
        Err((at, error)) => {
            let name = jobs.get(at).map_or_else(String::new, |(job, _)| job.name());
            return outcomes.error_at(at, &name, &error);
        }
    };
    let mut done = Vec::new();
    for (at, ((job, session), part)) in jobs.iter().zip(parts).enumerate() {
        let whole = publish.then(|| part.to_be_published());
        match session.get_part(part, job.options()).await {
            Ok(report) => {
                if let Some(whole) = whole.filter(|_| report.verdict.partition().is_some()) {
                    done.push((at, job, session, whole));
                }
                outcomes.report_at(at, &job.name(), report);
            }
            Err(error) => outcomes.error_at(at, &job.name(), &error),
        }
    }
    // The reports of the whole come after those of the parts.
    for (at, job, session, whole) in done {
        match session.publish_if_complete(whole, job.options()).await {
            Ok(Published::Done(report)) => outcomes.report_at(jobs.len() + at, &job.name(), *report),
            Ok(Published::Incomplete { missing }) => {
                let files = if missing == 1 { "1 file is".to_owned() } else { format!("{missing} files are") };
                let name = job.name();
                screen
                    .note(&format!("{name} is not published: {files} missing; the worker that ends last publishes it"));
            }
            Err(error) => outcomes.error_at(jobs.len() + at, &job.name(), &error),
        }
    }
}

/// Verifies the files of all workers, and publishes them.
pub(super) async fn publish(args: &PublishArgs) -> ExitCode {
    let screen = Screen::new(&args.output, Advisor::new(args.place.cache_dir.as_deref()));
    if args.place.offline {
        let hint = Some("published files are compared with the Hub or a lockfile: leave out --offline");
        screen.fail("", &"hfget publish does not work with --offline", hint);
        return ExitCode::Usage;
    }
    let mut outcomes = match Outcomes::new(&screen, &args.reports, "publish") {
        Ok(outcomes) => outcomes,
        Err(end) => return end,
    };
    let jobs = match setup(&Asked::to_publish(args), &screen).await {
        Ok(ready) => ready,
        Err(end) => return end,
    };
    screen.expect(jobs.len());
    for (at, (job, session)) in jobs.iter().enumerate() {
        match job.publish(session).await {
            Ok(report) => outcomes.report_at(at, &job.name(), report),
            Err(error) => outcomes.error_at(at, &job.name(), &error),
        }
    }
    outcomes.finish()
}
