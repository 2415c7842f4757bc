//! The body of an answer as it comes: large reads into memory that is used again. `mod.rs` reads the head.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::Shared;
use super::connection::{self, Connection};
use super::memory::Piece;

/// Bytes that have come wait this long for more, so that few large pieces are handed on instead of many small ones.
const MOMENT: Duration = Duration::from_millis(20);
/// This share of a body comes by itself, so that its reader can request the next part before this one ends.
const LAST: u64 = 8;
/// A body with fewer bytes is not divided.
const LONG: u64 = 1 << 20;
/// The HTTP library's words.
const CUT_SHORT: &str = "end of file before message length reached";

/// A body of a stated length. Its connection can be used again as soon as its last byte has come.
pub(super) struct Content {
    shared: Arc<Shared>,
    /// `None` after the last byte.
    connection: Option<Connection>,
    /// Where the connection goes then; `None` if it cannot be used again.
    key: Option<String>,
    length: u64,
    /// The bytes that have not come.
    left: u64,
    piece: Piece,
    /// Why no more bytes come. Those that came are handed on first.
    broken: Option<io::Error>,
    /// When the bytes that have come are handed on.
    late: Option<Pin<Box<Sleep>>>,
}

impl Content {
    /// A body of this length, of which `first` has come. `key` says for which host the connection can be used again.
    pub fn new(shared: Arc<Shared>, connection: Connection, key: Option<String>, length: u64, first: &[u8]) -> Self {
        let piece = shared.memory.piece(length);
        // Nothing was requested that could come after the body.
        let key = key.filter(|_| first.len() as u64 <= length);
        let mut content = Content {
            shared,
            connection: Some(connection),
            key,
            length,
            left: length,
            piece,
            broken: None,
            late: None,
        };
        // A piece has no room for more than the body.
        let copied = content.piece.copy(first);
        content.came(copied);
        content
    }

    /// Notes that bytes have come.
    fn came(&mut self, n: usize) {
        self.left -= n as u64;
        if self.left == 0
            && let Some((connection, key)) = self.connection.take().zip(self.key.take())
        {
            self.shared.idle.add(key, connection);
        }
    }

    /// Takes what has come.
    fn take(&mut self) -> Frame<Bytes> {
        self.late = None;
        let bytes = self.piece.split();
        if self.piece.is_full() || self.left == 0 {
            self.shared.memory.keep(std::mem::take(&mut self.piece));
        }
        Frame::data(bytes)
    }

    /// The bytes that come as a piece of their own at the end.
    fn last(&self) -> u64 {
        if self.length > LONG { self.length / LAST } else { 0 }
    }

    /// Receives until there is a frame.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            let last = self.last();
            if self.piece.is_full() || self.left == 0 || self.left == last {
                if self.piece.len() > 0 {
                    return Poll::Ready(Some(Ok(self.take())));
                }
                if self.left == 0 {
                    return Poll::Ready(None);
                }
            }
            if let Some(error) = self.broken.take() {
                return Poll::Ready(Some(Err(error)));
            }
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            if self.piece.is_full() {
                self.piece = self.shared.memory.piece(self.left);
            }
            let wanted = if self.left > last { self.left - last } else { self.left };
            let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
            match connection::poll_receive(connection, &mut self.piece, wanted, cx) {
                Poll::Ready(Ok(n)) if n > 0 => self.came(n),
                Poll::Ready(end) => {
                    let cut_short = || io::Error::new(io::ErrorKind::UnexpectedEof, CUT_SHORT);
                    self.broken = Some(end.err().unwrap_or_else(cut_short));
                    if self.piece.len() > 0 {
                        return Poll::Ready(Some(Ok(self.take())));
                    }
                }
                Poll::Pending if self.piece.len() == 0 => return Poll::Pending,
                Poll::Pending => {
                    let late = self.late.get_or_insert_with(|| Box::pin(sleep(MOMENT)));
                    ready!(late.as_mut().poll(cx));
                    return Poll::Ready(Some(Ok(self.take())));
                }
            }
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.poll(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.piece.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left + self.piece.len() as u64)
    }
}
