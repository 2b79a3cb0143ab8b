//! Takes note of a request that comes in.

use std::task::{Context, Poll};

use ::http::{Request, Response};
use axum::extract::MatchedPath;
use tower_service::Service;

use super::{HttpMetrics, HttpMetricsFuture};

/// Service made by [`HttpMetricsLayer`](super::HttpMetricsLayer).
#[derive(Clone, Debug)]
pub struct HttpMetricsService<S> {
    pub(super) inner: S,
    pub(super) metrics: HttpMetrics,
}

impl<S, B, R> Service<Request<B>> for HttpMetricsService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = HttpMetricsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let route = request.extensions().get::<MatchedPath>().cloned();
        let mut in_flight = self.metrics.start(request.method(), route);
        let inner = self.inner.call(request);
        in_flight.leave();
        HttpMetricsFuture { inner, in_flight }
    }
}
