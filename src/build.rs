//! Notes the commit, the features and the target of a build for `--version`. Makes no request and writes nothing.

use std::path::Path;
use std::process::Command;

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let commit = git(&folder, &["rev-parse", "--short=12", "HEAD"]).or_else(|| packaged(Path::new(&folder)));
    // git writes this file at every commit and checkout.
    if let Some(log) = git(&folder, &["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rustc-env=HFGET_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=HFGET_TARGET={}", std::env::var("TARGET").unwrap_or_default());
    let features = ["keyless", "object-store", "xet"].into_iter().filter(|feature| {
        let name = feature.to_uppercase().replace('-', "_");
        std::env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
    });
    let features = features.collect::<Vec<_>>().join(", ");
    println!("cargo::rustc-env=HFGET_FEATURES={}", if features.is_empty() { "none" } else { &features });
}

/// The output of git, if this is a checkout of its own and not a package inside another checkout.
fn git(folder: &str, words: &[&str]) -> Option<String> {
    if !Path::new(folder).join(".git").exists() {
        return None;
    }
    let output = Command::new("git").arg("-C").arg(folder).args(words).output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// The commit that cargo notes in a published package.
fn packaged(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = text.split_once("\"sha1\"")?;
    let commit = rest.split('"').nth(1)?;
    commit.get(..12).filter(|short| short.bytes().all(|b| b.is_ascii_hexdigit())).map(str::to_owned)
}
