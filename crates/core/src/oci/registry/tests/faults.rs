//! Pushes blobs into a registry with a fault. Each fault is overcome or reported, and its twin without the fault
//! stays silent.

use std::time::Instant;

use hfget_loopback_registry::{Chunks, Fault, Kind, Location, Options, Place};

use super::*;
use crate::finding::ErrorKind;

/// Pushes a large blob each way, and checks that it arrived.
async fn arrives(registry: &Registry) {
    for (number, way) in WAYS.into_iter().enumerate() {
        let content = bytes(LARGE + number);
        let digest = push(&*open(registry), way, &content).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
        assert_eq!(registry.blob("acme/m", &digest.to_string()), Some(content), "{way:?}");
    }
}

fn bodies(registry: &Registry, method: &str) -> Vec<hfget_loopback_registry::Request> {
    registry.requests().into_iter().filter(|request| request.method == method).collect()
}

#[tokio::test]
async fn a_blob_of_known_digest_goes_in_one_put_with_its_length_and_another_in_one_patch() {
    let registry = Registry::start();
    arrives(&registry).await;
    let puts: Vec<_> = bodies(&registry, "PUT").iter().map(|put| put.length).collect();
    assert_eq!(puts, [Some(LARGE as u64), Some(LARGE as u64 + 1), Some(0)]);
    let patches = bodies(&registry, "PATCH");
    assert_eq!(patches.iter().map(|p| (p.length, p.content_range.clone())).collect::<Vec<_>>(), [(None, None)]);
    assert_eq!(registry.bytes_taken(), 3 * LARGE as u64 + 3, "no byte is sent twice");
    assert_eq!(registry.open_uploads(), 0);
}

#[tokio::test]
async fn registries_that_refuse_lose_or_limit_parts_get_whole_blobs() {
    for chunks in [Chunks::Refused, Chunks::Lost, Chunks::AtMost(4 << 20)] {
        let registry = Registry::with(Options { chunks, ..Options::default() });
        arrives(&registry).await;
        assert_eq!(registry.bytes_taken(), 3 * LARGE as u64 + 3, "{chunks:?}");
    }
}

#[tokio::test]
async fn a_location_may_be_a_path_or_on_another_host() {
    for location in [Location::Relative, Location::Foreign] {
        let registry = Registry::with(Options { location, ..Options::default() });
        arrives(&registry).await;
        let away = bodies(&registry, "PUT").iter().all(|put| put.away);
        assert_eq!(away, location == Location::Foreign);
    }
}

#[tokio::test]
async fn temporary_faults_are_retried() {
    for (place, kind) in [
        (Place::Begin, Kind::Status(503, vec![])),
        (Place::Begin, Kind::Status(429, vec![("retry-after", "0".into())])),
        (Place::Put, Kind::Status(429, vec![])),
        (Place::Put, Kind::Status(500, vec![])),
        (Place::Patch, Kind::Status(502, vec![])),
        (Place::BlobHead, Kind::Status(504, vec![])),
        (Place::Put, Kind::Cut(4 << 20)),
        (Place::Patch, Kind::Cut(4 << 20)),
        (Place::Patch, Kind::Lose(4 << 20)),
        (Place::Put, Kind::Stall(4 << 20)),
        (Place::Patch, Kind::Stall(4 << 20)),
        (Place::Put, Kind::SessionLost),
        (Place::Patch, Kind::SessionLost),
        (Place::Put, Kind::DigestRefused),
        (Place::Put, Kind::CorruptByte(77)),
        (Place::Put, Kind::NotKept),
    ] {
        let registry = Registry::start();
        // The empty PUT after a PATCH has no bytes to cut.
        registry.fault(Fault::new(place, kind.clone()).times(2));
        eprintln!("{place:?} {kind:?}");
        arrives(&registry).await;
    }
}

#[tokio::test]
async fn lasting_faults_are_reported_in_the_registrys_words_without_signatures_of_urls() {
    for (place, kind, way, word, of) in [
        (Place::Begin, Kind::Status(403, vec![]), Way::Whole, "access is refused", ErrorKind::NotAvailable),
        (Place::Begin, Kind::Status(404, vec![]), Way::Before, "does not exist", ErrorKind::NotAvailable),
        (Place::Put, Kind::DigestRefused, Way::Before, "DIGEST_INVALID: provided digest", ErrorKind::Network),
        (Place::Put, Kind::NotKept, Way::After, "the registry accepted the blob", ErrorKind::Network),
        (Place::Patch, Kind::Status(405, vec![]), Way::After, "405", ErrorKind::Network),
        (Place::Put, Kind::Status(503, vec![]), Way::Before, "503", ErrorKind::Network),
        (Place::Put, Kind::Cut(1 << 20), Way::Before, "the connection broke", ErrorKind::Network),
        (
            Place::Put,
            Kind::Status(307, vec![("location", "http://127.0.0.2/x?s=secret".into())]),
            Way::Before,
            "redirects",
            ErrorKind::Network,
        ),
    ] {
        let registry = Registry::start();
        registry.fault(Fault::new(place, kind.clone()));
        let content = open(&registry);
        let error = push(&*content, way, &bytes(LARGE)).await.expect_err("a fault that stays");
        assert!(error.to_string().contains(word) && !error.to_string().contains("secret"), "{kind:?}: {error}");
        assert_eq!(error.kind(), of, "{kind:?}: {error}");
        assert_eq!(registry.blobs("acme/m"), Vec::<String>::new(), "no part of it is visible");
    }
}

#[tokio::test]
async fn a_proxy_that_refuses_large_requests_is_named_as_the_reason() {
    let registry = Registry::with(Options { most: 1 << 20, ..Options::default() });
    let error = push(&*open(&registry), Way::Before, &bytes(LARGE)).await.unwrap_err();
    assert!(error.to_string().contains("refuses requests of this size (413)"), "{error}");
    push(&*open(&registry), Way::Before, &bytes(1 << 20)).await.expect("a smaller one is accepted");
}

#[tokio::test]
async fn a_registry_that_stays_down_is_given_up_and_one_that_comes_back_is_not() {
    let registry = Registry::start();
    registry.down(true);
    let began = Instant::now();
    let error = open(&registry).blob_size(&OciDigest::of(b"x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert!(began.elapsed() >= Duration::from_secs(1), "it was tried for a while");
    let content = open(&registry);
    let back = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        registry.down(false);
    };
    let digest = OciDigest::of(b"x");
    let (size, ()) = tokio::join!(content.blob_size(&digest), back);
    assert_eq!(size.unwrap(), None);
}

#[tokio::test]
async fn an_error_of_the_stream_ends_the_push_with_that_error_and_leaves_no_blob() {
    let registry = Registry::start();
    let content = open(&registry);
    for after in [false, true] {
        let all = bytes(LARGE);
        let stopped = stream::once(async { Err(OciError::Stopped) });
        let stream = pieces(&all.slice(..LARGE / 2)).chain(stopped).boxed();
        let digest = if after { PushDigest::After(Arc::default()) } else { PushDigest::Before(OciDigest::of(&all)) };
        let push = Push { size: LARGE as u64, digest, number: None, body: Body::Stream(stream) };
        let error = content.push_blob(push).await.unwrap_err();
        assert!(matches!(error, OciError::Stopped), "{error}");
    }
    assert_eq!(registry.blobs("acme/m"), Vec::<String>::new());
}

#[tokio::test]
async fn a_stream_of_another_length_is_an_error_and_no_blob() {
    let registry = Registry::start();
    let content = open(&registry);
    let all = bytes(LARGE);
    for (size, after) in [(LARGE + 1, false), (LARGE - 1, false), (LARGE + 1, true), (LARGE - 1, true)] {
        let digest = if after { PushDigest::After(Arc::default()) } else { PushDigest::Before(OciDigest::of(&all)) };
        let push = Push { size: size as u64, digest, number: None, body: Body::Stream(pieces(&all)) };
        let error = content.push_blob(push).await.unwrap_err();
        assert!(matches!(error, OciError::Invalid { .. }), "{size} {after}: {error}");
    }
    assert_eq!(registry.blobs("acme/m"), Vec::<String>::new());
}

#[tokio::test]
async fn waiting_for_the_hub_is_not_taken_for_a_registry_that_stalls() {
    let registry = Registry::start();
    let content = open(&registry);
    for way in [Way::Before, Way::After] {
        let all = bytes(LARGE);
        let slow = |stream: Blobstream| {
            let pause = stream::once(async {
                tokio::time::sleep(Duration::from_millis(1200)).await;
                Ok(Bytes::new())
            });
            pieces(&all.slice(..LARGE / 2)).chain(pause).chain(stream).boxed()
        };
        let cell = Arc::new(OnceLock::new());
        let digest = OciDigest::of(&all);
        cell.set(digest).unwrap();
        let body = Body::Stream(slow(pieces(&all.slice(LARGE / 2..))));
        let known = if way == Way::Before { PushDigest::Before(digest) } else { PushDigest::After(cell) };
        let push = Push { size: LARGE as u64, digest: known, number: None, body };
        assert_eq!(content.push_blob(push).await.unwrap(), digest, "{way:?}");
        assert_eq!(registry.blob("acme/m", &digest.to_string()), Some(all.clone()));
        registry.remove_blob("acme/m", &digest.to_string());
    }
    assert_eq!(bodies(&registry, "POST").len(), 2, "one upload for each");
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted_without_its_bytes_where_the_registry_can() {
    let registry = Registry::start();
    let digest: OciDigest = registry.put_blob("acme/base", "layer").parse().unwrap();
    let content = open(&registry);
    assert!(content.mount(&digest, "acme/base").await.unwrap());
    assert!(registry.blob("acme/m", &digest.to_string()).is_some());
    assert_eq!(registry.bytes_taken(), 0);
    let other = OciDigest::of(b"other");
    assert!(!content.mount(&other, "acme/base").await.unwrap(), "a blob that does not exist cannot be mounted");
    registry.change(|options| options.mounts = false);
    registry.remove_blob("acme/m", &digest.to_string());
    assert!(!content.mount(&digest, "acme/base").await.unwrap());
}
