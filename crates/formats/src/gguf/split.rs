//! What the parts of a split GGUF must agree on (`llama-model-loader.cpp`, `gguf-split.cpp`). The
//! content of one part is checked elsewhere.

use std::collections::BTreeMap;

use super::{Split, header};
use crate::problem::{Problem, ProblemKind};
use crate::set::{Files, file_name, folder};

/// What a part says about its set, and its number of tensors. Its tensors' table is not kept.
struct SplitPart {
    split: Split,
    tensors: u64,
}

/// The numbers of `X-00001-of-00003.gguf`.
fn numbers(name: &str) -> Option<(&str, u64, u64)> {
    let stem = name.strip_suffix(".gguf")?;
    let (left, count) = stem.rsplit_once("-of-")?;
    let (prefix, no) = left.rsplit_once('-')?;
    let number = |text: &str| (text.len() == 5).then(|| text.parse::<u64>().ok()).flatten();
    Some((prefix, number(no)?, number(count)?))
}

/// Checks the parts of a set against each other and against their names. `names`: the set's files.
pub fn check_set(names: &[&str], files: &dyn Files) -> Vec<Problem> {
    let mut read = Vec::new();
    for &path in names {
        let Some(Ok((open, length))) = files.open(path) else { continue };
        let (header, _) = header(open, length, path);
        if header.version != 0 {
            let tensors = header.table.tensors.len() as u64;
            read.push((path, SplitPart { split: header.split, tensors }));
        }
    }
    judge(&read)
}

/// Applies the rules to the headers that could be read.
fn judge(read: &[(&str, SplitPart)]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut groups: BTreeMap<String, Vec<&(&str, SplitPart)>> = BTreeMap::new();
    for one in read {
        let (path, part) = one;
        let named = numbers(file_name(path));
        let count = part.split.count.unwrap_or(0);
        match named {
            Some((prefix, no, total)) => {
                groups.entry(format!("{}/{prefix}/{total}", folder(path))).or_default().push(one);
                let wrong = |what: &str, says: Option<u64>, name: u64| {
                    let says = says.map_or("nothing".to_owned(), |n| n.to_string());
                    Problem::new(
                        ProblemKind::SplitIncomplete,
                        *path,
                        format!("its {what} says {says}, and its name {name}"),
                    )
                };
                // Another tool cut a file that has such a name without the keys, and nothing loads it.
                if count != total {
                    problems.push(wrong("split.count", part.split.count, total));
                }
                if no == 0 || part.split.no != no.checked_sub(1) {
                    problems.push(wrong("split.no (from 0)", part.split.no, no));
                }
            }
            None if count > 1 => problems.push(Problem::new(
                ProblemKind::SplitIncomplete,
                *path,
                format!("it is one of {count} parts, and its name does not say which: llama.cpp finds no other"),
            )),
            None => {}
        }
    }
    for parts in groups.values() {
        let first = parts[0];
        let total = numbers(file_name(first.0)).map_or(0, |(_, _, total)| total);
        if parts.len() as u64 != total {
            let text = format!("{} of its set's {total} parts could be read", parts.len());
            problems.push(Problem::new(ProblemKind::SplitIncomplete, first.0, text));
            continue;
        }
        let tensors = parts.iter().map(|(_, part)| part.tensors).sum::<u64>();
        for (path, part) in parts {
            if part.split.tensors != Some(tensors) {
                let says = part.split.tensors.map_or("nothing".to_owned(), |n| n.to_string());
                let text = format!("its split.tensors.count says {says}, but the parts have {tensors} tensors");
                problems.push(Problem::new(ProblemKind::SplitIncomplete, *path, text));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(no: u64, count: u64, tensors: u64) -> SplitPart {
        SplitPart { split: Split { no: Some(no), count: Some(count), tensors: Some(tensors) }, tensors: 0 }
    }

    fn unsplit() -> SplitPart {
        SplitPart { split: Split::default(), tensors: 0 }
    }

    #[test]
    fn parts_must_agree_with_their_names_and_each_other() {
        let one = "q/m-00001-of-00002.gguf";
        let two = "q/m-00002-of-00002.gguf";
        assert_eq!(judge(&[(one, part(0, 2, 0)), (two, part(1, 2, 0))]), []);
        for (a, b, n) in [
            (part(0, 3, 0), part(1, 2, 0), 1),
            (part(1, 2, 0), part(1, 2, 0), 1),
            (part(0, 2, 0), part(1, 2, 5), 1),
            (unsplit(), part(1, 2, 0), 3),
        ] {
            let found = judge(&[(one, a), (two, b)]);
            assert_eq!(found.len(), n, "{found:?}");
            assert!(found.iter().all(|f| f.kind == ProblemKind::SplitIncomplete));
        }
        assert_eq!(judge(&[(one, part(0, 2, 0))]).len(), 1);
        let plain = "m.gguf";
        assert_eq!(judge(&[(plain, part(0, 2, 0))]).len(), 1);
        assert_eq!(judge(&[(plain, unsplit())]), []);
    }
}
