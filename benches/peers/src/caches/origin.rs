//! The service whose answers are kept.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};
use tokio::sync::watch;
use tower::Service;

use super::Body;

/// The error of an [`Origin`], which has none.
pub type Failed = Infallible;

/// Answers at once, with so many headers and bytes, in memory of their own as from a
/// network.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    headers: usize,
    bytes: usize,
}

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_TYPE, "application/json"),
    (header::SERVER, "rates/2.1"),
    (header::ETAG, "\"33a64df551425fcc55e4d42a148795d9\""),
    (header::DATE, "Tue, 06 Jan 2026 14:02:11 GMT"),
];

impl Origin {
    /// 1 KiB and a handful of headers.
    pub const USUAL: Self = Self {
        headers: 4,
        bytes: 1_024,
    };

    /// 1 KiB and the least that one says of it.
    pub const TERSE: Self = Self {
        headers: 1,
        bytes: 1_024,
    };

    /// Nothing: a call of it costs next to nothing.
    pub const EMPTY: Self = Self {
        headers: 0,
        bytes: 0,
    };

    /// Its headers are parts of one buffer, as a client hands them out that has read them
    /// from a network.
    fn answer(self) -> Response<Body> {
        let body = if self.bytes == 0 {
            Bytes::new()
        } else {
            Bytes::from(vec![b'7'; self.bytes])
        };
        let mut response = Response::new(Body::new(body));
        let mut read = Bytes::new();
        if self.headers > 0 {
            read = HEADERS.map(|(_, value)| value).concat().into();
        }
        for (name, value) in HEADERS.into_iter().take(self.headers) {
            let value = HeaderValue::from_maybe_shared(read.split_to(value.len()));
            let value = value.expect("it is printable");
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl Service<Request<Body>> for Origin {
    type Response = Response<Body>;
    type Error = Failed;
    type Future = Ready<Result<Response<Body>, Failed>>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(self.answer()))
    }
}

/// An [`Origin`] that counts its calls, and answers none of them before it is let.
#[derive(Clone, Debug)]
pub struct Counting {
    calls: Arc<AtomicU64>,
    open: watch::Receiver<bool>,
}

impl Counting {
    /// One that answers when `open` says so.
    #[must_use]
    pub fn new(open: watch::Receiver<bool>) -> Self {
        Self {
            calls: Arc::default(),
            open,
        }
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }
}

impl Service<Request<Body>> for Counting {
    type Response = Response<Body>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        // ordering: Relaxed. A count and nothing else.
        self.calls.fetch_add(1, Relaxed);
        let mut open = self.open.clone();
        Box::pin(async move {
            // Who would have opened it is gone: as good as open.
            let _ = open.wait_for(|open| *open).await;
            Ok(Origin::USUAL.answer())
        })
    }
}
