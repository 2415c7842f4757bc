//! `hfget remove`: removes repos or single snapshots from the cache; shared files stay.

use hfget_core::model::{CommitId, RepoSpec};
use hfget_core::unstable::store::{Removal, Store, cached_repos};
use hfget_core::unstable::text::bytes;
use serde_json::{Value, json};

use super::advice::{Advisor, near_repo};
use super::args::{RemoveArgs, cache_root};
use super::document::print_json;
use super::screen::{Screen, result};
use crate::exit::ExitCode;
use crate::render::many;
use crate::render::remedies::words;

pub(super) async fn remove(args: RemoveArgs) -> ExitCode {
    // All of this waits for the disk.
    tokio::task::spawn_blocking(move || remove_blocking(&args)).await.unwrap_or(ExitCode::Local)
}

fn remove_blocking(args: &RemoveArgs) -> ExitCode {
    let screen = Screen::new(&args.plain.output(), Advisor::new(args.cache_dir.as_deref()));
    let Some(root) = cache_root(args.cache_dir.as_deref()) else {
        screen.fail("", &"no cache folder is known", Some("pass --cache-dir DIR, or set HF_HOME"));
        return ExitCode::Usage;
    };
    let here = cached_repos(&root);
    // If one of the named repos does not exist, nothing is removed.
    let mut jobs: Vec<(String, Store, Removal)> = Vec::new();
    for spec in &args.repos {
        let name = named(spec);
        let store = Store::hub_cache(&root, spec.repo_type, &spec.id, true);
        let there = here.iter().any(|(repo_type, id)| (*repo_type, id) == (spec.repo_type, &spec.id));
        match (there, commit(&store, spec)) {
            (true, Ok(commit)) => {
                let removal = store.removal(commit);
                jobs.push((name, store, removal));
            }
            (there, _) => {
                let names: Vec<String> = here.iter().map(|(repo_type, id)| repo_type.qualify(id)).collect();
                let whole = spec.repo_type.qualify(&spec.id);
                let near = near_repo(&whole, &names).map(|near| format!("did you mean {near}?"));
                let hint = match near.filter(|_| !there) {
                    Some(near) => near,
                    None => "`hfget list` shows what is in the cache".to_owned(),
                };
                screen.fail("", &format!("{name} is not in {}", root.display()), Some(&hint));
                return ExitCode::NotAvailable;
            }
        }
    }
    let mut end = ExitCode::Verified;
    let mut values = Vec::new();
    for (name, store, removal) in &jobs {
        let removed = if args.dry_run { Ok(true) } else { store.remove(removal) };
        match removed {
            Ok(true) => {
                values.push(value(name, removal, args.dry_run));
                if !screen.json {
                    result(&screen.fitting_result(&line(name, removal, args.dry_run)));
                }
            }
            Ok(false) => {
                let hint = Some("wait for it, or stop it, and run this again");
                screen.fail("", &format!("{name} stays: another run works on it"), hint);
                end = end.max(ExitCode::Local);
            }
            Err(error) => {
                screen.fail(name, &error, error.remedy().as_ref().map(words).as_deref());
                end = end.max(ExitCode::Local);
            }
        }
    }
    if screen.json {
        print_json("removed", &values);
    }
    end
}

fn named(spec: &RepoSpec) -> String {
    let name = spec.repo_type.qualify(&spec.id);
    match &spec.revision {
        Some(revision) => format!("{name}@{}", revision.shown()),
        None => name,
    }
}

/// The commit whose snapshot is removed; `None` for all snapshots. The error: there is no such snapshot.
fn commit(store: &Store, spec: &RepoSpec) -> Result<Option<CommitId>, ()> {
    let Some(revision) = &spec.revision else { return Ok(None) };
    let commit = store.read_ref(revision).ok_or(())?;
    if store.snapshots().contains(&commit) { Ok(Some(commit)) } else { Err(()) }
}

fn line(name: &str, removal: &Removal, dry: bool) -> String {
    let files = many(removal.files as u64, "file");
    let (verb, free) = if dry { ("would remove", "would be free") } else { ("removed", "are free") };
    let mut text = format!("{verb} {name}: {files}; {} {free}", bytes(removal.bytes));
    if removal.shared_bytes > 0 {
        text.extend(["; ", &bytes(removal.shared_bytes), " stay, other snapshots share them"]);
    }
    text
}

fn value(name: &str, removal: &Removal, dry: bool) -> Value {
    json!({
        "repo": name, "removed": !dry, "files": removal.files, "bytes": removal.bytes,
        "shared_bytes": removal.shared_bytes, "revisions": removal.revisions,
        "commits": removal.commits.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
