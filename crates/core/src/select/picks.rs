//! The files that the rules have taken and left out so far, and the [`Selection`] that is made from them.

use std::collections::{BTreeMap, BTreeSet};

use super::classify::{Class, classify};
use super::sets::Set;
use super::view::View;
use super::{LeftOut, Reason, Selected, Selection, aside, names};
use crate::model::{Entry, Family, Purpose, RepoPath, WeightSet};

/// The user's wishes that the rules use.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// Families to try, best first.
    pub order: Vec<Family>,
    pub prefer: Option<Family>,
    pub only: Option<Family>,
    pub variant: Option<String>,
    pub no_code: bool,
    /// Whether the model is a module whose class determines the settings that it needs.
    pub module: bool,
}

/// The unfinished result.
#[derive(Debug, Default)]
pub(super) struct Picks {
    files: BTreeMap<RepoPath, (Purpose, String)>,
    aside: BTreeMap<RepoPath, (Option<Family>, Reason)>,
    pub weights: Vec<WeightSet>,
    pub repos: BTreeSet<String>,
    /// Those of the other repos that have the model's code.
    pub code_repos: BTreeSet<String>,
    /// Whether this is a diffusers pipeline: its root files and other folders have reasons of their own.
    pub pipeline: bool,
    /// The variant that the user asked for.
    pub variant: Option<String>,
}

impl Picks {
    /// Takes a file; the first reason stays.
    pub fn take(&mut self, entry: &Entry, purpose: Purpose, reason: impl Into<String>) {
        self.files.entry(entry.path.clone()).or_insert_with(|| (purpose, reason.into()));
    }

    /// Sets the reason for leaving out a file, unless a rule takes it.
    pub fn leave(&mut self, entry: &Entry, family: Option<Family>, reason: Reason) {
        self.aside.entry(entry.path.clone()).or_insert((family, reason));
    }

    /// Whether nothing has been taken.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether a file has been taken.
    pub fn has(&self, path: &RepoPath) -> bool {
        self.files.contains_key(path)
    }

    /// Whether a file has been taken as code.
    pub fn is_code(&self, path: &RepoPath) -> bool {
        self.files.get(path).is_some_and(|(purpose, _)| *purpose == Purpose::Code)
    }

    /// The folders of the repo whose weights have been taken.
    pub fn folders(&self) -> BTreeSet<String> {
        self.weights.iter().flat_map(|set| &set.files).map(|path| path.dir().to_owned()).collect()
    }

    /// Takes a weight set with its index.
    pub fn take_set(&mut self, view: &View<'_>, dir: &str, set: &Set, tied_embeddings: bool) {
        for finding in &set.notes {
            view.find_out(finding.clone());
        }
        for path in &set.files {
            self.files.entry(path.clone()).or_insert_with(|| (Purpose::Weights, set.reason.clone()));
        }
        if let Some(index) = &set.index {
            self.files.entry(index.clone()).or_insert_with(|| (Purpose::Index, "names the shards".to_owned()));
        }
        self.weights.push(WeightSet {
            scope: view.scope(dir),
            family: set.family,
            variant: set.variant.clone(),
            index: set.index.clone(),
            parsed: set.index.as_ref().map(|index| view.parsed(index)).unwrap_or_default(),
            files: set.files.clone(),
            tied_embeddings,
        });
    }

    /// Drops a taken file, with the reason; returns its purpose.
    pub fn drop(&mut self, entry: &Entry, reason: Reason) -> Option<Purpose> {
        let (purpose, _) = self.files.remove(&entry.path)?;
        self.aside.insert(entry.path.clone(), (None, reason));
        Some(purpose)
    }

    /// Makes the selection: every file of the listing is either taken or left out, with its reason.
    pub fn finish(mut self, view: &View<'_>) -> Selection {
        let mut groups: BTreeMap<(Option<Family>, Reason), (Vec<RepoPath>, u64)> = BTreeMap::new();
        let mut files = Vec::new();
        for entry in &view.listing().entries {
            if let Some((purpose, reason)) = self.files.remove(&entry.path) {
                files.push(Selected { path: entry.path.clone(), purpose, reason });
                continue;
            }
            let why = self.aside.remove(&entry.path).unwrap_or_else(|| self.why_left(view, entry));
            let group = groups.entry(why).or_default();
            group.0.push(entry.path.clone());
            group.1 = group.1.saturating_add(entry.size);
        }
        let mut left_out: Vec<LeftOut> = groups
            .into_iter()
            .map(|((family, reason), (paths, bytes))| {
                let take = aside::take(view, &self, family, &reason, &paths);
                LeftOut { family, reason, take, paths, bytes }
            })
            .collect();
        left_out.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.reason.to_string().cmp(&b.reason.to_string())));
        self.weights.sort_by(|a, b| a.scope.cmp(&b.scope).then_with(|| a.files.cmp(&b.files)));
        Selection {
            weights: self.weights,
            weights_excluded: false,
            named: false,
            files,
            left_out,
            findings: Vec::new(),
            other_repos: self.repos.into_iter().collect(),
            code_repos: self.code_repos.into_iter().filter_map(|repo| repo.parse().ok()).collect(),
        }
    }

    fn why_left(&self, view: &View<'_>, entry: &Entry) -> (Option<Family>, Reason) {
        let Some(rel) = view.rel(&entry.path) else { return (None, Reason::Outside(view.root().to_owned())) };
        let class = class_of(view, rel);
        let dir = rel.rsplit_once('/').map_or("", |(dir, _)| dir);
        match class.family {
            Some(Family::Safetensors | Family::Pt) if self.pipeline && dir.is_empty() => {
                (Some(Family::DiffusersSingle), Reason::SingleFile)
            }
            Some(family @ (Family::Safetensors | Family::Bin)) => {
                (Some(family), self.why_same_kind(view, dir, entry, family, class))
            }
            None if self.pipeline && !dir.is_empty() && class.reason == Reason::Unneeded => {
                (None, Reason::NotInPipeline)
            }
            Some(family) if self.weights.iter().any(|set| set.family == family) && class.weights => {
                (Some(family), Reason::OtherFiles(family))
            }
            family => (family, class.reason),
        }
    }

    /// Why safetensors or bin weights are left out, if others of the kind may have been taken.
    fn why_same_kind(&self, view: &View<'_>, dir: &str, entry: &Entry, family: Family, class: Class) -> Reason {
        let scope = view.scope(dir);
        if self.pipeline && !self.weights.iter().any(|set| set.scope == scope) {
            return Reason::NotInPipeline;
        }
        let Some(set) = self.weights.iter().find(|set| set.family == family) else { return Reason::Family(family) };
        let parsed = names::parse(entry.path.file_name());
        match parsed.map(|p| (p.stem, p.variant)) {
            Some((_, Some(_))) if parsed.and_then(|p| p.variant) != self.variant.as_deref() => class.reason,
            Some(("open_clip_model" | "open_clip_pytorch_model", _)) => Reason::OpenClipCopy,
            Some((_, None)) if self.variant.is_some() => Reason::NoVariant,
            _ if class.reason == Reason::LanguageAdapters => class.reason,
            _ if scope != set.scope => Reason::OtherFolders(family),
            _ if set.index.is_some() => Reason::NotInIndex(family),
            _ => Reason::OtherFiles(family),
        }
    }
}

/// [`classify`], with the rules that depend on neighbouring files.
pub(super) fn class_of(view: &View<'_>, rel: &str) -> Class {
    let mut class = classify(rel);
    let (dir, name) = rel.rsplit_once('/').unwrap_or(("", rel));
    // DeepSpeed writes this beside the optimizer's states; HunyuanVideo's model has such a name too.
    if let Some(rank) = name.strip_suffix("_model_states.pt").filter(|rank| rank.starts_with("mp_rank_")) {
        let above = dir.rsplit_once('/').map_or("", |(above, _)| above);
        let states =
            ["zero_pp_rank_0_", "bf16_zero_pp_rank_0_", ""].map(|start| format!("{start}{rank}_optim_states.pt"));
        let here = |name: &str| view.find(dir, name).is_some();
        let beside = ["latest", "zero_to_fp32.py"].iter().any(|name| here(name) || view.find(above, name).is_some());
        if beside || states.iter().any(|name| here(name)) {
            class = Class { family: None, weights: false, reason: Reason::Training };
        }
    }
    if class.family == Some(Family::CTranslate2) {
        let dir = rel.rsplit_once('/').map_or("", |(dir, _)| dir);
        let vocabulary = view.files(dir).iter().any(|e| {
            e.path.file_name().starts_with("vocabulary.")
                || e.path.file_name().ends_with("_vocabulary.json")
                || e.path.file_name().ends_with("_vocabulary.txt")
        });
        if !vocabulary {
            class = Class { family: Some(Family::Other), weights: true, reason: Reason::OtherFormats };
        }
    }
    class
}

/// The family of the file's weights, if it is a weight file of the view.
pub(super) fn weights_of(view: &View<'_>, entry: &Entry) -> Option<Family> {
    view.rel(&entry.path).map(|rel| class_of(view, rel)).filter(|class| class.weights)?.family
}

/// Whether this is a file in LFS storage that no rule knows by its name. It may well be weights in a container of
/// its own.
pub(super) fn unclaimed(view: &View<'_>, entry: &Entry) -> bool {
    // Endings of data and text that are large enough for LFS.
    const DATA: &[&str] = &[
        "json", "jsonl", "csv", "tsv", "txt", "parquet", "arrow", "xml", "log", "yaml", "yml", "toml", "lock", "out",
        "sqlite", "db", "jinja", "ttf", "otf",
    ];
    let name = entry.path.file_name();
    let unknown = |class: &Class| class.family.is_none() && class.reason == Reason::Unneeded;
    entry.lfs.is_some()
        && !name.starts_with('.')
        && !super::classify::has_ext(name, DATA)
        && super::companions::companion(name).is_none()
        && view.rel(&entry.path).map(classify).is_some_and(|class| unknown(&class))
}

/// The families of the view's weights, with their bytes, largest first.
pub(super) fn found(view: &View<'_>) -> Vec<(Family, u64)> {
    let mut sums: BTreeMap<Family, u64> = BTreeMap::new();
    for entry in view.tree("") {
        let other = || unclaimed(view, entry).then_some(Family::Other);
        if let Some(family) = weights_of(view, entry).or_else(other) {
            let sum = sums.entry(family).or_default();
            *sum = sum.saturating_add(entry.size);
        }
    }
    let mut found: Vec<_> = sums.into_iter().collect();
    found.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    found
}
