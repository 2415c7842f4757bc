//! A locked repo in the forms that other tools sign and read: the statement of a model signature, a bill of
//! materials (`CycloneDX` 1.6) and provenance (in-toto, SLSA 1.0). They are the same in every run.

use std::collections::BTreeMap;

use hfget_core::model::{RepoPath, RepoType, Sha256};
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

/// A bill of materials of one repo.
pub fn cyclonedx(locked: &LockedRepo, digests: &Digests) -> Value {
    let whole = reference(locked);
    let file = |file: &LockedFile| {
        let mut component = json!({
            "type": "file",
            "bom-ref": format!("{whole}#{}", file.path.as_str()),
            "name": file.path.as_str(),
            "properties": [{ "name": "hfget:size", "value": file.size.to_string() }],
        });
        if let Some(sha256) = digests.get(&file.path) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sha256.to_string() }]);
        }
        component
    };
    let mut model = json!({
        "type": if locked.repo_type == RepoType::Model { "machine-learning-model" } else { "data" },
        "bom-ref": whole,
        "name": locked.id.as_str(),
        "version": locked.commit.to_string(),
        "externalReferences": [{ "type": "distribution", "url": address(locked) }],
    });
    if locked.repo_type == RepoType::Model {
        model["purl"] = reference(locked).into();
    }
    let parts: Vec<Value> = locked.files.iter().map(file).collect();
    let refs: Vec<Value> = parts.iter().map(|part| part["bom-ref"].clone()).collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": { "components": [{ "type": "application", "name": "hfget", "version": env!("CARGO_PKG_VERSION") }] },
            "component": model,
        },
        "components": parts,
        "dependencies": [{ "ref": reference(locked), "dependsOn": refs }],
    })
}

/// The provenance of all files: where they come from.
pub fn in_toto(locked: &LockedRepo, digests: &Digests) -> Value {
    let subject: Vec<Value> = digests
        .iter()
        .map(|(path, sha256)| json!({ "name": path.as_str(), "digest": { "sha256": sha256.to_string() } }))
        .collect();
    let this = format!("pkg:cargo/hfget@{}", env!("CARGO_PKG_VERSION"));
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "pkg:cargo/hfget#lock",
                "externalParameters": {
                    "repo": locked.name(),
                    "revision": locked.revision.as_str(),
                },
                "resolvedDependencies": [{
                    "uri": address(locked),
                    "digest": { "gitCommit": locked.commit.to_string() },
                }],
            },
            "runDetails": { "builder": { "id": this } },
        },
    })
}

/// The package URL of a model, and a similar text for other repos.
fn reference(locked: &LockedRepo) -> String {
    let kind = match locked.repo_type {
        RepoType::Model => "huggingface".to_owned(),
        other => format!("huggingface/{}", other.plural()),
    };
    format!("pkg:{kind}/{}@{}", locked.id.as_str(), locked.commit)
}

/// The identifier of the commit, which does not depend on the Hub or mirror.
fn address(locked: &LockedRepo) -> String {
    format!("hf://{}@{}", locked.name(), locked.commit)
}
