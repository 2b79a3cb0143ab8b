//! The tower layer, for any answers.

use std::{fmt, marker::PhantomData, sync::Arc};

use parking_lot::Mutex;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Codec, Fallback, Key,
    codec::{BoxError, Code},
    flow::{OtherFuture, Port},
    oneshot::ready_and_call,
    service::{FallbackService, Shared},
    shelf::Kept,
};
use crate::breaker::ErrorsFail;

/// Answers with the last good answer when a tower service fails; `V` is what it
/// answers.
///
/// It goes around the breaker and the timeout, so that it sees their failures. What
/// comes out is an [`Answered`](super::Answered), which says where it comes from. An
/// answer that is fresh is handed out without asking the service, calls that ask for
/// the same at the same time are one call, and that one goes on when its caller is
/// gone.
///
/// For `http::Response` there is a layer that knows what HTTP says about keeping
/// answers: [`HttpFallbackLayer`](super::HttpFallbackLayer).
///
/// # Example
///
/// ```
/// use resilience_core::{BreakerConfig, CircuitBreaker, CircuitBreakerLayer, config::Config};
/// use resilience_core::fallback::{Fallback, FallbackLayer, Key, Source};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let fallback = Fallback::new("rates", Config::default().fallback("rates"));
/// let breaker = CircuitBreaker::new("rates", BreakerConfig::default());
/// let rates = ServiceBuilder::new()
///     .layer(FallbackLayer::new(fallback, |currency: &&str| Some(Key::from(*currency))))
///     .layer(CircuitBreakerLayer::new(breaker))
///     .service_fn(|_currency: &str| async { Ok::<_, std::io::Error>(1.08) });
///
/// let rate = rates.clone().oneshot("EUR").await?;
/// assert_eq!((*rate, rate.served().source()), (1.08, Source::Live));
/// let rate = rates.oneshot("EUR").await?;
/// assert_eq!((*rate, rate.served().source()), (1.08, Source::Fresh));
/// # Ok(())
/// # }
/// ```
pub struct FallbackLayer<Req, V, K, C = ErrorsFail> {
    fallback: Fallback,
    key: K,
    classify: C,
    codec: Option<Codec<V>>,
    weigh: Option<Arc<Weigh<V>>>,
    fixed: Option<Arc<Kept<V>>>,
    other: Option<Arc<Other<Req, V>>>,
    types: PhantomData<fn(Req)>,
}

/// How many bytes a value has on the heap.
pub(super) type Weigh<V> = dyn Fn(&V) -> usize + Send + Sync;

/// Begins a call of another service with a copy of the request.
pub(super) type Other<Req, V> = dyn Fn(&Req) -> OtherFuture<V> + Send + Sync;

impl<Req, V, K> FallbackLayer<Req, V, K>
where
    K: Fn(&Req) -> Option<Key>,
{
    /// `key` says what a request asks for; a request without one is passed on, and its
    /// answer is not kept. Requests with the same key are given each other's answers:
    /// whatever an answer depends on has to be in it, who asks too.
    #[must_use]
    pub const fn new(fallback: Fallback, key: K) -> Self {
        Self {
            fallback,
            key,
            classify: ErrorsFail,
            codec: None,
            weigh: None,
            fixed: None,
            other: None,
            types: PhantomData,
        }
    }
}

impl<Req, V, K, C> FallbackLayer<Req, V, K, C> {
    /// The same with another judgement of what is a failure. What is ignored is
    /// passed on, and what is stored stays.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> FallbackLayer<Req, V, K, D> {
        FallbackLayer {
            fallback: self.fallback,
            key: self.key,
            classify,
            codec: self.codec,
            weigh: self.weigh,
            fixed: self.fixed,
            other: self.other,
            types: PhantomData,
        }
    }

    /// Answers can be kept beyond this process, if the fallback has a second level.
    /// Without a codec they stay in memory.
    #[must_use]
    pub fn codec(mut self, codec: Codec<V>) -> Self {
        self.codec = Some(codec);
        self
    }

    /// Says how many bytes an answer has on the heap, so that memory holds no more than
    /// it may. Default: as many as when it is encoded, if it is, and else none.
    #[must_use]
    pub fn weigh(mut self, weigh: impl Fn(&V) -> usize + Send + Sync + 'static) -> Self {
        self.weigh = Some(Arc::new(weigh));
        self
    }

    /// The answer when a call fails and the strategy is `static`.
    #[must_use]
    pub fn answer(mut self, answer: V) -> Self {
        self.fixed = Some(Kept::passing(answer));
        self
    }

    /// The service that is asked when a call fails and the strategy is `service`. Its
    /// answers are judged as those of the first one, and not kept.
    #[must_use]
    pub fn other<S>(mut self, service: S) -> Self
    where
        S: Service<Req, Response = V> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        Req: Clone + Send + 'static,
        V: 'static,
    {
        // Locked to be cloned: a service need not be `Sync`.
        let service = Mutex::new(service);
        self.other = Some(Arc::new(move |request: &Req| {
            let (service, request) = (service.lock().clone(), request.clone());
            Box::pin(async move { ready_and_call(service, request).await.map_err(Into::into) })
        }));
        self
    }
}

impl<S, Req, V, K, C> Layer<S> for FallbackLayer<Req, V, K, C>
where
    V: Send + Sync + 'static,
    K: Clone,
    C: Clone,
{
    type Service = FallbackService<S, Req, V, K, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let code = self
            .codec
            .clone()
            .map(|codec| Arc::new(codec) as Arc<dyn Code<V>>);
        let shared = Shared {
            port: Arc::new(Port::new(&self.fallback, code)),
            key: self.key.clone(),
            classify: self.classify.clone(),
            weigh: self.weigh.clone(),
            fixed: self.fixed.clone(),
            other: self.other.clone(),
        };
        FallbackService::new(inner, shared)
    }
}

// By hand: to derive it asks the same of all the types.
impl<Req, V, K: Clone, C: Clone> Clone for FallbackLayer<Req, V, K, C> {
    fn clone(&self) -> Self {
        Self {
            fallback: self.fallback.clone(),
            key: self.key.clone(),
            classify: self.classify.clone(),
            codec: self.codec.clone(),
            weigh: self.weigh.clone(),
            fixed: self.fixed.clone(),
            other: self.other.clone(),
            types: PhantomData,
        }
    }
}

impl<Req, V, K, C> fmt::Debug for FallbackLayer<Req, V, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer")
            .field("fallback", &self.fallback)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}
