//! Locked files, or files that a run verified, in the forms that other tools sign and read: the statement of a model
//! signature, a bill of materials (`CycloneDX` 1.6) and provenance (in-toto, SLSA 1.0). The same lockfile always gives
//! the same text.

use std::collections::BTreeMap;

use hfget_core::finding::Origin;
use hfget_core::model::{CommitId, Digest, RepoId, RepoPath, RepoType, Revision, Sha256};
use hfget_core::report::{FileReport, Report};
use hfget_core::unstable::lock::{LockedFile, LockedRepo};
use hfget_core::unstable::signature::Statement;
use serde_json::{Value, json};

/// The SHA-256 of each file.
pub type Digests = BTreeMap<RepoPath, Sha256>;

/// The statement that signers of models sign: all files except those that are never signed.
pub fn oms(locked: &LockedRepo, digests: &Digests) -> Value {
    let mut statement = Statement::new(digests.clone());
    let left_out: Vec<RepoPath> =
        statement.files.keys().filter(|path| statement.leaves_out(path.as_str())).cloned().collect();
    statement.files.retain(|path, _| !left_out.contains(path));
    let name = locked.id.as_str().rsplit('/').next().unwrap_or_default();
    statement.to_json(name)
}

/// A commit of a repo, its files, and the results of a run for them.
struct Subject {
    repo_type: RepoType,
    id: RepoId,
    /// `None` if the run verified a commit that it found on disk.
    revision: Option<Revision>,
    commit: CommitId,
    files: Vec<File>,
    /// Whether a run verified them; files of a lockfile were not verified.
    verified: bool,
    /// Who stated the digests that they have.
    against: Option<Origin>,
}

struct File {
    path: RepoPath,
    size: u64,
    sha256: Option<Sha256>,
    /// The id of the git blob.
    git: Option<String>,
    /// Why it is right: the run's evidence, and who stated the digest.
    proof: Option<(&'static str, Origin)>,
}

impl Subject {
    fn of_lock(locked: &LockedRepo, digests: &Digests) -> Self {
        let file = |file: &LockedFile| File {
            path: file.path.clone(),
            size: file.size,
            sha256: digests.get(&file.path).copied(),
            git: None,
            proof: None,
        };
        Subject {
            repo_type: locked.repo_type,
            id: locked.id.clone(),
            revision: Some(locked.revision.clone()),
            commit: locked.commit,
            files: locked.files.iter().map(file).collect(),
            verified: false,
            against: None,
        }
    }

    /// `None` unless the run verified a commit of a repo.
    fn of_report(report: &Report) -> Option<Self> {
        if !report.is_verified() {
            return None;
        }
        let (repo_type, id) = report.repo.clone()?;
        let file = |file: &FileReport| File {
            path: file.path.clone(),
            size: file.size,
            sha256: file.evidence.sha256().or(match file.digest {
                Some(Digest::Sha256(sum)) => Some(sum),
                _ => None,
            }),
            git: match file.digest {
                Some(Digest::GitBlob(oid)) => Some(oid.to_string()),
                _ => None,
            },
            proof: Some((file.evidence.as_str(), file.against)),
        };
        Some(Subject {
            repo_type,
            id,
            revision: report.revision.clone(),
            commit: report.commit?,
            files: report.files.iter().map(file).collect(),
            verified: true,
            against: report.verdict.against(),
        })
    }

    fn name(&self) -> String {
        self.repo_type.qualify(&self.id)
    }

    /// The package URL of a model, and a similar text for other repos.
    fn reference(&self) -> String {
        let kind = match self.repo_type {
            RepoType::Model => "huggingface".to_owned(),
            other => format!("huggingface/{}", other.plural()),
        };
        format!("pkg:{kind}/{}@{}", self.id.as_str(), self.commit)
    }

    /// The identifier of the commit, which does not depend on the Hub or mirror.
    fn address(&self) -> String {
        format!("hf://{}@{}", self.name(), self.commit)
    }

    /// The repo as a component, without its files.
    fn component(&self) -> Value {
        let mut model = json!({
            "type": if self.repo_type == RepoType::Model { "machine-learning-model" } else { "data" },
            "bom-ref": self.reference(),
            "name": self.id.as_str(),
            "version": self.commit.to_string(),
            "externalReferences": [{ "type": "distribution", "url": self.address() }],
        });
        if self.repo_type == RepoType::Model {
            model["purl"] = self.reference().into();
        }
        if self.verified {
            let against = self.against.map(|origin| ("hfget:against", origin.as_str()));
            model["properties"] = properties([("hfget:verdict", "verified")].into_iter().chain(against));
        }
        model
    }

    /// The files as components.
    fn parts(&self) -> Vec<Value> {
        let whole = self.reference();
        let part = |file: &File| {
            let size = file.size.to_string();
            let git = file.git.as_deref().map(|oid| ("hfget:gitBlob", oid));
            let proof = file
                .proof
                .map(|(evidence, against)| [("hfget:evidence", evidence), ("hfget:against", against.as_str())]);
            let said = [("hfget:size", size.as_str())].into_iter().chain(git).chain(proof.into_iter().flatten());
            let mut component = json!({
                "type": "file",
                "bom-ref": format!("{whole}#{}", file.path.as_str()),
                "name": file.path.as_str(),
                "properties": properties(said),
            });
            if let Some(sha256) = file.sha256 {
                component["hashes"] = json!([{ "alg": "SHA-256", "content": sha256.to_string() }]);
            }
            component
        };
        self.files.iter().map(part).collect()
    }
}

fn properties<'a>(said: impl IntoIterator<Item = (&'a str, &'a str)>) -> Value {
    said.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// A bill of materials of one repo.
pub fn cyclonedx(locked: &LockedRepo, digests: &Digests) -> Value {
    bill(&[Subject::of_lock(locked, digests)])
}

/// The provenance of all files: where they come from.
pub fn in_toto(locked: &LockedRepo, digests: &Digests) -> Value {
    provenance(&[Subject::of_lock(locked, digests)], "lock")
}

/// The same for the files that a run verified: every repo, with its verdict and the evidence of each file. `None`
/// unless every repo was verified, so that nobody signs a wrong file by mistake.
pub fn of_run(reports: &[&Report], form: Form) -> Option<Value> {
    let subjects: Vec<Subject> = reports.iter().map(|report| Subject::of_report(report)).collect::<Option<_>>()?;
    if subjects.is_empty() {
        return None;
    }
    Some(match form {
        Form::CycloneDx => bill(&subjects),
        Form::InToto => provenance(&subjects, "run"),
    })
}

/// A form for the files that a run verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    CycloneDx,
    InToto,
}

impl Form {
    /// The form that a file's name asks for.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let is = |ending: &str| name.strip_suffix(ending).is_some();
        if is(".cdx.json") {
            Some(Form::CycloneDx)
        } else if is(".intoto.json") {
            Some(Form::InToto)
        } else {
            None
        }
    }
}

fn bill(subjects: &[Subject]) -> Value {
    let tools =
        json!({ "components": [{ "type": "application", "name": "hfget", "version": env!("CARGO_PKG_VERSION") }] });
    let mut metadata = json!({ "tools": tools });
    let (mut components, mut dependencies) = (Vec::new(), Vec::new());
    for subject in subjects {
        let parts = subject.parts();
        let refs: Vec<Value> = parts.iter().map(|part| part["bom-ref"].clone()).collect();
        dependencies.push(json!({ "ref": subject.reference(), "dependsOn": refs }));
        // The bill is about one repo; several repos are listed as its components.
        if subjects.len() == 1 {
            metadata["component"] = subject.component();
        } else {
            components.push(subject.component());
        }
        components.extend(parts);
    }
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": dependencies,
    })
}

fn provenance(subjects: &[Subject], what: &str) -> Value {
    let one = |subject: &Subject| {
        let folder = if subjects.len() == 1 { String::new() } else { format!("{}/", subject.name()) };
        let named = |file: &File| {
            let mut digest = serde_json::Map::new();
            digest.extend(file.sha256.map(|sum| ("sha256".to_owned(), sum.to_string().into())));
            digest.extend(file.git.clone().map(|oid| ("gitBlob".to_owned(), oid.into())));
            // A file without a digest cannot be a subject.
            let name = format!("{folder}{}", file.path.as_str());
            (!digest.is_empty()).then(|| json!({ "name": name, "digest": digest }))
        };
        subject.files.iter().filter_map(named).collect::<Vec<_>>()
    };
    let from =
        |subject: &Subject| json!({ "uri": subject.address(), "digest": { "gitCommit": subject.commit.to_string() } });
    let asked = |subject: &Subject| {
        let mut asked = json!({ "repo": subject.name() });
        if let Some(revision) = &subject.revision {
            asked["revision"] = revision.as_str().into();
        }
        asked
    };
    let mut definition = json!({
        "buildType": format!("pkg:cargo/hfget#{what}"),
        "externalParameters": match subjects {
            [subject] => asked(subject),
            several => json!({ "repos": several.iter().map(asked).collect::<Vec<_>>() }),
        },
        "resolvedDependencies": subjects.iter().map(from).collect::<Vec<_>>(),
    });
    // The weakest origin of the digests, as for several files of one run.
    let against: Option<Origin> = subjects.iter().filter_map(|subject| subject.against).max();
    if subjects.iter().all(|subject| subject.verified) {
        definition["internalParameters"] = json!({ "verdict": "verified", "against": against.map(Origin::as_str) });
    }
    let this = format!("pkg:cargo/hfget@{}", env!("CARGO_PKG_VERSION"));
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects.iter().flat_map(one).collect::<Vec<_>>(),
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": { "buildDefinition": definition, "runDetails": { "builder": { "id": this } } },
    })
}
