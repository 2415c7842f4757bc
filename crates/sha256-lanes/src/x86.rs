//! The code for x86 processors with the SHA extensions (Intel, "Intel SHA Extensions", 2013). Nothing here chooses: `is_there`
//! says whether it can run.

#[cfg(target_arch = "x86")]
use std::arch::x86 as arch;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64 as arch;

use arch::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi8, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8, _mm_shuffle_epi32,
};

use crate::{Block, State};

/// FIPS 180-4, 4.2.2, four to a register.
static ROUNDS: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// Whether this processor has what `compress` needs. The answer is kept by the standard library.
pub fn is_there() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1")
}

/// Four words, the first one lowest.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn words([a, b, c, d]: [u32; 4]) -> __m128i {
    _mm_set_epi32(d.cast_signed(), c.cast_signed(), b.cast_signed(), a.cast_signed())
}

/// A state as the instructions have it: a, b, e, f in one register, and c, d, g, h in the other, the first one highest.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
// The names of the standard.
#[allow(clippy::many_single_char_names)]
fn pack([a, b, c, d, e, f, g, h]: State) -> (__m128i, __m128i) {
    (words([f, e, b, a]), words([h, g, d, c]))
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn unpack(abef: __m128i, cdgh: __m128i) -> State {
    [
        _mm_extract_epi32::<3>(abef),
        _mm_extract_epi32::<2>(abef),
        _mm_extract_epi32::<3>(cdgh),
        _mm_extract_epi32::<2>(cdgh),
        _mm_extract_epi32::<1>(abef),
        _mm_extract_epi32::<0>(abef),
        _mm_extract_epi32::<1>(cdgh),
        _mm_extract_epi32::<0>(cdgh),
    ]
    .map(i32::cast_unsigned)
}

/// Words `4 * n` to `4 * n + 3` of a block. A message has its words with the highest byte first.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn load(block: &Block, n: usize) -> __m128i {
    let half = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&block[at..at + 8]);
        i64::from_le_bytes(bytes)
    };
    let turned = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    _mm_shuffle_epi8(_mm_set_epi64x(half(16 * n + 8), half(16 * n)), turned)
}

/// Adds as many blocks to two states. `SAME`: `blocks_b` are `blocks_a`, and are not looked at.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
pub fn compress<const SAME: bool>(a: &mut State, blocks_a: &[Block], b: &mut State, blocks_b: &[Block]) {
    let (mut a0, mut a1) = pack(*a);
    let (mut b0, mut b1) = pack(*b);
    for (block_a, block_b) in blocks_a.iter().zip(blocks_b) {
        let before = (a0, a1, b0, b1);
        let [mut m0, mut m1, mut m2, mut m3] = [load(block_a, 0), load(block_a, 1), load(block_a, 2), load(block_a, 3)];
        let [mut n0, mut n1, mut n2, mut n3] =
            if SAME { [m0; 4] } else { [load(block_b, 0), load(block_b, 1), load(block_b, 2), load(block_b, 3)] };
        // Four rounds of both states. Why in turn: while one round waits for the one before it, the other state's can run.
        macro_rules! rounds {
            ($i:expr, $m:ident, $n:ident) => {
                let constants = words(ROUNDS[$i]);
                let k = _mm_add_epi32($m, constants);
                let l = if SAME { k } else { _mm_add_epi32($n, constants) };
                a1 = _mm_sha256rnds2_epu32(a1, a0, k);
                b1 = _mm_sha256rnds2_epu32(b1, b0, l);
                let k = _mm_shuffle_epi32::<0x0e>(k);
                let l = if SAME { k } else { _mm_shuffle_epi32::<0x0e>(l) };
                a0 = _mm_sha256rnds2_epu32(a0, a1, k);
                b0 = _mm_sha256rnds2_epu32(b0, b1, l);
            };
        }
        // The next four words of the message schedule, from the sixteen before them.
        macro_rules! extend {
            ($w:ident, $x:ident, $y:ident, $z:ident) => {
                let seven_back = _mm_alignr_epi8::<4>($z, $y);
                $w = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32($w, $x), seven_back), $z);
            };
        }
        macro_rules! sixteen_rounds {
            ($i:expr) => {
                extend!(m0, m1, m2, m3);
                if !SAME {
                    extend!(n0, n1, n2, n3);
                }
                rounds!($i, m0, n0);
                extend!(m1, m2, m3, m0);
                if !SAME {
                    extend!(n1, n2, n3, n0);
                }
                rounds!($i + 1, m1, n1);
                extend!(m2, m3, m0, m1);
                if !SAME {
                    extend!(n2, n3, n0, n1);
                }
                rounds!($i + 2, m2, n2);
                extend!(m3, m0, m1, m2);
                if !SAME {
                    extend!(n3, n0, n1, n2);
                }
                rounds!($i + 3, m3, n3);
            };
        }
        rounds!(0, m0, n0);
        rounds!(1, m1, n1);
        rounds!(2, m2, n2);
        rounds!(3, m3, n3);
        sixteen_rounds!(4);
        sixteen_rounds!(8);
        sixteen_rounds!(12);
        (a0, a1) = (_mm_add_epi32(a0, before.0), _mm_add_epi32(a1, before.1));
        (b0, b1) = (_mm_add_epi32(b0, before.2), _mm_add_epi32(b1, before.3));
    }
    (*a, *b) = (unpack(a0, a1), unpack(b0, b1));
}
