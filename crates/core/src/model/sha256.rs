//! SHA-256 of one stream, and of two streams at once. `digest` defines what a digest means and who may make one.
//!
//! Why two at once: each round of SHA-256 waits for the round before it, so one stream leaves half of a processor's SHA
//! unit idle. `hfget-sha256-lanes` adds blocks to two states; `docs/src/path-of-a-byte.md` has the figures.

use std::{ptr, slice};

use hfget_sha256_lanes::{compress_both, compress_two};
use sha2::block_api::compress256;

const BLOCK: usize = 64;
/// Bytes of the length at the end of the last block.
const LENGTH: usize = 8;
/// FIPS 180-4, 5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The state of one stream.
#[derive(Clone)]
pub(super) struct Stream {
    state: [u32; 8],
    /// The begun block: its first `filled` bytes, always fewer than a block.
    begun: [u8; BLOCK],
    filled: usize,
    length: u64,
}

impl Stream {
    pub fn new() -> Self {
        Stream { state: INITIAL, begun: [0; BLOCK], filled: 0, length: 0 }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = self.complete(bytes).as_chunks::<BLOCK>();
        compress256(&mut self.state, blocks);
        self.begin(rest);
    }

    /// Adds the next bytes of two streams. While both have whole blocks, both advance in little more than the time of one, and in the
    /// time of one if they are the same bytes in the same memory, and blocks begin at the same places.
    pub fn update_two(a: &mut Stream, of_a: &[u8], b: &mut Stream, of_b: &[u8]) {
        let (blocks_a, rest_a) = a.complete(of_a).as_chunks::<BLOCK>();
        let (blocks_b, rest_b) = b.complete(of_b).as_chunks::<BLOCK>();
        if ptr::eq(blocks_a, blocks_b) {
            compress_both(&mut a.state, &mut b.state, blocks_a);
        } else {
            compress_two(&mut a.state, blocks_a, &mut b.state, blocks_b);
        }
        a.begin(rest_a);
        b.begin(rest_b);
    }

    /// The digest of everything added.
    pub fn finish(mut self) -> [u8; 32] {
        // SHA-256 has no length for a message of 2^61 bytes, so wrapping is allowed.
        let bits = self.length.wrapping_mul(8);
        let pad = [0x80; 1].into_iter().chain(std::iter::repeat(0));
        let room = BLOCK - LENGTH;
        // The padding has at least one byte, and ends where the length begins.
        let count = if self.filled < room { room - self.filled } else { room + BLOCK - self.filled };
        let end: Vec<u8> = pad.take(count).chain(bits.to_be_bytes()).collect();
        self.update(&end);
        let mut digest = [0; 32];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }

    /// Completes the begun block, if there is one; returns the bytes that are left.
    fn complete<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        self.length = self.length.wrapping_add(bytes.len() as u64);
        if self.filled == 0 {
            return bytes;
        }
        let (taken, left) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
        self.begin(taken);
        if self.filled == BLOCK {
            compress256(&mut self.state, slice::from_ref(&self.begun));
            self.filled = 0;
        }
        left
    }

    /// Adds bytes to the begun block; the caller gives at most as many as complete it.
    fn begin(&mut self, bytes: &[u8]) {
        let end = self.filled + bytes.len();
        if let Some(room) = self.begun.get_mut(self.filled..end) {
            room.copy_from_slice(bytes);
            self.filled = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest as _;

    use super::*;

    fn digest(bytes: &[u8]) -> [u8; 32] {
        let mut stream = Stream::new();
        stream.update(bytes);
        stream.finish()
    }

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write as _;
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The examples of NIST's FIPS 180-4 (SHA256.pdf and the one of a million `a`).
    #[test]
    fn the_examples_of_the_standard_have_its_digests() {
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        let longer = b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
        for (bytes, expected) in [
            (&b""[..], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (two_blocks, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
            (longer, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"),
            (&vec![b'a'; 1_000_000][..], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        ] {
            assert_eq!(hex(&digest(bytes)), expected, "{} bytes", bytes.len());
        }
    }

    #[test]
    fn every_length_around_the_padding_is_padded_correctly() {
        let bytes: Vec<u8> = (0..300u16).map(|i| u8::try_from(i % 251).unwrap()).collect();
        for length in 0..=bytes.len() {
            assert_eq!(digest(&bytes[..length])[..], sha2::Sha256::digest(&bytes[..length])[..], "{length} bytes");
        }
    }

    proptest! {
        /// As a file and the part of an upload, or the layer, that has its bytes.
        #[test]
        fn two_streams_that_get_the_same_memory_have_the_digests_of_each_alone(
            before in (0..3usize, prop_oneof![Just(0), 0..64usize]).prop_map(|(blocks, more)| vec![7; 64 * blocks + more]),
            bytes in prop::collection::vec(any::<u8>(), 0..3000),
            pieces in 1..700usize,
        ) {
            let (mut whole, mut part) = (Stream::new(), Stream::new());
            whole.update(&before);
            for piece in bytes.chunks(pieces) {
                Stream::update_two(&mut whole, piece, &mut part, piece);
            }
            prop_assert_eq!(&part.finish()[..], &sha2::Sha256::digest(&bytes)[..]);
            prop_assert_eq!(&whole.finish()[..], &sha2::Sha256::digest([before, bytes].concat())[..]);
        }
    }

    /// Takes some bytes off the front of `of`.
    fn next<'a>(of: &mut &'a [u8], at_most: usize) -> &'a [u8] {
        let (taken, left) = of.split_at(of.len().min(at_most));
        *of = left;
        taken
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, ..Default::default() })]
        /// Two streams of any lengths, cut anywhere, hashed together and alone by turns: the digests are sha2's.
        #[test]
        fn two_streams_at_once_give_the_digests_of_each_alone(
            a in prop::collection::vec(any::<u8>(), 0..3000),
            b in prop::collection::vec(any::<u8>(), 0..3000),
            cuts in prop::collection::vec((0usize..400, 0usize..400, 0u8..4), 1..24),
        ) {
            let (mut stream_a, mut stream_b) = (Stream::new(), Stream::new());
            let (mut left_a, mut left_b) = (&a[..], &b[..]);
            for (of_a, of_b, way) in cuts {
                let (of_a, of_b) = (next(&mut left_a, of_a), next(&mut left_b, of_b));
                match way {
                    0 => { stream_a.update(of_a); stream_b.update(of_b); }
                    1 => Stream::update_two(&mut stream_b, of_b, &mut stream_a, of_a),
                    _ => Stream::update_two(&mut stream_a, of_a, &mut stream_b, of_b),
                }
            }
            Stream::update_two(&mut stream_a, left_a, &mut stream_b, left_b);
            prop_assert_eq!(&stream_a.finish()[..], &sha2::Sha256::digest(&a)[..]);
            prop_assert_eq!(&stream_b.finish()[..], &sha2::Sha256::digest(&b)[..]);
        }
    }
}
