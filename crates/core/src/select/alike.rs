//! Whether files are alternatives of one another by their names: the same model in other number formats, pruned, or
//! of one series. Their headers are compared elsewhere.

use super::names::stem;
use crate::model::Entry;

/// Words for the way in which a model was saved. They do not identify the model.
const HOW: &[&str] = &[
    "fp8",
    "fp16",
    "fp32",
    "bf16",
    "f16",
    "f32",
    "fp4",
    "nf4",
    "nvfp4",
    "mxfp4",
    "int8",
    "uint8",
    "int4",
    "uint4",
    "q4",
    "q8",
    "qint8",
    "quint8",
    "4bit",
    "8bit",
    "4bits",
    "8bits",
    "16bits",
    "float16",
    "float32",
    "bfloat16",
    "half",
    "e4m3fn",
    "e4m3",
    "e5m2",
    "scaled",
    "pruned",
    "ema",
    "emaonly",
    "noema",
    "full",
    "quantized",
    "quant",
    "mixed",
    "avx2",
    "avx512",
    "vnni",
    "arm64",
];

/// The name without its ending and without the words of [`HOW`].
fn plain(name: &str) -> String {
    without_how(stem(name))
}

/// The words of a name without those of [`HOW`].
pub(super) fn without_how(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let words = lower.split(['-', '_', '.', '/']).filter(|word| !word.is_empty() && !HOW.contains(word));
    words.collect::<Vec<_>>().join("-")
}

/// Whether a name has a word of [`HOW`].
pub(super) fn says_how(name: &str) -> bool {
    name.to_ascii_lowercase().split(['-', '_', '.', '/']).any(|word| HOW.contains(&word))
}

/// Whether a text begins with a word of [`HOW`].
pub(super) fn begins_with_how(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.split(['-', '_', '.']).next().is_some_and(|word| HOW.contains(&word))
}

/// Whether two of the files are the same model saved in two ways: fp8 beside bf16, pruned beside full.
pub(super) fn saved_twice(files: &[&Entry]) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    !files.iter().all(|entry| seen.insert(plain(entry.path.file_name())))
}

/// Whether all names have the same beginning, at least half as long as the shortest name: `yolov8n`, `yolov8s`,
/// `yolov8m`.
pub(super) fn begin_alike(files: &[&Entry]) -> bool {
    let (begin, _, shortest) = shared(files);
    files.len() > 1 && begin >= LEAST && begin * 2 >= shortest
}

/// Whether all names have the same beginning, and share at their beginning and end at least half of the shortest name:
/// `wan_t2v_14B`, `wan_i2v_14B`. Parts may have such names too, so this rule is only for files that no other rule
/// decides.
pub(super) fn look_alike(files: &[&Entry]) -> bool {
    let (begin, end, shortest) = shared(files);
    files.len() > 1 && begin >= LEAST && (begin + end) * 2 >= shortest
}

/// A shorter common beginning means nothing.
const LEAST: usize = 3;

/// How many bytes all names share at their beginning and at their end, and the length of the shortest name.
fn shared(files: &[&Entry]) -> (usize, usize, usize) {
    let mut stems = files.iter().map(|entry| stem(entry.path.file_name()));
    let Some(first) = stems.next() else { return (0, 0, 0) };
    let (mut begin, mut end, mut shortest) = (first.len(), first.len(), first.len());
    for other in stems {
        let same = |(a, b): &(u8, u8)| a.eq_ignore_ascii_case(b);
        begin = begin.min(first.bytes().zip(other.bytes()).take_while(same).count());
        end = end.min(first.bytes().rev().zip(other.bytes().rev()).take_while(same).count());
        shortest = shortest.min(other.len());
    }
    (begin, end.min(shortest - begin), shortest)
}

/// A name without its numbers, which is the same for all steps of one training.
pub(super) fn without_numbers(name: &str) -> String {
    name.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, GitOid};

    fn files(names: &[&str]) -> Vec<Entry> {
        let digest = Digest::GitBlob(GitOid([7; 20]));
        names.iter().map(|name| Entry::new(name.parse().expect("safe"), 1, digest)).collect()
    }

    fn told(names: &[&str]) -> (bool, bool) {
        let all = files(names);
        let all: Vec<&Entry> = all.iter().collect();
        (saved_twice(&all), begin_alike(&all))
    }

    #[test]
    fn alternatives_are_recognised_by_their_names() {
        assert_eq!(told(&["yolov8n.pt", "yolov8s.pt"]), (false, true));
        assert!(told(&["x_fp8_e4m3fn.safetensors", "x_bf16.safetensors"]).0);
        assert_eq!(told(&["dream_8.safetensors", "dream_8_pruned.safetensors"]), (true, true));
    }

    #[test]
    fn names_of_alternatives_look_alike_at_both_ends() {
        let all = files(&["wan_t2v_bf16.safetensors", "wan_i2v_bf16.safetensors"]);
        let all: Vec<&Entry> = all.iter().collect();
        assert!(look_alike(&all) && !begin_alike(&all));
        assert!(!look_alike(&all[..1]) && !look_alike(&[]));
    }

    #[test]
    fn parts_of_one_model_are_not_alternatives() {
        assert_eq!(told(&["llm.pt", "flow.pt", "hift.pt"]), (false, false));
        assert_eq!(told(&["models_t5_umt5-xxl-enc-bf16.pth", "Wan2.1_VAE.pth"]), (false, false));
        assert_eq!(told(&["model.pt"]), (false, false));
        assert!(!told(&["text_encoder.pt", "text_decoder.pt"]).1);
    }
}
