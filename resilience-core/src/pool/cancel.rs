//! Asks a server to give up a statement, and waits until it has been told.
//!
//! A cancellation is a connection of its own on which nothing is answered: the
//! server closes it once the backend has its signal. tokio-postgres does not wait
//! for that, so a cancellation could hit whatever the session does next.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::address::{Address, Place};

trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// A connection that is shut down only when the other side has closed it.
///
/// Public because a TLS connector must be able to go over it.
pub struct CancelStream {
    io: Pin<Box<dyn Io>>,
    said_all: bool,
}

impl fmt::Debug for CancelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelStream")
    }
}

impl CancelStream {
    pub(super) async fn connect(address: &Address) -> io::Result<Self> {
        let io: Pin<Box<dyn Io>> = match &address.place {
            Place::Tcp(at) => Box::pin(TcpStream::connect(at).await?),
            Place::Unix(path) => Box::pin(UnixStream::connect(path).await?),
        };
        Ok(Self {
            io,
            said_all: false,
        })
    }
}

impl AsyncRead for CancelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for CancelStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.said_all {
            ready!(self.io.as_mut().poll_shutdown(cx))?;
            self.said_all = true;
        }
        loop {
            let mut space = [0; 64];
            let mut read = ReadBuf::new(&mut space);
            match ready!(self.io.as_mut().poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => {}
                // Closed, or reset: it is over either way.
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}
