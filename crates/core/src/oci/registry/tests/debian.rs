//! Tests against Debian's `docker-registry`, an independent implementation, with `skopeo` as an independent reader of
//! the pushed content. Tests print that they are skipped if either is missing.

use hfget_loopback_registry::{Debian, login, skopeo};
use tempfile::TempDir;

use super::*;
use crate::oci::{Descriptor, MANIFEST, Manifest};

fn credentials(folder: &TempDir, address: &str) -> String {
    let path = folder.path().join("auth.json");
    std::fs::write(&path, login(address)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Pushes two layers and a manifest over them, each in its own way; returns the digests.
async fn fill(content: &dyn Content) -> (OciDigest, Vec<OciDigest>) {
    let mut layers = Vec::new();
    for (way, size) in [(Way::Before, LARGE), (Way::After, LARGE + 1), (Way::Whole, 1000)] {
        let all = bytes(size);
        let digest = push(content, way, &all).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
        layers.push(Descriptor::new("application/vnd.cncf.model.weight.v1.raw", digest, size as u64));
    }
    let config = push(content, Way::Whole, &"{}".into()).await.unwrap();
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        artifact_type: Some("application/vnd.cncf.model.manifest.v1+json".to_owned()),
        config: Descriptor::new("application/vnd.cncf.model.config.v1+json", config, 2),
        layers: layers.clone(),
        subject: None,
        annotations: std::collections::BTreeMap::default(),
    };
    let text = serde_json::to_vec(&manifest).unwrap();
    let digest = content.push_manifest(&tag("main"), MANIFEST, text.into()).await.unwrap();
    (digest, layers.into_iter().map(|layer| layer.digest).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debians_registry_accepts_the_content_and_skopeo_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let Some(debian) = Debian::start(folder.path(), None) else { return };
    let content = at(&debian.address(), "acme/m", &[]);
    assert_eq!(content.blob_size(&OciDigest::of(b"none")).await.unwrap(), None);
    let (digest, layers) = fill(&*content).await;
    let got = content.manifest(&tag("main")).await.unwrap().unwrap();
    assert_eq!(got.digest, digest);
    let all = bytes(LARGE);
    assert_eq!(read(&*content, &layers[0], 0..LARGE as u64).await.unwrap(), all);
    assert_eq!(read(&*content, &layers[0], 7..5_000_000).await.unwrap(), all.slice(7..5_000_000));
    // It has no list of referrers: the tag replaces it.
    let kind = "application/vnd.hfget.lock.v1";
    let mut manifest: Manifest = serde_json::from_slice(&got.bytes).unwrap();
    manifest.subject = Some(Descriptor::new(MANIFEST, digest, got.bytes.len() as u64));
    manifest.artifact_type = Some(kind.to_owned());
    let lock = content.push_referrer(&digest, MANIFEST, serde_json::to_vec(&manifest).unwrap().into()).await.unwrap();
    let found = content.referrers(&digest, kind).await.unwrap();
    assert_eq!(found.iter().map(|one| one.digest).collect::<Vec<_>>(), [lock]);
    // Another repository gets a layer without its bytes.
    let other = at(&debian.address(), "acme/other", &[]);
    assert!(other.mount(&layers[0], "acme/m").await.unwrap());
    assert_eq!(other.blob_size(&layers[0]).await.unwrap(), Some(LARGE as u64));
    let out = folder.path().join("out");
    let (from, to) = (format!("docker://{}/acme/m:main", debian.address()), format!("dir:{}", out.display()));
    if skopeo(&["copy", "--src-tls-verify=false", &from, &to]).is_some() {
        for layer in &layers {
            let copied = std::fs::read(out.join(layer.hex())).unwrap();
            assert_eq!(OciDigest::of(&copied), *layer);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debians_registry_with_tokens_accepts_dockers_credentials_and_a_token_is_renewed_in_mid_file() {
    let folder = tempfile::tempdir().unwrap();
    let Some(debian) = Debian::start(folder.path(), Some(Duration::from_secs(2))) else { return };
    let refused = push(&*at(&debian.address(), "acme/m", &[]), Way::Before, &bytes(LARGE)).await.unwrap_err();
    assert_eq!(refused.kind(), crate::finding::ErrorKind::NotAvailable, "{refused}");
    let known = credentials(&folder, &debian.address());
    let content = at(&debian.address(), "acme/m", &[("REGISTRY_AUTH_FILE", &known)]);
    let all = bytes(LARGE + 2);
    let (stream, cell) = hashing(&all);
    let slow = stream.then(|piece| async {
        tokio::time::sleep(Duration::from_millis(9)).await;
        piece
    });
    let push = Push {
        size: all.len() as u64,
        digest: PushDigest::After(cell),
        number: None,
        body: Body::Stream(slow.boxed()),
    };
    let began = std::time::Instant::now();
    assert_eq!(content.push_blob(push).await.unwrap(), OciDigest::of(&all));
    assert!(began.elapsed() > Duration::from_secs(3), "the token has expired meanwhile");
    let (digest, layers) = fill(&*content).await;
    assert_eq!(content.manifest(&tag("main")).await.unwrap().unwrap().digest, digest);
    assert_eq!(read(&*content, &layers[0], 0..LARGE as u64).await.unwrap(), bytes(LARGE));
    let from = format!("docker://{}/acme/m:main", debian.address());
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", "--authfile", &known, &from]);
    assert!(raw.is_none_or(|raw| OciDigest::of(raw.as_bytes()) == digest));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_debians_registry_in_mid_file_costs_that_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut debian) = Debian::start(folder.path(), None) else { return };
    let content = at(&debian.address(), "acme/m", &[]);
    let first = push(&*content, Way::Before, &bytes(LARGE)).await.unwrap();
    let all = bytes(LARGE + 3);
    let (half, rest) = (all.slice(..LARGE / 2), all.slice(LARGE / 2..));
    let (told, restarted) = tokio::sync::oneshot::channel();
    let (reached, halfway) = tokio::sync::oneshot::channel::<()>();
    let pause = stream::once(async move {
        let _ = reached.send(());
        let _ = restarted.await;
        Ok(Bytes::new())
    });
    let stream = pieces(&half).chain(pause).chain(pieces(&rest)).boxed();
    let digest = OciDigest::of(&all);
    let push_it =
        Push { size: all.len() as u64, digest: PushDigest::Before(digest), number: None, body: Body::Stream(stream) };
    let restart = tokio::task::spawn_blocking(move || {
        let _ = halfway.blocking_recv();
        debian.restart();
        let _ = told.send(());
        debian
    });
    let error = content.push_blob(push_it).await.unwrap_err();
    assert!(error.is_worth_retrying(), "{error}");
    let _debian = restart.await.unwrap();
    assert_eq!(push(&*content, Way::Before, &all).await.unwrap(), digest);
    assert_eq!(content.blob_size(&first).await.unwrap(), Some(LARGE as u64));
}
