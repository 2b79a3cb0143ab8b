//! The layer for HTTP, rule by rule.

mod at_once;
mod failing;
mod hot;
mod keeping;
mod second;
mod sharing;
mod strategies;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, request};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::{
    config::FallbackStrategy,
    fallback::{
        FallbackError, Served, Source, Tried,
        tests::{config, fallback, until},
    },
};

const SECOND: Duration = Duration::from_secs(1);
const TTL: Duration = Duration::from_secs(300);

#[derive(Debug, thiserror::Error)]
#[error("down")]
struct Down;

/// Neither `Sync` nor anything else that a body need not be.
type TestBody = UnsyncBoxBody<Bytes, Down>;
type Said = Result<Response<TestBody>, Down>;

/// An upstream that answers what it is told to, when it is let.
#[derive(Clone)]
struct Upstream {
    asked: Arc<AtomicU64>,
    gate: Arc<Semaphore>,
    says: Arc<Mutex<Says>>,
}

type Says = Box<dyn FnMut(u64, &request::Parts) -> Said + Send>;

impl Upstream {
    /// Says `says` of the number of the question and its head.
    fn new(says: impl FnMut(u64, &request::Parts) -> Said + Send + 'static) -> Self {
        Self {
            asked: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            says: Arc::new(Mutex::new(Box::new(says))),
        }
    }

    /// Answers the number of the question with these headers.
    fn numbers(headers: &'static [(&'static str, &'static str)]) -> Self {
        Self::new(move |number, _| Ok(response(200, headers, &number.to_string())))
    }

    /// The same, when it is let.
    fn shut(mut self) -> Self {
        self.gate = Arc::new(Semaphore::new(0));
        self
    }

    fn now_says(&self, says: impl FnMut(u64, &request::Parts) -> Said + Send + 'static) {
        *self.says.lock() = Box::new(says);
    }

    fn is_down(&self) {
        self.now_says(|_, _| Err(Down));
    }

    fn answers(&self, status: u16) {
        self.now_says(move |_, _| Ok(response(status, &[], "sorry")));
    }

    fn asked(&self) -> u64 {
        self.asked.load(SeqCst)
    }

    fn answer(&self, how_many: usize) {
        self.gate.add_permits(how_many);
    }
}

impl Service<Request<Empty<Bytes>>> for Upstream {
    type Response = Response<TestBody>;
    type Error = Down;
    type Future = std::pin::Pin<Box<dyn Future<Output = Said> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Down>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let number = self.asked.fetch_add(1, SeqCst) + 1;
        let (gate, says) = (Arc::clone(&self.gate), Arc::clone(&self.says));
        Box::pin(async move {
            gate.acquire().await.expect("never closed").forget();
            let (parts, _) = request.into_parts();
            let mut says = says.lock();
            says(number, &parts)
        })
    }
}

fn response(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    body: &str,
) -> Response<TestBody> {
    let mut response = Response::builder().status(status);
    for &(name, value) in headers {
        response = response.header(name, value);
    }
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    response.body(whole(body)).unwrap()
}

fn whole(
    body: impl http_body::Body<Data = Bytes, Error = Infallible> + Send + 'static,
) -> TestBody {
    body.map_err(|never| match never {}).boxed_unsync()
}

type Client = HttpFallbackService<Upstream>;

fn client(fallback: &crate::fallback::Fallback, upstream: &Upstream) -> Client {
    HttpFallbackLayer::new(fallback.clone()).layer(upstream.clone())
}

fn request(method: &str, headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let mut request = Request::builder()
        .method(method)
        .uri("http://rates.example/EUR");
    for &(name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Empty::new()).unwrap()
}

/// An answer, read.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
    served: Option<Served>,
}

impl Answer {
    /// What `Cache-Status` says after the name.
    fn cache_status(&self) -> &str {
        let value = self.headers.get("cache-status");
        let value = value.map_or("", |value| value.to_str().unwrap());
        value.strip_prefix("rates; ").unwrap_or(value)
    }

    fn source(&self) -> Source {
        self.served.as_ref().map_or(Source::Fresh, Served::source)
    }
}

async fn read(response: Response<FallbackBody<TestBody>>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("whole");
    Answer {
        status: parts.status.as_u16(),
        trailers: body.trailers().cloned(),
        body: String::from_utf8(body.to_bytes().to_vec()).unwrap(),
        headers: parts.headers,
        served: parts.extensions.get().cloned(),
    }
}

async fn send<S>(client: &S, request: Request<Empty<Bytes>>) -> Result<Answer, FallbackError<Down>>
where
    S: Service<
            Request<Empty<Bytes>>,
            Response = Response<FallbackBody<TestBody>>,
            Error = FallbackError<Down>,
        > + Clone,
{
    Ok(read(client.clone().oneshot(request).await?).await)
}

/// The answer to a plain GET: its body, and what was done to get it.
async fn get(client: &Client, headers: &[(&str, &str)]) -> (String, String) {
    let answer = send(client, request("GET", headers)).await.unwrap();
    let done = answer.cache_status().to_owned();
    (answer.body, done)
}

fn both(body: &str, done: &str) -> (String, String) {
    (body.to_owned(), done.to_owned())
}
