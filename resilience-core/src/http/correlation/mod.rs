//! One id for all that is done and logged for one request.

mod future;
mod id;
mod layer;
mod service;

pub use future::CorrelationIdFuture;
pub use id::{CorrelationId, InvalidCorrelationId, X_CORRELATION_ID};
pub use layer::CorrelationIdLayer;
pub use service::CorrelationIdService;
