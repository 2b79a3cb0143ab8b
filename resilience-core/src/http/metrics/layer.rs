//! Puts the middleware around a router.

use tower_layer::Layer;

use super::{HttpMetrics, HttpMetricsService};

/// Counts the requests of an axum router in an [`HttpMetrics`], and logs each
/// 5xx at ERROR with class `http_<status>`.
///
/// For [`Router::layer`](axum::Router::layer), after the routes: only there the
/// pattern of the matched route is known. Around a whole router (in a
/// `ServiceBuilder`, say) it counts everything as `unmatched`.
#[derive(Clone, Debug)]
pub struct HttpMetricsLayer {
    metrics: HttpMetrics,
}

impl HttpMetricsLayer {
    /// Counts in `metrics`.
    #[must_use]
    pub fn new(metrics: HttpMetrics) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for HttpMetricsLayer {
    type Service = HttpMetricsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        HttpMetricsService {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}
