//! The heads of HTTP/1.1: writes that of a request, and reads that of an answer (RFC 9112). An answer whose body has no plain
//! length is left to the HTTP library.

use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{StatusCode, Version};
use url::{Position, Url};

use crate::hub::host::name_of;

/// The most bytes of a head that is read here. The library reads longer ones.
pub(super) const LIMIT: usize = 16 << 10;
/// The most headers of an answer that is read here.
const HEADERS: usize = 64;

/// The head of a GET request.
pub(super) fn request(url: &Url, headers: &HeaderMap) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"GET ");
    head.extend_from_slice(url[Position::BeforePath..Position::AfterQuery].as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    if !headers.contains_key(HOST) {
        line(&mut head, HOST.as_str(), name_of(url).as_bytes());
    }
    for (name, value) in headers {
        line(&mut head, name.as_str(), value.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn line(head: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        head.extend_from_slice(part);
    }
}

/// The head of an answer with a body of a stated length.
#[derive(Debug)]
pub(super) struct Head {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    /// Bytes of the body.
    pub length: u64,
    /// Whether the connection can be used for another request.
    pub stays_open: bool,
}

/// The beginning of an answer.
#[derive(Debug)]
pub(super) enum Start {
    /// The head may be good, but its end has not come.
    Unfinished,
    /// A head of this many bytes.
    Plain(Box<Head>, usize),
    /// The library decides what this means.
    Other,
}

/// Reads the beginning of an answer.
pub(super) fn read(bytes: &[u8]) -> Start {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    match answer.parse(bytes) {
        Ok(httparse::Status::Complete(n)) => {
            plain(&answer).map_or(Start::Other, |head| Start::Plain(Box::new(head), n))
        }
        Ok(httparse::Status::Partial) if bytes.len() < LIMIT => Start::Unfinished,
        Ok(httparse::Status::Partial) | Err(_) => Start::Other,
    }
}

fn plain(answer: &httparse::Response<'_, '_>) -> Option<Head> {
    let status = StatusCode::from_u16(answer.code?).ok()?;
    // These have no body, whatever their length says.
    if status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return None;
    }
    let version = if answer.version? == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    let mut headers = HeaderMap::with_capacity(answer.headers.len());
    for header in &*answer.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next()?.to_str().ok()?;
    let only = lengths.next().is_none() && length.bytes().all(|byte| byte.is_ascii_digit());
    let length = length.parse().ok().filter(|_| only)?;
    let stays_open = stays_open(version, &headers);
    Some(Head { status, version, headers, length, stays_open })
}

/// Whether the connection of this answer can be used for another request (RFC 9112, 9.3).
pub(super) fn stays_open(version: Version, headers: &HeaderMap) -> bool {
    let says = |token: &str| {
        let mut values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    };
    if version == Version::HTTP_11 { !says("close") } else { says("keep-alive") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its length, whether the connection stays open, and the bytes of the head; `None` if the library reads it.
    fn plain(answer: &str) -> Option<(u64, bool, usize)> {
        match read(answer.as_bytes()) {
            Start::Plain(head, n) => Some((head.length, head.stays_open, n)),
            Start::Other => None,
            Start::Unfinished => panic!("{answer:?} is not finished"),
        }
    }

    #[test]
    fn a_request_names_its_host_with_a_port_only_if_the_url_does() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        let url = |text: &str| Url::parse(text).unwrap();
        assert_eq!(
            String::from_utf8(request(&url("http://u:p@[::1]:80/a%20b?c#d"), &headers)).unwrap(),
            "GET /a%20b?c HTTP/1.1\r\nhost: [::1]\r\nx-a: 1\r\nx-a: 2\r\n\r\n"
        );
        let text = String::from_utf8(request(&url("http://host:81"), &HeaderMap::new())).unwrap();
        assert_eq!(text, "GET / HTTP/1.1\r\nhost: host:81\r\n\r\n");
    }

    #[test]
    fn an_answer_with_a_plain_length_is_read_here() {
        let head = "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nX: a\r\nx: b\r\n\r\n";
        assert_eq!(plain(&format!("{head}12345")), Some((5, true, head.len())));
        let Start::Plain(read, _) = read(head.as_bytes()) else { panic!() };
        assert_eq!((read.status, read.version), (StatusCode::PARTIAL_CONTENT, Version::HTTP_11));
        assert_eq!(read.headers.get_all("x").iter().count(), 2);
        let with = |version: &str, header: &str| {
            plain(&format!("HTTP/{version} 404 Not Found\r\ncontent-length: 0\r\n{header}\r\n"))
                .map(|(_, open, _)| open)
        };
        assert_eq!(with("1.1", "connection: Keep-Alive\r\n"), Some(true));
        assert_eq!(with("1.1", "connection: te, CLOSE\r\n"), Some(false));
        assert_eq!(with("1.0", ""), Some(false));
        assert_eq!(with("1.0", "connection: keep-alive\r\n"), Some(true));
    }

    #[test]
    fn every_other_answer_is_left_to_the_library() {
        for answer in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 100 Continue\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
            "HTTP/2 200 OK\r\ncontent-length: 5\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n",
            &format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(LIMIT)),
            &format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: a\r\n".repeat(HEADERS + 1)),
        ] {
            assert_eq!(plain(answer), None, "{answer:.80}");
        }
    }

    #[test]
    fn a_head_that_goes_on_is_waited_for() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        for n in 0..answer.len() {
            assert!(matches!(read(&answer.as_bytes()[..n]), Start::Unfinished), "{n}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>) {
            read(&bytes);
        }
    }
}
