//! The tower layer.

use tower_layer::Layer;

use super::{
    CircuitBreaker,
    classify::{ErrorsFail, HttpStatusFails},
    service::CircuitBreakerService,
};

/// Guards a tower service with a [`CircuitBreaker`].
///
/// A call begins when the service is called and ends with its answer (for
/// HTTP, its head); a caller that hangs up before counts as neither outcome.
///
/// # Example
///
/// ```
/// use resilience_core::{BreakerConfig, CircuitBreaker, CircuitBreakerLayer};
/// use tower::{Layer, service_fn};
///
/// let breaker = CircuitBreaker::new("payment_api", BreakerConfig::default());
/// let client = service_fn(|name: &'static str| async move {
///     Ok::<_, std::io::Error>(format!("hello {name}"))
/// });
/// let guarded = CircuitBreakerLayer::new(breaker).layer(client);
/// # let _ = guarded;
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreakerLayer<C = ErrorsFail> {
    breaker: CircuitBreaker,
    classify: C,
}

impl CircuitBreakerLayer {
    /// Every error is a failure.
    #[must_use]
    pub const fn new(breaker: CircuitBreaker) -> Self {
        Self {
            breaker,
            classify: ErrorsFail,
        }
    }
}

impl CircuitBreakerLayer<HttpStatusFails> {
    /// For services that answer `http::Response`: a 5xx is a failure too.
    #[must_use]
    pub const fn http(breaker: CircuitBreaker) -> Self {
        Self {
            breaker,
            classify: HttpStatusFails,
        }
    }
}

impl<C> CircuitBreakerLayer<C> {
    /// The same with another judgement of what is a failure.
    #[must_use]
    pub fn classify<D>(self, classify: D) -> CircuitBreakerLayer<D> {
        CircuitBreakerLayer {
            breaker: self.breaker,
            classify,
        }
    }
}

impl<S, C: Clone> Layer<S> for CircuitBreakerLayer<C> {
    type Service = CircuitBreakerService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreakerService::new(inner, self.breaker.clone(), self.classify.clone())
    }
}
