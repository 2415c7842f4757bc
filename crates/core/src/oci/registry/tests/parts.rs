//! Parts: a registry that takes whole blobs gets none; an upload resumes at the byte that the registry states; a
//! registry that loses parts gets whole blobs.

use hfget_loopback_registry::{Chunks, Fault, Kind, Options, Place};

use super::*;

/// The size of three parts.
const THREE: usize = 20 << 20;

/// Breaks off the first whole blob, so that parts are tried.
fn breaking(options: Options) -> Registry {
    let registry = Registry::with(options);
    for place in [Place::Put, Place::Patch] {
        registry.fault(Fault::new(place, Kind::Cut(12 << 20)).above(13 << 20).times(1));
    }
    registry
}

fn parts(registry: &Registry) -> Vec<String> {
    registry.requests().into_iter().filter_map(|request| request.content_range).collect()
}

async fn arrives(registry: &Registry, content: &dyn Content, way: Way) {
    let all = bytes(THREE);
    let digest = push(content, way, &all).await.unwrap_or_else(|e| panic!("{way:?}: {e}"));
    assert_eq!(registry.blob("acme/m", &digest.to_string()), Some(all), "{way:?}");
}

#[tokio::test]
async fn a_registry_that_breaks_off_a_whole_blob_gets_the_next_one_in_parts() {
    for way in [Way::Before, Way::After] {
        let registry = breaking(Options::default());
        let content = open(&registry);
        arrives(&registry, &*content, way).await;
        assert_eq!(parts(&registry), ["0-8388607", "8388608-16777215", "16777216-20971519"], "{way:?}");
    }
}

#[tokio::test]
async fn a_registry_that_wants_larger_parts_gets_them() {
    let registry = breaking(Options { chunk_min: Some(10 << 20), ..Options::default() });
    arrives(&registry, &*open(&registry), Way::Before).await;
    assert_eq!(parts(&registry), ["0-10485759", "10485760-20971519"]);
}

#[tokio::test]
async fn bytes_that_the_registry_confirms_of_a_part_that_broke_off_are_not_sent_again() {
    let registry = breaking(Options::default());
    let content = open(&registry);
    // The second part: after the first, the registry is known to accept parts.
    registry.fault(Fault::new(Place::Patch, Kind::Cut(3 << 20)).skip(1).times(1));
    arrives(&registry, &*content, Way::Before).await;
    let sent = parts(&registry);
    assert_eq!(sent, ["0-8388607", "8388608-16777215", "11534336-16777215", "16777216-20971519"]);
    assert_eq!(registry.bytes_taken(), (12 << 20) + THREE as u64, "each byte once after the whole blob that broke off");
}

#[tokio::test]
async fn a_registry_that_refuses_loses_or_limits_parts_gets_whole_blobs_again() {
    for chunks in [Chunks::Refused, Chunks::Lost, Chunks::AtMost(4 << 20)] {
        for way in [Way::Before, Way::After] {
            let registry = breaking(Options { chunks, ..Options::default() });
            let content = open(&registry);
            arrives(&registry, &*content, way).await;
            assert_eq!(parts(&registry).len(), 1, "{chunks:?}: one part was tried");
            arrives(&registry, &*content, way).await;
            assert_eq!(parts(&registry).len(), 1, "{chunks:?}: and no more after that");
        }
    }
}

#[tokio::test]
async fn an_upload_that_is_lost_between_two_parts_begins_again() {
    let registry = breaking(Options::default());
    let content = open(&registry);
    registry.fault(Fault::new(Place::Patch, Kind::Lose(2 << 20)).skip(1).times(1));
    arrives(&registry, &*content, Way::Before).await;
}
