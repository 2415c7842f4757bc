//! `hfget completions` and `hfget man`: files for shells and for `man`, made from the same definitions as the help.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use clap::{Arg, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use hfget_core::unstable::session::cached_variants;
use hfget_core::unstable::store::cached_repos;

use super::args::examples::{self, EXIT_CODES};
use super::args::{CompletionsArgs, ManArgs, cache_root, command};
use super::progress::write_line;
use super::screen::result;
use crate::exit::ExitCode;

/// Prints completions for a shell.
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut shown(&command()), "hfget", &mut text);
    let text = match String::from_utf8(text) {
        Ok(script) => with_offers(args.shell, script).into_bytes(),
        Err(error) => error.into_bytes(),
    };
    end_of(io::stdout().lock().write_all(&text), Path::new("stdout"))
}

/// The words that shells ask for when the user types a repo or a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Offer {
    /// The repos in the cache
    Repos,
    /// The variants of their weights
    Variants,
}

/// Prints one word per line. For an empty cache, or after an error, it prints nothing: errors would disturb the shell.
pub fn offer(what: Offer) -> ExitCode {
    let Some(root) = cache_root(None) else { return ExitCode::Verified };
    let words = match what {
        Offer::Repos => cached_repos(&root).iter().map(|(repo_type, id)| repo_type.qualify(id)).collect(),
        Offer::Variants => cached_variants(&root),
    };
    // A name that a shell could read as more than a word is left out.
    let plain = |word: &&String| word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+".contains(c));
    let text: String = words.iter().filter(plain).flat_map(|word| [word.as_str(), "\n"]).collect();
    end_of(io::stdout().lock().write_all(text.as_bytes()), Path::new("stdout"))
}

/// The script, with words from the cache in addition to the fixed ones.
fn with_offers(shell: Shell, script: String) -> String {
    match shell {
        Shell::Bash => script + BASH,
        Shell::Fish => script + FISH,
        Shell::Zsh => {
            let (first, rest) = script.split_once('\n').unwrap_or((script.as_str(), ""));
            let mut text = format!("{first}\n{ZSH}");
            for line in rest.lines() {
                let repo = ["'*::named", "'*::repos", "'*::targets"].iter().any(|start| line.starts_with(start));
                let variant = line.starts_with("'*--variant=") || line.starts_with("'--variant=");
                let action = if repo { "_hfget_repos" } else { "_hfget_variants" };
                match line.rsplit_once(':') {
                    Some((before, _)) if repo || variant => text.extend([before, ":", action, "' \\"]),
                    _ => text.push_str(line),
                }
                text.push('\n');
            }
            text
        }
        _ => script,
    }
}

const BASH: &str = r#"
eval "_hfget_words() $(declare -f _hfget | tail -n +2)"
_hfget() {
    _hfget_words "$@"
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"
    case "$before" in
        --variant) COMPREPLY=($(compgen -W "$("$1" __offer variants 2>/dev/null)" -- "$word")) ;;
        -*) ;;
        *) [[ $word == -* ]] || COMPREPLY+=($(compgen -W "$("$1" __offer repos 2>/dev/null)" -- "$word")) ;;
    esac
}
"#;

const FISH: &str = r#"
complete -c hfget -n "not string match -q -- '-*' (commandline -ct)" -a "(hfget __offer repos 2>/dev/null)"
complete -c hfget -l variant -x -a "(hfget __offer variants 2>/dev/null)"
"#;

const ZSH: &str = r#"
_hfget_repos() {
    compadd -- ${(f)"$(hfget __offer repos 2>/dev/null)"}
    _files
}
_hfget_variants() {
    compadd -- ${(f)"$(hfget __offer variants 2>/dev/null)"}
}
"#;

/// A command without its hidden flags, which shells would complete otherwise.
fn shown(whole: &Command) -> Command {
    // Every command has a topic; a test checks it.
    let name = examples::of(whole.get_name()).map_or("hfget", |topic| topic.name);
    Command::new(name)
        .about(whole.get_about().cloned().unwrap_or_default())
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(whole.get_arguments().filter(|arg| !arg.is_hide_set()).cloned())
        .subcommands(whole.get_subcommands().filter(|command| !command.is_hide_set()).map(shown))
}

/// Prints the main page, or writes all of them into a folder.
pub fn man(args: &ManArgs) -> ExitCode {
    let mut whole = command().disable_help_subcommand(true).mut_args(with_long_help);
    let names: Vec<String> = whole.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        whole = whole.mut_subcommand(name, |one| one.mut_args(with_long_help));
    }
    whole.build();
    let Some(dir) = &args.dir else {
        let written = page(&whole, &whole).and_then(|text| io::stdout().lock().write_all(&text));
        return end_of(written, Path::new("stdout"));
    };
    if let Err(error) = std::fs::create_dir_all(dir) {
        return end_of(Err(error), dir);
    }
    for one in std::iter::once(&whole).chain(whole.get_subcommands().filter(|one| !one.is_hide_set())) {
        let file = dir.join(format!("{}.1", name(one)));
        if let Err(error) = page(one, &whole).and_then(|text| std::fs::write(&file, text)) {
            return end_of(Err(error), &file);
        }
        result(&file.display().to_string());
    }
    ExitCode::Verified
}

/// Pages show only the long help; an argument without one shows its only text.
fn with_long_help(arg: Arg) -> Arg {
    match (arg.get_long_help(), arg.get_help().cloned()) {
        (None, Some(help)) => arg.long_help(help),
        _ => arg,
    }
}

/// A closed pipe is not an error.
fn end_of(written: io::Result<()>, place: &Path) -> ExitCode {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            write_line(&format!("error: cannot write {}: {error}", place.display()));
            ExitCode::Local
        }
        _ => ExitCode::Verified,
    }
}

/// `hfget-plan`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// One page as roff.
fn page(one: &Command, whole: &Command) -> io::Result<Vec<u8>> {
    let version = format!("hfget {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(one.clone()).title(name(one).to_uppercase()).source(version).manual("hfget manual");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    let is_whole = one.has_subcommands();
    if is_whole {
        man.render_subcommands_section(&mut out)?;
    }
    man.render_options_section(&mut out)?;
    let mut more = Roff::new();
    if let Some(topic) = examples::of(one.get_name()) {
        more.control("SH", ["EXAMPLES"]);
        for example in topic.examples {
            more.control("TP", []);
            more.text([bold(example.line)]);
            more.text([roman(example.what)]);
        }
    }
    if is_whole {
        more.control("SH", ["EXIT STATUS"]);
        for (code, what) in EXIT_CODES {
            more.control("TP", []);
            more.text([bold(code.to_string())]);
            more.text([roman(*what)]);
        }
        more.control("SH", ["ENVIRONMENT"]);
        for (names, what) in ENVIRONMENT {
            more.control("TP", []);
            more.text([bold(*names)]);
            more.text([roman(*what)]);
        }
    }
    more.control("SH", ["SEE ALSO"]);
    let others: Vec<String> = std::iter::once(whole)
        .chain(whole.get_subcommands().filter(|one| !one.is_hide_set()))
        .filter(|other| name(other) != name(one))
        .map(|other| format!("{}(1)", name(other)))
        .collect();
    more.text([roman(if is_whole { others.join(", ") } else { "hfget(1)".to_owned() })]);
    more.to_writer(&mut out)?;
    Ok(ascii(&String::from_utf8_lossy(&out)).into_bytes())
}

/// The text in ASCII, so that a formatter needs no setting for the encoding.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\[u{:04X}]", u32::from(c));
        }
    }
    out
}

/// The variables that users need most; docs/src/environment.md has all of them.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("HF_TOKEN", "the token for private and gated repos; it is sent to the endpoint only"),
    ("HF_ENDPOINT", "the Hub to ask, as --endpoint"),
    ("HF_HUB_CACHE, HF_HOME", "the cache folder, as --cache-dir"),
    ("HF_HUB_OFFLINE", "1 is --offline"),
    ("HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "the proxy to go through"),
    ("NO_COLOR", "anything but nothing: no colours"),
];
