//! Shows the main job on a Hub of its own: starts the loopback Hub with a miniature of THUDM/chatglm3-6b and runs
//! `hfget` on it. `-- --serve` leaves the Hub running and prints commands to try. The same program is also the command
//! if its name is `hfget`, so that nothing has to be built twice.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use hfget_loopback_hub::{Hub, samples};

fn main() -> ExitCode {
    let name = std::env::args_os().next().map(PathBuf::from);
    if name.is_some_and(|name| name.file_name().is_some_and(|name| name == "hfget")) {
        return hfget::main();
    }
    match run(std::env::args().any(|arg| arg == "--serve")) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(serve: bool) -> Result<ExitCode, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/repos");
    let hfget = under_its_other_name()?;
    let repos = samples(&root);
    let names: Vec<String> = repos.iter().map(hfget_loopback_hub::Repo::name).collect();
    let names = names.join(", ");
    let hub = Hub::start(repos.clone());
    println!("A Hub runs at {}, on this machine only. It has miniatures of real repos.", hub.endpoint());
    if serve {
        println!("In another terminal:\n");
        println!("  export PATH={}:$PATH", hfget.parent().unwrap_or(&hfget).display());
        println!("  export HF_ENDPOINT={} HF_HOME=$(mktemp -d)", hub.endpoint());
        for line in [
            "plan THUDM/chatglm3-6b",
            "THUDM/chatglm3-6b --prefer safetensors",
            "org/tiny-sdxl --variant fp16 --local-dir sdxl",
            "verify THUDM/chatglm3-6b",
        ] {
            println!("  hfget {line}");
        }
        println!("\nIt serves {names}. The documentation in docs/ uses the same repos. Ctrl-C stops it.");
        loop {
            std::thread::park();
        }
    }
    let home = tempfile::tempdir()?;
    let job = ["THUDM/chatglm3-6b", "--prefer", "safetensors"];
    let steps: [&[&str]; 4] = [&["plan", job[0], job[1], job[2]], &job, &job, &["verify", job[0]]];
    let says =
        ["what would be fetched", "the main job", "once more: nothing to do", "check cached files, against the Hub"];
    let mut snapshot = String::new();
    for (arguments, say) in steps.iter().zip(says) {
        println!("\n# {say}\n$ hfget {}", arguments.join(" "));
        let output = Command::new(&hfget)
            .args(*arguments)
            .env("HF_ENDPOINT", hub.endpoint())
            .env("HF_HOME", home.path())
            .env_remove("HF_TOKEN")
            .env_remove("HF_HUB_CACHE")
            .env_remove("HF_HUB_OFFLINE")
            .stderr(Stdio::inherit())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        print!("{text}");
        if !output.status.success() {
            return Err(format!("hfget {} ended with {}", arguments.join(" "), output.status).into());
        }
        text.lines().last().unwrap_or("").clone_into(&mut snapshot);
    }
    println!("\n# what is in the snapshot");
    let mut names: Vec<String> = std::fs::read_dir(&snapshot)?
        .map(|f| f.map(|f| f.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    names.sort();
    for name in names {
        let target = std::fs::read_link(Path::new(&snapshot).join(&name))?;
        println!("{name} -> {}", target.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// A link with the name `hfget` beside this program, which makes it the command.
fn under_its_other_name() -> Result<PathBuf, Box<dyn Error>> {
    let this = std::env::current_exe()?;
    let hfget = this.with_file_name("hfget");
    if !hfget.is_symlink() {
        std::os::unix::fs::symlink(this.file_name().unwrap_or(this.as_os_str()), &hfget)?;
    }
    Ok(hfget)
}
