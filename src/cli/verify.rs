//! `hfget verify`: which folders and snapshots are meant, and what they are compared with.

use std::path::{Path, PathBuf};

use hfget_core::model::{Options, RepoSpec};
#[cfg(feature = "object-store")]
use hfget_core::session::Session;
use hfget_core::session::{DestinationConfig, Error, Trust};
use hfget_core::unstable::lock::LockedRepo;
use hfget_core::unstable::model::OciReference;
#[cfg(feature = "object-store")]
use hfget_core::unstable::object_store::ObjectUrl;
use hfget_core::unstable::session::names_folder;
use hfget_core::unstable::text::printable;

use super::advice::Advisor;
use super::args::VerifyArgs;
use super::lock;
use super::outcomes::Outcomes;
use super::screen::Screen;
#[cfg(feature = "object-store")]
use super::setup::store_config;
use super::setup::{Checks, apply_revision, folders, oci_config, session};
use super::signers::trusted;
use super::upfront::wish;
use super::verify_all::verify_all;
use crate::exit::ExitCode;
use crate::render::attest::Form;

/// Verifies files that are here: with the Hub's listing, a kept listing, or a lockfile.
pub(super) async fn verify(args: &VerifyArgs) -> ExitCode {
    let screen = Screen::new(&args.output, Advisor::new(args.place.cache_dir.as_deref()));
    if let Some(file) = &args.lock {
        return match verify_lock(args, file, &screen).await {
            Ok(end) | Err(end) => end,
        };
    }
    let trusted = match trusted(&args.signers, &screen) {
        Ok(trusted) => trusted,
        Err(bad) => return bad,
    };
    let mut outcomes = match Outcomes::new(&screen, &args.reports, "verify") {
        Ok(outcomes) => outcomes,
        Err(end) => return end,
    };
    if args.targets.is_empty() {
        return match verify_all(args, &screen, &mut outcomes).await {
            Ok(()) => outcomes.finish(),
            Err(end) => end,
        };
    }
    if let Some(target) = args.targets.iter().find(|target| args.repair && repo_of(target).is_none()) {
        let text = format!("--repair is for repos, but {} is not one", printable(target));
        screen.fail("", &text, Some("name the repo: `hfget verify OWNER/NAME --local-dir DIR --repair`"));
        return ExitCode::Usage;
    }
    let repos: Vec<RepoSpec> = args.targets.iter().filter_map(|target| repo_of(target)).collect();
    let folders = match folders(&args.place, repos.iter().map(|spec| (spec.repo_type, &spec.id)), &screen) {
        Ok(folders) => folders,
        Err(bad) => return bad,
    };
    let mut folders = folders.into_iter();
    screen.expect(args.targets.len());
    for target in &args.targets {
        #[cfg(feature = "object-store")]
        if ObjectUrl::is_meant(target) {
            verify_objects(args, target, &trusted, &screen, &mut outcomes).await;
            continue;
        }
        if OciReference::is_meant(target) {
            verify_oci(args, target, None, &trusted, &screen, &mut outcomes).await;
            continue;
        }
        let folder = names_folder(target);
        let spec = match (&folder, target.parse::<RepoSpec>()) {
            (Some(_), _) => None,
            (None, Ok(mut spec)) => {
                apply_revision(&mut spec, args.revision.as_ref());
                Some(spec)
            }
            (None, Err(error)) => {
                screen.fail("", &error, Some("name a repo, or a folder that exists"));
                outcomes.worsen(ExitCode::Usage);
                continue;
            }
        };
        let pasted = spec.as_ref().and_then(|s| s.endpoint.as_deref());
        let place = spec.as_ref().and_then(|_| folders.next());
        let session = match session(&args.place, &args.transfer, checks(args), &screen, pasted, place, trusted.clone())
        {
            Ok(session) => session,
            Err(bad) => return bad,
        };
        let options = match &spec {
            Some(spec) => wish(&args.selection, spec, &[], &screen),
            None => Ok(args.selection.options()),
        };
        let options = match options {
            Ok(options) => options,
            Err(bad) => return bad,
        };
        let done = match (&folder, &spec) {
            (Some(dir), _) => session.verify_dir(dir, &options).await,
            (None, Some(spec)) if args.repair => session.repair_repo(spec, &options).await,
            (None, Some(spec)) => session.verify_repo(spec, &options).await,
            (None, None) => continue,
        };
        match done {
            Ok(report) => outcomes.report(target, report),
            // If both a folder and a repo could be meant, the user must say which: the result must not depend on the
            // working folder.
            Err(Error::NotCached { .. }) if Path::new(target).is_dir() => {
                let text = format!("{target} is not in the cache, but there is a folder of that name");
                screen.fail("", &text, Some(&format!("`hfget verify ./{target}` verifies the folder")));
                outcomes.worsen(ExitCode::Usage);
            }
            Err(error) => outcomes.error(target, &error),
        }
    }
    outcomes.finish()
}

/// How much to check. Files that are signed, or that will be signed, need a SHA-256 from this machine.
pub(super) fn checks(args: &VerifyArgs) -> Checks {
    let to_be_signed = args.reports.report.as_ref().and_then(|path| Form::of_name(&path.to_string_lossy()));
    let xet_hashes = !args.deep && args.signers.require_signature.is_empty() && to_be_signed.is_none();
    Checks { deep: args.deep, xet_hashes }
}

/// The repo that a target names, if it names one.
fn repo_of(target: &str) -> Option<RepoSpec> {
    #[cfg(feature = "object-store")]
    if ObjectUrl::is_meant(target) {
        return None;
    }
    if OciReference::is_meant(target) || names_folder(target).is_some() { None } else { target.parse().ok() }
}

/// Verifies the files that `--to` put into an object store with their manifests. Asks no Hub.
#[cfg(feature = "object-store")]
async fn verify_objects(
    args: &VerifyArgs,
    target: &str,
    trusted: &[Trust],
    screen: &Screen,
    outcomes: &mut Outcomes<'_>,
) {
    let (url, session) = match open(args, target, trusted, screen) {
        Ok(open) => open,
        Err(end) => return outcomes.worsen(end),
    };
    let manifests = match session.manifests(&url).await {
        Ok(manifests) => manifests,
        Err(error) => return outcomes.error(target, &error),
    };
    for locked in &manifests {
        match session.verify_locked(locked, None).await {
            Ok(report) => outcomes.report(&locked.name(), report),
            Err(error) => outcomes.error(&locked.name(), &error),
        }
    }
}

/// Verifies the files that `--to` put into a registry or an image layout with their manifest or a lockfile. Asks no
/// Hub.
async fn verify_oci(
    args: &VerifyArgs,
    target: &str,
    locked: Option<&LockedRepo>,
    trusted: &[Trust],
    screen: &Screen,
    outcomes: &mut Outcomes<'_>,
) {
    let reference: OciReference = match target.parse() {
        Ok(reference) => reference,
        Err(error) => {
            screen.fail("", &error, None);
            return outcomes.worsen(ExitCode::Usage);
        }
    };
    let nowhere = Some(DestinationConfig::Nowhere);
    let session = match session(&args.place, &args.transfer, checks(args), screen, None, nowhere, trusted.to_vec()) {
        Ok(session) => session,
        Err(end) => return outcomes.worsen(end),
    };
    match session.verify_oci(&oci_config(reference), locked).await {
        Ok(report) => outcomes.report(target, report),
        Err(error) => outcomes.error(target, &error),
    }
}

/// A session on an object store.
#[cfg(feature = "object-store")]
fn open(args: &VerifyArgs, target: &str, trusted: &[Trust], screen: &Screen) -> Result<(ObjectUrl, Session), ExitCode> {
    let url: ObjectUrl = target.parse().map_err(|error| {
        screen.fail("", &error, None);
        ExitCode::Usage
    })?;
    let store = store_config(url.base());
    let place = Some(DestinationConfig::Objects(store));
    Ok((url, session(&args.place, &args.transfer, checks(args), screen, None, place, trusted.to_vec())?))
}

/// Verifies folders and cached repos with a lockfile. Asks no Hub.
async fn verify_lock(args: &VerifyArgs, file: &Path, screen: &Screen) -> Result<ExitCode, ExitCode> {
    let usage = |text: &str, hint: Option<&str>| {
        screen.fail("", &text, hint);
        Err(ExitCode::Usage)
    };
    if args.selection.options() != Options::default() {
        return usage("--lock checks the locked files: leave out selection flags", None);
    }
    let lock = lock::read(file, &trusted(&args.signers, screen)?, screen)?;
    let mut jobs: Vec<(LockedRepo, Option<PathBuf>)> = Vec::new();
    let mut outcomes = Outcomes::new(screen, &args.reports, "verify")?;
    for target in &args.targets {
        #[cfg(feature = "object-store")]
        if ObjectUrl::is_meant(target) {
            // With a lockfile, only the lockfile's signature is checked.
            let (_, session) = open(args, target, &[], screen)?;
            for locked in &lock.repos {
                match session.verify_locked(locked, None).await {
                    Ok(report) => outcomes.report(&locked.name(), report),
                    Err(error) => outcomes.error(&locked.name(), &error),
                }
            }
            continue;
        }
        if OciReference::is_meant(target) {
            for locked in &lock.repos {
                // Only the lockfile's signature is checked.
                verify_oci(args, target, Some(locked), &[], screen, &mut outcomes).await;
            }
            continue;
        }
        if let Some(dir) = names_folder(target) {
            let [one] = lock.repos.as_slice() else {
                let text = format!("{} has {} repos, but a folder is for one", file.display(), lock.repos.len());
                return usage(&text, Some("lock that repo alone: `hfget lock REPO --lock FILE`"));
            };
            jobs.push((one.clone(), Some(dir)));
            continue;
        }
        let mut spec: RepoSpec = match target.parse() {
            Ok(spec) => spec,
            Err(error) => return usage(&format!("{error}"), Some("name a repo, or a folder that exists")),
        };
        apply_revision(&mut spec, args.revision.as_ref());
        jobs.extend(lock::of(&lock, &[spec], file, screen)?.into_iter().map(|locked| (locked, None)));
    }
    if args.targets.is_empty() {
        jobs.extend(lock.repos.into_iter().map(|locked| (locked, None)));
    }
    let session = session(&args.place, &args.transfer, checks(args), screen, None, None, Vec::new())?;
    screen.expect(jobs.len());
    for (locked, dir) in &jobs {
        match session.verify_locked(locked, dir.as_deref()).await {
            Ok(report) => outcomes.report(&locked.name(), report),
            Err(error) => outcomes.error(&locked.name(), &error),
        }
    }
    Ok(outcomes.finish())
}
