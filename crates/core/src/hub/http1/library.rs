//! Hands an answer that has begun to the HTTP library, which knows every form of HTTP/1.1.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use reqwest::{Body, Response};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::connection::Connection;
use super::head;

/// Reads the answer to a GET request, which began with `came`. `back` gets the connection after the whole answer, if it can be used
/// again.
pub(super) async fn read(
    connection: Connection,
    came: Vec<u8>,
    back: impl FnOnce(Connection) + Send + 'static,
) -> hyper::Result<Response> {
    let answer = io::Cursor::new(came).chain(connection);
    let (mut sender, answering) = handshake(TokioIo::new(Sent { answer, asked: false, reader: None })).await?;
    let (stays, stays_open) = oneshot::channel();
    tokio::spawn(async move {
        // Its errors are also those of the answer and of its body.
        let Ok(parts) = answering.without_shutdown().await else { return };
        let (began, connection) = parts.io.into_inner().answer.into_inner();
        // Nothing was requested that could come after the answer.
        let all_is_read = parts.read_buf.is_empty() && began.position() == began.get_ref().len() as u64;
        if all_is_read && stays_open.await == Ok(true) {
            back(connection);
        }
    });
    let answer = sender.send_request(hyper::Request::new(Body::default())).await?;
    // If the task has ended, the connection has too.
    let _ = stays.send(head::stays_open(answer.version(), answer.headers()));
    Ok(answer.map(Body::wrap).into())
}

/// The answer to a request that was sent before. What the library sends goes nowhere.
struct Sent<R> {
    answer: R,
    /// Whether the library has sent its request. It does not expect bytes before.
    asked: bool,
    reader: Option<Waker>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Sent<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.asked {
            return Pin::new(&mut self.answer).poll_read(cx, buffer);
        }
        self.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<R: Unpin> AsyncWrite for Sent<R> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
