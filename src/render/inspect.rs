//! Shows tensors: a table as wide as the terminal, or JSON. The library reads them.

use std::collections::BTreeMap;

use super::group;
use globset::GlobMatcher;
use hfget_core::finding::Severity;
use hfget_core::unstable::session::Inspected;
use hfget_core::unstable::text::{bytes, printable};
use hfget_core::unstable::verify::Tensor;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
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

/// One target as JSON. A file may have hundreds of thousands of tensors, so they are written from its table and not
/// copied into values first.
pub struct Report<'a> {
    pub name: &'a str,
    pub files: &'a [Inspected],
    pub filter: Option<&'a GlobMatcher>,
}

/// The keys of every object are sorted, as in the other documents.
#[derive(Serialize)]
struct TensorValue<'a> {
    bytes: Option<u64>,
    dtype: &'a str,
    name: &'a str,
    offset: Option<u64>,
    shape: &'a [u64],
}

#[derive(Serialize)]
struct TotalValue {
    bytes: u64,
    parameters: u64,
    tensors: u64,
}

struct FileValue<'a>(&'a Inspected, Option<&'a GlobMatcher>);
struct TensorValues<'a>(&'a Inspected, Option<&'a GlobMatcher>);

impl Serialize for TensorValues<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(wanted(self.0, self.1).map(|tensor| TensorValue {
            bytes: length(tensor),
            dtype: &tensor.dtype,
            name: &tensor.name,
            offset: tensor.bytes.as_ref().map(|range| range.start),
            shape: &tensor.shape,
        }))
    }
}

impl Serialize for FileValue<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let FileValue(file, filter) = self;
        let mut map = s.serialize_map(Some(5))?;
        map.serialize_entry("findings", &file.findings)?;
        map.serialize_entry("path", &file.path)?;
        map.serialize_entry("read", &file.table.is_some())?;
        map.serialize_entry("size", &file.size)?;
        map.serialize_entry("tensors", &TensorValues(file, *filter))?;
        map.end()
    }
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let totals = totals(self.files, self.filter);
        let sum = totals.values().fold((0u64, 0u64), |(n, all), total| (n + total.0, all.saturating_add(total.1)));
        let dtypes: BTreeMap<&str, TotalValue> = (totals.into_iter())
            .map(|(dtype, (tensors, parameters, bytes))| (dtype, TotalValue { bytes, parameters, tensors }))
            .collect();
        let files: Vec<FileValue<'_>> = self.files.iter().map(|file| FileValue(file, self.filter)).collect();
        let mut map = s.serialize_map(Some(5))?;
        map.serialize_entry("dtypes", &dtypes)?;
        map.serialize_entry("files", &files)?;
        map.serialize_entry("parameters", &sum.1)?;
        map.serialize_entry("target", self.name)?;
        map.serialize_entry("tensors", &sum.0)?;
        map.end()
    }
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

/// One target as a table of at most `width` columns: its lines, each without its newline.
pub fn human<'a>(
    files: &'a [Inspected],
    filter: Option<&'a GlobMatcher>,
    width: usize,
) -> impl Iterator<Item = String> + 'a {
    let width = width.max(30);
    // Each row is made twice, once for the columns' widths: the rows of a million tensors are not kept.
    let mut widest = [0; 4];
    for row in files.iter().flat_map(|file| wanted(file, filter)).map(row) {
        for (most, text) in widest.iter_mut().zip(row) {
            *most = text.width().max(*most);
        }
    }
    let (dtype, shape, size) = (widest[1].min(width / 5), widest[2].min(width / 4), widest[3].min(8));
    let name = widest[0].min(width.saturating_sub(dtype + shape + size + 2 + 6).max(8));
    let listed = files.iter().flat_map(move |file| {
        let title = format!("{}  {}", printable(&file.path), bytes(file.size));
        let rows = wanted(file, filter).map(row).map(move |[n, d, s, b]| {
            format!("  {}  {}  {}  {b:>size$}", pad(&n, name), pad(&d, dtype), pad(&s, shape))
        });
        std::iter::once(elide(&title, width)).chain(rows).chain(remarks(file))
    });
    listed.chain(sums(&totals(files, filter), width))
}

/// What is said about a file below its tensors.
fn remarks(file: &Inspected) -> impl Iterator<Item = String> {
    let silent = file.table.is_none() && file.findings.is_empty();
    let none = silent.then(|| "  no tensors are read from a file of this format".to_owned());
    none.into_iter().chain(file.findings.iter().map(|finding| {
        let word = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        format!("  {word} {}: {}", finding.code, printable(&finding.message))
    }))
}

/// An empty line, and the totals of each dtype and of all dtypes, in columns.
fn sums(totals: &Totals<'_>, width: usize) -> Vec<String> {
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
    let rows = lines.iter().map(|[n, t, e, b]| {
        let text = format!("{}  {t:>tensors$}  {e:>elements$}  {b:>size$}", pad(n, name));
        elide(&text, width)
    });
    std::iter::once(String::new()).chain(rows).collect()
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
    use serde_json::json;

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
            let files = [file(&[&long, "模型模型模型模型模型模型模型模型.weight", "a\u{1b}[31m"])];
            let text = human(&files, None, width).collect::<Vec<_>>().join("\n");
            assert!(text.lines().all(|l| l.width() <= width), "{width}:\n{text}");
            assert!(text.contains("model.") && text.contains("ght") && text.contains('…'), "{text}");
            assert!(!text.contains('\u{1b}'));
        }
    }

    #[test]
    fn a_filter_narrows_the_table_and_its_totals() {
        let glob = globset::Glob::new("*.b").unwrap().compile_matcher();
        let files = [file(&["a.a", "a.b", "c.b"])];
        let value = serde_json::to_value(Report { name: "x", files: &files, filter: Some(&glob) }).unwrap();
        assert_eq!((&value["tensors"], &value["parameters"]), (&json!(2), &json!(2 * 4096 * 4096)));
    }
}
