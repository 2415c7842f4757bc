//! `hfget clean`: lists and removes leftovers of interrupted runs.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hfget_core::hub::cache_dir;
use hfget_core::model::{RepoId, RepoType};
use hfget_core::session::StoreError;
use hfget_core::unstable::store::{Leftover, Store, cached_repos};
use hfget_core::unstable::text::{bytes, printable};
use serde_json::json;

use super::advice::Advisor;
use super::args::CleanArgs;
use super::document::print_json;
use super::screen::{Screen, result};
use crate::exit::ExitCode;
use crate::render::remedies::words;

/// A leftover, its place, and the result of its removal.
struct Found {
    /// The repo, or the folder of `--local-dir`.
    name: String,
    leftover: Leftover,
    age: Option<Duration>,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Kept,
    Removed,
    InUse,
}

pub async fn clean(args: CleanArgs) -> ExitCode {
    let screen = Arc::new(Screen::new(&args.output, Advisor::new(args.cache_dir.as_deref())));
    let own = Arc::clone(&screen);
    // All of this waits for the disk.
    tokio::task::spawn_blocking(move || clean_blocking(&args, &own)).await.unwrap_or(ExitCode::Local)
}

fn clean_blocking(args: &CleanArgs, screen: &Screen) -> ExitCode {
    let stores: Vec<(String, Arc<Store>)> = if let Some(dir) = &args.local_dir {
        vec![(dir.display().to_string(), Arc::new(Store::local_dir(dir)))]
    } else {
        let Some(root) = args.cache_dir.clone().or_else(|| cache_dir(|name| std::env::var_os(name))) else {
            let hint = Some("pass --cache-dir DIR, or set HF_HOME");
            screen.fail("", &"no cache folder is known", hint);
            return ExitCode::Usage;
        };
        in_cache(&root, args)
    };
    let mut end = ExitCode::Verified;
    let mut all = Vec::new();
    for (name, store) in stores {
        for leftover in store.leftovers() {
            let age = leftover.modified.and_then(|t| SystemTime::now().duration_since(t).ok());
            // A leftover without a time counts as old: its file system keeps no times.
            if args.older_than.is_some_and(|least| age.is_some_and(|age| age < least)) {
                continue;
            }
            let state = match remove(args, &store, &leftover) {
                Ok(state) => state,
                Err(error) => {
                    screen.fail(&name, &error, error.remedy().as_ref().map(words).as_deref());
                    end = ExitCode::Local;
                    State::Kept
                }
            };
            all.push(Found { name: name.clone(), leftover, age, state });
        }
    }
    show(&all, args, screen);
    end
}

fn in_cache(root: &Path, args: &CleanArgs) -> Vec<(String, Arc<Store>)> {
    let asked = |repo: &(_, RepoId)| {
        args.repos.is_empty() || args.repos.iter().any(|spec| (spec.repo_type, &spec.id) == (repo.0, &repo.1))
    };
    let store = |(repo_type, id): (RepoType, RepoId)| {
        let name = repo_type.qualify(&id);
        (name, Arc::new(Store::hub_cache(root, repo_type, &id, true)))
    };
    cached_repos(root).into_iter().filter(asked).map(store).collect()
}

fn remove(args: &CleanArgs, store: &Store, leftover: &Leftover) -> Result<State, StoreError> {
    if !args.remove {
        return Ok(State::Kept);
    }
    Ok(if store.remove_leftover(leftover)? { State::Removed } else { State::InUse })
}

fn show(all: &[Found], args: &CleanArgs, screen: &Screen) {
    let total = |state: State| {
        let of: Vec<&Found> = all.iter().filter(|f| f.state == state).collect();
        (of.len(), bytes(of.iter().fold(0, |sum, f| sum.saturating_add(f.leftover.bytes))))
    };
    if screen.json {
        let value = |f: &Found| {
            json!({
                "in": f.name,
                "digest": f.leftover.digest.map(|digest| digest.to_string()),
                "name": f.leftover.name,
                "bytes": f.leftover.bytes,
                "age_seconds": f.age.map(|age| age.as_secs()),
                "removed": f.state == State::Removed,
                "in_use": f.state == State::InUse,
            })
        };
        print_json("partial_files", &all.iter().map(value).collect::<Vec<_>>());
    } else {
        let mut lines = String::new();
        for found in all {
            let digest: String = found.leftover.name.chars().take(12).collect();
            let state = match found.state {
                State::Kept => "",
                State::Removed => "  removed",
                State::InUse => "  in use, kept",
            };
            let age = found.age.map_or_else(|| "?".into(), ago);
            let (size, name) = (bytes(found.leftover.bytes), printable(&found.name));
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{size:>9}  {age:>6}  {digest}  {name}{state}");
        }
        if !lines.is_empty() {
            result(lines.trim_end_matches('\n'));
        }
    }
    if screen.quiet {
        return;
    }
    let (kept, kept_bytes) = total(State::Kept);
    let (removed, removed_bytes) = total(State::Removed);
    let (in_use, _) = total(State::InUse);
    let mut text = match (args.remove, kept + removed + in_use) {
        (_, 0) => "no partial files\n".to_owned(),
        (false, _) => format!("{}, {kept_bytes}, kept for the next run to continue; --remove frees it\n", files(kept)),
        (true, _) => format!("removed {}, {removed_bytes} freed\n", files(removed)),
    };
    if in_use > 0 {
        let _ = writeln!(text, "kept {}: another run works on it", files(in_use));
    }
    let lines: Vec<String> = text.lines().map(|line| screen.fitting("", line)).collect();
    screen.say(&lines.concat());
}

fn files(n: usize) -> String {
    if n == 1 { "1 partial file".into() } else { format!("{n} partial files") }
}

/// The age, in the largest useful unit.
fn ago(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
