//! The meaning of single headers of any answer. `retry` reads how long to wait.

use reqwest::header::{CONTENT_TYPE, HeaderMap};

/// Whether the headers say that the body is a web page.
pub(super) fn is_web_page(headers: &HeaderMap) -> bool {
    const HTML: &[u8] = b"text/html";
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.as_bytes().get(..HTML.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(HTML))
}

/// An `ETag` without its quotes and the mark of a weak one.
pub(super) fn bare_tag(tag: &str) -> &str {
    tag.trim().trim_start_matches("W/").trim_matches('"')
}

/// The `rel="next"` target of a `Link` header.
pub(crate) fn next_link(header: &str) -> Option<String> {
    // The brackets delimit a link, since a URL may contain commas and semicolons.
    header.split('<').find_map(|link| {
        let (target, parameters) = link.split_once('>')?;
        let next = parameters.split([';', ',']).any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
        next.then(|| target.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(next_link(r#"<https://h/a?cursor=x%3D>; rel="next""#).as_deref(), Some("https://h/a?cursor=x%3D"));
        assert_eq!(next_link(r#"</p>; rel="prev", </n>; title="t"; rel="next""#).as_deref(), Some("/n"));
        assert_eq!(next_link(r#"</p>; rel="prev", </n?a=1,2;3>; rel="next""#).as_deref(), Some("/n?a=1,2;3"));
        assert_eq!(next_link(r#"</p>; rel="prev""#), None);
        assert_eq!(next_link("garbage"), None);
    }

    #[test]
    fn a_web_page_is_known_however_its_type_is_written() {
        for (kind, html) in
            [("text/html", true), ("Text/HTML; charset=utf-8", true), ("text/plain", false), ("text", false)]
        {
            assert_eq!(is_web_page(&HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())])), html, "{kind}");
        }
    }

    #[test]
    fn a_tag_is_compared_without_its_marks() {
        for tag in ["\"abc\"", "W/\"abc\"", " abc "] {
            assert_eq!(bare_tag(tag), "abc");
        }
    }
}
