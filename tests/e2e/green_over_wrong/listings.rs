//! Listings: a kept one counts only for its endpoint, and an incomplete one does not count as a listing.

use std::fs;

use hfget_loopback_hub::{Hub, Options, Repo};

use super::super::support::{Machine, safetensors, tree};
use super::{FIRST, ID, SECOND, blob, forget_notes, model};

/// The cache after `AutoConfig.from_pretrained`, or after an interrupted run of another tool: only these files, and no
/// listing.
fn only(repo: Repo, names: &[&str]) -> Machine {
    let id = repo.id().to_owned();
    let commit = repo.commit();
    let machine = Machine::new([repo]);
    machine.run([id.as_str(), "--all"]).ends_with(0);
    let root = machine.model(&id);
    forget_notes(&root);
    let snapshot = root.join("snapshots").join(commit);
    for name in tree(&snapshot).into_keys().filter(|name| !names.contains(&name.as_str())) {
        let path = snapshot.join(&name);
        let _ = fs::remove_file(fs::canonicalize(&path).unwrap());
        fs::remove_file(path).unwrap();
    }
    machine
}

#[test]
fn a_model_without_its_weights_is_not_verified_without_a_hub() {
    let machine = only(model(), &["config.json"]);
    for line in ["verify org/m --offline", "org/m --offline", "lock org/m --offline"] {
        machine.hfget(line).ends_with(3).ends_not_green();
    }
    assert!(!machine.home.path().join("hfget.lock").exists());
}

/// Repos whose documents name their parts, each with the files that are here if a part with weights is missing.
fn with_parts() -> [(Repo, &'static str, Vec<&'static str>); 3] {
    let index = "model.safetensors.index.json";
    let parts =
        r#"{"_class_name":"P","unet":["diffusers","UNet2DConditionModel"],"vae":["diffusers","AutoencoderKL"]}"#;
    let pipeline = Repo::new("org/p")
        .file("model_index.json", parts)
        .file("unet/config.json", "{}")
        .lfs("unet/diffusion_pytorch_model.safetensors", safetensors("u", 64))
        .file("vae/config.json", "{}")
        .lfs("vae/diffusion_pytorch_model.safetensors", safetensors("v", 64));
    let vae = ["model_index.json", "vae/config.json", "vae/diffusion_pytorch_model.safetensors"];
    let modules = r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
        {"idx":1,"name":"1","path":"1_Dense","type":"sentence_transformers.models.Dense"}]"#;
    let sentence = Repo::new("org/s")
        .file("modules.json", modules)
        .file("config.json", "{}")
        .lfs("model.safetensors", safetensors("w", 64))
        .file("1_Dense/config.json", "{}")
        .lfs("1_Dense/model.safetensors", safetensors("d", 64));
    let dense = ["modules.json", "config.json", "model.safetensors", "1_Dense/config.json"];
    [
        (model(), ID, vec!["config.json", index, FIRST]),
        (pipeline, "org/p", vae.into()),
        (sentence, "org/s", dense.into()),
    ]
}

#[test]
fn files_that_the_repos_own_documents_name_must_be_here() {
    for (repo, id, names) in with_parts() {
        let machine = only(repo, &names);
        for line in [format!("verify {id} --offline"), format!("{id} --offline"), format!("lock {id} --offline")] {
            machine.hfget(&line).ends_not_green();
        }
    }
}

#[test]
fn no_false_alarm_over_a_snapshot_without_a_listing_that_has_all_named_files() {
    for (repo, id, _) in with_parts() {
        let machine = only(repo.clone(), &repo.paths().collect::<Vec<_>>());
        machine.hfget(&format!("verify {id} --offline")).ends_against("blob-names");
        machine.hfget(&format!("{id} --offline")).ends_against("blob-names");
    }
}

/// The same commit with other weights, as from a hostile or broken mirror.
fn mirror() -> Repo {
    model().lfs(SECOND, safetensors("b", 101)).lfs(FIRST, safetensors("a", 101)).at(&model().commit())
}

/// The listing of another endpoint does not count as the Hub's.
#[test]
fn a_listing_of_another_endpoint_does_not_count() {
    let machine = Machine::new([model()]);
    let other = Hub::start([mirror()]);
    machine.hfget(&format!("org/m --endpoint {}", other.endpoint())).ends_with(0);
    machine.hfget("verify org/m").ends_not_green();
    let run = machine.hfget("org/m --offline");
    assert!(!run.err.contains("against=hub"), "{}", run.err);
    let path = machine.hfget(ID).ends_against("hub").path();
    Machine::assert_whole(&path, &model(), &["config.json", "model.safetensors.index.json", FIRST, SECOND]);
    machine.hfget("verify org/m").ends_against("hub");
}

/// A folder from elsewhere with all its records, which another endpoint filled.
#[test]
fn a_copied_folder_of_another_endpoint_does_not_count() {
    let machine = Machine::new([model()]);
    let other = Hub::start([mirror()]);
    machine.hfget(&format!("org/m --local-dir here --endpoint {}", other.endpoint())).ends_with(0);
    machine.hfget("verify org/m --local-dir here").ends_not_green();
    let run = machine.hfget("verify ./here");
    assert!(!run.err.contains("against=hub"), "{}", run.err);
    machine.hfget("org/m --local-dir right").ends_against("hub");
    machine.hfget("verify org/m --local-dir right").ends_against("hub");
}

#[test]
fn force_asks_the_hub_again() {
    let machine = Machine::new([model()]);
    let other = Hub::start([mirror()]);
    for place in ["", " --local-dir here"] {
        machine.hfget(&format!("org/m{place} --endpoint {}", other.endpoint())).ends_with(0);
        let path = machine.hfget(&format!("org/m --force{place}")).ends_against("hub").path();
        assert_eq!(fs::read(path.join(FIRST)).ok().as_deref(), model().content(FIRST));
    }
}

/// A kept listing, in each of its places, that names other digests than the Hub.
#[test]
fn an_edited_kept_listing_is_requested_again() {
    for place in ["", " --local-dir here"] {
        let machine = Machine::new([model()]);
        machine.hfget(&format!("org/m --all{place}")).ends_with(0);
        let (right, wrong) = (model(), mirror());
        let root = machine.home.path().to_path_buf();
        let mut edited = 0;
        for (name, content) in tree(&root).into_iter().filter(|(name, _)| name.contains("trees/")) {
            let text = String::from_utf8(content).unwrap();
            let (from, to) = (right.lfs_sha256(FIRST).unwrap(), wrong.lfs_sha256(FIRST).unwrap());
            assert!(text.contains(from), "{name}");
            fs::write(root.join(name), text.replace(from, to)).unwrap();
            edited += 1;
        }
        assert!(edited > 0, "a listing is kept");
        machine.hfget(&format!("verify org/m{place}")).ends_against("hub");
        machine.hfget(&format!("org/m{place}")).ends_against("hub");
        machine.hfget(&format!("org/m --force{place}")).ends_against("hub");
    }
}

/// A mirror that drops `recursive=true` lists folders without their files.
#[test]
fn a_listing_that_is_not_recursive_is_completed_or_refused() {
    let repo = Repo::new("org/p")
        .file("config.json", "{}")
        .lfs("model.safetensors", safetensors("w", 64))
        .file("1_Pooling/config.json", "{}")
        .file("a/b/c.txt", "deep");
    let machine = Machine::on(Hub::with(Options { flat: true, ..Options::default() }, [repo.clone()]));
    let run = machine.hfget("org/p --all");
    if run.code == Some(0) {
        Machine::assert_whole(&run.path(), &repo, &repo.paths().collect::<Vec<_>>());
    } else {
        run.ends_with(4).ends_not_green();
    }
    // An empty folder is not a problem in a complete listing.
    let machine = Machine::new([repo.clone()]);
    let path = machine.hfget("org/p --all").ends_against("hub").path();
    Machine::assert_whole(&path, &repo, &repo.paths().collect::<Vec<_>>());
    assert!(blob(&machine, "models--org--p", "a/b/c.txt").exists());
}
