//! Middleware for a service's own HTTP port: who asked, and how it went.
//!
//! ```
//! use axum::{Router, routing::get};
//! use resilience_core::{CorrelationIdLayer, HttpMetrics, HttpMetricsLayer};
//!
//! let metrics = HttpMetrics::new();
//! let app: Router = Router::new()
//!     .route("/users/{id}", get(async || "hello"))
//!     .layer(CorrelationIdLayer::new())
//!     .layer(HttpMetricsLayer::new(metrics.clone()));
//! assert_eq!(metrics.snapshot().in_flight, 0);
//! # drop(app);
//! ```
//!
//! They work in either order; in this one the metrics also see what the
//! correlation layer costs.

mod correlation;
mod metrics;

pub use correlation::{
    CorrelationId, CorrelationIdFuture, CorrelationIdLayer, CorrelationIdService,
    InvalidCorrelationId, X_CORRELATION_ID,
};
pub use metrics::{HttpMetrics, HttpMetricsFuture, HttpMetricsLayer, HttpMetricsService};
