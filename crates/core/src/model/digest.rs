//! The two kinds of digest that the Hub gives for files, and a hasher for each. Other modules choose the files
//! to read, and see whether a file changed meanwhile.

use std::fmt;
use std::io;
use std::str::FromStr;

use sha1::Digest as _;

use super::sha256::Stream;
use crate::platform::PageBuffer;

/// How many bytes are read at once.
const BUFFER: usize = 1 << 20;

/// A SHA-256 of a file's content: the Hub's `lfs.oid`, and the `ETag` of an LFS file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

/// A git object id (SHA-1). For a regular file it is the digest of its content
/// (`blob <size>\0<content>`) and its `ETag`; for an LFS file it is the digest of the pointer file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitOid(pub [u8; 20]);

/// The digest that a file's bytes must have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    /// The digest of an LFS or Xet file.
    Sha256(Sha256),
    /// The digest of a regular git file.
    GitBlob(GitOid),
}

/// A text that is not the hexadecimal form of a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is not a {expected}-digit hexadecimal digest", crate::text::printable(.text))]
pub struct DigestError {
    text: String,
    expected: usize,
}

pub(super) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], DigestError> {
    let error = || DigestError { text: text.chars().take(100).collect(), expected: N * 2 };
    let raw = text.as_bytes();
    if raw.len() != N * 2 {
        return Err(error());
    }
    let nibble = |c: u8| (c as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = [0u8; N];
    for (byte, pair) in out.iter_mut().zip(raw.chunks_exact(2)) {
        let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
            return Err(error());
        };
        *byte = high << 4 | low;
    }
    Ok(out)
}

pub(super) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

macro_rules! hex_newtype {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = DigestError;
            fn from_str(text: &str) -> Result<Self, DigestError> {
                crate::model::digest::parse_hex(text).map($name)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                crate::model::digest::write_hex(f, &self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(super) use hex_newtype;

hex_newtype!(Sha256);
hex_newtype!(GitOid);

impl Digest {
    /// Reads the form that [`Display`](fmt::Display) writes, which is also the Hub's normalised
    /// `ETag` and the name of the cache's blob: 64 hex digits are a SHA-256, 40 a git blob id.
    pub(crate) fn from_etag(text: &str) -> Result<Self, DigestError> {
        if text.len() == 40 { text.parse().map(Digest::GitBlob) } else { text.parse().map(Digest::Sha256) }
    }

    /// The algorithm, as reports name it.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Digest::Sha256(_) => "sha256",
            Digest::GitBlob(_) => "git-sha1",
        }
    }

    /// Reads `from` to its end and hashes it, with the same kind of digest as this one. `size` is the content's
    /// length in bytes, which a git blob's digest starts with. `seen` gets the length of each piece.
    ///
    /// # Errors
    /// The error of reading; an interrupted read continues.
    pub(crate) fn read(&self, mut from: impl io::Read, size: u64, seen: &mut dyn FnMut(u64)) -> io::Result<Hashed> {
        let mut hasher = self.hasher(size);
        let mut buffer = PageBuffer::new(BUFFER);
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(n) => {
                    hasher.update(buffer.get(..n).unwrap_or_default());
                    seen(n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A hasher for the same kind of digest, for a content of `size` bytes.
    pub(crate) fn hasher(&self, size: u64) -> Hasher {
        match self {
            Digest::Sha256(_) => Hasher::sha256(),
            Digest::GitBlob(_) => Hasher::git_blob(size),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Digest::Sha256(d) => d.fmt(f),
            Digest::GitBlob(d) => d.fmt(f),
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.algorithm())
    }
}

/// The digest of bytes that were hashed. Only a hasher makes one, from the bytes that went through it: no
/// code can assert that a file has a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    digest: Digest,
    sha256: Sha256,
    length: u64,
}

impl Hashed {
    /// The digest of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The SHA-256 of the bytes, whatever the kind of digest is: signatures have only SHA-256.
    pub(crate) fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// How many bytes there were.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

/// Hashes a file's content front to back.
#[derive(Clone)]
pub struct Hasher {
    state: State,
    length: u64,
}

#[derive(Clone)]
enum State {
    /// The SHA-256 of the content.
    Sha256(Stream),
    /// The SHA-1 of git's blob header and the content. The SHA-256 of the content comes with it, so that a signature
    /// needs no second read. Such files are small.
    GitBlob(sha1::Sha1, Stream),
}

impl Hasher {
    /// For LFS and Xet files.
    pub fn sha256() -> Self {
        Hasher { state: State::Sha256(Stream::new()), length: 0 }
    }

    /// For regular git files; git's header contains the size, so it must be known beforehand.
    pub fn git_blob(size: u64) -> Self {
        let header = sha1::Sha1::new().chain_update(format!("blob {size}\0"));
        Hasher { state: State::GitBlob(header, Stream::new()), length: 0 }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        match &mut self.state {
            State::Sha256(h) => h.update(bytes),
            State::GitBlob(h, sha256) => {
                h.update(bytes);
                sha256.update(bytes);
            }
        }
    }

    /// Whether two SHA-256 of the same bytes take the time of one here, if blocks begin at the same places.
    // Only uploads to object stores need it.
    #[cfg_attr(not(feature = "object-store"), allow(dead_code))]
    pub fn adds_same_bytes_fast() -> bool {
        hfget_sha256_lanes::is_fast()
    }

    /// Adds the next bytes of two contents. If both are SHA-256, it takes little longer than the longer one alone.
    pub fn update_two(a: &mut Hasher, of_a: &[u8], b: &mut Hasher, of_b: &[u8]) {
        if let (State::Sha256(stream_a), State::Sha256(stream_b)) = (&mut a.state, &mut b.state) {
            a.length += of_a.len() as u64;
            b.length += of_b.len() as u64;
            Stream::update_two(stream_a, of_a, stream_b, of_b);
        } else {
            a.update(of_a);
            b.update(of_b);
        }
    }

    /// The digest of everything added.
    pub fn finish(self) -> Hashed {
        let (digest, sha256) = match self.state {
            State::Sha256(h) => {
                let sha256 = Sha256(h.finish());
                (Digest::Sha256(sha256), sha256)
            }
            State::GitBlob(h, sha256) => (Digest::GitBlob(GitOid(h.finalize().into())), Sha256(sha256.finish())),
        };
        Hashed { digest, sha256, length: self.length }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Sha256(_) => "Hasher(sha256)",
            State::GitBlob(..) => "Hasher(git-sha1)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_git_blob_digest_is_the_one_that_git_computes() {
        // `printf 'hello\n' | git hash-object --stdin`
        let mut hasher = Hasher::git_blob(6);
        hasher.update(b"hel");
        hasher.update(b"lo\n");
        assert_eq!(hasher.finish().digest().to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn two_contents_at_once_have_the_digests_and_lengths_of_each_alone() {
        type Kind = fn() -> Hasher;
        let kinds: [Kind; 2] = [Hasher::sha256, || Hasher::git_blob(200)];
        let (of_a, of_b) = ([1; 200], [2; 130]);
        for kind_a in kinds {
            for kind_b in kinds {
                let [mut a, mut b, mut alone_a, mut alone_b] = [kind_a(), kind_b(), kind_a(), kind_b()];
                Hasher::update_two(&mut a, &of_a, &mut b, &of_b);
                alone_a.update(&of_a);
                alone_b.update(&of_b);
                assert_eq!(a.finish(), alone_a.finish());
                assert_eq!(b.finish(), alone_b.finish());
            }
        }
    }

    #[test]
    fn sha256_digest_round_trips_through_its_etag() {
        let digest = Hasher::sha256().finish().digest();
        assert_eq!(digest.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Digest::from_etag(&digest.to_string()), Ok(digest));
    }

    #[test]
    fn a_text_that_is_not_hex_is_refused() {
        for bad in ["", "zz", &"g".repeat(40), &"é".repeat(20), &"a".repeat(41), &"+a".repeat(20)] {
            assert!(Digest::from_etag(bad).is_err(), "{bad}");
        }
    }
}
