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

/// Where a content is in memory, and its length.
type Place = (usize, usize);

/// The contents whose digest is known, by their place. They are kept here, so no other content can be at that place.
#[derive(Clone, Default)]
pub(crate) struct Contents(Arc<Mutex<HashMap<Place, (Bytes, Sha256)>>>);

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Contents of megabytes are of no use to a reader.
        write!(f, "Contents({})", lock(&self.0).len())
    }
}

/// A content whose digest is known until this is dropped.
pub(crate) struct Known {
    contents: Contents,
    place: Place,
}

fn place(content: &[u8]) -> Place {
    (content.as_ptr().addr(), content.len())
}

impl Contents {
    /// Notes the digest of a content. `hashed` must be of these bytes.
    pub fn know(&self, content: Bytes, hashed: Hashed) -> Known {
        let place = place(&content);
        lock(&self.0).insert(place, (content, hashed.sha256()));
        Known { contents: self.clone(), place }
    }

    fn find(&self, content: &[u8]) -> Option<(Bytes, Sha256)> {
        lock(&self.0).get(&place(content)).cloned()
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        lock(&self.contents.0).remove(&self.place);
    }
}

impl CryptoProvider for Contents {
    fn digest(&self, algorithm: DigestAlgorithm) -> object_store::Result<Box<dyn DigestContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => {
                Ok(Box::new(Content { contents: self.clone(), state: State::Nothing, digest: Vec::new() }))
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
struct Content {
    contents: Contents,
    state: State,
    digest: Vec<u8>,
}

enum State {
    Nothing,
    /// One piece has come, whose digest is known.
    Known(Bytes, Sha256),
    Hashing(digest::Context),
}

impl DigestContext for Content {
    fn update(&mut self, data: &[u8]) {
        let new = || digest::Context::new(&digest::SHA256);
        let mut context = match std::mem::replace(&mut self.state, State::Nothing) {
            State::Nothing => match self.contents.find(data) {
                Some((content, digest)) => {
                    self.state = State::Known(content, digest);
                    return;
                }
                None => new(),
            },
            State::Known(before, _) => {
                let mut context = new();
                context.update(&before);
                context
            }
            State::Hashing(context) => context,
        };
        context.update(data);
        self.state = State::Hashing(context);
    }

    fn finish(&mut self) -> object_store::Result<&[u8]> {
        self.digest = match std::mem::replace(&mut self.state, State::Nothing) {
            State::Known(_, digest) => digest.0.to_vec(),
            State::Nothing => digest::digest(&digest::SHA256, &[]).as_ref().to_vec(),
            State::Hashing(context) => context.finish().as_ref().to_vec(),
        };
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
            pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..200), any::<bool>()), 0..4),
        ) {
            let contents = Contents::default();
            let pieces: Vec<(Bytes, bool)> = pieces.into_iter().map(|(bytes, known)| (bytes.into(), known)).collect();
            let known = pieces.iter().filter(|(_, known)| *known);
            let known: Vec<Known> = known.map(|(bytes, _)| contents.know(bytes.clone(), hashed(bytes))).collect();
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
        let known = contents.know(content.clone(), other);
        assert_eq!(digest_of(&contents, std::slice::from_ref(&content)), other.sha256().0);
        let right = sha2::Sha256::digest(&content).to_vec();
        assert_eq!(digest_of(&contents, &[Bytes::copy_from_slice(&content)]), right, "other memory");
        assert_eq!(digest_of(&contents, &[content.slice(..999), content.slice(999..)]), right, "pieces of it");
        drop(known);
        assert_eq!(digest_of(&contents, &[content]), right, "no longer known");
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
