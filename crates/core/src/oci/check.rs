//! Reads a whole layer: the digest of its file, the digest of the layer, and whether the layer contains anything else.
//! The session decides what that means.

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::contents::Placed;
use super::layout::Form;
use super::{Content, OciError};
use crate::model::{Digest, Hashed, Hasher, OciDigest};

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
    file: Hasher,
    layer: Option<Hasher>,
    at: u64,
    framed: bool,
}

impl Reading {
    fn new(placed: Placed) -> Self {
        let file = placed.file.digest.hasher(placed.file.size);
        // A raw layer is the file itself, so an LFS file's digest is also the layer's.
        let same = placed.form == Form::Raw && matches!(placed.file.digest, Digest::Sha256(_));
        Reading { placed, file, layer: (!same).then(Hasher::sha256), at: 0, framed: true }
    }

    /// Takes the next bytes.
    fn add(&mut self, bytes: &[u8]) {
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
        let file = &bytes[content..tail];
        match &mut self.layer {
            Some(layer) => {
                layer.update(&bytes[..content]);
                Hasher::update_two(&mut self.file, file, layer, file);
                layer.update(&bytes[tail..]);
            }
            None => self.file.update(file),
        }
        self.at += bytes.len() as u64;
    }

    fn finish(self) -> LayerRead {
        let file = self.file.finish();
        let layer = self.layer.map_or(file, Hasher::finish).digest();
        let layer = match layer {
            Digest::Sha256(digest) => OciDigest(digest),
            Digest::GitBlob(_) => unreachable!("a layer that is hashed by a file's hasher is one of SHA-256"),
        };
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
    seen: impl Fn(u64),
) -> Result<LayerRead, OciError> {
    let mut reading = Reading::new(placed.clone());
    let size = placed.layer_size();
    if size > 0 {
        let mut stream = content.open_blob(&placed.layer, 0..size).await?;
        while let Some(bytes) = stream.next().await {
            let bytes = bytes?;
            seen(bytes.len() as u64);
            reading = add(reading, bytes).await;
        }
    }
    if reading.at != size {
        let why = format!("expected {size} bytes, got {}", reading.at);
        let place = format!("{}@{}", content.shown(), placed.layer);
        return Err(OciError::Failed { place, why, again: true, after: None });
    }
    Ok(reading.finish())
}

/// Hashes on a thread for blocking work.
async fn add(mut reading: Reading, bytes: Bytes) -> Reading {
    let work = move || {
        reading.add(&bytes);
        reading
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::LockedFile;
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

    fn read(placed: &Placed, layer: &[u8], piece: usize) -> LayerRead {
        let mut reading = Reading::new(placed.clone());
        layer.chunks(piece).for_each(|bytes| reading.add(bytes));
        reading.finish()
    }

    #[test]
    fn a_layer_of_one_file_is_that_file_and_its_digest_however_it_is_cut() {
        for layout in [OciLayout::Image, OciLayout::ModelPack] {
            let (placed, layer) = placed(&[9; 1300], layout);
            for piece in [1, 7, 511, 512, 513, 4096] {
                let found = read(&placed, &layer, piece);
                assert_eq!(found.file.digest(), placed.file.digest);
                assert_eq!(found.layer, placed.layer);
                assert!(found.framed);
            }
        }
    }

    #[test]
    fn any_other_byte_around_the_file_is_reported() {
        let (placed, layer) = placed(&[9; 1300], OciLayout::Image);
        for at in [0, 100, 511, 512 + 1300, layer.len() - 1] {
            let mut other = layer.clone();
            other[at] ^= 1;
            let found = read(&placed, &other, 700);
            assert!(!found.framed, "byte {at}");
            assert_eq!(found.file.digest(), placed.file.digest, "the file itself is right");
            assert_ne!(found.layer, placed.layer);
        }
        let mut other = layer;
        other[600] ^= 1;
        assert_ne!(read(&placed, &other, 700).file.digest(), placed.file.digest);
    }
}
