//! Words of other tools: a verb before the repo, another name for one of our formats. They are understood, or
//! answered in one line, before any request. `args` has the flags of other tools.

use std::ffi::{OsStr, OsString};

/// The meaning of another tool's verb.
#[derive(Debug, Clone, Copy)]
enum Verb {
    /// The same as `hfget REPO`.
    Get,
    /// The same as our command of this name.
    Is(&'static str),
    /// hfget does not do this; the text says what to do instead.
    Not(&'static str),
}

/// `hf`, `huggingface-cli`, ollama, git, pip and their kin.
const VERBS: &[(&str, Verb)] = &[
    ("download", Verb::Get),
    ("get", Verb::Get),
    ("pull", Verb::Get),
    ("fetch", Verb::Get),
    ("clone", Verb::Get),
    ("ls", Verb::Is("list")),
    ("rm", Verb::Is("remove")),
    ("delete", Verb::Is("remove")),
    ("uninstall", Verb::Is("remove")),
    ("show", Verb::Is("inspect")),
    ("check", Verb::Is("verify")),
    ("version", Verb::Is("--version")),
    ("search", Verb::Not("hfget does not search; open https://huggingface.co/models and paste the address of a repo")),
    ("login", Verb::Not(LOGIN)),
    ("auth", Verb::Not(LOGIN)),
    ("logout", Verb::Not("hfget keeps no token; unset HF_TOKEN, or run `hf auth logout`")),
    ("whoami", Verb::Not("hfget keeps no account; run `hf auth whoami`")),
    ("update", Verb::Not(UPDATE)),
    ("upgrade", Verb::Not(UPDATE)),
    ("install", Verb::Not("hfget installs nothing; `hfget OWNER/NAME` downloads a repo")),
    ("upload", Verb::Not(UPLOAD)),
    ("push", Verb::Not(UPLOAD)),
    ("run", Verb::Not("hfget runs no model; `hfget OWNER/NAME` downloads it and prints its folder")),
    ("serve", Verb::Not("hfget serves no model; `hfget OWNER/NAME` downloads it and prints its folder")),
    ("cache", Verb::Not(CACHE)),
    ("scan-cache", Verb::Not(CACHE)),
    ("delete-cache", Verb::Not(CACHE)),
];

const LOGIN: &str = "hfget needs no login; set HF_TOKEN, or run `hf auth login`: hfget reads its token";
const UPDATE: &str = "hfget does not update itself; install it again the way you installed it";
const UPLOAD: &str =
    "hfget uploads nothing to the Hub; run `hf upload`. `hfget OWNER/NAME --to s3://BUCKET` fills a bucket";
const CACHE: &str = "the cache has commands of its own: `hfget list`, `hfget remove OWNER/NAME`, `hfget clean`";

/// The command line in hfget's own words; the error is the answer to it.
pub(super) fn understood(mut words: Vec<OsString>) -> Result<Vec<OsString>, String> {
    if let Some(first) = words.get(1).and_then(|word| word.to_str())
        && let Some((verb, what)) = VERBS.iter().find(|(verb, _)| *verb == first)
    {
        match what {
            // `hfget download` alone asks for help, as `hfget` does.
            Verb::Get => drop(words.remove(1)),
            Verb::Is(command) => {
                if let Some(word) = words.get_mut(1) {
                    *word = OsString::from(command);
                }
            }
            Verb::Not(answer) => return Err(format!("`hfget {verb}` does not exist: {answer}")),
        }
    }
    formats(&mut words)?;
    Ok(words)
}

/// `hf` has one format that is our `--quiet`, one that is our default, and one that we do not have.
fn formats(words: &mut Vec<OsString>) -> Result<(), String> {
    let mut at = 1;
    while let Some(word) = words.get(at).and_then(|word| word.to_str()) {
        if word == "--" {
            break;
        }
        let (form, length) = match word.strip_prefix("--format") {
            Some("") => (words.get(at + 1).and_then(|form| form.to_str()), 2),
            Some(rest) => (rest.strip_prefix('='), 1),
            None => (None, 1),
        };
        let with: &[&str] = match form {
            Some("quiet") => &["--quiet"],
            Some("auto") => &["--format", "human"],
            Some("agent") => return Err("hfget does not write `--format agent`; use --json".to_owned()),
            _ => {
                at += 1;
                continue;
            }
        };
        words.splice(at..at + length, with.iter().map(OsString::from));
        at += with.len();
    }
    Ok(())
}

/// The answer to a verb instead of a repo: flags come after the verb.
pub(super) fn misplaced(word: &str) -> Option<String> {
    let (verb, what) = VERBS.iter().find(|(verb, _)| *verb == word)?;
    Some(match what {
        Verb::Get => format!("leave out `{verb}`, or write it first: `hfget {verb} OWNER/NAME`"),
        Verb::Is(command) => format!("a command comes first: `hfget {command}`"),
        Verb::Not(answer) => (*answer).to_owned(),
    })
}

/// Whether the words ask for the help that fits a screen.
pub(super) fn asks_for_short_help(words: &[OsString]) -> bool {
    words.len() <= 1 || words.iter().skip(1).take_while(|word| *word != OsStr::new("--")).any(|word| word == "-h")
}

#[cfg(test)]
mod tests {
    use super::{VERBS, understood};
    use crate::cli::args::command;

    fn line(text: &str) -> Result<String, String> {
        let words = understood(text.split(' ').map(Into::into).collect())?;
        Ok(words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_verb_of_another_tool_is_ours_or_is_answered() {
        for (typed, meant) in [
            ("hfget download org/x a.json", "hfget org/x a.json"),
            ("hfget rm org/x", "hfget remove org/x"),
            ("hfget version", "hfget --version"),
            ("hfget org/x --format quiet", "hfget org/x --quiet"),
            ("hfget org/x --format=auto --json", "hfget org/x --format human --json"),
            ("hfget org/x -- --format quiet", "hfget org/x -- --format quiet"),
            ("hfget org/x get", "hfget org/x get"),
        ] {
            assert_eq!(line(typed).as_deref(), Ok(meant), "{typed}");
        }
        assert!(line("hfget login").unwrap_err().contains("HF_TOKEN"));
        assert!(line("hfget org/x --format agent").unwrap_err().contains("--json"));
    }

    #[test]
    fn no_verb_of_another_tool_hides_a_command_of_ours() {
        let whole = command();
        let ours: Vec<&str> = whole.get_subcommands().map(clap::Command::get_name).collect();
        for (verb, what) in VERBS {
            assert!(!ours.contains(verb), "{verb}");
            if let super::Verb::Is(command) = what {
                assert!(ours.contains(command) || *command == "--version", "{command}");
            }
        }
    }
}
