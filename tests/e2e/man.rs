//! The output for shells and `man`: completions that complete, and pages that format without warnings.

use std::process::{Command, Stdio};

use hfget_loopback_hub::Repo;

use super::support::{COMMANDS, Machine, Run, one_file};

fn hfget(machine: &Machine, arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
    machine.environment(&mut command);
    command.args(arguments).output().unwrap().into()
}

/// Whether a program can be run here; otherwise a test that needs it prints so and ends.
fn is_here(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

#[test]
fn bash_completes_commands_flags_and_values() {
    if !is_here("bash") {
        return;
    }
    let machine = Machine::new([]);
    let script = machine.home.path().join("hfget.bash");
    std::fs::write(&script, hfget(&machine, &["completions", "bash"]).ends_with(0).out).unwrap();
    // Calls the function that `complete -F` names like readline.
    let driver = r#"
        source "$1"
        [[ $(complete -p hfget) == *'-F _hfget '* ]] || exit 9
        shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        _hfget "$1" "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    for (words, wanted) in [
        (&["hfget", "pl"][..], "plan"),
        (&["hfget", "plan", "--pref"], "--prefer\n--prefer-offline"),
        (&["hfget", "org/one", "--prefer", "safet"], "safetensors"),
        (&["hfget", "verify", "--deny", "remote-c"], "remote-code"),
        (&["hfget", "compare", "--level", "f"], "full"),
        (&["hfget", "completions", "po"], "powershell"),
    ] {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", driver, "driver"]).arg(&script).args(words);
        let run: Run = bash.output().unwrap().into();
        assert_eq!(run.ends_with(0).out.trim_end(), wanted, "{words:?}");
    }
}

/// Cached repos are the words that users type most.
#[test]
fn bash_completes_cached_repos_and_their_variants() {
    if !is_here("bash") {
        return;
    }
    let repo = Repo::new("org/q").lfs("q-Q8_0.gguf", gguf()).lfs("q-Q4_K_M.gguf", gguf()).file("README.md", "");
    let machine = Machine::new([repo, one_file(64)]);
    machine.hfget("org/q --all").ends_with(0);
    machine.hfget("org/one").ends_with(0);
    let script = machine.home.path().join("hfget.bash");
    std::fs::write(&script, hfget(&machine, &["completions", "bash"]).ends_with(0).out).unwrap();
    let driver = r#"
        source "$1"
        shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
        _hfget "$1" "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let binary = env!("CARGO_BIN_EXE_hfget");
    for (words, wanted) in [
        (&[binary, "org/o"][..], "org/one"),
        (&[binary, "verify", "org/q"], "org/q"),
        (&[binary, "org/q", "--variant", "Q8"], "Q8_0"),
        (&[binary, "nothing/li"], ""),
    ] {
        let mut bash = Command::new("bash");
        machine.environment(&mut bash);
        bash.args(["--norc", "-c", driver, "driver"]).arg(&script).args(words);
        let run: Run = bash.output().unwrap().into();
        assert_eq!(run.ends_with(0).out.trim_end(), wanted, "{words:?}");
    }
    for shell in ["zsh", "fish"] {
        let text = hfget(&machine, &["completions", shell]).ends_with(0).out;
        assert!(text.contains("__offer repos") && text.contains("__offer variants"), "{shell}");
    }
}

/// The smallest GGUF file.
fn gguf() -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend([0; 16]);
    bytes
}

#[test]
fn every_shell_gets_all_commands() {
    let machine = Machine::new([]);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let text = hfget(&machine, &["completions", shell]).ends_with(0).out;
        for word in ["plan", "verify", "inspect", "lock", "compare", "clean", "prefer"] {
            assert!(text.contains(word), "{shell} does not know {word}");
        }
        assert!(!text.contains("retry-base-ms"), "{shell} completes what the help hides");
    }
    hfget(&machine, &["completions", "tcsh"]).ends_with(2).says("[possible values: bash,");
}

#[test]
fn the_pages_have_every_command_and_every_flag_of_the_help() {
    let machine = Machine::new([]);
    let folder = machine.home.path().join("share/man1");
    let run = hfget(&machine, &["man", folder.to_str().unwrap()]).ends_with(0);
    let files: Vec<&str> = run.out.lines().collect();
    let names = COMMANDS.map(|c| folder.join(if c.is_empty() { "hfget.1".into() } else { format!("hfget-{c}.1") }));
    assert_eq!(files, names.each_ref().map(|n| n.to_str().unwrap()));
    for (command, name) in COMMANDS.iter().zip(&names) {
        let page = std::fs::read_to_string(name).unwrap();
        assert!(page.is_ascii() && page.contains(".TH "), "{command}");
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "SEE ALSO"] {
            let heading = format!(".SH {section}\n");
            let quoted = format!(".SH \"{section}\"\n");
            assert!(page.contains(&heading) || page.contains(&quoted), "{command} has no {section}");
        }
        let mut arguments = vec!["help"];
        arguments.extend((!command.is_empty()).then_some(*command));
        let help = hfget(&machine, &arguments).ends_with(0).out;
        let flags = help.lines().filter_map(|l| l.trim_start().strip_prefix("--")).filter_map(|l| {
            let end = l.find(|c: char| !c.is_ascii_alphanumeric() && c != '-')?;
            l.starts_with(|c: char| c.is_ascii_lowercase()).then_some(&l[..end])
        });
        let plain = page.replace("\\-", "-");
        for flag in flags {
            assert!(plain.contains(&format!("--{flag}")), "{command} has no --{flag}");
        }
        assert!(!plain.contains("--retry-base-ms"), "{command}");
    }
    let main = hfget(&machine, &["man"]).ends_with(0).out;
    assert_eq!(main, std::fs::read_to_string(&names[0]).unwrap());
    assert!(main.contains("EXIT STATUS") && main.contains("ENVIRONMENT"));
}

#[test]
fn the_pages_format_without_a_warning() {
    if !is_here("groff") {
        return;
    }
    let machine = Machine::new([]);
    let folder = machine.home.path().join("man");
    let run = hfget(&machine, &["man", folder.to_str().unwrap()]).ends_with(0);
    for page in run.out.lines() {
        let out = Command::new("groff").args(["-man", "-Tutf8", "-ww", page]).output().unwrap();
        let text: Run = out.into();
        assert_eq!(text.err, "", "{page}");
        // Bold letters are printed twice in one place.
        let mut plain = String::new();
        for c in text.out.chars() {
            if c == '\u{8}' {
                plain.pop();
            } else {
                plain.push(c);
            }
        }
        assert!(plain.contains("EXAMPLES"), "{page}: {plain}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_a_local_error() {
    let machine = Machine::new([]);
    let file = machine.home.path().join("file");
    std::fs::write(&file, "").unwrap();
    hfget(&machine, &["man", file.join("below").to_str().unwrap()]).ends_with(5).says("cannot write");
}
