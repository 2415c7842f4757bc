//! Manifests and their referrers: bytes, sizes and digests are checked, whatever the registry says.

use hfget_loopback_registry::{Fault, Kind, Options, Place};

use super::*;
use crate::oci::{Descriptor, INDEX, Index, MANIFEST, Manifest};

/// A manifest of one layer that exists; the stated size differs from the real one by `off`.
fn manifest(registry: &Registry, off: i64, subject: Option<Descriptor>, artifact_type: Option<&str>) -> Bytes {
    let described = |content: &'static str, kind: &str| {
        let digest = registry.put_blob("acme/m", content).parse().unwrap();
        Descriptor::new(kind, digest, content.len() as u64)
    };
    let mut layer = described("layer", "application/vnd.oci.image.layer.v1.tar");
    layer.size = layer.size.checked_add_signed(off).unwrap();
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        artifact_type: artifact_type.map(str::to_owned),
        config: described("{}", "application/vnd.oci.image.config.v1+json"),
        layers: vec![layer],
        subject,
        annotations: std::collections::BTreeMap::default(),
    };
    serde_json::to_vec(&manifest).unwrap().into()
}

#[tokio::test]
async fn a_manifest_comes_back_unchanged_by_tag_and_by_digest() {
    let registry = Registry::start();
    let content = open(&registry);
    let text = manifest(&registry, 0, None, None);
    let digest = OciDigest::of(&text);
    assert!(content.manifest(&tag("main")).await.unwrap().is_none());
    assert_eq!(content.push_manifest(&tag("main"), MANIFEST, text.clone()).await.unwrap(), digest);
    for name in [tag("main"), ManifestName::Digest(digest)] {
        let got = content.manifest(&name).await.unwrap().unwrap();
        assert_eq!((got.media_type.as_str(), &got.bytes, got.digest), (MANIFEST, &text, digest));
    }
    let other = ManifestName::Digest(OciDigest::of(b"other"));
    assert!(content.manifest(&other).await.unwrap().is_none());
    let error = content.push_manifest(&other, MANIFEST, text).await.unwrap_err();
    assert!(matches!(error, OciError::WrongDigest { .. }), "{error}");
}

#[tokio::test]
async fn a_manifest_with_a_wrong_size_or_a_missing_layer_is_not_sent_though_the_registry_would_accept_it() {
    let registry = Registry::start();
    let content = open(&registry);
    for off in [1, -1] {
        let text = manifest(&registry, off, None, None);
        let error = content.push_manifest(&tag("main"), MANIFEST, text.clone()).await.unwrap_err();
        assert!(error.to_string().contains("it has 5 bytes, but the manifest states"), "{error}");
        let error = content.push_referrer(&OciDigest::of(b"x"), MANIFEST, text).await.unwrap_err();
        assert!(matches!(error, OciError::Invalid { .. }), "{error}");
    }
    let text = manifest(&registry, 0, None, None);
    registry.remove_blob("acme/m", &OciDigest::of(b"layer").to_string());
    let error = open(&registry).push_manifest(&tag("main"), MANIFEST, text).await.unwrap_err();
    assert!(matches!(error, OciError::NotFound { .. }), "{error}");
    assert!(registry.tags("acme/m").is_empty(), "no tag was moved");
}

#[tokio::test]
async fn a_manifest_of_another_digest_or_type_than_stated_is_refused() {
    let registry = Registry::start();
    let content = open(&registry);
    let text = manifest(&registry, 0, None, None);
    let digest = content.push_manifest(&tag("main"), MANIFEST, text.clone()).await.unwrap();
    for name in [tag("main"), ManifestName::Digest(digest)] {
        registry.fault(Fault::new(Place::ManifestGet, Kind::CorruptByte(20)).times(1));
        let error = content.manifest(&name).await.unwrap_err();
        assert!(matches!(error, OciError::WrongDigest { .. }), "{name}: {error}");
        assert!(content.manifest(&name).await.unwrap().is_some(), "{name}: and the next one is valid");
    }
    for (body, word) in [
        ("<html>welcome", "not a manifest"),
        (r#"{"mediaType":"application/vnd.oci.image.index.v1+json"}"#, "but the manifest states"),
    ] {
        registry.fault(Fault::new(Place::ManifestGet, Kind::Body(body.to_owned())).times(1));
        let error = content.manifest(&tag("main")).await.unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(5 << 20));
    registry.fault(Fault::new(Place::ManifestGet, Kind::Body(large.clone())).times(1));
    let error = content.manifest(&tag("main")).await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    let error = content.push_manifest(&tag("main"), MANIFEST, large.into()).await.unwrap_err();
    assert!(error.to_string().contains("registries accept"), "{error}");
}

#[tokio::test]
async fn referrers_are_found_with_the_registrys_list_and_without() {
    const KIND: &str = "application/vnd.hfget.lock.v1";
    for referrers in [true, false] {
        let registry = Registry::with(Options { referrers, ..Options::default() });
        let content = open(&registry);
        let image = manifest(&registry, 0, None, None);
        let subject = content.push_manifest(&tag("main"), MANIFEST, image.clone()).await.unwrap();
        assert_eq!(content.referrers(&subject, KIND).await.unwrap(), []);
        let whole = Descriptor::new(MANIFEST, subject, image.len() as u64);
        let lock = manifest(&registry, 0, Some(whole.clone()), Some(KIND));
        let other = manifest(&registry, 0, Some(whole), Some("application/vnd.other"));
        let digest = content.push_referrer(&subject, MANIFEST, lock.clone()).await.unwrap();
        content.push_referrer(&subject, MANIFEST, other).await.unwrap();
        // Again, like a second run.
        content.push_referrer(&subject, MANIFEST, lock.clone()).await.unwrap();
        let found = content.referrers(&subject, KIND).await.unwrap();
        assert_eq!(found.iter().map(|one| (one.digest, one.size)).collect::<Vec<_>>(), [(digest, lock.len() as u64)]);
        let fallback = registry.manifest("acme/m", &format!("sha256-{}", subject.hex()));
        assert_eq!(fallback.is_some(), !referrers);
        if let Some((kind, text)) = fallback {
            assert_eq!(kind, INDEX);
            let index: Index = serde_json::from_slice(&text).unwrap();
            assert_eq!(index.manifests.len(), 2, "other programs' entries stay");
        }
    }
}
