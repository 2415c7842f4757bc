//! Hostile repos: names, indexes, headers and documents that no honest repo has.

use std::time::{Duration, Instant};

use hfget_loopback_hub::{Fault, Hub, Kind, Options, Place, Repo};

use super::support::{Machine, one_file, safetensors, tree};

#[test]
fn names_that_leave_the_folder_are_refused_before_anything_is_fetched() {
    for name in [
        "../outside.json",
        "/etc/outside",
        "a/../../outside",
        "C:\\outside",
        "a\\..\\outside",
        "nul\0byte",
        "a//b",
        ".",
        "con/\u{7f}x",
        "x/.git/config",
    ] {
        for place in [&["--all"][..], &["--all", "--local-dir", "here"]] {
            let machine = Machine::new([one_file(64).raw_entry(name, 3)]);
            let run = machine.run(["org/one"].into_iter().chain(place.iter().copied()));
            let run = run.ends_with(1).says("path-unsafe").says("nothing was fetched");
            assert!(!run.err.contains('\0'), "control characters are not printed");
            assert_eq!(machine.byte_requests(), 0, "{name:?}");
            let left: Vec<String> = tree(machine.home.path()).into_keys().collect();
            assert!(!left.iter().any(|n| n.contains("outside")), "{name:?}: {left:?}");
        }
    }
}

#[test]
fn a_file_where_a_folder_is_needed() {
    let machine = Machine::new([one_file(64).file("a/b.txt", "x").raw_entry("a", 3)]);
    machine.run(["org/one", "--all"]).ends_with(1).says("path-unsafe").says("folder on the way");
}

#[test]
fn names_that_differ_only_in_case_are_two_files_here() {
    let machine = Machine::new([one_file(64).file("Notes.txt", "upper").file("notes.txt", "lower")]);
    let run = machine.run(["org/one", "--all", "--local-dir", "here"]).ends_with(0);
    assert_eq!(std::fs::read(run.path().join("Notes.txt")).unwrap(), b"upper");
    assert_eq!(std::fs::read(run.path().join("notes.txt")).unwrap(), b"lower");
}

#[test]
fn links_that_are_already_in_the_folder_are_not_followed() {
    let machine = Machine::new([one_file(64).file("sub/x.txt", "new")]);
    let here = machine.home.path().join("here");
    let away = machine.home.path().join("away");
    std::fs::create_dir_all(&here).unwrap();
    std::fs::create_dir_all(&away).unwrap();
    std::fs::write(away.join("victim"), "precious").unwrap();
    std::os::unix::fs::symlink(away.join("victim"), here.join("config.json")).unwrap();
    std::os::unix::fs::symlink(&away, here.join("sub")).unwrap();
    let run = machine.run(["org/one", "--all", "--local-dir", "here"]);
    assert_eq!(std::fs::read_to_string(away.join("victim")).unwrap(), "precious");
    assert_eq!(std::fs::read_dir(&away).unwrap().count(), 1, "nothing was written through the link");
    run.ends_with(5).says("symbolic link");
}

#[test]
fn terminal_escapes_in_names_never_reach_the_terminal() {
    let name = "model\u{1b}[31m\u{7}.safetensors";
    let machine = Machine::new([one_file(64).raw_entry(name, 3)]);
    for line in ["plan org/one --all -v", "org/one --all", "org/one --all --json"] {
        let run = machine.hfget(line);
        assert!(!run.err.contains('\u{1b}') && !run.out.contains('\u{1b}'), "{line}: {}{}", run.err, run.out);
    }
    let machine = Machine::new([one_file(64)]);
    let fault = Kind::Status(403, vec![("x-error-message", "stop \\u001b[2J".into())]);
    machine.hub.fault(Fault::new(Place::Api, fault));
    assert!(!machine.run(["org/one"]).err.contains('\u{1b}'));
}

fn indexed(weight_map: &str) -> Repo {
    Repo::new("org/one")
        .file("config.json", "{}")
        .file(
            "model.safetensors.index.json",
            format!(r#"{{"metadata":{{"total_size":64}},"weight_map":{weight_map}}}"#),
        )
        .lfs("model-00001-of-00001.safetensors", safetensors("w", 64))
}

#[test]
fn an_index_cannot_name_files_elsewhere() {
    for map in [
        r#"{"w":"model-00001-of-00001.safetensors","x":"../../etc/passwd"}"#,
        r#"{"w":"model-00001-of-00001.safetensors","x":"/etc/passwd"}"#,
    ] {
        let machine = Machine::new([indexed(map)]);
        machine.run(["org/one"]).ends_with(3).says("unsafe path").says("etc/passwd");
        assert!(!machine.model("org/one").join("refs/main").exists());
    }
}

#[test]
fn an_index_of_absurd_depth_or_shape_is_an_error() {
    for map in ["[".repeat(100_000), "{\"a\":".repeat(100_000), "7".into(), r#"{"w":["x"]}"#.into(), String::new()] {
        let machine = Machine::new([indexed(&map)]);
        let run = machine.run(["org/one"]);
        assert!(matches!(run.code, Some(1 | 3)), "{:?}: {}", run.code, run.err);
        assert!(run.err.contains("index"), "{}", run.err);
        assert!(run.err.len() < 5000, "an error is short");
    }
}

#[test]
fn a_header_that_claims_ten_gigabytes_is_an_error_without_reading_it() {
    let mut file = 10_000_000_000u64.to_le_bytes().to_vec();
    file.extend([b' '; 100]);
    let machine = Machine::new([Repo::new("org/one").file("config.json", "{}").lfs("model.safetensors", file)]);
    machine.run(["org/one"]).ends_with(1).says("header-invalid").says("10000000000");
}

#[test]
fn a_configuration_of_absurd_depth_is_an_error() {
    let deep = "[".repeat(200_000);
    let repo = Repo::new("org/one").file("config.json", deep).lfs("model.safetensors", safetensors("w", 64));
    let machine = Machine::new([repo]);
    machine.run(["org/one"]).ends_with(1).says("config-invalid").says("config.json");
}

#[test]
fn a_listing_that_never_ends_is_given_up() {
    let machine = Machine::new([one_file(64)]);
    machine.hub.fault(Fault::new(Place::Tree, Kind::EndlessListing));
    machine.run(["org/one"]).ends_with(4).says("listing");
}

#[test]
fn a_pickle_that_would_run_code_is_named_and_never_run() {
    let machine_dir = tempfile::TempDir::new().unwrap();
    let marker = machine_dir.path().join("executed");
    // GLOBAL os.system, a text, TUPLE1, REDUCE: `pickle.load` would run this.
    let command = format!("touch {}", marker.display());
    let pickle = format!("\u{80}\u{2}cos\nsystem\nX{}{command}\u{85}R.", "");
    let mut bytes: Vec<u8> = Vec::new();
    for c in pickle.chars() {
        match c {
            'X' if !bytes.contains(&b'X') => {
                bytes.push(b'X');
                bytes.extend(u32::try_from(command.len()).unwrap().to_le_bytes());
            }
            c => bytes.push(c as u8),
        }
    }
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("archive/data.pkl", stored).unwrap();
    std::io::Write::write_all(&mut zip, &bytes).unwrap();
    zip.start_file("archive/version", stored).unwrap();
    std::io::Write::write_all(&mut zip, b"3\n").unwrap();
    let content = zip.finish().unwrap().into_inner();
    let machine = Machine::new([Repo::new("org/one").file("config.json", "{}").lfs("pytorch_model.bin", content)]);
    machine.run(["org/one"]).ends_with(1).says("unsafe-pickle").says("os.system");
    assert!(!marker.exists());
}

/// A model whose code imports ten modules of a listed size.
fn imports_of(bytes: Option<u64>) -> Repo {
    let names: Vec<String> = (0..10).map(|n| format!("m{n}")).collect();
    let imports: Vec<String> = names.iter().map(|name| format!("from .{name} import x\n")).collect();
    let mut repo = one_file(64)
        .file("config.json", r#"{"auto_map": {"AutoModel": "model.Model"}}"#)
        .file("model.py", imports.concat());
    for name in names {
        let path = format!("{name}.py");
        repo = repo.file(&path, "x = 1\n");
        if bytes.is_some() {
            repo = repo.lie(&path, bytes, None);
        }
    }
    repo
}

#[test]
fn documents_that_are_too_large_together_are_not_fetched() {
    let machine = Machine::new([imports_of(Some(60 << 20))]);
    for command in ["plan org/one", "org/one"] {
        machine.hfget(command).ends_with(3).says("more than 512 MB together").says("--include");
        let asked = machine.hub.requests();
        assert!(asked.iter().all(|r| !r.path.contains("/m0.py")), "{command}");
    }
    machine.hfget("org/one --include config.json").ends_with(0);
    // The twin: the same code with honest sizes.
    Machine::new([imports_of(None)]).hfget("org/one").ends_with(0);
}

#[test]
fn a_hundred_thousand_hostile_names_and_many_patterns_are_judged_in_seconds() {
    let mut repo = one_file(64);
    for n in 0..100_000 {
        repo = repo.raw_entry(&format!("../{n:06}/{}", "x".repeat(150)), 1);
    }
    let machine = Machine::on(Hub::with(Options { page_size: 20_000, ..Options::default() }, [repo]));
    let patterns: Vec<String> = (0..30).map(|n| format!("*{n}/nothing-like-it*?[ab]")).collect();
    let took = |patterns: &[String]| {
        let mut command = machine.bare();
        command.args(["plan", "org/one", "--json"]);
        command.args(patterns.iter().flat_map(|pattern| ["--exclude", pattern.as_str()]));
        let began = Instant::now();
        super::support::Run::from(command.output().unwrap()).ends_with(0);
        began.elapsed()
    };
    let (without, with) = (took(&[]), took(&patterns));
    // Compiling each pattern for each name took minutes.
    assert!(with < without * 4 + Duration::from_secs(10), "{without:?}, and {with:?} with patterns");
}
