//! Finds the files and folders that a model's own documents name in its repo. This module decides which documents
//! are read, and which texts count as names; `parts` decides which files of a folder are taken.

use std::collections::BTreeMap;

use serde_json::Value;

use super::classify::{family_dir, has_ext, training_dir};
use super::code;
use super::filter::Globs;
use super::view::{View, inside};
use crate::model::Entry;

/// A settings file with more bytes counts as data.
const SETTINGS_LIMIT: u64 = 1 << 20;
/// The most settings files that are read: each is a request.
const MOST_SETTINGS: usize = 3;
/// The most texts of one document that are looked up.
const MOST_TEXTS: usize = 200_000;
/// A text longer than this is not a path.
const LONGEST: usize = 300;

/// The files and folders that documents name.
#[derive(Debug, Default)]
pub(super) struct Named<'a> {
    /// The files, each with the document that names it first.
    pub files: BTreeMap<&'a str, (&'a Entry, String)>,
    /// The folders likewise, below the view's root.
    pub folders: BTreeMap<String, String>,
}

/// Settings files that describe pipelines of several parts, the likeliest first: pyannote's `config.yaml`,
/// speechbrain's `hyperparams.yaml`, `ESPnet`'s `meta.yaml`, TRELLIS' `pipeline.json`, Keras' sharded weights.
///
/// With a known loader, only the names that only such pipelines have.
pub(super) fn settings<'a>(view: &View<'a>, dir: &str, known: bool) -> Vec<&'a Entry> {
    let rank = |name: &str| match name {
        "config.yaml" | "config.yml" | "hyperparams.yaml" | "pipeline.json" | "meta.yaml" => Some(0),
        _ if name.starts_with('.') => None,
        _ if name.ends_with(".weights.json") => Some(0),
        _ if has_ext(name, &["yaml", "yml"]) => Some(1),
        "params.json" | "model_config.json" => Some(1),
        _ => None,
    };
    let mut found: Vec<(u8, &Entry)> = view
        .files(dir)
        .iter()
        .filter(|e| e.size <= SETTINGS_LIMIT)
        .filter_map(|e| Some((rank(e.path.file_name())?, *e)))
        .filter(|(rank, _)| !known || *rank == 0)
        .collect();
    found.sort_by_key(|(rank, entry)| (*rank, &entry.path));
    found.into_iter().map(|(_, entry)| entry).take(MOST_SETTINGS).collect()
}

/// The files and folders that the documents of the model in `dir` name: its configs, its settings and its code.
pub(super) fn named<'a>(view: &View<'a>, dir: &str, code: &[&'a Entry], known: bool) -> Named<'a> {
    let mut find = Finder::new(view, dir);
    for name in code::CARRIERS {
        let Some(entry) = view.find(dir, name) else { continue };
        if view.at_hand(entry)
            && let Some(document) = view.quietly(|| view.json(dir, name)).here()
        {
            let mut texts = Vec::new();
            strings(&document, &mut texts);
            for text in texts {
                find.look_up(text, name, Kind::Value);
            }
        }
    }
    for entry in settings(view, dir, known) {
        let Some(bytes) = view.quietly(|| view.bytes(entry, SETTINGS_LIMIT)).here() else { continue };
        let name = entry.path.file_name();
        let text = String::from_utf8_lossy(bytes);
        if has_ext(name, &["json"]) {
            let Ok(document) = crate::text::json::read(bytes) else { continue };
            let mut texts = Vec::new();
            strings(&document, &mut texts);
            for text in texts {
                find.look_up(text, name, Kind::Value);
            }
        } else {
            for text in scalars(&text) {
                find.look_up(text, name, Kind::Value);
            }
        }
    }
    for entry in code {
        // `code::unread` asks for the others, if they matter.
        if view.at_hand(entry)
            && let Some(bytes) = view.quietly(|| view.bytes(entry, SETTINGS_LIMIT)).here()
        {
            let text = String::from_utf8_lossy(bytes);
            for text in quoted(&text) {
                find.look_up(text, entry.path.file_name(), Kind::Code);
            }
        }
    }
    find.found
}

/// The origin of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A value of a document.
    Value,
    /// Code. It may quote any word, so a folder's name must have the form of a path.
    Code,
}

/// Looks texts up in the listing.
struct Finder<'v, 'a> {
    view: &'v View<'a>,
    dir: &'v str,
    texts: usize,
    found: Named<'a>,
}

impl<'v, 'a> Finder<'v, 'a> {
    fn new(view: &'v View<'a>, dir: &'v str) -> Self {
        Finder { view, dir, texts: 0, found: Named::default() }
    }

    fn look_up(&mut self, text: &str, by: &str, kind: Kind) {
        self.texts += 1;
        let Some(path) = path_of(text).filter(|_| self.texts <= MOST_TEXTS) else { return };
        // TRELLIS leaves out the two endings of a pair (`trellis/pipelines/base.py`).
        let endings: &[&str] = if path.contains('/') { &["", ".json", ".safetensors"] } else { &[""] };
        for ending in endings {
            if let Some(entry) = self.view.find(self.dir, &format!("{path}{ending}")) {
                self.found.files.entry(entry.path.as_str()).or_insert_with(|| (entry, by.to_owned()));
            }
        }
        let folder = path.trim_end_matches("/**").trim_end_matches("/*").trim_end_matches('/');
        let looks_like_one = kind == Kind::Value || path.contains('/');
        let apart = |segment| family_dir(segment).is_some() || training_dir(segment);
        let whole = inside(self.dir, folder);
        if looks_like_one && !folder.is_empty() && self.view.has_dir(&whole) && !folder.split('/').any(apart) {
            self.found.folders.entry(whole).or_insert_with(|| by.to_owned());
        } else if path.contains('*') && path.contains('/') {
            self.glob(path, by);
        }
    }

    /// Files that a pattern with a folder before it names (`"assets/*.pt"`).
    fn glob(&mut self, pattern: &str, by: &str) {
        let start = pattern.split('*').next().and_then(|start| start.rsplit_once('/')).map_or("", |(dir, _)| dir);
        if start.is_empty() || !self.view.has_dir(&inside(self.dir, start)) {
            return;
        }
        let Ok(globs) = Globs::new(&[self.view.scope(&inside(self.dir, pattern))]) else { return };
        for entry in self.view.tree(&inside(self.dir, start)) {
            if globs.matching(entry.path.as_str()).is_some() {
                self.found.files.entry(entry.path.as_str()).or_insert_with(|| (entry, by.to_owned()));
            }
        }
    }
}

/// The text as a path of the repo: without a prefix for the repo's own folder (pyannote's `$model/`,
/// speechbrain's `<pretrained_path>/`, `{model_dir}/`, `./`) and without a revision at its end.
fn path_of(text: &str) -> Option<&str> {
    let mut text = text.trim();
    text = text.rsplit_once('@').map_or(text, |(path, _)| path);
    for (open, close) in [('$', ""), ('<', ">"), ('{', "}")] {
        if let Some((own, rest)) = text.split_once('/').filter(|(own, _)| own.starts_with(open) && own.ends_with(close))
        {
            text = if own.len() > 1 { rest } else { text };
        }
    }
    while let Some(rest) = text.strip_prefix("./") {
        text = rest;
    }
    let no_path = text.is_empty()
        || text.len() > LONGEST
        || text.starts_with('/')
        || text.contains("://")
        || text.chars().any(char::is_control)
        || text.split('/').any(|segment| segment == "..");
    (!no_path).then_some(text)
}

/// Keys whose value is a name of the model, or a path on its author's machine.
const NO_PATHS: &[&str] = &["_name_or_path", "model_type", "architectures", "auto_map", "torch_dtype", "dtype"];

/// Every text of a document that may be a name.
fn strings<'v>(value: &'v Value, out: &mut Vec<&'v str>) {
    match value {
        Value::String(text) if out.len() < MOST_TEXTS => out.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(map) => {
            map.iter().filter(|(key, _)| !NO_PATHS.contains(&key.as_str())).for_each(|(_, item)| strings(item, out));
        }
        _ => {}
    }
}

/// The texts that may be scalars of a YAML document: each value as a whole, and each of its words. The listing
/// decides whether a text is a path, so the grammar need not be known.
fn scalars(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| {
        let line = line.split(" #").next().unwrap_or("").trim();
        let line = if line.starts_with('#') { "" } else { line.trim_start_matches("- ") };
        let value = line.split_once(": ").map_or(line, |(_, value)| value);
        let bare = |text: &'_ str| !text.is_empty();
        let words = line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '[' | ']'));
        words
            .filter(move |word| bare(word) && !word.ends_with(':'))
            .chain([value.trim().trim_matches(['"', '\''])].into_iter().filter(move |value| bare(value)))
    })
}

/// The quoted texts of Python source, line by line.
fn quoted(source: &str) -> impl Iterator<Item = &str> {
    source.lines().flat_map(|line| {
        let mut rest = line;
        std::iter::from_fn(move || {
            let at = rest.find(['"', '\''])?;
            let quote = rest[at..].chars().next()?;
            let (text, after) = rest[at + 1..].split_once(quote)?;
            rest = after;
            Some(text)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_for_the_repos_own_folder_is_not_part_of_a_name() {
        for (text, path) in [
            ("$model/segmentation@main", Some("segmentation")),
            ("<pretrained_path>/a.ckpt", Some("a.ckpt")),
            ("{model_dir}/flow.pt", Some("flow.pt")),
            ("./assets/x", Some("assets/x")),
            ("adapters/*", Some("adapters/*")),
            ("../x", None),
            ("/etc/passwd", None),
            ("https://x/y", None),
            ("", None),
        ] {
            assert_eq!(path_of(text), path, "{text}");
        }
    }

    #[test]
    fn scalars_of_a_yaml_document_are_found_in_every_form() {
        let text = "a: !ref <pretrained_path>/x.ckpt # why\nb: [one.pt, 'two.pt']\n- three.pt\nc: \"four five.pt\"\n# six.pt\n";
        let found: Vec<&str> = scalars(text).collect();
        for name in ["<pretrained_path>/x.ckpt", "one.pt", "two.pt", "three.pt", "four five.pt"] {
            assert!(found.contains(&name), "{name} in {found:?}");
        }
        assert!(!found.iter().any(|text| text.contains("six") || text.contains("why")));
    }

    #[test]
    fn quoted_texts_of_code_are_found() {
        let found: Vec<&str> = quoted("x = load(\"assets/Vocos.pt\", 'b')\ny = \"open\nz = f'{d}/c.pt'").collect();
        assert_eq!(found, ["assets/Vocos.pt", "b", "{d}/c.pt"]);
    }
}
