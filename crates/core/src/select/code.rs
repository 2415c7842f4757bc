//! The repo's own Python code: the modules that configs name in `auto_map`, with all their imports.
//! Code is read as text, never run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Reason;
use super::classify::{has_ext, is_media};
use super::picks::{Picks, class_of};
use super::view::{CONFIG_LIMIT, Doc, View};
use crate::finding::{Code, Finding, Remedy};
use crate::model::{Entry, RepoId};
use crate::text::{brief, printable};

/// The files whose `auto_map` transformers follows.
pub(super) const CARRIERS: &[&str] = &[
    "config.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
];
/// Another such file, which hardly ever has an `auto_map`: it is read only if there is code that nothing else names.
pub(super) const GENERATION: &str = "generation_config.json";

/// A piece of code that a document names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    /// The repo of the code, if it is another one.
    pub repo: Option<String>,
    /// The module, without `.py`.
    pub module: String,
    /// The document that names it.
    pub by: String,
}

/// Code to take, and other repos with more of it.
#[derive(Debug, Default)]
pub(super) struct CodeFiles<'a> {
    /// The files, with the reason.
    pub files: Vec<(&'a Entry, String)>,
    /// Other repos with code that this model needs.
    pub repos: BTreeSet<String>,
}

/// The code that a JSON document names in `auto_map` and `custom_pipelines`: `[repo--]module.Class`,
/// alone or in a list with nulls (`transformers/dynamic_module_utils.py`).
pub(super) fn references(document: &Value, by: &str) -> Vec<Reference> {
    let mut texts = Vec::new();
    if let Some(map) = document.get("auto_map") {
        match map {
            Value::Object(map) => map.values().for_each(|v| strings(v, &mut texts)),
            other => strings(other, &mut texts),
        }
    }
    if let Some(Value::Object(pipelines)) = document.get("custom_pipelines") {
        texts.extend(pipelines.values().filter_map(|p| p.get("impl")).filter_map(Value::as_str));
    }
    let mut references: Vec<_> = texts.into_iter().filter_map(|text| reference(text, by)).collect();
    references.sort();
    references.dedup();
    references
}

fn strings<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => out.push(text),
        Value::Array(items) => out.extend(items.iter().filter_map(Value::as_str)),
        _ => {}
    }
}

/// Parses `[repo--]module.Class`.
pub(super) fn reference(text: &str, by: &str) -> Option<Reference> {
    let (repo, rest) = match text.split_once("--") {
        Some((repo, rest)) => (Some(repo.to_owned()), rest),
        None => (None, text),
    };
    let (module, class) = rest.rsplit_once('.')?;
    if module.is_empty() || class.is_empty() {
        return None;
    }
    Some(Reference { repo, module: module.to_owned(), by: by.to_owned() })
}

/// The repo that has the code, if it is another one than the view's.
fn elsewhere<'r>(view: &View<'_>, reference: &'r Reference) -> Option<&'r str> {
    let info = &view.listing().info;
    reference.repo.as_deref().filter(|repo| *repo != info.id.as_str() && *repo != info.canonical_id.as_str())
}

/// The other repos with code that a folder's documents name, with a finding for each. No file of this repo is followed.
pub(super) fn elsewhere_of(view: &View<'_>, dir: &str) -> BTreeSet<String> {
    let documents = CARRIERS.iter().filter_map(|name| match view.quietly(|| view.json(dir, name)) {
        Doc::Here(document) => Some(references(&document, name)),
        Doc::Pending | Doc::Absent => None,
    });
    let foreign: Vec<Reference> = documents.flatten().filter(|one| elsewhere(view, one).is_some()).collect();
    follow(view, dir, &foreign).repos
}

/// Whether a Python file is a script beside a model, by its name: no config names such a script.
pub(super) fn is_script(name: &str) -> bool {
    const SCRIPTS: &[&str] = &[
        "sample_",
        "example",
        "finetune",
        "train",
        "test",
        "demo",
        "inference",
        "run_",
        "eval",
        "convert",
        "setup.py",
        "app.py",
        "handler.py",
        "benchmark",
        "quantize",
        "export_",
    ];
    SCRIPTS.iter().any(|start| name.starts_with(start))
}

/// The first letters of files that a config names, hardly ever only an import.
const LIKELY: &[&str] =
    &["modeling_", "configuration_", "tokenization_", "processing_", "image_processing_", "custom_st"];
/// The most Python files that are asked for by their names alone. With three configs, the index, the commit and the
/// listing they make twelve requests.
const MOST_CODE: usize = 6;

/// Whether a config names this file, by its name. Other files are only imported.
fn is_likely(entry: &Entry) -> bool {
    LIKELY.iter().any(|start| entry.path.file_name().starts_with(start))
}

/// Asks for the folder's Python files at once, if their names suggest that a config names them:
/// this saves a round. If there are many, those that are only imported wait: see [`unread`].
pub(super) fn want_likely(view: &View<'_>, dir: &str) {
    let file = |name: &str| has_ext(name, &["py"]) && !is_script(name);
    let python: Vec<&Entry> = view.files(dir).iter().filter(|e| file(e.path.file_name())).copied().collect();
    // Imports lead into packages, so every file beside one must be read.
    let package = || view.tree(dir).any(|e| e.path.dir() != view.scope(dir) && has_ext(e.path.file_name(), &["py"]));
    if python.iter().any(|e| is_likely(e)) {
        let all = python.len() <= MOST_CODE || package();
        for entry in python.iter().filter(|e| all || is_likely(e)) {
            view.want(entry, CONFIG_LIMIT);
        }
    }
}

/// Asks for the code that was taken without a look into it, if it could name one of the files that are still left out.
///
/// In a folder with much code, a helper that can import nothing new is read for the names of files in its texts only.
/// When only documentation and media are left that it could name, it is not read: such a file is for a person, or for one
/// call of the model.
pub(super) fn unread(view: &View<'_>, dir: &str, picks: &Picks) {
    let nameable = |entry: &Entry| {
        let name = entry.path.file_name();
        let class = view.rel(&entry.path).map(|rel| class_of(view, rel));
        let about = [Reason::Documentation, Reason::Training];
        !name.starts_with('.')
            && !has_ext(name, &["py"])
            && !is_media(name)
            && !picks.has(&entry.path)
            && class.is_some_and(|class| class.weights || !about.contains(&class.reason))
    };
    if view.tree(dir).any(nameable) {
        for entry in view.listing().entries.iter().filter(|e| picks.is_code(&e.path)) {
            view.want(entry, CONFIG_LIMIT);
        }
    }
}

/// Follows references and imports. Modules are searched in `dir` first, and then in the repo's root,
/// where transformers looks even for a subfolder.
pub(super) fn follow<'a>(view: &View<'a>, dir: &str, references: &[Reference]) -> CodeFiles<'a> {
    let mut out = CodeFiles::default();
    let mut queue: Vec<(&'a Entry, String)> = Vec::new();
    for reference in references {
        if let Some(repo) = elsewhere(view, reference) {
            if let Ok(id) = repo.parse::<RepoId>()
                && out.repos.insert(id.as_str().to_owned())
            {
                let by = view.find(dir, &reference.by).map_or(reference.by.as_str(), |e| e.path.as_str());
                let message = format!(
                    "code that the model needs is in another repo, {}: {}.py",
                    printable(repo),
                    brief(&reference.module)
                );
                view.find_out(
                    Finding::new(Code::ForeignCode, by, message).remedy(Remedy::FetchCode { repo: id.to_string() }),
                );
            }
            continue;
        }
        let file = format!("{}.py", reference.module);
        match locate(view, dir, &file) {
            Some(entry) => queue.push((entry, format!("named by {}", reference.by))),
            None => view.find_out(Finding::new(
                Code::CompanionMissing,
                &reference.by,
                format!("it names the code \"{}\", which is not in the repo", brief(&file)),
            )),
        }
    }
    closure(view, queue, &mut out);
    out
}

fn locate<'a>(view: &View<'a>, dir: &str, file: &str) -> Option<&'a Entry> {
    view.find(dir, file).or_else(|| view.find("", file)).or_else(|| view.listing().get(file))
}

/// Takes every file of the queue and all files beside it that it imports, however deep.
fn closure<'a>(view: &View<'a>, mut queue: Vec<(&'a Entry, String)>, out: &mut CodeFiles<'a>) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut dirs: BTreeSet<&str> = BTreeSet::new();
    let named: BTreeSet<&str> = queue.iter().map(|(entry, _)| entry.path.as_str()).collect();
    // Folders with files that were not read yet, and whether one of these files must be.
    let mut unread: BTreeMap<&str, bool> = BTreeMap::new();
    // Folders whose other files have been taken already.
    let mut swept: BTreeSet<&str> = BTreeSet::new();
    while let Some((entry, reason)) = queue.pop() {
        if !seen.insert(entry.path.as_str()) {
            continue;
        }
        let dir = entry.path.dir();
        dirs.insert(dir);
        let beside = |module: &str| {
            let path = module.replace('.', "/");
            [format!("{path}.py"), format!("{path}/__init__.py")].iter().find_map(|name| {
                crate::model::RepoPath::join(dir, name).ok().and_then(|p| view.listing().get(p.as_str()))
            })
        };
        match peek(view, entry) {
            Doc::Pending => {
                *unread.entry(dir).or_default() |= named.contains(entry.path.as_str()) || is_likely(entry);
            }
            Doc::Here(bytes) => {
                let reason = format!("imported by {}", printable(entry.path.file_name()));
                queue.extend(
                    imports(&String::from_utf8_lossy(bytes))
                        .iter()
                        .filter_map(|m| beside(m))
                        .map(|e| (e, reason.clone())),
                );
            }
            // Its imports are unknown, so every file beside it may be needed.
            Doc::Absent if swept.insert(dir) => {
                let reason = format!("beside {}, which could not be read", printable(entry.path.file_name()));
                queue.extend(siblings(view, dir).into_iter().map(|e| (e, reason.clone())));
            }
            Doc::Absent => {}
        }
        out.files.push((entry, reason));
    }
    for (dir, must) in unread {
        let (beside, within) = (siblings(view, dir), below(view, dir));
        // Imports reach below the folder, so with all that code taken already they bring nothing new.
        let brings_more = || within.iter().any(|other| !seen.contains(other.path.as_str()));
        if must || beside.len() <= MOST_CODE || brings_more() {
            // If one of them is needed, the others beside it may be too: ask for all at once. A package in a folder can
            // only import from that folder and below.
            for other in if dir.is_empty() || dir == view.root() { beside } else { within } {
                view.want(other, CONFIG_LIMIT);
            }
        }
    }
    // The sources of kernels that the code compiles when it is loaded (Qwen-7B's `cache_autogptq_cuda_256.cpp`).
    for dir in dirs {
        for entry in repo_files(view, dir) {
            if has_ext(entry.path.file_name(), &["cpp", "cc", "cu", "cuh", "h"]) && seen.insert(entry.path.as_str()) {
                out.files.push((entry, "native source beside the repo's code".to_owned()));
            }
        }
    }
}

/// The code's text, if it is known or cannot be had; it is not asked for.
fn peek<'a>(view: &View<'a>, entry: &'a Entry) -> Doc<&'a [u8]> {
    if entry.size <= CONFIG_LIMIT && !view.is_known(entry) { Doc::Pending } else { view.bytes(entry, CONFIG_LIMIT) }
}

/// The Python files of a folder of the repo.
fn siblings<'a>(view: &View<'a>, dir: &str) -> Vec<&'a Entry> {
    repo_files(view, dir).into_iter().filter(|e| has_ext(e.path.file_name(), &["py"])).collect()
}

/// The Python files of a folder of the repo and of the folders in it.
fn below<'a>(view: &View<'a>, dir: &str) -> Vec<&'a Entry> {
    let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
    let python = |e: &&Entry| e.path.as_str().starts_with(&prefix) && has_ext(e.path.file_name(), &["py"]);
    view.listing().entries.iter().filter(python).collect()
}

fn repo_files<'a>(view: &View<'a>, dir: &str) -> Vec<&'a Entry> {
    let root = view.root();
    let inside = if root.is_empty() {
        Some(dir)
    } else if dir == root {
        Some("")
    } else {
        dir.strip_prefix(root).and_then(|d| d.strip_prefix('/'))
    };
    match inside {
        Some(dir) => view.files(dir).to_vec(),
        None => view.listing().entries.iter().filter(|e| e.path.dir() == dir).collect(),
    }
}

/// The sibling modules that Python source imports: `import .a`, `from .a import b`, `from . import a, b`,
/// at any indentation. A superset of the result of transformers' `get_relative_imports`.
pub(super) fn imports(source: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("import ") {
            if let Some(module) = rest.trim().strip_prefix('.') {
                add(&mut modules, module);
            }
        } else if let Some(rest) = line.strip_prefix("from ") {
            let Some((module, names)) = rest.trim().strip_prefix('.').and_then(|r| r.split_once(" import")) else {
                continue;
            };
            if module.trim().is_empty() {
                let mut names = names.to_owned();
                if names.contains('(') {
                    while !names.contains(')') && names.len() < 100_000 {
                        let Some(next) = lines.next() else { break };
                        names.push(',');
                        names.push_str(next.split('#').next().unwrap_or(""));
                    }
                }
                for name in names.split(['(', ')', ',']) {
                    let name = name.split('#').next().unwrap_or("").split_whitespace().next().unwrap_or("");
                    add(&mut modules, name);
                }
            } else {
                add(&mut modules, module);
            }
        }
    }
    modules
}

fn add(modules: &mut BTreeSet<String>, module: &str) {
    let module = module.trim();
    if !module.is_empty()
        && module.len() < 256
        && module.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.')
        && !module.starts_with('.')
    {
        modules.insert(module.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn auto_map_is_read_in_every_shape() {
        let found = references(
            &json!({
                "auto_map": {
                    "AutoConfig": "configuration_x.XConfig",
                    "AutoTokenizer": ["tokenization_x.XTokenizer", null],
                    "AutoModel": "org/other--modeling_y.Y",
                    "bad": 3, "worse": {"a": "b.C"}, "empty": ".X"
                },
                "custom_pipelines": {"task": {"impl": "pipe.Pipe"}}
            }),
            "config.json",
        );
        let told: Vec<_> = found.iter().map(|r| (r.repo.as_deref(), r.module.as_str())).collect();
        assert_eq!(
            told,
            [(None, "configuration_x"), (None, "pipe"), (None, "tokenization_x"), (Some("org/other"), "modeling_y")]
        );
    }

    #[test]
    fn relative_imports_are_found_in_any_place() {
        let source = "import os\nfrom .a import b\n    from .c import (\n  d)\ntry:\n  import .e\nfrom . import f, g as h\nfrom . import (\n  i,  # why (not)\n  j)\nfrom ..k import l\nfrom m import n\nfrom .o.p import q\n";
        let found = imports(source);
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "c", "e", "f", "g", "i", "j", "o.p"]);
    }
}
