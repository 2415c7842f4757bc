//! Shows a dry run: the selection, the files that are here, the files to fetch, the files left out
//! and why. As text for a person.

use std::fmt::Write as _;

use hfget_core::model::Gated;
use hfget_core::select::LeftOut;
use hfget_core::unstable::report::{PlanReport, state};
use hfget_core::unstable::text::{bytes, printable};
use unicode_width::UnicodeWidthStr as _;

use super::human::{HumanOptions, Paint, Words, count, finding_lines};
use super::lines::{wrap, wrap_after};
use super::remedies::take_words;

/// With fewer columns there is no table.
const NARROW: usize = 64;

/// The text; ends with a newline.
pub fn human(plan: &PlanReport<'_>, options: HumanOptions, words: &Words<'_>) -> String {
    let mut out = String::new();
    let paint = Paint(options.color);
    let info = plan.info;
    let mut head = paint.bold(&info.repo_type.qualify(&info.id));
    if info.canonical_id != info.id {
        let _ = write!(head, " (now {})", info.canonical_id);
    }
    if info.revision.as_commit().is_none() {
        let _ = write!(head, "@{}", info.revision.shown());
    }
    let _ = write!(head, " ({})", info.commit.short());
    if info.gated != Gated::No {
        head.push_str(" gated");
    }
    if info.private {
        head.push_str(" private");
    }
    if let Some(license) = &info.card.license {
        let _ = write!(head, " license {}", printable(license));
    }
    wrap(&mut out, "", &head, options.width);
    for set in &plan.selection.weights {
        let place = if set.scope.is_empty() { String::new() } else { format!("{}/: ", printable(&set.scope)) };
        let variant = set.variant.as_ref().map_or(String::new(), |v| format!(", variant {}", printable(v)));
        let index = set.index.as_ref().map_or(String::new(), |path| format!(" named by {}", path.file_name()));
        let line = format!("{place}{}{variant}, {}{}", set.family, count(set.files.len(), "file"), printable(&index));
        wrap(&mut out, "  ", &line, options.width);
    }
    if plan.selection.weights.is_empty() {
        out.push_str("  no weights\n");
    }
    out.push('\n');
    table(plan, &mut out, options);
    left_out(plan, &mut out, options);
    sums(plan, &mut out, options);
    finding_lines(&mut out, &plan.selection.findings, options, words);
    out
}

fn table(plan: &PlanReport<'_>, out: &mut String, options: HumanOptions) {
    let wide = options.width >= NARROW;
    if wide {
        let _ = writeln!(out, "{:>9}  {:<8}  {:<13}  FILE", "SIZE", "STATE", "PURPOSE");
    }
    for (item, selected) in plan.plan.items.iter().zip(&plan.selection.files) {
        let state = state(item.presence);
        let size = bytes(item.entry.size);
        let lead = if wide {
            format!("{size:>9}  {state:<8}  {:<13}", item.purpose.as_str())
        } else {
            format!("{size:>9}  {state}")
        };
        let name = item.entry.path.shown().to_string();
        let room = options.width.saturating_sub(lead.len() + 2);
        if wide || name.width() <= room {
            let _ = write!(out, "{lead}  {name}");
        } else {
            // Names are not cut, so that they can be copied.
            let _ = write!(out, "{lead}\n  {name}");
        }
        let reason = if options.verbose { format!("({})", printable(&selected.reason)) } else { String::new() };
        match reason.width() {
            0 => out.push('\n'),
            n if wide && name.width() + 2 + n <= room => {
                let _ = writeln!(out, "  {reason}");
            }
            _ => {
                let indent = if wide { lead.len() + 2 } else { 4 };
                wrap_after(out, &format!("\n{:indent$}", ""), indent + 1, &reason, options.width);
            }
        }
    }
}

fn left_out(plan: &PlanReport<'_>, out: &mut String, options: HumanOptions) {
    if plan.selection.left_out.is_empty() {
        return;
    }
    let paint = Paint(options.color);
    let _ = writeln!(out, "\n{}", paint.bold("Left out"));
    let shown = if options.verbose { usize::MAX } else { 8 };
    let groups = &plan.selection.left_out;
    for group in groups.iter().take(shown) {
        let line = format!(
            "{}: {} ({})",
            group.reason,
            examples(group, options.verbose),
            printable(&take_words(&group.take, ""))
        );
        let hang = if options.width >= NARROW { 13 } else { 4 };
        wrap_after(out, &format!("{:>9}  ", bytes(group.bytes)), hang, &line, options.width);
    }
    if groups.len() > shown {
        let rest = &groups[shown..];
        let files: usize = rest.iter().map(|g| g.paths.len()).sum();
        let size = rest.iter().fold(0u64, |sum, g| sum.saturating_add(g.bytes));
        let _ = writeln!(out, "{:>9}  {} more for other reasons (-v shows them)", bytes(size), count(files, "file"));
    }
}

fn sums(plan: &PlanReport<'_>, out: &mut String, options: HumanOptions) {
    let total = plan.plan.total_bytes();
    let missing = plan.plan.missing_bytes();
    let mut line = format!("{}, {}", count(plan.plan.items.len(), "file"), bytes(total));
    let _ = write!(line, "; {} cached, {} to fetch", bytes(total - missing.min(total)), bytes(missing));
    if let Some(free) = plan.plan.free_space {
        let _ = write!(line, "; {} free", bytes(free));
    }
    let saved = plan.bytes_left_out();
    if saved > 0 {
        let _ = write!(line, "; {} left out", bytes(saved));
    }
    out.push('\n');
    wrap(out, "", &line, options.width);
}

/// `a.onnx, b.onnx and 7 more`.
pub(super) fn examples(group: &LeftOut, all: bool) -> String {
    let shown = if all || group.paths.len() <= 3 { group.paths.len() } else { 2 };
    let names: Vec<String> = group.paths.iter().take(shown).map(|path| path.shown().to_string()).collect();
    let mut text = names.join(", ");
    if group.paths.len() > shown {
        let _ = write!(text, " and {} more", group.paths.len() - shown);
    }
    text
}
