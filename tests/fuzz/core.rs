//! The functions of the fuzz targets for names, listings, selection, whole sets, registries and signatures, shared by `fuzz/`
//! and the test that replays its seeds.
//! `formats.rs` has those for the formats' readers.

use std::collections::BTreeMap;
use std::io::{self, Cursor};
use std::sync::Arc;

use hfget_core::finding::Finding;
use hfget_core::model::{
    CommitId, Digest, Entry, Family, GitOid, Listing, Options, Purpose, RepoId, RepoInfo, RepoPath, RepoSpec, RepoType,
    Revision, WeightSet,
};
use hfget_core::progress::Silent;
use hfget_core::select::{Documents, Step, select as chosen};
use hfget_core::verify::{Content, Far, ReadSeek, Subject, SubjectFile, verify};
use hfget_formats::WeightIndex;

fn printable(findings: &[Finding]) {
    assert!(findings.len() < 1000, "{} findings", findings.len());
    assert!(findings.iter().all(|f| f.message.len() < 10_000), "a finding quotes too much of the file");
}

/// Bytes in memory as a file of a set.
#[derive(Debug)]
struct Memory(Arc<[u8]>);

impl Far for Memory {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn open(&self) -> io::Result<Box<dyn ReadSeek>> {
        Ok(Box::new(Cursor::new(Arc::clone(&self.0))))
    }
}

/// The sets that [`sets`] makes: two files, and the index if the first is one.
const SETS: [(Family, [&str; 2], bool); 6] = [
    (Family::TfCheckpoint, ["m.index", "m.data-00000-of-00001"], false),
    (Family::TfCheckpoint, ["checkpoint", "m.index"], false),
    (Family::Onnx, ["outside.onnx", "outside.onnx_data"], false),
    (Family::Gguf, ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"], false),
    (Family::SavedModel, ["saved_model.pb", "assets/vocab.txt"], false),
    (Family::Safetensors, ["model.safetensors.index.json", "model.safetensors"], true),
];

/// A set of two files, checked to the last byte: its kind, the length of the first in two bytes, and both.
pub fn sets(bytes: &[u8]) {
    let Some(([kind, low, high], rest)) = bytes.split_first_chunk::<3>() else { return };
    let Some((family, names, indexed)) = SETS.get(usize::from(*kind)) else { return };
    let (first, second) = rest.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(rest.len()));
    let Ok(paths) = names.iter().map(|name| name.parse()).collect::<Result<Vec<RepoPath>, _>>() else { return };
    let file = |(path, content): (&RepoPath, &[u8])| SubjectFile {
        path: path.clone(),
        content: Content::Far(Arc::new(Memory(content.into()))),
        size: None,
        digest: None,
        xet: None,
        origin: hfget_core::finding::Origin::Hub,
        known: hfget_core::finding::Evidence::Unread,
        purpose: Purpose::Weights,
    };
    let files = paths.iter().zip([first, second]).map(file).collect();
    let mut set = WeightSet::new(*family, paths.iter().skip(usize::from(*indexed)).cloned().collect());
    set.index = indexed.then(|| paths[0].clone());
    let subject = Subject { files, weights: vec![set], deep: true, ..Subject::default() };
    let outcome = verify(&subject, 1, &Silent);
    printable(&outcome.findings);
    assert_eq!(verify(&subject, 2, &Silent), outcome, "it depends on the number of threads");
}

/// The shards that a weight index names: those that are joined to a folder stay below it.
pub fn index(bytes: &[u8]) {
    match WeightIndex::parse(bytes) {
        Ok(index) => {
            assert!(index.weight_map().len() > 0);
            for shard in index.shards() {
                assert!(RepoPath::join("a/b", shard).is_ok_and(|p| p.as_str().starts_with("a/b/")) || !is_plain(shard));
            }
        }
        Err(error) => assert!(error.to_string().len() < 10_000, "it quotes too much of the file"),
    }
}

/// Whether a name is certainly valid.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() < 200 && name.bytes().all(|b| b.is_ascii_digit())
}

/// Repo specs, ids, revisions and paths: an accepted value is read back from its own text, and no
/// accepted path leaves its folder.
pub fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(spec) = text.parse::<RepoSpec>() {
        assert_eq!(spec.id.as_str().parse(), Ok(spec.id.clone()));
        assert!(spec.path.as_ref().is_none_or(|p| p.as_str().parse().as_ref() == Ok(p)));
    }
    if let Ok(id) = text.parse::<RepoId>() {
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
    }
    if let Ok(revision) = text.parse::<Revision>() {
        assert_eq!(revision.as_str().parse(), Ok(revision.clone()));
    }
    if let Ok(path) = text.parse::<RepoPath>() {
        assert_eq!(path.as_str(), text);
        let local = path.under("root".as_ref());
        assert!(local.starts_with("root"));
        assert_eq!(local.components().count(), 1 + path.segments().count());
    }
}

/// A Hub's answers about a repo: no file leaves its folder, and no sentence about a row controls a terminal.
pub fn tree(bytes: &[u8]) {
    let answers = hfget_core::unstable::hub::any_bytes(bytes);
    for file in &answers.files {
        assert!(file.path.under("root".as_ref()).starts_with("root"));
        assert_eq!(file.path.as_str().parse().as_ref(), Ok(&file.path));
    }
    for name in &answers.rejected {
        assert!(name.parse::<RepoPath>().is_err(), "{name:?} is a name");
    }
    for why in &answers.complaints {
        assert!(
            !why.contains('\u{1b}') && why.len() < 1000 + 10 * bytes.len(),
            "it quotes too much, or what steers a terminal"
        );
    }
    assert!(answers.card.is_none_or(|card| card.license.is_none_or(|name| name.len() <= 4096)));
}

/// A whole selection. The first line has the options, as letters; each other one a file: its name, and after `=` its
/// content. A file without content is weights of some gigabytes.
pub fn select(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let options = wishes(lines.next().unwrap_or_default());
    let mut files: BTreeMap<RepoPath, Option<&[u8]>> = BTreeMap::new();
    for line in lines.take(200) {
        let at = line.iter().position(|byte| *byte == b'=').unwrap_or(line.len());
        let (name, content) = line.split_at(at);
        if let Some(path) = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()) {
            files.insert(path, content.get(1..));
        }
    }
    let entry = |path: &RepoPath, content: Option<&[u8]>| {
        let size = content.map_or(5 << 30, |content| content.len() as u64);
        Entry::new(path.clone(), size, Digest::GitBlob(GitOid([7; 20])))
    };
    let Some(info) = info() else { return };
    let listing = Listing::new(info, files.iter().map(|(path, content)| entry(path, *content)).collect(), Vec::new());
    let mut documents = Documents::new();
    for _ in 0..=4 {
        let step = chosen(&listing, &options, &documents);
        match step {
            Ok(Step::Need(paths)) => {
                assert!(!paths.is_empty(), "it asks for nothing");
                for path in paths {
                    let content = files.get(&path).copied().flatten().map(<[u8]>::to_vec);
                    assert!(documents.insert(path, content).is_none(), "it asks twice");
                }
            }
            Ok(Step::Done(selection)) => {
                printable(&selection.findings);
                let left = selection.left_out.iter().flat_map(|group| &group.paths);
                let mut all: Vec<&str> =
                    selection.files.iter().map(|file| &file.path).chain(left).map(RepoPath::as_str).collect();
                all.sort_unstable();
                let listed: Vec<&str> = listing.entries.iter().map(|entry| entry.path.as_str()).collect();
                assert_eq!(all, listed, "each file is taken or left out, once");
                assert!(
                    matches!(chosen(&listing, &options, &documents), Ok(Step::Done(again)) if again == selection),
                    "the same question has the same answer"
                );
                return;
            }
            Err(error) => {
                let why = error.to_string();
                assert!(
                    why.len() < 10_000 + 20 * bytes.len() && !why.contains('\u{1b}'),
                    "it quotes too much: {why:?}"
                );
                return;
            }
        }
    }
    unreachable!("more than four rounds");
}

/// Options from letters.
fn wishes(letters: &[u8]) -> Options {
    let has = |letter: u8| letters.contains(&letter);
    let family = |letter: u8, family: Family| has(letter).then_some(family);
    Options {
        prefer: family(b'b', Family::Bin).or(family(b'm', Family::Mistral)),
        only: family(b'O', Family::Onnx).or(family(b'G', Family::Gguf)).or(family(b'S', Family::SavedModel)),
        variant: has(b'v').then(|| "fp16".to_owned()).or_else(|| has(b'q').then(|| "Q4_K_M".to_owned())),
        subfolder: has(b's').then(|| "unet".parse().ok()).flatten(),
        all: has(b'a'),
        no_code: has(b'n'),
        ..Options::default()
    }
}

fn info() -> Option<RepoInfo> {
    let commit: CommitId = "0123456789012345678901234567890123456789".parse().ok()?;
    Some(RepoInfo::new(RepoType::Model, "org/repo".parse().ok()?, "main".parse().ok()?, commit))
}

/// What a registry sends, and what docker keeps of whoever has logged in: whatever a manifest states, each file is within
/// its layer, and its path is one.
pub fn registry(bytes: &[u8]) {
    let readings = hfget_core::unstable::oci::any_bytes(bytes);
    for (path, within, layer) in &readings.files {
        assert!(within.start <= within.end && within.end <= *layer, "{path:?} {within:?} {layer}");
        assert!(path.under("root".as_ref()).starts_with("root"));
    }
    for why in &readings.complaints {
        assert!(
            why.len() < 10_000 + 20 * bytes.len() && !why.contains('\u{1b}'),
            "it quotes too much, or codes for a terminal"
        );
    }
}

/// Signatures of models: bundles, and the statements in them.
pub fn signature(bytes: &[u8]) {
    let is_one = hfget_core::unstable::signature::is_bundle(bytes);
    let (bundle, statement, same) = hfget_core::unstable::signature::any_bytes(bytes);
    assert!(same, "a statement is written as it was read");
    assert!(is_one || bundle.is_some(), "a file that parses as a bundle is detected as one");
    for error in [bundle, statement].into_iter().flatten() {
        let why = error.to_string();
        assert!(
            why.len() < 10_000 + 20 * bytes.len() && !why.contains('\u{1b}'),
            "it quotes too much, or codes for a terminal"
        );
    }
}
