//! The jobs of a command that takes repos: the repos, files and options that its flags name, each with its session.
//! `get` and `plan` run the jobs.

use std::collections::HashMap;
use std::sync::Arc;

use hfget_core::model::{Options, RepoId, RepoSpec, RepoType};
use hfget_core::report::Report;
use hfget_core::session::{DestinationConfig, Error, Prepared, Session, Trust};
use hfget_core::unstable::lock::LockedRepo;
use hfget_core::unstable::text::printable;

use super::args::{
    GetArgs, Output, PlaceArgs, PlanArgs, PublishArgs, Repos, Selection, Signers, Target, Template, Transfer,
};
use super::lock::locked;
use super::screen::Screen;
use super::setup::{Checks, folders, from_file, hub_cache, named, session, specs};
use super::signers::trusted;
use super::upfront::{settle, wish};
use crate::exit::ExitCode;

/// The flags for the repos, their files, and the destination.
pub(super) struct Asked<'a> {
    pub(super) repos: &'a Repos,
    pub(super) selection: &'a Selection,
    pub(super) place: &'a PlaceArgs,
    pub(super) into: &'a Target,
    pub(super) transfer: &'a Transfer,
    /// The trusted signers; a plan checks no signature.
    pub(super) signers: Option<&'a Signers>,
    pub(super) output: &'a Output,
}

impl<'a> Asked<'a> {
    pub(super) fn to_get(args: &'a GetArgs) -> Self {
        let GetArgs { repos, selection, place, into, transfer, signers, output, .. } = args;
        Asked { repos, selection, place, into, transfer, signers: Some(signers), output }
    }

    pub(super) fn to_plan(args: &'a PlanArgs) -> Self {
        let PlanArgs { repos, selection, place, into, transfer, output, .. } = args;
        Asked { repos, selection, place, into, transfer, signers: None, output }
    }

    pub(super) fn to_publish(args: &'a PublishArgs) -> Self {
        let PublishArgs { repos, selection, place, into, transfer, signers, output, .. } = args;
        Asked { repos, selection, place, into, transfer, signers: Some(signers), output }
    }
}

impl Asked<'_> {
    fn trusted(&self, screen: &Screen) -> Result<Vec<Trust>, ExitCode> {
        self.signers.map_or_else(|| Ok(Vec::new()), |signers| trusted(signers, screen))
    }
}

/// A repo to work on: by the flags, or by a lockfile.
pub(super) enum Job {
    Chosen(RepoSpec, Options),
    Locked(LockedRepo),
}

impl Job {
    pub(super) fn name(&self) -> String {
        match self {
            Job::Chosen(spec, _) => spec.repo_type.qualify(&spec.id),
            Job::Locked(locked) => locked.name(),
        }
    }

    pub(super) fn repo(&self) -> (RepoType, &RepoId) {
        match self {
            Job::Chosen(spec, _) => (spec.repo_type, &spec.id),
            Job::Locked(locked) => (locked.repo_type, &locked.id),
        }
    }

    /// Whether it is a single word, which the user may have meant in another way.
    pub(super) fn is_bare_word(&self) -> bool {
        matches!(self, Job::Chosen(spec, _) if spec.repo_type == RepoType::Model && spec.id.owner().is_none())
    }

    pub(super) async fn get(&self, session: &Session) -> Result<Report, Error> {
        match self {
            Job::Chosen(spec, options) => session.get(spec, options).await,
            Job::Locked(locked) => session.get_locked(locked).await,
        }
    }

    pub(super) async fn publish(&self, session: &Session) -> Result<Report, Error> {
        match self {
            Job::Chosen(spec, options) => session.publish(spec, options).await,
            Job::Locked(locked) => session.publish_locked(locked).await,
        }
    }

    /// The wanted repos and files, without the destination.
    pub(super) async fn wanted(&self, session: &Session) -> Result<Prepared, Error> {
        match self {
            Job::Chosen(spec, options) => session.wanted(spec, options).await,
            Job::Locked(locked) => session.wanted_locked(locked).await,
        }
    }

    /// The options of the selection.
    pub(super) fn options(&self) -> &Options {
        match self {
            Job::Chosen(_, options) => options,
            Job::Locked(locked) => &locked.options,
        }
    }

    pub(super) async fn plan(&self, session: &Session) -> Result<Prepared, Error> {
        match self {
            Job::Chosen(spec, options) => session.plan(spec, options).await,
            Job::Locked(locked) => session.plan_locked(locked).await,
        }
    }
}

/// All jobs, each with its session: one session for all, unless each repo has a folder of its own.
pub(super) async fn setup(asked: &Asked<'_>, screen: &Screen) -> Result<Vec<(Job, Arc<Session>)>, ExitCode> {
    let Asked { repos, selection, place, into, transfer, .. } = asked;
    if let Some((flag, what)) = into.complaint() {
        screen.fail(flag, &what, None);
        return Err(ExitCode::Usage);
    }
    let trusted = asked.trusted(screen)?;
    // For locked files the lockfile is signed, and not the repo.
    let of_repos = if repos.locked.is_some() { Vec::new() } else { trusted.clone() };
    let open = |folder: Option<DestinationConfig>, pasted: Option<&str>| {
        session(place, transfer, Checks::default(), screen, pasted, into.destination().or(folder), of_repos.clone())
            .map(Arc::new)
    };
    if let Some(file) = &repos.locked {
        let pasted = named(repos, screen)?.specs.first().and_then(|spec| spec.endpoint.clone());
        let jobs: Vec<Job> = locked(file, repos, selection, &trusted, screen)?.into_iter().map(Job::Locked).collect();
        one_for_a_tag(&jobs, asked, screen)?;
        return placed(jobs, place, into, None, screen, |folder| open(folder, pasted.as_deref()));
    }
    let (mut named, listed) = (named(repos, screen)?, from_file(repos, screen)?);
    if let (Some(file), Some(other)) = (named.files.first(), listed.first()) {
        let other = other.repo_type.qualify(&other.id);
        let what = format!("\"{}\" is a file, and --from-file names {other} besides", printable(file));
        screen.fail("", &what, Some("name files of one repo, or several repos"));
        return Err(ExitCode::Usage);
    }
    // Errors in the flags are reported before any request.
    named.specs = specs(named.specs, repos.revision.as_ref(), screen)?;
    for spec in named.specs.iter().chain(&listed) {
        wish(selection, spec, &named.files, screen)?;
    }
    let certain = named.specs.iter().chain(&listed).map(|spec| (spec.repo_type, &spec.id));
    folders(place, certain, screen)?;
    let pasted = named.specs.iter().chain(&listed).next().and_then(|s| s.endpoint.clone());
    let session = open(None, pasted.as_deref())?;
    settle(&mut named, &session, screen).await?;
    let all = named.specs.into_iter().chain(listed).collect();
    let mut jobs = Vec::new();
    for spec in specs(all, repos.revision.as_ref(), screen)? {
        let options = wish(selection, &spec, &named.files, screen)?;
        jobs.push(Job::Chosen(spec, options));
    }
    one_for_a_tag(&jobs, asked, screen)?;
    placed(jobs, place, into, Some(session), screen, |folder| open(folder, pasted.as_deref()))
}

/// A tag names one repo: a second one would move it away from the first.
fn one_for_a_tag(jobs: &[Job], asked: &Asked<'_>, screen: &Screen) -> Result<(), ExitCode> {
    let each = asked.into.each().filter(|_| asked.repos.follow_code).map(|template| template.text().to_owned());
    let Some(tag) = asked.into.tag().map(ToString::to_string).or(each) else { return Ok(()) };
    let what = if asked.repos.follow_code {
        format!("{tag} is for one repo, and --follow-code may take others")
    } else if jobs.len() > 1 {
        format!("{tag} is for one repo, and {} are named", jobs.len())
    } else {
        return Ok(());
    };
    let hint = match asked.into.on_disk() {
        Some(_) => "run hfget once for each repo, or write {owner} and {name} into the path",
        None => "run hfget once for each repo, with a tag of its own, or write {owner} and {name} into the name",
    };
    screen.fail("--to", &printable(&what), Some(hint));
    Err(ExitCode::Usage)
}

/// The place of each repo in registries or image layouts.
fn tags(template: &Template, into: &Target, jobs: &[Job], screen: &Screen) -> Result<Vec<DestinationConfig>, ExitCode> {
    let fail = |what: &str, hint: &str| {
        screen.fail("--to", &printable(what), Some(hint));
        ExitCode::Usage
    };
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut all = Vec::new();
    for job in jobs {
        let (repo_type, id) = job.repo();
        let reference = template.of(repo_type, id).map_err(|why| {
            fail(&format!("{}: {why}", job.name()), "run hfget for this repo alone, with a name that registries accept")
        })?;
        if let Some(other) = seen.insert(reference.to_string(), job.name()) {
            let what = format!("{other} and {} would have one tag, and a tag is for one repo", job.name());
            return Err(fail(&what, "put {type} and {owner} into the name too"));
        }
        all.push(into.content(reference));
    }
    Ok(all)
}

/// Each job with its session: `shared`, or one for all that `open` opens, unless each repo has a folder of its own.
fn placed(
    jobs: Vec<Job>,
    place: &PlaceArgs,
    into: &Target,
    shared: Option<Arc<Session>>,
    screen: &Screen,
    open: impl Fn(Option<DestinationConfig>) -> Result<Arc<Session>, ExitCode>,
) -> Result<Vec<(Job, Arc<Session>)>, ExitCode> {
    let folders = match into.each() {
        Some(template) => tags(template, into, &jobs, screen)?,
        None => folders(place, jobs.iter().map(Job::repo), screen)?,
    };
    if folders.is_empty() {
        let session = shared.map_or_else(|| open(None), Ok)?;
        return Ok(jobs.into_iter().map(|job| (job, Arc::clone(&session))).collect());
    }
    let sessions: Result<Vec<_>, ExitCode> = folders.into_iter().map(|folder| open(Some(folder))).collect();
    Ok(jobs.into_iter().zip(sessions?).collect())
}

/// The session that takes the code of other repos: loaders look for it in the cache, and repos in an object store are
/// complete.
pub(super) fn code_session(
    asked: &Asked<'_>,
    screen: &Screen,
    of_models: &Arc<Session>,
) -> Result<Arc<Session>, ExitCode> {
    if asked.place.local_dir.is_none() {
        return Ok(Arc::clone(of_models));
    }
    let cache = hub_cache(asked.place, screen)?;
    session(asked.place, asked.transfer, Checks::default(), screen, None, Some(cache), asked.trusted(screen)?)
        .map(Arc::new)
}
