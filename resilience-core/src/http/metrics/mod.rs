//! Counts requests by method, route and status.

mod future;
mod handle;
mod layer;
mod service;
mod table;

pub use future::HttpMetricsFuture;
pub use handle::HttpMetrics;
pub use layer::HttpMetricsLayer;
pub use service::HttpMetricsService;
