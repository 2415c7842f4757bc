//! Blobs from a registry: ranges, reads that break off, and bytes with another digest.

use hfget_loopback_registry::{Fault, Kind, Options, Place};

use super::*;
use crate::oci::{Descriptor, small};

const SIZE: u64 = 5_000_000;

fn registry_with(options: Options) -> (Registry, Bytes, OciDigest) {
    let registry = Registry::with(options);
    let all = bytes(usize::try_from(SIZE).unwrap());
    let digest = registry.put_blob("acme/m", all.clone()).parse().unwrap();
    (registry, all, digest)
}

#[tokio::test]
async fn a_range_is_that_range_whether_or_not_the_registry_gives_parts() {
    for (ranges, blobs_elsewhere) in [(true, false), (false, false), (true, true), (false, true)] {
        let (registry, all, digest) = registry_with(Options { ranges, blobs_elsewhere, ..Options::default() });
        let content = open(&registry);
        assert_eq!(content.blob_size(&digest).await.unwrap(), Some(SIZE));
        assert_eq!(content.blob_size(&OciDigest::of(b"other")).await.unwrap(), None);
        for range in [0..SIZE, 0..1, 1..2, 1_000_000..1_000_001, SIZE - 1..SIZE, 70_000..4_000_000, 5..5] {
            let (start, end) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
            let got = read(&*content, &digest, range.clone()).await.unwrap();
            assert_eq!(got, all.slice(start..end), "{range:?} {ranges} {blobs_elsewhere}");
        }
        let error = read(&*content, &digest, 0..SIZE + 1).await.unwrap_err();
        assert!(matches!(error, OciError::Invalid { .. }), "{error}");
        let error = read(&*content, &OciDigest::of(b"other"), 0..1).await.unwrap_err();
        assert!(matches!(error, OciError::NotFound { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_read_that_breaks_off_continues_at_the_same_byte() {
    for kind in [Kind::Cut(1_500_000), Kind::Stall(1_500_000), Kind::Cut(0), Kind::Status(503, vec![])] {
        for ranges in [true, false] {
            let (registry, all, digest) = registry_with(Options { ranges, ..Options::default() });
            registry.fault(Fault::new(Place::BlobGet, kind.clone()).times(2));
            let content = open(&registry);
            assert_eq!(read(&*content, &digest, 0..SIZE).await.unwrap(), all, "{kind:?} {ranges}");
        }
    }
    let (registry, _, digest) = registry_with(Options::default());
    registry.fault(Fault::new(Place::BlobGet, Kind::Status(503, vec![])));
    let error = read(&*open(&registry), &digest, 0..SIZE).await.unwrap_err();
    assert_eq!(error.kind(), crate::finding::ErrorKind::Network, "{error}");
}

#[tokio::test]
async fn a_small_blob_with_another_digest_is_refused() {
    for ranges in [true, false] {
        let (registry, all, digest) = registry_with(Options { ranges, ..Options::default() });
        registry.fault(Fault::new(Place::BlobGet, Kind::CorruptByte(4_999_999)).times(1));
        let (content, blob) = (open(&registry), Descriptor::new("text/plain", digest, SIZE));
        let error = small(&*content, &blob, SIZE).await.unwrap_err();
        assert!(matches!(error, OciError::WrongDigest { .. }), "{error:?}");
        assert_eq!(small(&*content, &blob, SIZE).await.unwrap(), all, "and the intact one is read");
    }
}
