//! The tower layer for HTTP.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::Response;
use tower_layer::Layer;

use super::{
    CacheStatus, HttpAnswer,
    hot::Hot,
    other::{NoOther, Other},
    service::HttpFallbackService,
    shared::Shared,
    stored::{HttpCode, HttpStored},
};
use crate::{
    breaker::HttpStatusFails,
    fallback::{Fallback, flow::Port, shelf::Kept},
};

/// Answers with the last good answer when an HTTP service fails: with an error, or with
/// a 5xx.
///
/// It goes around the breaker and the timeout, so that it sees their failures. It keeps
/// answers to `GET` and obeys what requests and answers say of being kept, as a shared
/// cache has to (RFC 9111): private answers are for who asked, and answers differ by the
/// headers that they name in `Vary`. What comes from memory carries `Age` and
/// `Cache-Status`. Each answer to something that may be kept has a
/// [`Served`](crate::fallback::Served) among its extensions, unless it is a fresh one from
/// memory: there are many of those, and their age is in `Age`.
///
/// # Example
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::{Empty, Full};
/// use resilience_core::config::Config;
/// use resilience_core::fallback::{Fallback, HttpFallbackLayer};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let fallback = Fallback::new("rates", Config::default().fallback("rates"));
/// let client = ServiceBuilder::new()
///     .layer(HttpFallbackLayer::new(fallback))
///     .service_fn(|_: Request<Empty<Bytes>>| async {
///         Ok::<_, std::io::Error>(Response::new(Full::new(Bytes::from("1.08"))))
///     });
///
/// let eur = || Request::get("http://rates.example/EUR").body(Empty::new());
/// client.clone().oneshot(eur()?).await?;
/// let response = client.oneshot(eur()?).await?;
/// assert_eq!(response.headers()["cache-status"], "rates; hit; ttl=300");
/// assert_eq!(response.headers()["age"], "0");
/// # Ok(())
/// # }
/// ```
pub struct HttpFallbackLayer<C = HttpStatusFails, O = NoOther> {
    fallback: Fallback,
    classify: C,
    one_identity: bool,
    fixed: Option<Arc<Kept<HttpStored>>>,
    other: Arc<O>,
}

impl HttpFallbackLayer {
    /// A 5xx and every error is a failure.
    #[must_use]
    pub fn new(fallback: Fallback) -> Self {
        Self {
            fallback,
            classify: HttpStatusFails,
            one_identity: false,
            fixed: None,
            other: Arc::new(NoOther),
        }
    }
}

impl<C, O> HttpFallbackLayer<C, O> {
    /// The same with another judgement of what is a failure. What is ignored is
    /// passed on, and what is stored stays.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> HttpFallbackLayer<D, O> {
        HttpFallbackLayer {
            fallback: self.fallback,
            classify,
            one_identity: self.one_identity,
            fixed: self.fixed,
            other: self.other,
        }
    }

    /// All calls are made with the same credentials, those of this service, and their
    /// answers are for it: then answers to requests with `Authorization` or `Cookie` are
    /// shared, and private ones kept.
    ///
    /// Wrong where credentials are passed through from whoever asks: they would be given
    /// each other's answers.
    #[must_use]
    pub const fn one_identity(mut self) -> Self {
        self.one_identity = true;
        self
    }

    /// The answer when a call fails and the strategy is `static`, instead of the one that
    /// is configured.
    ///
    /// # Panics
    ///
    /// If its headers are more than a few hundred KiB.
    #[must_use]
    pub fn answer(mut self, answer: Response<Bytes>) -> Self {
        let (parts, body) = answer.into_parts();
        let answer = HttpAnswer::new(&parts, &body, None).expect("few headers");
        self.fixed = Some(Kept::passing(HttpStored::Answer(answer)));
        self
    }

    /// The service that is asked when a call fails and the strategy is `service`, with a
    /// copy of the request. Its answers are judged as those of the first one, and not
    /// kept.
    #[must_use]
    pub fn other<S>(self, service: S) -> HttpFallbackLayer<C, Other<S>> {
        HttpFallbackLayer {
            fallback: self.fallback,
            classify: self.classify,
            one_identity: self.one_identity,
            fixed: self.fixed,
            other: Arc::new(Other::new(service)),
        }
    }
}

impl<S, C, O> Layer<S> for HttpFallbackLayer<C, O>
where
    C: Clone,
{
    type Service = HttpFallbackService<S, C, O>;

    fn layer(&self, inner: S) -> Self::Service {
        let shared = Shared {
            port: Arc::new(Port::new(&self.fallback, Some(Arc::new(HttpCode)))),
            classify: self.classify.clone(),
            one_identity: self.one_identity,
            fixed: self.fixed.clone(),
            other: Arc::clone(&self.other),
            status: CacheStatus::new(self.fallback.name()),
            hot: Hot::new(),
        };
        HttpFallbackService::new(inner, shared)
    }
}

// By hand: to derive it asks the same of all the types.
impl<C: Clone, O> Clone for HttpFallbackLayer<C, O> {
    fn clone(&self) -> Self {
        Self {
            fallback: self.fallback.clone(),
            classify: self.classify.clone(),
            one_identity: self.one_identity,
            fixed: self.fixed.clone(),
            other: Arc::clone(&self.other),
        }
    }
}

impl<C, O> fmt::Debug for HttpFallbackLayer<C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFallbackLayer")
            .field("fallback", &self.fallback)
            .field("one_identity", &self.one_identity)
            .finish_non_exhaustive()
    }
}
