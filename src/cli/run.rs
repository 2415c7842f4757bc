//! From the words of the command line to the command, and from its end to the exit code of the process.

use std::ffi::OsString;
use std::process::ExitCode as ProcessCode;
use std::time::Duration;

use clap::FromArgMatches as _;
use hfget_core::unstable::text::{hidden, keep_secret};

use super::args::{Cli, Command, Help, command_with, useless};
use super::clean::clean;
use super::compare::compare;
use super::fleet::publish;
use super::get::get;
use super::habits::{asks_for_short_help, understood};
use super::inspect::inspect;
use super::job::Asked;
use super::list::list;
use super::lock::lock;
use super::man::{completions, man, offer};
use super::plan::plan;
use super::progress::{say_interrupted, write_line};
use super::remove::remove;
use super::storage_init::storage_init;
use super::system;
use super::verify::verify;
use crate::exit::ExitCode;

/// Hides the secrets in the command line's URLs from all output.
fn keep_secrets_of(words: &[OsString]) {
    for url in words.iter().filter_map(|word| url::Url::parse(word.to_str()?).ok()) {
        keep_secret(url.password().unwrap_or(url.username()));
    }
}

/// Prints what is wrong with the command line, and ends.
fn refuse(error: &clap::Error) -> ! {
    let text = error.render().to_string();
    match hidden(&text) {
        std::borrow::Cow::Borrowed(_) => error.exit(),
        std::borrow::Cow::Owned(text) => {
            write_line(text.trim_end());
            std::process::exit(error.exit_code())
        }
    }
}

pub fn main() -> ProcessCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    keep_secrets_of(&typed);
    let words = match understood(typed) {
        Ok(words) => words,
        Err(answer) => {
            write_line(&format!("error: {answer}"));
            return code(ExitCode::Usage);
        }
    };
    let help = if asks_for_short_help(&words) { Help::Short } else { Help::Whole };
    let matches = match command_with(help).try_get_matches_from(words) {
        Ok(matches) => match useless(&matches) {
            Some((name, flag)) => {
                write_line(&format!("error: `hfget {name}` does not use --{flag}\n  → leave it out"));
                return code(ExitCode::Usage);
            }
            None => matches,
        },
        // Help and version are not errors; clap exits with 2 for the rest.
        Err(error) => refuse(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => refuse(&error),
    };
    system::prepare();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            write_line(&format!("error: cannot start: {error}"));
            return code(ExitCode::Local);
        }
    };
    let end = runtime.block_on(run(cli));
    // Writers that are still busy after an interruption get a moment to note the bytes that have arrived.
    runtime.shutdown_timeout(Duration::from_secs(2));
    code(end)
}

fn code(end: ExitCode) -> ProcessCode {
    // Every exit code fits into a byte.
    ProcessCode::from(end as u8)
}

async fn run(cli: Cli) -> ExitCode {
    let events = cli.writes_events();
    let job = async {
        match cli.command {
            Some(Command::Plan(args)) => {
                plan(&Asked::to_plan(&args), &args.share, args.deep, args.report.report.as_deref()).await
            }
            Some(Command::Publish(args)) => publish(&args).await,
            Some(Command::Verify(args)) => verify(&args).await,
            Some(Command::StorageInit(args)) => storage_init(&args).await,
            Some(Command::Inspect(args)) => inspect(&args).await,
            Some(Command::Lock(args)) => lock(args).await,
            Some(Command::Clean(args)) => clean(args).await,
            Some(Command::List(args)) => list(args).await,
            Some(Command::Remove(args)) => remove(args).await,
            Some(Command::Compare(args)) => compare(&args).await,
            Some(Command::Completions(args)) => completions(&args),
            Some(Command::Man(args)) => man(&args),
            Some(Command::Offer { what }) => offer(what),
            None if cli.get.dry_run => {
                let (asked, file) = (Asked::to_get(&cli.get), cli.get.reports.report.as_deref());
                plan(&asked, &cli.get.share, false, file).await
            }
            None => get(&cli.get).await,
        }
    };
    tokio::select! {
        end = job => end,
        () = system::interrupted() => {
            say_interrupted(events);
            ExitCode::Interrupted
        }
    }
}
