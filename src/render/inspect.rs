//! Shows tensors: a table as wide as the terminal, or JSON. The library reads them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::group;
use globset::GlobMatcher;
use hfget_core::finding::Severity;
use hfget_core::unstable::session::Inspected;
use hfget_core::unstable::text::{bytes, printable};
use hfget_core::unstable::verify::Tensor;
use serde_json::{Value, json};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Tensors, elements, bytes.
type Total = (u64, u64, u64);
/// The totals of each dtype.
type Totals<'a> = BTreeMap<&'a str, Total>;

fn wanted<'a>(file: &'a Inspected, filter: Option<&'a GlobMatcher>) -> impl Iterator<Item = &'a Tensor> {
    let tensors = file.table.as_ref().map_or(&[][..], |t| &t.tensors);
    tensors.iter().filter(move |t| filter.is_none_or(|f| f.is_match(&*t.name)))
}

fn length(tensor: &Tensor) -> Option<u64> {
    tensor.bytes.as_ref().map(|r| r.end.saturating_sub(r.start))
}

fn totals<'a>(files: &'a [Inspected], filter: Option<&'a GlobMatcher>) -> Totals<'a> {
    let mut totals = Totals::new();
    for tensor in files.iter().flat_map(|file| wanted(file, filter)) {
        let (count, elements, size) = totals.entry(&tensor.dtype).or_default();
        *count += 1;
        *elements = elements.saturating_add(tensor.elements());
        *size = size.saturating_add(length(tensor).unwrap_or(0));
    }
    totals
}

/// One target as JSON.
pub fn json(name: &str, files: &[Inspected], filter: Option<&GlobMatcher>) -> Value {
    let totals = totals(files, filter);
    let dtypes: serde_json::Map<String, Value> = totals
        .iter()
        .map(|(dtype, (n, elements, size))| {
            ((*dtype).to_owned(), json!({ "tensors": n, "parameters": elements, "bytes": size }))
        })
        .collect();
    let tensor = |t: &Tensor| {
        json!({ "name": t.name, "dtype": t.dtype, "shape": t.shape, "bytes": length(t),
                "offset": t.bytes.as_ref().map(|r| r.start) })
    };
    let listed: Vec<Value> = files
        .iter()
        .map(|file| {
            json!({ "path": file.path, "size": file.size, "read": file.table.is_some(), "findings": file.findings,
                    "tensors": wanted(file, filter).map(tensor).collect::<Vec<_>>() })
        })
        .collect();
    json!({ "target": name, "files": listed, "dtypes": dtypes,
            "tensors": totals.values().map(|t| t.0).sum::<u64>(),
            "parameters": totals.values().fold(0u64, |n, t| n.saturating_add(t.1)) })
}

/// Cuts the middle out of a text that is wider than `width` columns: the ends of a name matter most.
fn elide(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let tail_width = width.saturating_sub(1) / 2;
    let part = |chars: &mut dyn Iterator<Item = char>, limit: usize| {
        let mut used = 0;
        let fits = |c: &char| {
            used += c.width().unwrap_or(0);
            used <= limit
        };
        chars.take_while(fits).collect::<Vec<char>>()
    };
    let mut tail = part(&mut text.chars().rev(), tail_width);
    tail.reverse();
    let head = part(&mut text.chars(), width.saturating_sub(1 + tail_width));
    head.into_iter().chain(std::iter::once('…')).chain(tail).collect()
}

fn pad(text: &str, width: usize) -> String {
    let text = elide(text, width);
    let gap = width.saturating_sub(text.width());
    text + &" ".repeat(gap)
}

/// One target as a table of at most `width` columns.
pub fn human(files: &[Inspected], filter: Option<&GlobMatcher>, width: usize) -> String {
    let width = width.max(30);
    let mut out = String::new();
    let rows = |file| wanted(file, filter).map(row).collect::<Vec<_>>();
    let all: Vec<(&Inspected, Vec<[String; 4]>)> = files.iter().map(|file| (file, rows(file))).collect();
    let column = |at: usize, most: usize| {
        all.iter().flat_map(|(_, rows)| rows).map(|r| r[at].width()).max().unwrap_or(0).min(most)
    };
    let (dtype, shape, size) = (column(1, width / 5), column(2, width / 4), column(3, 8));
    let name = column(0, width.saturating_sub(dtype + shape + size + 2 + 6).max(8));
    for (file, rows) in &all {
        let title = format!("{}  {}", printable(&file.path), bytes(file.size));
        let _ = writeln!(out, "{}", elide(&title, width));
        for [n, d, s, b] in rows {
            let _ = writeln!(out, "  {}  {}  {}  {b:>size$}", pad(n, name), pad(d, dtype), pad(s, shape));
        }
        if file.table.is_none() && file.findings.is_empty() {
            out.push_str("  no tensors are read from a file of this format\n");
        }
        for finding in &file.findings {
            let word = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            let _ = writeln!(out, "  {word} {}: {}", finding.code, printable(&finding.message));
        }
    }
    sums(&totals(files, filter), width, &mut out);
    out
}

/// The totals of each dtype and of all dtypes, in columns.
fn sums(totals: &Totals<'_>, width: usize, out: &mut String) {
    let line = |name: &str, (tensors, elements, size): Total| {
        [printable(name).into_owned(), group(tensors), group(elements), bytes(size)]
    };
    let all = totals
        .values()
        .fold((0, 0, 0), |sum: Total, one| (sum.0 + one.0, sum.1.saturating_add(one.1), sum.2.saturating_add(one.2)));
    let mut lines = vec![["dtype", "tensors", "parameters", "size"].map(str::to_owned)];
    lines.extend(totals.iter().map(|(name, total)| line(name, *total)));
    lines.push(line("total", all));
    let column = |at: usize| lines.iter().map(|l| l[at].width()).max().unwrap_or(0);
    let (name, tensors, elements, size) = (column(0).min(width / 4), column(1), column(2), column(3));
    out.push('\n');
    for [n, t, e, b] in &lines {
        let text = format!("{}  {t:>tensors$}  {e:>elements$}  {b:>size$}", pad(n, name));
        let _ = writeln!(out, "{}", elide(&text, width));
    }
}

fn row(tensor: &Tensor) -> [String; 4] {
    let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
    [
        printable(&tensor.name).into_owned(),
        printable(&tensor.dtype).into_owned(),
        format!("[{}]", shape.join(",")),
        length(tensor).map_or("-".to_owned(), bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use hfget_core::unstable::verify::TensorTable;

    fn file(names: &[&str]) -> Inspected {
        let tensor = |n: &&str| Tensor {
            name: (*n).into(),
            dtype: "BF16".into(),
            shape: [4096, 4096].into(),
            bytes: Some(8..33_554_440),
        };
        let tensors = names.iter().map(tensor).collect();
        let table = Some(TensorTable { tensors, aliases: Vec::new() });
        Inspected { path: "model.safetensors".into(), size: 1, table, findings: Vec::new() }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_both_ends_of_a_name_stay() {
        let long = format!("model.{}.weight", "very_long_part.".repeat(20));
        for width in [40, 80, 200] {
            let text = human(&[file(&[&long, "模型模型模型模型模型模型模型模型.weight", "a\u{1b}[31m"])], None, width);
            assert!(text.lines().all(|l| l.width() <= width), "{width}:\n{text}");
            assert!(text.contains("model.") && text.contains("ght") && text.contains('…'), "{text}");
            assert!(!text.contains('\u{1b}'));
        }
    }

    #[test]
    fn a_filter_narrows_the_table_and_its_totals() {
        let glob = globset::Glob::new("*.b").unwrap().compile_matcher();
        let value = json("x", &[file(&["a.a", "a.b", "c.b"])], Some(&glob));
        assert_eq!((&value["tensors"], &value["parameters"]), (&json!(2), &json!(2 * 4096 * 4096)));
    }
}
