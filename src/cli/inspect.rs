//! `hfget inspect`: the tensors of files, folders and repos. `render` shows tensors.

use std::path::Path;

use globset::GlobMatcher;
use hfget_core::model::RepoSpec;
use hfget_core::session::Error;
use hfget_core::unstable::session::{Inspected, inspect_path, names_folder};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::advice::Advisor;
use super::args::InspectArgs;
use super::document::print_json;
use super::screen::{Screen, result_as_it_is};
use super::setup::{Checks, apply_revision, session};
use super::upfront::wish;
use crate::exit::{Ends, ExitCode};
use crate::render;

/// Bytes of text that are printed together.
const AT_ONCE: usize = 64 << 10;

pub async fn inspect(args: &InspectArgs) -> ExitCode {
    let screen = Screen::new(&args.output, Advisor::new(args.place.cache_dir.as_deref()));
    let filter = match args.filter.as_deref().map(globset::Glob::new).transpose() {
        Ok(filter) => filter.map(|glob| glob.compile_matcher()),
        Err(error) => {
            screen.fail("--filter", &error, None);
            return ExitCode::Usage;
        }
    };
    let width = screen.on_stdout().width;
    let mut end = ExitCode::Verified;
    let mut values = Vec::new();
    for target in &args.targets {
        match inspect_one(args, target, &screen).await {
            Ok(files) => {
                if files.iter().any(Inspected::is_wrong) {
                    end = end.max(ExitCode::VerificationFailed);
                }
                if screen.json {
                    values.push(Looked::At(target, files));
                } else {
                    print(render::inspect::human(&files, filter.as_ref(), width));
                }
            }
            Err(Ended::Error(error)) => {
                values.push(Looked::Failed(screen.error(target, &error)));
                end = end.max(error.exit_code());
            }
            Err(Ended::Said(bad)) => end = end.max(bad),
        }
    }
    if screen.json {
        let values: Vec<_> = values.iter().map(|looked| (looked, filter.as_ref())).map(Shown).collect();
        print_json("inspected", &values);
    }
    end
}

/// Prints lines, many at once: a file may have hundreds of thousands.
fn print(lines: impl Iterator<Item = String>) {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line);
        text.push('\n');
        if text.len() >= AT_ONCE {
            result_as_it_is(&text);
            text.clear();
        }
    }
    result_as_it_is(&text);
}

/// The result for a target, in the JSON document.
enum Looked<'a> {
    At(&'a str, Vec<Inspected>),
    Failed(Value),
}

/// A target in the JSON document, with the tensors that the filter lets through.
struct Shown<'a>((&'a Looked<'a>, Option<&'a GlobMatcher>));

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            (Looked::At(name, files), filter) => render::inspect::Report { name, files, filter }.serialize(s),
            (Looked::Failed(value), _) => value.serialize(s),
        }
    }
}

/// Why a target could not be inspected.
enum Ended {
    /// The error must still be printed.
    Error(Error),
    /// The error was printed already.
    Said(ExitCode),
}

async fn inspect_one(args: &InspectArgs, target: &str, screen: &Screen) -> Result<Vec<Inspected>, Ended> {
    let path = Path::new(target);
    if names_folder(target).is_some() || path.is_file() {
        let path = path.to_path_buf();
        let work = tokio::task::spawn_blocking(move || inspect_path(&path));
        return work.await.map_err(|_| Ended::Said(ExitCode::Local))?.map_err(Ended::Error);
    }
    let mut spec = target.parse::<RepoSpec>().map_err(|error| {
        screen.fail("", &error, Some("name a repo, or a file or folder that exists"));
        Ended::Said(ExitCode::Usage)
    })?;
    apply_revision(&mut spec, args.revision.as_ref());
    let session =
        session(&args.place, &args.transfer, Checks::default(), screen, spec.endpoint.as_deref(), None, Vec::new());
    let session = session.map_err(Ended::Said)?;
    let options = wish(&args.selection, &spec, &[], screen).map_err(Ended::Said)?;
    session.inspect(&spec, &options).await.map_err(Ended::Error)
}
