//! Names of GGUF quantisations: the tag, the model's name, and the bits. `packed` decides which file is taken.

use super::names::{self, stem};

/// Whether `tag` is a word of its own in the path, in any case: before a `.` or `-`, as in
/// llama.cpp's `{tag}[.-]`, or as a folder; but not as the end of another tag, as `F16` in `BF16`.
pub(super) fn tagged(path: &str, tag: &str) -> bool {
    let (path, tag) = (path.to_ascii_lowercase(), tag.to_ascii_lowercase());
    let byte = |at: usize| path.as_bytes().get(at);
    !tag.is_empty()
        && path.match_indices(&tag).any(|(at, _)| {
            matches!(byte(at + tag.len()), Some(b'.' | b'-' | b'/'))
                && at.checked_sub(1).and_then(byte).is_none_or(|c| !c.is_ascii_alphanumeric())
        })
}

/// A file's name without its ending and the numbers of a split set.
fn whole(name: &str) -> &str {
    let stem = stem(name);
    names::split_shard(stem).map_or(stem, |(x, _)| x)
}

/// The last part of a name, which is the file's value of `--variant`.
pub(super) fn tag(name: &str) -> Option<&str> {
    let whole = whole(name);
    whole.rsplit(['-', '.']).next().filter(|tag| tag.len() < whole.len())
}

/// The bits of a quantisation, as llama.cpp reads them from a name: the first number of the last
/// part, 4 in `a-Q4_K_M.gguf`.
pub(super) fn bits(name: &str) -> u32 {
    let digits = tag(name).unwrap_or("").trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The model that a file is a quantisation of: its name before the last word that names a quantisation. The two
/// experts of one model have one name here.
pub(super) fn base(name: &str) -> String {
    let whole = whole(name).to_ascii_lowercase();
    let starts = |at: &usize| *at == 0 || matches!(whole.as_bytes().get(at - 1), Some(b'-' | b'.' | b'_'));
    let at = (0..whole.len()).filter(|at| whole.is_char_boundary(*at)).filter(starts);
    let end = at.rev().find(|at| is_quantisation(&whole[*at..])).unwrap_or(whole.len());
    let mut base = whole[..end].to_owned();
    for (word, _) in EXPERTS {
        base = base.replace(word, "");
    }
    // Words for the way in which a quantisation was made: unsloth's `UD-`, mradermacher's `i1-` (with an importance
    // matrix).
    loop {
        let edge = base.trim_end_matches(['-', '.', '_']);
        let cut = ["ud", "i1", "imat", "imatrix"]
            .iter()
            .find_map(|how| edge.strip_suffix(how).filter(|left| left.is_empty() || left.ends_with(['-', '.', '_'])));
        match cut {
            Some(left) => base = left.to_owned(),
            None => return edge.to_owned(),
        }
    }
}

/// Whether a text begins with the name of a quantisation (ggml's types, and floats).
fn is_quantisation(text: &str) -> bool {
    let word = text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or("");
    let numbered = ["iq", "tq", "q"].iter().find_map(|start| word.strip_prefix(start));
    matches!(word, "f16" | "f32" | "bf16" | "fp16" | "fp32" | "f64" | "mxfp4" | "nvfp4" | "fp8")
        || numbered.is_some_and(|n| (1..=2).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))
}

/// The words that distinguish the two experts of one model (Wan 2.2: both are needed).
const EXPERTS: &[(&str, bool)] = &[
    ("high_noise", true),
    ("high-noise", true),
    ("highnoise", true),
    ("low_noise", false),
    ("low-noise", false),
    ("lownoise", false),
];

/// Whether a path names the expert for much noise, or the one for little.
pub(super) fn expert(path: &str) -> Option<bool> {
    let path = path.to_ascii_lowercase();
    EXPERTS.iter().find(|(word, _)| path.contains(word)).map(|(_, high)| *high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_word_of_the_path() {
        assert!(tagged("a-Q4_K_M.gguf", "q4_k_m") && tagged("Q8_0/a-Q8_0-00001-of-00002.gguf", "Q8_0"));
        assert!(tagged("UD-Q4_K_XL/a-00001-of-00002.gguf", "ud-q4_k_xl"));
        assert!(!tagged("a-Q4_K_M.gguf", "Q4_K") && !tagged("a-BF16.gguf", "F16") && !tagged("a.gguf", ""));
    }

    #[test]
    fn bits_are_read_off_the_last_part_of_a_name() {
        assert_eq!(["a7-IQ2_XS.gguf", "mmproj-BF16.gguf", "Q8_0/a-Q8_0-00001-of-00002.gguf"].map(bits), [2, 16, 8]);
        assert_eq!(bits("model.gguf"), 0);
        assert_eq!(tag("a-Q8_0-00001-of-00002.gguf"), Some("Q8_0"));
    }

    #[test]
    fn quantisations_of_one_model_have_one_base_and_those_of_two_have_two() {
        for name in ["M-7B-Q4_K_M.gguf", "m-7b-UD-IQ2_XS-00001-of-00002.gguf", "M-7B.i1-Q4_0.gguf", "M-7B-bf16.gguf"] {
            assert_eq!(base(name), "m-7b", "{name}");
        }
        assert_ne!(base("tiny-1B-Q4_K_M.gguf"), base("big-70B-Q4_K_M.gguf"));
        assert_eq!(base("model_q4_0.gguf"), "model");
        assert_eq!(base("W-HighNoise-Q4_0.gguf"), base("W-LowNoise-Q4_0.gguf"));
        assert_eq!(expert("LowNoise/W-Q4_0.gguf"), Some(false));
        assert_eq!(base("Q4_K_M.gguf"), "");
    }
}
