//! Requests before the first byte moves: which files a word names, and whether every repo exists.

use hfget_core::model::{Listing, Options, RepoSpec};
use hfget_core::session::{Error, Session};
use hfget_core::unstable::text::printable;

use super::args::Selection;
use super::screen::Screen;
use super::words::{Named, ambiguous};
use crate::exit::ExitCode;

/// Decides which of the unclear words are repos and which are files of the first repo, by its listing.
pub(super) async fn settle(named: &mut Named, session: &Session, screen: &Screen) -> Result<(), ExitCode> {
    let Some(first) = named.specs.first().cloned().filter(|_| !named.unclear.is_empty()) else { return Ok(()) };
    let Ok(listing) = session.listing(&first).await else {
        // Without the first repo's listing, each word counts as the repo that it looks like.
        named.specs.extend(named.unclear.drain(..).map(|(_, spec)| spec));
        return Ok(());
    };
    let mut repos: Vec<String> = Vec::new();
    for (text, spec) in std::mem::take(&mut named.unclear) {
        if !has(&listing, &text) {
            repos.push(text);
            named.specs.push(spec);
            continue;
        }
        if session.resolve(&spec).await.is_ok() {
            let (what, hint) = ambiguous(&text, &spec, &first);
            screen.fail("", &what, hint.as_deref());
            return Err(ExitCode::Usage);
        }
        named.files.push(text);
    }
    let Some(file) = named.files.first() else { return Ok(()) };
    let repo = first.repo_type.qualify(&first.id);
    if let Some(other) = repos.first() {
        let what = format!("\"{}\" is a file of {repo}, but \"{}\" is not", printable(file), printable(other));
        screen.fail("", &what, Some("name files of one repo, or several repos"));
        return Err(ExitCode::Usage);
    }
    if !screen.quiet {
        let files = named.files.join(", ");
        let text = format!("hfget: taking only these files of {repo}: {}", printable(&files));
        screen.say(&screen.fitting("", &text));
    }
    Ok(())
}

/// Whether the repo has a file or folder of this name.
fn has(listing: &Listing, name: &str) -> bool {
    let folder = format!("{}/", name.trim_end_matches('/'));
    listing.get(name).is_some() || listing.entries.iter().any(|entry| entry.path.as_str().starts_with(&folder))
}

/// The options for a repo, or the printed reason why the flags contradict each other.
pub(super) fn wish(
    selection: &Selection,
    spec: &RepoSpec,
    files: &[String],
    screen: &Screen,
) -> Result<Options, ExitCode> {
    let mut options = selection.options();
    options.include.extend(files.iter().cloned());
    if let Some(flag) = selection.chooses() {
        let complaint = if !options.include.is_empty() {
            Some(("only the files that you name are taken", "to add files to a selection, use --with"))
        } else if spec.tag.is_some() && matches!(flag, "--prefer" | "--only" | "--variant") {
            Some(("the tag of the repo names a quantisation already", "leave one of them out"))
        } else {
            None
        };
        if let Some((why, hint)) = complaint {
            screen.fail("", &format!("{flag} does not apply here: {why}"), Some(hint));
            return Err(ExitCode::Usage);
        }
    }
    Ok(spec.wish(&options))
}

/// Asks for all repos before any of them is fetched. Each result is the error of a repo that is not available.
pub(super) async fn resolve_all(specs: &[Option<&RepoSpec>], session: &Session) -> Vec<Option<Error>> {
    /// How many requests run at once.
    const AT_ONCE: usize = 8;
    let mut ends = Vec::with_capacity(specs.len());
    for some in specs.chunks(AT_ONCE) {
        let asked = some.iter().map(|spec| async move {
            match spec {
                Some(spec) => session.resolve(spec).await.err(),
                None => None,
            }
        });
        ends.extend(futures_util::future::join_all(asked).await);
    }
    ends
}
