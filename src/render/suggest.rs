//! Suggestions for misspelt names.

use hfget_core::unstable::text::{brief, few};

/// The names that the user may have meant by `typed`, the nearest first: names that differ by a few letters,
/// in any case.
pub fn meant<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let letters = typed.chars().count();
    let slips = (letters / 4).max(1);
    // Names that differ too much in length are not compared: there may be many.
    let alike = |name: &str| letters > COMPARED || name.chars().count().abs_diff(letters) <= slips;
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        .filter(|name| alike(name))
        .map(|name| (distance(typed, name), name))
        .filter(|(away, _)| *away <= slips)
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, name)| name).collect()
}

/// The most letters that are compared.
const COMPARED: usize = 64;

/// How many letters must be added, removed, changed or swapped with the next one, ignoring case. Only the first
/// 64 letters count.
fn distance(a: &str, b: &str) -> usize {
    let short = |text: &str| text.chars().take(COMPARED).flat_map(char::to_lowercase).collect::<String>();
    strsim::damerau_levenshtein(&short(a), &short(b))
}

/// The existing names, the nearest to `typed` first: `did you mean fp16? the repo has fp16, fp32`.
pub fn choices(typed: &str, names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut sorted: Vec<(usize, &str)> = names.iter().map(|name| (distance(typed, name), name.as_str())).collect();
    sorted.sort_by_key(|(away, _)| *away);
    let sorted: Vec<&str> = sorted.into_iter().map(|(_, name)| name).collect();
    let there = format!("the repo has {}", few(&sorted, SHOWN));
    if let Some(near) = meant(typed, names.iter().map(String::as_str)).first() {
        let asked = format!("did you mean {}?", brief(near));
        return if names.len() == 1 { asked } else { format!("{asked} {there}") };
    }
    there
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_understood_and_another_word_is_not() {
        let names = ["plan", "verify", "inspect", "clean"];
        for (typed, name) in [("verfy", "verify"), ("plàn", "plan"), ("INSPECT", "inspect"), ("claen", "clean")] {
            assert_eq!(meant(typed, names).first(), Some(&name), "{typed}");
        }
        for other in ["gpt2", "t5", "bert-base", ""] {
            assert!(meant(other, names).is_empty(), "{other}");
        }
        for (a, b, n) in [("fp16", "FP16", 0), ("fp61", "fp16", 1), ("bf16", "fp16", 2), ("", "abc", 3)] {
            assert_eq!(distance(a, b), n, "{a} {b}");
        }
        assert_eq!(meant("fp61", ["fp32", "bf16", "fp16"]), ["fp16"]);
        let names = ["bf16", "fp32", "fp16"].map(String::from);
        assert_eq!(choices("fp61", &names), "did you mean fp16? the repo has fp16, fp32, bf16");
        assert_eq!(choices("non_ema", &names[..1]), "the repo has bf16");
    }
}
