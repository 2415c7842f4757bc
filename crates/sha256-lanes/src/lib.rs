//! The compression function of SHA-256 (FIPS 180-4, 6.2.2) for two states at once. Each round waits for the round before it,
//! so one state leaves half of a processor's SHA unit idle. Padding and lengths are the caller's.

use std::slice;

use sha2::block_api::compress256;

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
mod x86;

/// A state: eight words, as FIPS 180-4 numbers them.
pub type State = [u32; 8];

/// A block of a message.
pub type Block = [u8; 64];

/// Whether this processor has code of its own here. Otherwise both functions take about as long as one state after the other.
pub fn is_fast() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    if x86::is_there() {
        return true;
    }
    false
}

/// Adds the same blocks to two states. If that is fast here, it takes about as long as adding them to one, because the words that
/// each round adds are computed once.
pub fn compress_both(a: &mut State, b: &mut State, blocks: &[Block]) {
    compress::<true>(a, blocks, b, blocks);
}

/// Adds blocks to two states, each its own. If one has more blocks, its last ones are added alone.
pub fn compress_two(a: &mut State, blocks_a: &[Block], b: &mut State, blocks_b: &[Block]) {
    let both = blocks_a.len().min(blocks_b.len());
    let ((blocks_a, more_a), (blocks_b, more_b)) = (blocks_a.split_at(both), blocks_b.split_at(both));
    compress::<false>(a, blocks_a, b, blocks_b);
    compress256(a, more_a);
    compress256(b, more_b);
}

/// `SAME`: the blocks of both are the same. Otherwise both must have the same number of them.
fn compress<const SAME: bool>(a: &mut State, blocks_a: &[Block], b: &mut State, blocks_b: &[Block]) {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    if x86::is_there() {
        // SAFETY: the processor has the extensions, as was just found.
        #[allow(unsafe_code)]
        unsafe {
            x86::compress::<SAME>(a, blocks_a, b, blocks_b);
        }
        return;
    }
    in_turn(a, blocks_a, b, blocks_b);
}

/// One block of each in turn: the processor finds by itself that they do not wait for each other.
fn in_turn(a: &mut State, blocks_a: &[Block], b: &mut State, blocks_b: &[Block]) {
    for (block_a, block_b) in blocks_a.iter().zip(blocks_b) {
        compress256(a, slice::from_ref(block_a));
        compress256(b, slice::from_ref(block_b));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest as _;

    use super::*;

    /// FIPS 180-4, 5.3.3.
    const INITIAL: State =
        [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

    /// A message with its padding (FIPS 180-4, 5.1.1).
    fn padded(message: &[u8]) -> Vec<Block> {
        let zeros = (119 - message.len() % 64) % 64;
        let bits = (message.len() as u64 * 8).to_be_bytes();
        [message, &[0x80], &vec![0; zeros], &bits].concat().as_chunks().0.to_vec()
    }

    fn digest(state: State) -> Vec<u8> {
        state.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// The examples of NIST (SHA256.pdf), and the one of a million `a`.
    #[test]
    fn the_examples_of_the_standard_have_its_digests_in_either_place() {
        let other = padded(&[7; 3000]);
        for (message, words) in [
            (
                &b"abc"[..],
                [
                    0xba78_16bf,
                    0x8f01_cfea,
                    0x4141_40de,
                    0x5dae_2223,
                    0xb003_61a3,
                    0x9617_7a9c,
                    0xb410_ff61,
                    0xf200_15ad,
                ],
            ),
            (
                b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                [
                    0x248d_6a61,
                    0xd206_38b8,
                    0xe5c0_2693,
                    0x0c3e_6039,
                    0xa33c_e459,
                    0x64ff_2167,
                    0xf6ec_edd4,
                    0x19db_06c1,
                ],
            ),
            (
                &vec![b'a'; 1_000_000],
                [
                    0xcdc7_6e5c,
                    0x9914_fb92,
                    0x81a1_c7e2,
                    0x84d7_3e67,
                    0xf180_9a48,
                    0xa497_200e,
                    0x046d_39cc,
                    0xc711_2cd0,
                ],
            ),
        ] {
            let blocks = padded(message);
            let (mut a, mut b) = (INITIAL, INITIAL);
            compress_two(&mut a, &blocks, &mut b, &other);
            assert_eq!(a, words);
            let (mut a, mut b) = (INITIAL, INITIAL);
            compress_two(&mut a, &other, &mut b, &blocks);
            assert_eq!(b, words);
            let (mut a, mut b) = (INITIAL, INITIAL);
            compress_both(&mut a, &mut b, &blocks);
            assert_eq!((a, b), (words, words));
        }
    }

    #[test]
    fn every_length_has_the_digest_of_sha2() {
        let message: Vec<u8> = (0..400u32).map(|i| u8::try_from(i * i % 251).unwrap()).collect();
        for length in 0..=message.len() {
            let (of_a, of_b) = (&message[..length], &message[length / 3..]);
            let (mut a, mut b) = (INITIAL, INITIAL);
            compress_two(&mut a, &padded(of_a), &mut b, &padded(of_b));
            assert_eq!(digest(a)[..], sha2::Sha256::digest(of_a)[..], "{length}");
            assert_eq!(digest(b)[..], sha2::Sha256::digest(of_b)[..], "{length}");
        }
    }

    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    proptest! {
        /// On a machine without the extensions both ways are the same, and this proves nothing.
        #[test]
        fn the_code_for_x86_does_what_the_portable_code_does(
            a: State,
            b: State,
            blocks in prop::collection::vec((any::<[[u8; 32]; 2]>(), any::<[[u8; 32]; 2]>()), 0..9),
        ) {
            let block = |halves: [[u8; 32]; 2]| -> Block { halves.as_flattened().try_into().unwrap() };
            let (of_a, of_b): (Vec<Block>, Vec<Block>) = blocks.into_iter().map(|(a, b)| (block(a), block(b))).unzip();
            let portable = |of_b: &[Block]| {
                let (mut a, mut b) = (a, b);
                in_turn(&mut a, &of_a, &mut b, of_b);
                (a, b)
            };
            let (mut a2, mut b2) = (a, b);
            compress::<false>(&mut a2, &of_a, &mut b2, &of_b);
            prop_assert_eq!((a2, b2), portable(&of_b));
            let (mut a2, mut b2) = (a, b);
            compress_both(&mut a2, &mut b2, &of_a);
            prop_assert_eq!((a2, b2), portable(&of_a));
        }

        /// States and messages that go on in pieces of any lengths.
        #[test]
        fn it_does_not_matter_how_many_blocks_come_at_once(
            of_a in prop::collection::vec(any::<[u8; 32]>(), 0..40),
            of_b in prop::collection::vec(any::<[u8; 32]>(), 0..40),
            cuts in prop::collection::vec((0..4usize, 0..4usize), 0..12),
        ) {
            let (message_a, message_b) = (of_a.as_flattened(), of_b.as_flattened());
            let (blocks_a, blocks_b) = (padded(message_a), padded(message_b));
            let (mut left_a, mut left_b) = (&blocks_a[..], &blocks_b[..]);
            let (mut a, mut b) = (INITIAL, INITIAL);
            for (n, m) in cuts {
                let (now_a, now_b);
                (now_a, left_a) = left_a.split_at(n.min(left_a.len()));
                (now_b, left_b) = left_b.split_at(m.min(left_b.len()));
                compress_two(&mut a, now_a, &mut b, now_b);
            }
            compress_two(&mut a, left_a, &mut b, left_b);
            prop_assert_eq!(&digest(a)[..], &sha2::Sha256::digest(message_a)[..]);
            prop_assert_eq!(&digest(b)[..], &sha2::Sha256::digest(message_b)[..]);
        }
    }
}
