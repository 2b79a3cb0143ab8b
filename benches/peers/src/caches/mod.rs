//! Layers that keep answers of an HTTP service, around the same service.
//!
//! | | found by | bounded by | a hit is |
//! |---|---|---|---|
//! | ours ([`HttpFallbackLayer`]) | what RFC 9111 says, in bytes | bytes | built from one piece of memory, with `Age` and `Cache-Status` |
//! | tower-resilience-cache | a key of ours, a text | entries | a clone of the response |
//! | moka, behind a plain layer | the same text | entries | a clone of the response |
//!
//! The peers look at no header: an answer is kept whatever it says of itself.
//!
//! [`HttpFallbackLayer`]: resilience_core::fallback::HttpFallbackLayer

mod moka;
mod origin;
mod ours;

use std::{
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use tower::{Layer, Service};
use tower_resilience_cache::{Cache, CacheLayer};

pub use self::{
    moka::{Plain, PlainFuture},
    origin::{Counting, Failed, Origin},
    ours::{fallback, keeps_for, ours},
};

/// The body of a request, and of the origin's answers.
pub type Body = Full<Bytes>;

/// Long enough that no bench outlives it.
const FRESH_FOR: Duration = Duration::from_secs(3_600);

/// tower-resilience-cache around a service, for so many answers.
///
/// # Panics
///
/// Never: the settings are allowed.
#[must_use]
pub fn tower_resilience<S>(
    entries: usize,
    origin: S,
) -> Cache<S, Request<Body>, String, Response<Body>>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    CacheLayer::builder()
        .max_size(entries)
        .ttl(FRESH_FOR)
        .key_extractor(key)
        .build()
        .expect("there is a key")
        .layer(origin)
}

/// moka behind a plain layer around a service, for so many answers.
#[must_use]
pub fn moka<S>(entries: u64, origin: S) -> Plain<S> {
    Plain::new(entries, FRESH_FOR, origin)
}

/// What a plain cache finds an answer by.
fn key(request: &Request<Body>) -> String {
    format!("{} {}", request.method(), request.uri())
}

/// A question, with the headers of a client that is traced.
///
/// # Panics
///
/// Never: the path is a part of a URI.
#[must_use]
pub fn request(method: Method, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("http://rates.internal:8081{path}"))
        .header("accept", "application/json")
        .header("user-agent", "payments-api/1.4")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .body(Body::default())
        .expect("all of it is valid")
}

/// Makes one call that needs no runtime: its answer, if it is there at the first poll.
///
/// Never inlined: the answer of one member would be moved once more than that of another,
/// as the compiler likes, and a row would measure that.
#[inline(never)]
pub fn at_once<S: Service<Request<Body>>>(
    service: &mut S,
    request: Request<Body>,
    context: &mut Context<'_>,
) -> Option<S::Response> {
    let Poll::Ready(Ok(())) = service.poll_ready(context) else {
        return None;
    };
    match pin!(service.call(request)).poll(context) {
        Poll::Ready(answer) => answer.ok(),
        Poll::Pending => None,
    }
}

/// Makes one call in a runtime.
#[inline]
pub async fn ask<S: Service<Request<Body>>>(
    service: &mut S,
    request: Request<Body>,
) -> Option<S::Response> {
    let ready = std::future::poll_fn(|context| service.poll_ready(context)).await;
    ready.ok()?;
    service.call(request).await.ok()
}

#[cfg(test)]
mod tests;
