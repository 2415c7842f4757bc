//! `hfget lock`, and the runs with a lockfile: which of its repos are meant, and the output about them.

use std::path::Path;

use crate::exit::{Ends, ExitCode};
use crate::render::{attest, many};
use hfget_core::finding::Severity;
use hfget_core::model::{Options, RepoSpec};
use hfget_core::session::{Session, Trust};
use hfget_core::unstable::lock::{Lock, LockedRepo};
use hfget_core::unstable::text::{self, printable};
use serde_json::{Value, json};

use super::advice::Advisor;
use super::args::{LockArgs, LockForm, Repos, Selection};
use super::document::print_json;
use super::screen::{Screen, result};
use super::setup::{Checks, from_file, named, session, specs};
use super::signers::signed_lock;
use super::system::may_write;
use super::upfront::wish;

/// Reads a lockfile, or prints why it cannot be used. If `trusted` names signers, one of them must have signed it.
pub(super) fn read(file: &Path, trusted: &[Trust], screen: &Screen) -> Result<Lock, ExitCode> {
    let lock = if trusted.is_empty() {
        Lock::read(file).map_err(|error| {
            screen.fail("", &error, Some("`hfget lock REPO` makes one"));
            ExitCode::Usage
        })?
    } else {
        signed_lock(file, trusted, screen)?
    };
    if lock.repos.is_empty() {
        screen.fail("", &format!("{} names no repo", file.display()), Some("add one: `hfget lock REPO`"));
        return Err(ExitCode::Usage);
    }
    Ok(lock)
}

/// The lockfile's entries for these repos, or all entries.
pub(super) fn of(lock: &Lock, specs: &[RepoSpec], file: &Path, screen: &Screen) -> Result<Vec<LockedRepo>, ExitCode> {
    if specs.is_empty() {
        return Ok(lock.repos.clone());
    }
    let mut found = Vec::new();
    for spec in specs {
        let locked = lock.get(spec.repo_type, &spec.id);
        let asked = |l: &&LockedRepo| {
            spec.revision.as_ref().is_none_or(|r| *r == l.revision || r.as_commit() == Some(l.commit))
        };
        let Some(fitting) = locked.filter(asked) else {
            let what = match locked {
                Some(locked) => {
                    format!(
                        "{} has {} of {}",
                        file.display(),
                        spec.repo_type.qualify(&spec.id),
                        locked.revision.shown()
                    )
                }
                None => format!("{} is not in {}", spec.repo_type.qualify(&spec.id), file.display()),
            };
            screen.fail("", &what, Some("lock it first: `hfget lock REPO`"));
            return Err(ExitCode::Usage);
        };
        found.push(fitting.clone());
    }
    Ok(found)
}

/// The repos of a `--locked` run. Their files were chosen when they were locked.
pub(super) fn locked(
    file: &Path,
    repos: &Repos,
    selection: &Selection,
    trusted: &[Trust],
    screen: &Screen,
) -> Result<Vec<LockedRepo>, ExitCode> {
    if selection.options() != Options::default() {
        screen.fail("", &"--locked takes the locked files: leave out selection flags", None);
        return Err(ExitCode::Usage);
    }
    let named = named(repos, screen)?;
    if let Some(file) = named.files.first() {
        screen.fail(
            "",
            &format!("--locked takes repos of the lockfile, and \"{}\" is not a repo", printable(file)),
            None,
        );
        return Err(ExitCode::Usage);
    }
    let words = named.specs.into_iter().chain(named.unclear.into_iter().map(|(_, spec)| spec));
    let all = words.chain(from_file(repos, screen)?).collect();
    let specs = specs(all, repos.revision.as_ref(), screen)?;
    of(&read(file, trusted, screen)?, &specs, file, screen)
}

pub(super) async fn lock(args: LockArgs) -> ExitCode {
    let screen = Screen::new(&args.output, Advisor::new(args.place.cache_dir.as_deref()));
    match settle(&args, &screen).await {
        Ok(end) | Err(end) => end,
    }
}

/// Writes the locked state of one repo in a form that other tools sign or read. Writes no lockfile.
async fn show(args: &LockArgs, form: LockForm, screen: &Screen) -> Result<ExitCode, ExitCode> {
    let specs = specs(args.repos.clone(), args.revision.as_ref(), screen)?;
    let pasted = specs.first().and_then(|spec| spec.endpoint.clone());
    let session = session(&args.place, &args.transfer, Checks::default(), screen, pasted.as_deref(), None, Vec::new())?;
    let one = |count: usize| {
        let text = format!("--format is for one repo, but there are {count}");
        screen.fail("", &text, Some("name one of them"));
        ExitCode::Usage
    };
    let locked = match specs.as_slice() {
        [] if args.selection.options() != Options::default() => {
            screen.fail("", &"selection flags choose files of a repo, but no repo is named", None);
            return Err(ExitCode::Usage);
        }
        [] => {
            let lock = read(&args.file, &[], screen)?;
            let [locked] = lock.repos.as_slice() else { return Err(one(lock.repos.len())) };
            locked.clone()
        }
        [spec] => {
            let options = wish(&args.selection, spec, &[], screen)?;
            let mut lock = Lock::default();
            lock_one(&session, spec, &options, &mut lock, false, screen).await.map_err(|(end, _)| end)?;
            lock.repos.pop().ok_or(ExitCode::VerificationFailed)?
        }
        several => return Err(one(several.len())),
    };
    let digests = session.digests_of(&locked).await.map_err(|error| {
        screen.error(&locked.name(), &error);
        error.exit_code()
    })?;
    let value = match form {
        LockForm::Oms => attest::oms(&locked, &digests),
        LockForm::Cyclonedx => attest::cyclonedx(&locked, &digests),
        LockForm::InToto => attest::in_toto(&locked, &digests),
    };
    result(&format!("{value:#}"));
    Ok(ExitCode::Verified)
}

async fn settle(args: &LockArgs, screen: &Screen) -> Result<ExitCode, ExitCode> {
    if let Some(form) = args.format {
        return show(args, form, screen).await;
    }
    let file = &args.file;
    let again = args.check || args.update;
    if again && args.selection.options() != Options::default() {
        screen.fail("", &"--check and --update use the options of the lockfile: leave out selection flags", None);
        return Err(ExitCode::Usage);
    }
    if !args.check {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Err(error) = may_write(folder) {
            screen.fail("", &format!("cannot write {}: {error}", file.display()), None);
            return Err(ExitCode::Local);
        }
    }
    let mut lock = match (again, file.exists()) {
        (true, _) => read(file, &[], screen)?,
        // A lockfile without repos counts as a new one.
        (false, true) => Lock::read(file).map_err(|error| {
            screen.fail("", &error, None);
            ExitCode::Usage
        })?,
        (false, false) => Lock::default(),
    };
    let jobs: Vec<(RepoSpec, Options)> = if again {
        of(&lock, &args.repos, file, screen)?.into_iter().map(|l| (l.spec(), l.options)).collect()
    } else {
        let mut jobs = Vec::new();
        for spec in specs(args.repos.clone(), args.revision.as_ref(), screen)? {
            let options = wish(&args.selection, &spec, &[], screen)?;
            jobs.push((spec, options));
        }
        jobs
    };
    let pasted = jobs.first().and_then(|(spec, _)| spec.endpoint.clone());
    let session = session(&args.place, &args.transfer, Checks::default(), screen, pasted.as_deref(), None, Vec::new())?;
    let mut end = ExitCode::Verified;
    let mut values = Vec::new();
    for (spec, options) in &jobs {
        let (Ok((code, value)) | Err((code, value))) =
            lock_one(&session, spec, options, &mut lock, args.check, screen).await;
        end = end.max(code);
        values.push(value);
    }
    if !args.check && end == ExitCode::Verified {
        if let Err(error) = lock.write(file) {
            screen.fail("", &error, None);
            return Err(ExitCode::Local);
        }
        if !screen.json {
            result(&file.display().to_string());
        }
    } else if !args.check {
        screen.fail("", &format!("{} was not changed", file.display()), None);
    }
    if screen.json {
        print_json("locks", &values);
    }
    Ok(end)
}

/// Locks one repo, or compares it with its locked state.
async fn lock_one(
    session: &Session,
    spec: &RepoSpec,
    options: &Options,
    lock: &mut Lock,
    check: bool,
    screen: &Screen,
) -> Result<(ExitCode, Value), (ExitCode, Value)> {
    let name = &spec.repo_type.qualify(&spec.id);
    let (now, findings) = session.lock(spec, options).await.map_err(|error| {
        let json = screen.error(name, &error);
        (error.exit_code(), json)
    })?;
    if let Some(bad) = findings.iter().find(|f| f.severity == Severity::Error) {
        let hint = bad.remedy.as_ref().map(|remedy| screen.words(remedy, name));
        screen.fail(name, &format!("{}: {}", bad.code, printable(&bad.message)), hint.as_deref());
        let value = json!({ "repo": name, "error": bad.message, "exit_code": ExitCode::VerificationFailed as u8 });
        return Err((ExitCode::VerificationFailed, value));
    }
    let before = lock.get(spec.repo_type, &spec.id).cloned();
    let changes = before.as_ref().map(|b| b.changes(&now)).unwrap_or_default();
    let moved = before.as_ref().is_some_and(|b| b.commit != now.commit || !changes.is_empty());
    let bytes: u64 = now.files.iter().fold(0, |sum, f| sum.saturating_add(f.size));
    let how = match &before {
        Some(before) if moved => format!(" was {}: {}", short(before), many(changes.len() as u64, "change")),
        Some(_) => " as locked".to_owned(),
        None => format!(": {}, {}", many(now.files.len() as u64, "file"), text::bytes(bytes)),
    };
    let mut text = screen.fitting("", &format!("{name}@{} ({}){how}", printable(now.revision.as_str()), short(&now)));
    text.extend(changes.iter().map(|change| screen.fitting("  ", &printable(change))));
    if !screen.quiet {
        screen.say(&text);
    }
    let value = json!({
        "repo": name, "revision": now.revision.as_str(), "commit": now.commit.to_string(),
        "locked_commit": before.as_ref().map(|b| b.commit.to_string()), "moved": moved, "changes": changes,
        "files": now.files.len(), "bytes": bytes,
    });
    if check {
        return Ok((if moved { ExitCode::VerificationFailed } else { ExitCode::Verified }, value));
    }
    lock.put(now);
    Ok((ExitCode::Verified, value))
}

fn short(locked: &LockedRepo) -> String {
    locked.commit.to_string().chars().take(8).collect()
}
