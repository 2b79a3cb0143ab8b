//! Puts the middleware around a service.

use tower_layer::Layer;

use super::CorrelationIdService;

/// Gives each request a [`CorrelationId`](super::CorrelationId).
///
/// It is taken from the request or made; see
/// [`CorrelationId::of`](super::CorrelationId::of). Handlers find it in the
/// request's extensions, every line logged for the request has it as
/// `correlation_id:…`, and the response has it as header `X-Correlation-ID`
/// and in its extensions.
#[derive(Clone, Copy, Debug, Default)]
pub struct CorrelationIdLayer {
    _private: (),
}

impl CorrelationIdLayer {
    /// There is nothing to set.
    #[must_use]
    pub const fn new() -> Self {
        Self { _private: () }
    }
}

impl<S> Layer<S> for CorrelationIdLayer {
    type Service = CorrelationIdService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CorrelationIdService { inner }
    }
}
