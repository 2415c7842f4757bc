//! The binary on a terminal of its own: widths, colours, terminals that cannot draw, and an interruption.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hfget_loopback_hub::{Fault, Hub, Kind, Options, Place};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use super::resume::{SIZE, partial, slow};
use super::support::{CHATGLM, Machine, fixture, one_file};

/// Both ends of a terminal.
struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
}

impl Terminal {
    fn of(columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).unwrap();
        Terminal { master, slave }
    }

    fn end(&self) -> Stdio {
        Stdio::from(self.slave.try_clone().unwrap())
    }

    /// Everything that is written to it until all other ends are closed.
    fn read(self) -> JoinHandle<String> {
        drop(self.slave);
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // When the last other end is closed, the read fails.
            let _ = File::from(self.master).read_to_end(&mut bytes);
            String::from_utf8(bytes).unwrap()
        })
    }
}

fn command(machine: &Machine, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hfget"));
    machine.environment(&mut command);
    command.env("TERM", "xterm-256color").args(line.split_whitespace());
    command
}

/// The output of a command on a terminal: of stderr and, if `stdout`, also of stdout.
fn drawn(command: &mut Command, columns: u16, stdout: bool) -> String {
    let terminal = Terminal::of(columns);
    command.stderr(terminal.end()).stdout(if stdout { terminal.end() } else { Stdio::null() });
    let mut child: Child = command.spawn().unwrap();
    // The command value keeps its own ends open as long as it exists.
    command.stderr(Stdio::null()).stdout(Stdio::null());
    let text = terminal.read();
    child.wait().unwrap();
    text.join().unwrap()
}

/// The text without the sequences for colours; sequences that move the cursor end a line.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        out.push_str(&rest[..at]);
        let after = rest[at + 1..].trim_start_matches('[');
        let end = after.find(|c: char| c.is_ascii_alphabetic()).map_or(after.len(), |n| n + 1);
        if !after[..end].ends_with('m') {
            out.push('\n');
        }
        rest = &after[end..];
    }
    out + rest
}

fn assert_fits(text: &str, columns: u16) {
    // The argument parser prints the usage in one line.
    for line in plain(text).split(['\r', '\n']).filter(|line| !line.starts_with("Usage: ")) {
        assert!(line.trim_end().chars().count() <= columns.into(), "{columns} columns:\n{line}\nof\n{}", plain(text));
    }
}

#[test]
fn a_dumb_terminal_gets_no_escape_codes() {
    for line in ["org/one", "org/one --progress bars", "plan org/one", "org/none", "--help", "org/one --prefer nothing"]
    {
        let machine = Machine::new([one_file(9 << 20)]);
        let text = drawn(command(&machine, line).env("TERM", "dumb"), 80, true);
        assert!(!text.contains('\x1b') && text.len() > 100, "{line}: {text:?}");
    }
}

/// A run that waits shows that it waits, and for what.
#[test]
fn a_wait_and_a_silence_show_in_the_row_that_they_hold() {
    let machine = Machine::new([one_file(9 << 20)]);
    let limited = Kind::Status(429, vec![("retry-after", "1".into())]);
    machine.hub.fault(Fault::new(Place::Bytes, limited).on("*.safetensors").times(1));
    let text = plain(&drawn(&mut command(&machine, "org/one --connections 1"), 100, false));
    let row = text.split("  get ").find(|row| row.contains("(rate limit): "));
    assert!(row.is_some_and(|row| row.contains("waiting 1.")), "{text}");
    machine.hub.heal();
    machine.hub.fault(Fault::new(Place::Bytes, Kind::Stall(1 << 20)).on("*.safetensors").times(1));
    let line = "org/one --force --connections 1 --stall-timeout 7 --retry-base-ms 2";
    let text = plain(&drawn(&mut command(&machine, line), 100, false));
    assert!(text.contains("silent 4 s") || text.contains("silent 5 s"), "{text}");
    // The twin: a run with progress does not show a wait.
    machine.hub.heal();
    let text = plain(&drawn(&mut command(&machine, "org/one --force"), 100, false));
    assert!(!text.contains("silent") && !text.contains("waiting"), "{text}");
}

#[test]
fn no_color_means_no_colours() {
    for line in ["org/one", "plan org/one", "org/none", "--help", "org/one --prefer nothing"] {
        let coloured = |text: &str| {
            text.split("\x1b[")
                .skip(1)
                .any(|t| t.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'))
        };
        let machine = Machine::new([one_file(9 << 20)]);
        let text = drawn(command(&machine, line).env("NO_COLOR", "1"), 100, true);
        assert!(!coloured(&text), "{line}: {text:?}");
        let machine = Machine::new([one_file(9 << 20)]);
        let text = drawn(&mut command(&machine, line), 100, true);
        assert!(coloured(&text), "{line}: {text:?}");
    }
}

#[test]
fn lines_fit_the_terminal() {
    let machine = Machine::new([fixture(CHATGLM), fixture("org/tied-gpt2")]);
    for columns in [40, 80, 200] {
        for line in [
            "plan THUDM/chatglm3-6b",
            "plan THUDM/chatglm3-6b -v",
            "inspect THUDM/chatglm3-6b",
            "-h",
            "help",
            "help verify",
            "compare --help",
        ] {
            let text = drawn(&mut command(&machine, line), columns, true);
            assert!(text.lines().count() > 5, "{line}: {text}");
            assert_fits(&text, columns);
        }
        // Paths on stdout are not cut.
        for line in [
            "THUDM/chatglm3-6b --force",
            "THUDM/chatglm3-6b",
            "verify THUDM/chatglm3-6b --offline",
            "THUDM/chatglm3-6b --variant fp16",
            "THUDM/chatglm-6b",
            "THUDM/chatglm3-6b@v2",
            "lock THUDM/chatglm3-6b",
            "clean",
        ] {
            let text = drawn(&mut command(&machine, line), columns, false);
            assert!(!text.is_empty(), "{line}");
            assert_fits(&text, columns);
        }
    }
    let wide = drawn(&mut command(&machine, "plan THUDM/chatglm3-6b -v"), 200, true);
    assert!(plain(&wide).lines().any(|l| l.trim_end().chars().count() > 80), "{wide}");
}

#[test]
fn bars_fit_the_terminal_and_are_gone_in_the_end() {
    for columns in [40, 80, 200] {
        let options = Options { rate: Some(40 << 20), ..Options::default() };
        let machine = Machine::on(Hub::with(options, [one_file(SIZE)]));
        let text = drawn(&mut command(&machine, "org/one"), columns, true);
        assert!(text.contains('━'), "{text:?}");
        // A row without figures would be the end of a bar that is too long for the terminal.
        let figures = if columns < 72 { " % " } else { " of " };
        let drawing = plain(&text[..text.rfind('✓').unwrap()]);
        for line in drawing.split(['\r', '\n']).filter(|line| line.contains('━')) {
            let chars: Vec<char> = line.chars().collect();
            for row in chars.chunks(columns.into()).map(|row| row.iter().collect::<String>()) {
                assert!(row.trim().is_empty() || row.contains(figures), "{columns} columns: {row:?} of {line:?}");
            }
        }
        // If the cursor is hidden, it is shown again.
        assert_eq!(text.matches("\x1b[?25l").count(), text.matches("\x1b[?25h").count());
        let end = &text[text.rfind('✓').unwrap()..];
        assert!(!end.contains('━') && end.contains("verified"), "{end:?}");
    }
}

#[test]
fn an_interruption_restores_the_terminal_and_says_to_run_again() {
    let machine = slow();
    let terminal = Terminal::of(80);
    let before = tcgetattr(&terminal.slave).unwrap();
    let mut run = command(&machine, "org/one --connections 1");
    let mut child = run.stderr(terminal.end()).stdout(terminal.end()).spawn().unwrap();
    drop(run);
    let kept = terminal.slave.try_clone().unwrap();
    let text = terminal.read();
    let start = Instant::now();
    while partial(&machine).and_then(|p| p.metadata().ok()).is_none_or(|m| m.len() < SIZE as u64 / 4) {
        assert!(start.elapsed() < Duration::from_mins(1), "no partial file");
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let after = tcgetattr(&kept).unwrap();
    assert_eq!(
        (before.input_modes, before.output_modes, before.local_modes, before.control_modes),
        (after.input_modes, after.output_modes, after.local_modes, after.control_modes)
    );
    drop(kept);
    let text = text.join().unwrap();
    let end = text.rsplit("\r\ninterrupted: about ").next().unwrap();
    assert!(text.contains('━') && end.ends_with(" are kept; run it again to resume\r\n"), "{text:?}");
    assert_eq!(text.matches("\x1b[?25l").count(), text.matches("\x1b[?25h").count());
    // The colours are reset at the end.
    assert!(text.rfind("\x1b[0m") > text.rfind("\x1b[3"), "{text:?}");
}

/// Nothing is cut by the terminal in the middle of a word.
#[test]
fn a_list_is_a_table_where_it_fits_and_two_lines_for_each_snapshot_elsewhere() {
    let machine = Machine::new([fixture(CHATGLM), one_file(64)]);
    machine.hfget(&format!("{CHATGLM} org/one")).ends_with(0);
    let rows = |columns| -> Vec<String> {
        let text = plain(&drawn(&mut command(&machine, "list --quiet"), columns, true));
        text.lines().map(|line| line.trim_end().to_owned()).collect()
    };
    let narrow = rows(50);
    assert!(narrow.iter().all(|line| line.chars().count() <= 50), "{narrow:#?}");
    assert_eq!(narrow[0], "THUDM/chatglm3-6b@main");
    assert!(narrow[1].starts_with("  ") && narrow[1].contains(", safetensors, verified"), "{narrow:#?}");
    let wide = rows(160);
    assert!(wide[0].starts_with("THUDM/chatglm3-6b@main  ") && wide.len() == 2, "{wide:#?}");
}

#[test]
fn an_interruption_is_an_event_where_stderr_carries_events() {
    let machine = slow();
    let mut child =
        command(&machine, "org/one --connections 1 --progress json").stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while partial(&machine).is_none() {
        assert!(start.elapsed() < Duration::from_mins(1), "no partial file");
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let events: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(events.last().unwrap()["event"], "message", "{text}");
    assert!(events.last().unwrap()["text"].as_str().unwrap().starts_with("interrupted"), "{text}");
}
