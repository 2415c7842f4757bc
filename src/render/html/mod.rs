//! A report as one page for people, which needs no network and no other file. `row.rs` makes the rows; `style.css` has
//! the style, and `script.js` the buttons. Nothing is decided here.

mod row;

use std::fmt::Write as _;

use hfget_core::finding::{Finding, Severity};
use hfget_core::unstable::text::{bytes, printable};

use super::{group, many};
pub use row::{Row, Tone};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// The page's own policy allows a browser to use only this style and this script. The two values are the SHA-256 of
/// the files; a test compares them.
const STYLE_SUM: &str = include_str!("style.sum");
const SCRIPT_SUM: &str = include_str!("script.sum");

/// The most files of one repo that are shown; the rest is counted.
const FILES_SHOWN: usize = 2000;

/// Escapes text from outside for a page: it cannot add markup, close an attribute, or change a line's direction.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The page on all repos of a run of `command`, which ended at `when`.
pub fn page(command: &str, when: &str, rows: &[Row]) -> String {
    let mut out = String::new();
    let bad = rows.iter().filter(|row| row.tone == Tone::Bad).count();
    let title = match bad {
        0 => format!("hfget {command}: {}", many(rows.len() as u64, "repo")),
        bad => format!("hfget {command}: {bad} of {} not right", many(rows.len() as u64, "repo")),
    };
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; base-uri 'none'; form-action 'none'; \
         style-src 'sha256-{}'; script-src 'sha256-{}'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        STYLE_SUM.trim(),
        SCRIPT_SUM.trim(),
        escaped(&title)
    );
    head(&mut out, command, when, rows, bad);
    table(&mut out, rows);
    for (at, row) in rows.iter().enumerate() {
        details(&mut out, at, row);
    }
    let _ = write!(
        out,
        "<footer>hfget {}. The page needs no network and loads nothing.</footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    out
}

fn head(out: &mut String, command: &str, when: &str, rows: &[Row], bad: usize) {
    let sum = |of: fn(&Row) -> u64| rows.iter().fold(0u64, |sum, row| sum.saturating_add(of(row)));
    let good = rows.iter().filter(|row| row.tone == Tone::Good).count();
    let _ = write!(
        out,
        "<header>\n<h1>hfget {}</h1>\n<p>{when}. {}: <b class=\"good\">{good} right</b>, <b class=\"{}\">{bad} not right</b>. \
         {}, {}.</p>\n</header>\n",
        escaped(command),
        many(rows.len() as u64, "repo"),
        if bad == 0 { "none" } else { "bad" },
        many(sum(|row| row.files as u64), "file"),
        bytes(sum(|row| row.bytes)),
        when = escaped(when),
    );
}

fn table(out: &mut String, rows: &[Row]) {
    out.push_str(
        "<form id=\"filter\" hidden>\n<label>Filter <input type=\"search\" id=\"text\" autocomplete=\"off\"></label>\n\
         <label>Show <select id=\"tone\"><option value=\"\">all</option><option value=\"bad\">not right</option>\
         <option value=\"good\">right</option></select></label>\n<output id=\"count\"></output>\n</form>\n\
         <div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Repos and checks\">\n<table id=\"matrix\">\n<thead><tr>",
    );
    let columns =
        ["Repo", "Result", "Digests"].into_iter().chain(row::GROUPS).chain(["Files", "Size", "Moved", "Time"]);
    for (at, name) in columns.enumerate() {
        let number = if at > 1 { " class=\"number\"" } else { "" };
        let _ = write!(out, "<th scope=\"col\"{number}>{name}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (at, row) in rows.iter().enumerate() {
        let tone = row.tone.class();
        let _ = write!(
            out,
            "<tr data-tone=\"{tone}\"><th scope=\"row\"><a href=\"#repo-{at}\">{}</a></th><td class=\"{tone}\">{}</td>",
            escaped(&row.name),
            escaped(&row.result),
        );
        match row.digests {
            Some((right, all)) => {
                let class = if right == all { "good" } else { "bad" };
                let _ = write!(out, "<td class=\"number {class}\" data-sort=\"{right}\">{right} of {all}</td>");
            }
            None => out.push_str("<td class=\"number none\" data-sort=\"-1\">–</td>"),
        }
        for group in 0..row::GROUPS.len() {
            cell(out, row, group);
        }
        let _ = writeln!(
            out,
            "<td class=\"number\" data-sort=\"{}\">{}</td><td class=\"number\" data-sort=\"{}\">{}</td>\
             <td class=\"number\" data-sort=\"{}\">{}</td><td class=\"number\" data-sort=\"{}\">{}</td></tr>",
            row.files,
            group(row.files as u64),
            row.bytes,
            bytes(row.bytes),
            row.moved,
            bytes(row.moved),
            row.milliseconds.unwrap_or(0),
            row.milliseconds.map_or_else(|| "–".to_owned(), super::human::duration),
        );
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

/// The result of one group of checks: the number of its worst findings.
fn cell(out: &mut String, row: &Row, group: usize) {
    let count = |severity| {
        row.findings.iter().filter(|(f, _)| row::group_of(f.code) == group && f.severity == severity).count()
    };
    let (errors, warnings, notes) = (count(Severity::Error), count(Severity::Warning), count(Severity::Note));
    let sort = errors * 1_000_000 + warnings * 1000 + notes;
    let (class, text) = match (errors, warnings, notes) {
        (0, 0, 0) if !row.looked.contains(&group) => ("none", "–".to_owned()),
        (0, 0, 0) => ("good", "✓".to_owned()),
        (0, 0, notes) => ("none", many(notes as u64, "note")),
        (0, warnings, _) => ("warn", many(warnings as u64, "warning")),
        (errors, ..) => ("bad", many(errors as u64, "error")),
    };
    let _ = write!(out, "<td class=\"number {class}\" data-sort=\"{sort}\">{text}</td>");
}

fn details(out: &mut String, at: usize, row: &Row) {
    let open = if row.tone == Tone::Bad { " open" } else { "" };
    let _ = write!(
        out,
        "<section id=\"repo-{at}\" data-tone=\"{}\">\n<details{open}>\n<summary><h2>{}</h2> <span class=\"{}\">{}</span></summary>\n<dl>\n",
        row.tone.class(),
        escaped(&row.name),
        row.tone.class(),
        escaped(&row.result),
    );
    for (name, value) in &row.facts {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(value));
    }
    out.push_str("</dl>\n");
    if let Some((error, hint)) = &row.error {
        let _ = writeln!(out, "<p class=\"bad\">{}</p>", escaped(error));
        if let Some(hint) = hint {
            let _ = writeln!(out, "<p class=\"hint\">→ {}</p>", escaped(hint));
        }
    }
    findings(out, &row.findings);
    if !row.left_out.is_empty() {
        out.push_str("<h3>Left out</h3>\n<ul>\n");
        for (size, reason, take) in &row.left_out {
            let _ = writeln!(
                out,
                "<li>{} {} <span class=\"hint\">({})</span></li>",
                bytes(*size),
                escaped(reason),
                escaped(take)
            );
        }
        out.push_str("</ul>\n");
    }
    if !row.list.is_empty() {
        let _ = write!(
            out,
            "<details class=\"files\"><summary>{}</summary>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"Files\">\
             <table><thead><tr><th scope=\"col\">File</th><th scope=\"col\">State</th><th scope=\"col\" class=\"number\">Size</th>\
             <th scope=\"col\">Digest</th></tr></thead><tbody>\n",
            many(row.list.len() as u64, "file")
        );
        for (path, state, size, digest) in row.list.iter().take(FILES_SHOWN) {
            let _ = writeln!(
                out,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"number\">{}</td><td><code>{}</code></td></tr>",
                escaped(path),
                escaped(state),
                bytes(*size),
                escaped(digest),
            );
        }
        out.push_str("</tbody></table></div>\n");
        if row.list.len() > FILES_SHOWN {
            let _ = writeln!(out, "<p>… and {} more; --json has all.</p>", row.list.len() - FILES_SHOWN);
        }
        out.push_str("</details>\n");
    }
    out.push_str("</details>\n</section>\n");
}

fn findings(out: &mut String, all: &[(Finding, Option<String>)]) {
    if all.is_empty() {
        return;
    }
    out.push_str("<h3>Findings</h3>\n<ul>\n");
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        let (word, class) = match severity {
            Severity::Error => ("error", "bad"),
            Severity::Warning => ("warning", "warn"),
            Severity::Note => ("note", "none"),
        };
        for (finding, hint) in all.iter().filter(|(finding, _)| finding.severity == severity) {
            let path = finding.path.as_ref().map_or_else(String::new, |path| format!(" {}:", escaped(path)));
            let _ = write!(
                out,
                "<li><b class=\"{class}\">{word}[{}]</b>{path} {}",
                finding.code,
                escaped(&finding.message)
            );
            if let Some(hint) = hint {
                let _ = write!(out, "<br><span class=\"hint\">→ {}</span>", escaped(hint));
            }
            out.push_str("</li>\n");
        }
    }
    out.push_str("</ul>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_not_markup_and_turns_no_line_around() {
        assert_eq!(escaped("<script>a&b</script>"), "&lt;script&gt;a&amp;b&lt;/script&gt;");
        assert_eq!(escaped("\" onload='x'"), "&quot; onload=&#39;x&#39;");
        assert!(!escaped("a\u{202e}b").contains('\u{202e}'));
        assert_eq!(escaped("models/ä b.bin"), "models/ä b.bin");
    }

    #[test]
    fn the_page_shows_every_name_as_text_and_loads_nothing() {
        let evil = "</title><img src=x onerror=alert(1)><script>alert(2)</script>'\"";
        let row = Row::error(evil, evil, Some(evil));
        let page = page("get", "2026-01-01", &[row]);
        assert!(!page.contains("<img") && !page.contains("<script>alert"), "{page}");
        assert_eq!(page.matches("<script>").count(), 1);
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains(" style="), "{page}");
    }
}
