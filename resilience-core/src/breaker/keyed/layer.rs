//! The tower layer that chooses a breaker for each call.

use std::borrow::Cow;

use tower_layer::Layer;

use super::{KeyedBreakerService, KeyedBreakers};
use crate::breaker::classify::{ErrorsFail, HttpStatusFails};

/// Guards a tower service with [`KeyedBreakers`]: each call with the breaker of
/// the key that its request has.
///
/// The key is known when the call is made and not before, so this layer is
/// ready when the inner service is, also for a call that it will refuse: an
/// open circuit answers without the inner service, but has waited for it. And
/// what the inner service keeps ready for a call that is then refused, such as
/// a slot of a bulkhead, it keeps until the next call or until it is dropped.
/// So put a bulkhead around this layer and not inside, and drop a clone of the
/// service that was ready and is not used. [`CircuitBreakerLayer`], whose
/// breaker is always the same, does neither.
///
/// [`CircuitBreakerLayer`]: crate::CircuitBreakerLayer
///
/// # Example
///
/// ```
/// use resilience_core::{BreakerConfig, KeyedBreakerLayer, KeyedBreakers, KeyedConfig};
/// use tower::{Layer, service_fn};
///
/// let hosts = KeyedBreakers::new("http", &BreakerConfig::default(), KeyedConfig::default());
/// let client = service_fn(|request: http::Request<()>| async move {
///     Ok::<_, std::io::Error>(http::Response::new(request.into_body()))
/// });
/// let layer = KeyedBreakerLayer::http(hosts, |request: &http::Request<()>| {
///     request.uri().host().unwrap_or_default().into()
/// });
/// let guarded = layer.layer(client);
/// # let _ = guarded;
/// ```
#[derive(Clone, Debug)]
pub struct KeyedBreakerLayer<K, C = ErrorsFail> {
    breakers: KeyedBreakers,
    key: K,
    classify: C,
}

impl<K> KeyedBreakerLayer<K> {
    /// `key` says whose breaker a request asks. Every error is a failure.
    #[must_use]
    pub const fn new<Request>(breakers: KeyedBreakers, key: K) -> Self
    where
        K: Fn(&Request) -> Cow<'_, str>,
    {
        Self {
            breakers,
            key,
            classify: ErrorsFail,
        }
    }
}

impl<K> KeyedBreakerLayer<K, HttpStatusFails> {
    /// For services that answer `http::Response`: a 5xx is a failure too.
    #[must_use]
    pub const fn http<Request>(breakers: KeyedBreakers, key: K) -> Self
    where
        K: Fn(&Request) -> Cow<'_, str>,
    {
        Self {
            breakers,
            key,
            classify: HttpStatusFails,
        }
    }
}

impl<K, C> KeyedBreakerLayer<K, C> {
    /// The same with another judgement of what is a failure.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> KeyedBreakerLayer<K, D> {
        KeyedBreakerLayer {
            breakers: self.breakers,
            key: self.key,
            classify,
        }
    }
}

impl<S, K: Clone, C: Clone> Layer<S> for KeyedBreakerLayer<K, C> {
    type Service = KeyedBreakerService<S, K, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let (breakers, key) = (self.breakers.clone(), self.key.clone());
        KeyedBreakerService::new(inner, breakers, key, self.classify.clone())
    }
}
