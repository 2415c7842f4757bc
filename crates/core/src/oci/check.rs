//! Reads a whole layer: the digest of its file, the digest of the layer, and whether the layer contains anything else.
//! The session decides what that means.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::contents::Placed;
use super::hashes::Hashes;
use super::layout::Form;
use super::{Content, OciError};
use crate::hashing::Lanes;
use crate::model::{Hashed, OciDigest};

/// The result of reading a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerRead {
    /// The digest of the file.
    pub file: Hashed,
    /// The digest of the whole layer.
    pub layer: OciDigest,
    /// Whether the layer is exactly this one file under its name. If so, unpacking the layer gives the checked file.
    pub framed: bool,
}

/// How far a layer was read.
struct Reading {
    placed: Placed,
    hashes: Hashes,
    at: u64,
    framed: bool,
}

impl Reading {
    fn new(placed: Placed, lanes: &Arc<Lanes>) -> Self {
        let hashes = Hashes::new(&placed.form, placed.file.digest, placed.file.size, lanes);
        Reading { placed, hashes, at: 0, framed: true }
    }

    /// Takes the next bytes.
    async fn add(mut self, bytes: Bytes) -> Self {
        let head = self.placed.form.at();
        let end = head + self.placed.file.size;
        // How many of these bytes are before an offset of the layer.
        let before = |place: u64| usize::try_from(place.saturating_sub(self.at)).unwrap_or(usize::MAX).min(bytes.len());
        let (content, tail) = (before(head), before(end));
        if let Form::Tar(framing) = &self.placed.form {
            let from = usize::try_from(self.at).unwrap_or(usize::MAX);
            let expected = framing.head.get(from..).unwrap_or_default();
            self.framed &= expected.get(..content).is_some_and(|expected| *expected == bytes[..content]);
        }
        self.framed &= bytes[tail..].iter().all(|byte| *byte == 0);
        self.at += bytes.len() as u64;
        Reading { hashes: self.hashes.add(bytes, content..tail).await, ..self }
    }

    async fn finish(self) -> LayerRead {
        let (file, layer) = self.hashes.finish().await;
        LayerRead { file, layer, framed: self.framed }
    }
}

/// Reads a layer to its end. `seen` gets the length of each piece.
///
/// # Errors
/// If the layer cannot be read, or has the wrong length.
pub(crate) async fn read_layer(
    content: &dyn Content,
    placed: &Placed,
    lanes: &Arc<Lanes>,
    seen: impl Fn(u64),
) -> Result<LayerRead, OciError> {
    let size = placed.layer_size();
    let mut reading = Reading::new(placed.clone(), lanes);
    if size > 0 {
        let mut stream = content.open_blob(&placed.layer, 0..size).await?;
        while let Some(bytes) = stream.next().await {
            let bytes = bytes?;
            seen(bytes.len() as u64);
            reading = reading.add(bytes).await;
        }
    }
    if reading.at != size {
        let why = format!("expected {size} bytes, got {}", reading.at);
        let place = format!("{}@{}", content.shown(), placed.layer);
        return Err(OciError::Failed { place, why, again: true, after: None });
    }
    Ok(reading.finish().await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::LockedFile;
    use crate::model::Hasher;
    use crate::oci::{OciLayout, zeros};

    fn placed(content: &[u8], layout: OciLayout) -> (Placed, Vec<u8>) {
        let mut hasher = Hasher::sha256();
        hasher.update(content);
        let file = LockedFile {
            path: "a/config.json".parse().unwrap(),
            size: content.len() as u64,
            digest: hasher.finish().digest(),
            xet_hash: None,
        };
        let form = Form::new(layout, &file.path, file.size).unwrap();
        let mut layer = Vec::new();
        if let Form::Tar(framing) = &form {
            layer.extend_from_slice(&framing.head);
            layer.extend_from_slice(content);
            layer.extend(zeros(framing.tail));
        } else {
            layer.extend_from_slice(content);
        }
        (Placed { file, layer: OciDigest::of(&layer), form }, layer)
    }

    async fn read(placed: &Placed, layer: &[u8], piece: usize) -> LayerRead {
        let mut reading = Reading::new(placed.clone(), &Arc::default());
        for bytes in layer.chunks(piece) {
            reading = reading.add(Bytes::copy_from_slice(bytes)).await;
        }
        reading.finish().await
    }

    #[tokio::test]
    async fn a_layer_of_one_file_is_that_file_and_its_digest_however_it_is_cut() {
        for layout in [OciLayout::Image, OciLayout::ModelPack] {
            let (placed, layer) = placed(&[9; 1300], layout);
            for piece in [1, 7, 511, 512, 513, 4096] {
                let found = read(&placed, &layer, piece).await;
                assert_eq!(found.file.digest(), placed.file.digest);
                assert_eq!(found.layer, placed.layer);
                assert!(found.framed);
            }
        }
    }

    #[tokio::test]
    async fn any_other_byte_around_the_file_is_reported() {
        let (placed, layer) = placed(&[9; 1300], OciLayout::Image);
        for at in [0, 100, 511, 512 + 1300, layer.len() - 1] {
            let mut other = layer.clone();
            other[at] ^= 1;
            let found = read(&placed, &other, 700).await;
            assert!(!found.framed, "byte {at}");
            assert_eq!(found.file.digest(), placed.file.digest, "the file itself is right");
            assert_ne!(found.layer, placed.layer);
        }
        let mut other = layer;
        other[600] ^= 1;
        assert_ne!(read(&placed, &other, 700).await.file.digest(), placed.file.digest);
    }

    #[tokio::test]
    async fn a_changed_byte_of_a_raw_layer_changes_both_digests() {
        let (placed, mut layer) = placed(&[9; 1300], OciLayout::ModelPack);
        layer[600] ^= 1;
        let found = read(&placed, &layer, 700).await;
        assert_eq!(found.layer, OciDigest::of(&layer));
        assert_ne!(found.file.digest(), placed.file.digest);
        assert_ne!(found.layer, placed.layer);
    }
}
