//! `hfget list`: shows the cache, with a line for each snapshot. The library reads the cache.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::SystemTime;

use hfget_core::unstable::session::{Cached, cached};
use hfget_core::unstable::text::{bytes, printable};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr as _;

use super::advice::Advisor;
use super::args::{ListArgs, cache_root};
use super::document::print_json;
use super::screen::{Screen, result};
use crate::exit::ExitCode;
use crate::render::lines::wrap;
use crate::render::many;

pub(super) async fn list(args: ListArgs) -> ExitCode {
    let screen = Screen::new(&args.plain.output(), Advisor::new(args.cache_dir.as_deref()));
    let Some(root) = cache_root(args.cache_dir.as_deref()) else {
        screen.fail("", &"no cache folder is known", Some("pass --cache-dir DIR, or set HF_HOME"));
        return ExitCode::Usage;
    };
    let asked = |one: &Cached| {
        args.repos.is_empty() || args.repos.iter().any(|spec| (spec.repo_type, &spec.id) == (one.repo_type, &one.id))
    };
    // All of this waits for the disk.
    let shown = root.clone();
    let all = tokio::task::spawn_blocking(move || cached(&root)).await;
    let Ok(all) = all else { return ExitCode::Local };
    let all: Vec<Cached> = all.into_iter().filter(asked).collect();
    if screen.json {
        print_json("cached", &all.iter().map(value).collect::<Vec<_>>());
    } else if !all.is_empty() {
        let width = std::io::stdout().is_terminal().then(|| screen.on_stdout().width);
        result(table(&all, width).trim_end_matches('\n'));
    }
    if !screen.quiet {
        let sum = all.iter().fold(0u64, |sum, one| sum.saturating_add(one.bytes));
        let snapshots = many(all.iter().filter(|one| one.commit.is_some()).count() as u64, "snapshot");
        screen.say(
            &screen.fitting("", &format!("{snapshots}, {} in {}", bytes(sum), printable(&shown.display().to_string()))),
        );
    }
    if all.is_empty() && !args.repos.is_empty() { ExitCode::NotAvailable } else { ExitCode::Verified }
}

/// A day as `YYYY-MM-DD`.
fn day(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
}

fn name(one: &Cached) -> String {
    let mut name = one.repo_type.qualify(&one.id);
    if let Some(revision) = one.revisions.first() {
        // Writing to a string cannot fail.
        let _ = write!(name, "@{}", printable(revision));
    }
    name
}

/// The state of its bytes, in a few words.
fn verdict(one: &Cached) -> String {
    let host = |endpoint: &str| {
        let bare = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
        printable(bare.trim_end_matches('/')).into_owned()
    };
    let mut text = match (one.verified, one.verified_at, &one.verified_against) {
        (false, ..) => "not verified".to_owned(),
        // "verified" must not seem to mean the whole snapshot.
        (true, ..) if !one.incomplete.is_empty() => "the present files are verified".to_owned(),
        (true, Some(at), Some(against)) => format!("verified {} against {}", day(at), host(against)),
        (true, Some(at), None) => format!("verified {}", day(at)),
        (true, None, _) => "verified".to_owned(),
    };
    for what in &one.incomplete {
        let _ = write!(text, "; incomplete: {}", printable(what));
    }
    text
}

/// A row for each; if one is wider than a terminal, each has its name in a line of its own.
fn table(all: &[Cached], width: Option<usize>) -> String {
    let names: Vec<String> = all.iter().map(name).collect();
    let families: Vec<String> = all.iter().map(family).collect();
    let widest = |texts: &[String]| texts.iter().map(|text| text.width()).max().unwrap_or(0);
    let (first, third) = (widest(&names), widest(&families));
    let mut text = String::new();
    let verdicts = all.iter().map(|one| verdict(one).width());
    let whole = first + third + verdicts.max().unwrap_or(0) + "  12345678  1234567890  ".len();
    let narrow = width.filter(|width| whole > *width);
    for ((one, name), family) in all.iter().zip(&names).zip(&families) {
        let commit = one.commit.map_or_else(|| "-".to_owned(), |commit| commit.short().clone());
        if let Some(width) = narrow {
            wrap(&mut text, "", name, width);
            wrap(&mut text, "  ", &format!("{commit}, {}, {family}, {}", bytes(one.bytes), verdict(one)), width);
            continue;
        }
        let pad = |text: &str, width: usize| " ".repeat(width.saturating_sub(text.width()));
        let _ = write!(text, "{name}{}  {commit:<8}  {:>9}  ", pad(name, first), bytes(one.bytes));
        let _ = writeln!(text, "{family}{}  {}", pad(family, third), verdict(one));
    }
    text
}

fn family(one: &Cached) -> String {
    match one.families.as_slice() {
        [] => one.repo_type.to_string(),
        all => all.iter().map(|family| family.as_str()).collect::<Vec<_>>().join(","),
    }
}

fn value(one: &Cached) -> Value {
    let seconds =
        |time: SystemTime| jiff::Timestamp::try_from(time).ok().map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    json!({
        "repo": one.id.as_str(), "repo_type": one.repo_type.to_string(),
        "commit": one.commit.map(|commit| commit.to_string()), "revisions": one.revisions,
        "families": one.families.iter().map(|family| family.as_str()).collect::<Vec<_>>(),
        "files": one.files, "bytes": one.bytes, "verified": one.verified,
        "verified_at": one.verified_at.and_then(seconds), "verified_against": one.verified_against,
        "incomplete": one.incomplete, "path": one.place.display().to_string(),
    })
}
