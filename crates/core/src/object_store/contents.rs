//! Digests for the signatures of requests to S3. A signature contains the SHA-256 of the request's content, which the library
//! computes by itself, one content at a time. Here it gets a digest that was computed before, beside another one. A content
//! whose digest is not known is hashed as usual.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use object_store::client::{CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm};

use crate::model::{Hashed, Sha256};
use crate::mutex::lock;

/// Where a piece is in memory, and its length.
type Place = (usize, usize);

/// The contents whose digest is known, by the place of their first piece. They are kept here, so no other content can be at
/// that place.
#[derive(Clone, Default)]
pub(crate) struct Contents(Arc<Mutex<HashMap<Place, Arc<Content>>>>);

/// A content in the pieces in which the library gets it, and its digest.
struct Content {
    pieces: Vec<Bytes>,
    digest: Sha256,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Contents of megabytes are of no use to a reader.
        write!(f, "Contents({})", lock(&self.0).len())
    }
}

/// A content whose digest is known until this is dropped.
pub(crate) struct Known {
    contents: Contents,
    /// `None` for a content without bytes.
    place: Option<Place>,
}

fn place(piece: &[u8]) -> Place {
    (piece.as_ptr().addr(), piece.len())
}

impl Contents {
    /// Notes the digest of a content. `hashed` must be of these bytes.
    pub fn know(&self, pieces: Vec<Bytes>, hashed: Hashed) -> Known {
        let place = pieces.first().map(|first| place(first));
        if let Some(place) = place {
            lock(&self.0).insert(place, Arc::new(Content { pieces, digest: hashed.sha256() }));
        }
        Known { contents: self.clone(), place }
    }

    fn find(&self, first: &[u8]) -> Option<Arc<Content>> {
        lock(&self.0).get(&place(first)).cloned()
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            lock(&self.contents.0).remove(&place);
        }
    }
}

impl CryptoProvider for Contents {
    fn digest(&self, algorithm: DigestAlgorithm) -> object_store::Result<Box<dyn DigestContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => {
                Ok(Box::new(Digesting { contents: self.clone(), state: State::Nothing, digest: Vec::new() }))
            }
            _ => Err(unknown("digest")),
        }
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> object_store::Result<Box<dyn HmacContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                Ok(Box::new(Mac { context: hmac::Context::with_key(&key), tag: None }))
            }
            _ => Err(unknown("HMAC")),
        }
    }

    /// S3 has no such signatures.
    fn sign(&self, _: SigningAlgorithm, _: &[u8]) -> object_store::Result<Box<dyn Signer>> {
        Err(unknown("signature"))
    }
}

fn unknown(what: &str) -> object_store::Error {
    object_store::Error::NotSupported { source: format!("no {what} of this kind is needed for S3").into() }
}

/// A content that the library wants the digest of.
struct Digesting {
    contents: Contents,
    state: State,
    digest: Vec<u8>,
}

enum State {
    Nothing,
    /// As many pieces of this content have come, and nothing else.
    Known(Arc<Content>, usize),
    Hashing(digest::Context),
}

/// Hashes pieces that did not go on as expected.
fn hash(pieces: &[Bytes]) -> digest::Context {
    let mut context = digest::Context::new(&digest::SHA256);
    for piece in pieces {
        context.update(piece);
    }
    context
}

impl DigestContext for Digesting {
    fn update(&mut self, data: &[u8]) {
        let mut context = match std::mem::replace(&mut self.state, State::Nothing) {
            State::Nothing => match self.contents.find(data) {
                Some(content) => {
                    self.state = State::Known(content, 1);
                    return;
                }
                None => hash(&[]),
            },
            State::Known(content, n) => {
                if content.pieces.get(n).is_some_and(|piece| place(piece) == place(data)) {
                    self.state = State::Known(content, n + 1);
                    return;
                }
                hash(&content.pieces[..n])
            }
            State::Hashing(context) => context,
        };
        context.update(data);
        self.state = State::Hashing(context);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        let context = match std::mem::replace(&mut self.state, State::Nothing) {
            State::Known(content, n) if n == content.pieces.len() => {
                self.digest = content.digest.0.to_vec();
                return Ok(&self.digest);
            }
            State::Known(content, n) => hash(&content.pieces[..n]),
            State::Nothing => hash(&[]),
            State::Hashing(context) => context,
        };
        self.digest = context.finish().as_ref().to_vec();
        Ok(&self.digest)
    }
}

struct Mac {
    context: hmac::Context,
    tag: Option<hmac::Tag>,
}

impl HmacContext for Mac {
    fn update(&mut self, data: &[u8]) {
        self.context.update(data);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        let tag: &hmac::Tag = self.tag.insert(self.context.clone().sign());
        Ok(tag.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest as _;

    use super::*;
    use crate::object_store::tests::hashed;

    fn digest_of(contents: &Contents, pieces: &[Bytes]) -> Vec<u8> {
        let mut context = contents.digest(DigestAlgorithm::Sha256).unwrap();
        for piece in pieces {
            context.update(piece);
        }
        context.finish().unwrap().to_vec()
    }

    proptest! {
        #[test]
        fn a_digest_is_that_of_the_whole_content_whatever_is_known_of_its_pieces(
            pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..200), any::<bool>()), 0..6),
        ) {
            let contents = Contents::default();
            let pieces: Vec<(Bytes, bool)> = pieces.into_iter().map(|(bytes, known)| (bytes.into(), known)).collect();
            // Each run of pieces that are marked is a content that is known.
            let runs = pieces.chunk_by(|(_, a), (_, b)| a == b).filter(|run| run[0].1);
            let runs = runs.map(|run| run.iter().map(|(bytes, _)| bytes.clone()).collect::<Vec<_>>());
            let known: Vec<Known> = runs.map(|run| contents.know(run.clone(), hashed(&run.concat()))).collect();
            let all: Vec<Bytes> = pieces.into_iter().map(|(bytes, _)| bytes).collect();
            prop_assert_eq!(digest_of(&contents, &all), sha2::Sha256::digest(all.concat()).to_vec());
            drop(known);
            prop_assert!(lock(&contents.0).is_empty());
        }
    }

    #[test]
    fn a_known_digest_is_taken_for_the_same_memory_and_for_no_other() {
        let contents = Contents::default();
        let content = Bytes::from(vec![7; 1000]);
        // A digest of something else shows where it comes from.
        let other = hashed(b"other");
        let pieces = [content.slice(..400), content.slice(400..)];
        let known = contents.know(pieces.to_vec(), other);
        assert_eq!(digest_of(&contents, &pieces), other.sha256().0);
        let right = sha2::Sha256::digest(&content).to_vec();
        assert_eq!(digest_of(&contents, &[Bytes::copy_from_slice(&content)]), right, "other memory");
        assert_eq!(digest_of(&contents, std::slice::from_ref(&content)), right, "in one piece");
        assert_eq!(
            digest_of(&contents, &[content.slice(..400), content.slice(400..999), content.slice(999..)]),
            right,
            "in others"
        );
        assert_eq!(
            digest_of(&contents, &pieces[..1]),
            sha2::Sha256::digest(&content[..400]).to_vec(),
            "only the first"
        );
        let more = [&pieces[..], &pieces[..1]].concat();
        assert_eq!(digest_of(&contents, &more), sha2::Sha256::digest(more.concat()).to_vec(), "more than it");
        drop(known);
        assert_eq!(digest_of(&contents, &pieces), right, "no longer known");
    }

    /// RFC 4231, 4.3.
    #[test]
    fn an_hmac_is_that_of_the_standard() {
        let mut mac = Contents::default().hmac(DigestAlgorithm::Sha256, b"Jefe").unwrap();
        mac.update(b"what do ya want ");
        mac.update(b"for nothing?");
        let tag = Sha256(mac.finish().unwrap().try_into().unwrap());
        assert_eq!(tag.to_string(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
