//! The command line: all commands as clap defines them, with examples. Other modules run the
//! commands.

// The doc comments are the help's text, which is not Markdown.
#![allow(clippy::doc_markdown, rustdoc::bare_urls)]

mod build;
mod commands;
pub mod examples;
mod habits;
mod share;
mod shared;
mod target;
mod values;

use clap::{Arg, ArgAction, CommandFactory as _, Parser, Subcommand};

pub use commands::{
    CleanArgs, CompareArgs, CompletionsArgs, GetArgs, InspectArgs, ListArgs, LockArgs, LockForm, ManArgs, PlanArgs,
    PublishArgs, RemoveArgs, StorageInitArgs, VerifyArgs, cache_root,
};
pub use share::Share;
pub use shared::{Format, Output, PlaceArgs, Progress, Reports, Repos, Secret, Selection, Signers, Transfer};
pub use target::Target;
pub use values::Template;

/// Download Hugging Face repositories and verify every file
///
/// Pins the commit, lists the repo, takes exactly one weight family with its index, configuration, tokenizer and code,
/// downloads what is missing, and verifies every file's digest and that every tensor is where the index says. Exits
/// with 0 only if all checks pass. The files go into the usual Hub cache: transformers, diffusers and hf find them
/// there.
#[derive(Debug, Parser)]
#[command(
    version,
    override_usage = "hfget [OPTIONS] REPO [FILE|REPO]...\n       hfget COMMAND ...",
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_version_flag = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub get: GetArgs,
}

// One of them is made in a process.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what hfget would fetch and what it leaves out; fetch no weights
    ///
    /// Lists the repo and shows each file that hfget would take, whether it is here already, and what it leaves out and
    /// why. Reads only the small files that the choice depends on.
    #[command(arg_required_else_help = true)]
    Plan(PlanArgs),
    /// Check files that are already here
    ///
    /// Hashes every file and compares it with the digest that the Hub lists, or a lockfile (--lock), reads the headers of
    /// the weights, and compares them with the index. With --offline it checks everything that needs no Hub. --all without
    /// targets checks the whole cache: every file of every snapshot of every repo.
    #[command(arg_required_else_help = true)]
    Verify(VerifyArgs),
    /// Verify what a fleet's workers stored, and publish it
    ///
    /// The last step after `hfget --partition`: checks that every file of the selection is there and right, then moves
    /// manifest and ref, or a registry's tag. Fetches nothing: if a file is missing or wrong, it is named, and nothing
    /// is published. Files that this machine has not hashed itself are read back.
    #[command(arg_required_else_help = true)]
    Publish(PublishArgs),
    /// Fill folders as KServe's storage initializer
    ///
    /// For a ClusterStorageContainer: takes pairs of a source and a folder, as KServe passes them. The files go directly into
    /// the folder. STORAGE_ALLOW_PATTERNS and STORAGE_IGNORE_PATTERNS choose files, as a JSON list or with commas;
    /// without them hfget chooses as usual. Any failure ends with 1 and leaves one sentence in /dev/termination-log.
    /// Needs no home folder and no user name, and writes only to the folders.
    StorageInit(StorageInitArgs),
    /// Show the tensors of weights: names, dtypes, shapes
    ///
    /// Of a remote repo only the headers are fetched, by range requests. Ends with 1 if a header is wrong and with 3 if
    /// there are no weights.
    #[command(arg_required_else_help = true)]
    Inspect(InspectArgs),
    /// Record the exact commit, files, sizes and digests for `hfget --locked`
    ///
    /// The lockfile has the commit, and every file with its size and digest. `hfget --locked` fetches exactly that,
    /// from any endpoint or mirror, or fails.
    ///
    /// Without repos, --check shows what has changed since, and --update locks it.
    #[command(arg_required_else_help = true)]
    Lock(LockArgs),
    /// Check that a mirror matches the Hub
    ///
    /// Asks the mirror and the endpoint for the same repos and compares the answers: commit, listing, headers, bytes.
    /// Nothing is stored. Ends with 0 if the mirror matches, 1 if it differs, 4 if it does not answer. The last
    /// line of each repo on stdout is
    /// "compare: REPO mirror=URL level=LEVEL files=N findings=N result=true|different|error".
    #[command(arg_required_else_help = true)]
    Compare(CompareArgs),
    /// Show what is in the cache
    ///
    /// A line for each snapshot: repo, commit, size, weight family, whether it was verified, when and against which
    /// server, and what is missing. Also reads what Python's huggingface_hub wrote. Makes no request and hashes
    /// nothing.
    List(ListArgs),
    /// Remove repos or snapshots from the cache
    ///
    /// Removes the named snapshots only: files that other snapshots share stay. Ends with 5 and removes nothing of a
    /// repo while another run works on it. --dry-run shows what would be removed.
    #[command(arg_required_else_help = true)]
    Remove(RemoveArgs),
    /// List leftovers of interrupted runs, and remove them
    ///
    /// An interrupted run leaves partial files, and the next run resumes them. Those of repos that you no longer want
    /// only take space: this lists them, and --remove removes them. Files that another run works on stay, and so do the
    /// *.incomplete files of other tools.
    Clean(CleanArgs),
    /// Print completions for a shell
    ///
    /// Prints a script to stdout; each shell has a folder for such scripts.
    #[command(arg_required_else_help = true)]
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command
    ///
    /// Prints hfget(1) as roff to stdout. With a folder, writes hfget.1 and a page for each command into it, and prints
    /// their paths.
    Man(ManArgs),
    /// Print what shells complete
    #[command(name = "__offer", hide = true)]
    Offer {
        /// Of what
        what: crate::cli::man::Offer,
    },
}

impl Cli {
    /// Whether stderr has only JSON.
    pub fn writes_events(&self) -> bool {
        let output = match &self.command {
            Some(Command::Plan(args)) => &args.output,
            Some(Command::Publish(args)) => &args.output,
            Some(Command::Verify(args)) => &args.output,
            Some(Command::Inspect(args)) => &args.output,
            Some(Command::Lock(args)) => &args.output,
            Some(Command::Compare(args)) => &args.output,
            Some(Command::Clean(args)) => &args.output,
            Some(
                Command::List(_)
                | Command::Remove(_)
                | Command::StorageInit(_)
                | Command::Offer { .. }
                | Command::Completions(_)
                | Command::Man(_),
            ) => return false,
            None => &self.get.output,
        };
        output.progress == Some(Progress::Json)
    }
}

/// Flags that a command has only as part of a group and cannot use: it refuses them.
const USELESS: &[(&str, &[&str])] = &[
    ("publish", &["mirror", "follow_code", "force", "no_space_check", "transport"]),
    ("verify", &["mirror", "force", "jobs", "connections", "transport", "limit_rate"]),
    ("inspect", &["deny", "allow", "allow_unsafe_pickle"]),
    ("lock", &["allow_unsafe_pickle"]),
    ("clean", &["progress", "verbose"]),
];

/// Flags of a group with another meaning for one command, and their help.
const OWN: &[(&str, &str, &str)] = &[
    ("verify", "all", "Check every snapshot in the cache; with repos: every file of them"),
    ("verify", "local_dir", "Check this folder instead of the cache, against the Hub"),
    ("verify", "only", "Check this family, or fail with exit code 3"),
    ("verify", "include", "Check only files that match; '*' crosses '/' (may be repeated)"),
    ("verify", "with", "Also check files that match (may be repeated)"),
    ("verify", "offline", "Ask no Hub: compare with the notes of earlier runs"),
    ("inspect", "local_dir", "Look into this folder instead of the cache"),
    ("inspect", "only", "Show this family, or fail with exit code 3"),
    ("inspect", "include", "Show only files that match; '*' crosses '/' (may be repeated)"),
    ("lock", "local_dir", "Read small files in this folder instead of the cache"),
    ("plan", "local_dir", "Plan for plain files in this folder instead of the cache"),
    ("publish", "local_dir", "Publish what workers put into this folder"),
    ("publish", "cache_dir", "Publish what workers put into this Hub cache"),
    ("publish", "to", "Publish what workers put into this object store or registry: s3://, gs://, az://, oci://"),
];

/// The first given flag that its command cannot use, with the command.
pub fn useless(matches: &clap::ArgMatches) -> Option<(&'static str, String)> {
    let (name, given) = matches.subcommand()?;
    let (command, flags) = USELESS.iter().find(|(command, _)| *command == name)?;
    let typed = |id: &&&str| {
        given.try_contains_id(id).is_ok() && given.value_source(id) == Some(clap::parser::ValueSource::CommandLine)
    };
    flags.iter().find(typed).map(|flag| (*command, flag.replace('_', "-")))
}

/// The help that the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Help {
    /// The short help, which fits a screen.
    Short,
    /// Everything.
    Whole,
}

/// Shows options in one list without headings, so that they fit.
fn at_a_glance(command: clap::Command, whole: bool) -> clap::Command {
    // The text comes before the options, and is wrapped like them.
    let command = if whole {
        command.before_help(
            "Commands: plan, publish, verify, inspect, lock, compare, list, remove, clean, storage-init, completions, \
             man; \
             `hfget help COMMAND` explains one",
        )
    } else {
        command
    };
    // These flags of selection show only in the help of commands that fetch.
    let rarely = ["prefer", "variant", "with", "exclude"];
    let fetches = whole || command.get_name() == "plan";
    let command = command.mut_args(|arg| {
        let rare = !fetches && rarely.contains(&arg.get_id().as_str());
        if rare { arg.hide_short_help(true) } else { arg }
    });
    let positionals = if command.get_positionals().next().is_some() { "{positionals}\n" } else { "" };
    let template =
        format!("{{about}}\n\n{{usage-heading}} {{usage}}\n\n{{before-help}}{positionals}{{options}}{{after-help}}");
    command.help_template(template)
}

/// All commands, each with its examples in the help. `-h` has the short help; `--help` and `hfget help` have
/// everything.
pub fn command() -> clap::Command {
    command_with(Help::Whole)
}

/// [`command`] with the help that is asked for.
pub fn command_with(asked: Help) -> clap::Command {
    let with_examples = |command: clap::Command| match examples::of(command.get_name()) {
        Some(topic) => {
            let help = Arg::new("help").short('h').long("help").action(ArgAction::Help);
            let help = help.help("Print all options; -h prints one screen").hide_short_help(true);
            let command = match USELESS.iter().find(|(name, _)| *name == topic.name) {
                Some((_, flags)) => command.mut_args(|arg| {
                    let useless = flags.contains(&arg.get_id().as_str());
                    if useless { arg.hide(true) } else { arg }
                }),
                None => command,
            };
            let command = OWN
                .iter()
                .filter(|(name, ..)| *name == topic.name)
                .fold(command, |command, (_, id, help)| command.mut_arg(id, |arg| arg.help(*help).long_help(*help)));
            // Publishing needs it, unless a lockfile or a folder says where.
            let command =
                if topic.name == "publish" { command.mut_arg("to", |arg| arg.hide_short_help(false)) } else { command };
            let command = match asked {
                Help::Short => at_a_glance(command, topic.name == "hfget"),
                Help::Whole => command,
            };
            command.after_help(topic.short()).after_long_help(topic.long()).disable_help_flag(true).arg(help)
        }
        None => command,
    };
    let with_codes = |arg: clap::Arg| if arg.get_id() == "deny" { arg.long_help(values::deny_help()) } else { arg };
    let version = Arg::new("version").short('V').long("version").action(ArgAction::Version);
    let version = version.help("Print the version").hide_short_help(true);
    let mut whole = with_examples(Cli::command()).mut_args(with_codes).arg(version).long_version(build::LONG);
    let names: Vec<String> = whole.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        whole = whole.mut_subcommand(name, with_examples);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::{Cli, Help, command, command_with, examples};
    use clap::FromArgMatches as _;

    /// Splits a line into words like a shell, as far as the examples need it.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                _ => words.last_mut().unwrap().push(c),
            }
        }
        words.retain(|w| !w.is_empty());
        words
    }

    #[test]
    fn every_command_has_examples_and_each_of_them_is_understood_by_it() {
        let whole = command();
        let names = whole.get_subcommands().filter(|c| !c.is_hide_set()).map(clap::Command::get_name).chain(["hfget"]);
        for name in names {
            let topic = examples::of(name).unwrap_or_else(|| panic!("{name} has no examples"));
            assert!((2..=6).contains(&topic.examples.len()), "{name}");
            for example in topic.examples {
                // The shell's redirection is left out.
                let line = example.line.split(" > ").next().unwrap();
                let line = line.strip_prefix("source <(").map_or(line, |rest| rest.trim_end_matches(')'));
                let matches = command().try_get_matches_from(words(line));
                let matches = matches.unwrap_or_else(|e| panic!("{line}: {e}"));
                assert_eq!(matches.subcommand_name().unwrap_or("hfget"), name, "{line}");
                Cli::from_arg_matches(&matches).unwrap();
            }
        }
    }

    #[test]
    fn the_commands_are_consistent() {
        command().debug_assert();
    }

    /// The help on a terminal of 80 columns.
    fn short_help(name: &str) -> String {
        let mut whole = command_with(Help::Short).term_width(80);
        whole.build();
        let one = if name == "hfget" { &mut whole } else { whole.find_subcommand_mut(name).unwrap() };
        one.render_help().to_string()
    }

    #[test]
    fn short_help_fits_a_screen() {
        let whole = command();
        let shown = whole.get_subcommands().filter(|c| !c.is_hide_set());
        let names: Vec<String> = shown.map(|c| c.get_name().to_owned()).collect();
        for name in names.iter().map(String::as_str).chain(["hfget"]) {
            let help = short_help(name);
            assert!(help.lines().count() <= 24, "{name}: {}\n{help}", help.lines().count());
            assert!(help.lines().all(|l| l.chars().count() <= 80), "{name}:\n{help}");
            assert!(help.lines().any(|l| l.contains("hfget ") && l.contains("  # ")), "{name} has no example:\n{help}");
        }
    }

    #[test]
    fn a_misspelt_family_flag_or_code_gets_the_nearest_as_advice() {
        for (line, near) in [
            ("hfget a/b --prefer safetensor", "'safetensors'"),
            ("hfget a/b --only ggfu", "'gguf'"),
            ("hfget a/b --perfer bin", "'--prefer'"),
            ("hfget a/b --deny remote-cod", "remote-code"),
            ("hfget a/b --allow remote_code,x", "remote-code"),
            ("hfget compare a/b --mirror http://c --level ful", "'full'"),
            ("hfget a/b --transport htp", "'http'"),
            ("hfget completions bsh", "'bash'"),
        ] {
            let error =
                command().try_get_matches_from(words(line)).and_then(|m| Cli::from_arg_matches(&m)).unwrap_err();
            assert!(error.to_string().contains(near), "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
