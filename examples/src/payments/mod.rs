//! The payments service: what a service author writes who links
//! `resilience-core`.

mod database;
mod error;
mod upstream;

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{get, post},
};
use resilience_core::CircuitBreaker;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use database::{Database, Order};
pub use error::{ApiError, causes};
pub use upstream::PaymentProvider;

/// The upstream's name: its breaker, its metrics, its log lines.
pub const PAYMENT_API: &str = "payment_api";

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Payments {
    /// PostgreSQL.
    pub database: Database,
    /// The payment provider, behind its breaker.
    pub provider: PaymentProvider,
}

impl Payments {
    /// Puts the service together.
    pub fn new(database: Database, upstream: &str, breaker: CircuitBreaker) -> Self {
        let provider = PaymentProvider::new(upstream, breaker);
        Self { database, provider }
    }

    /// The service's routes. With `drills`, `POST /drill/block?for=5s` blocks
    /// the whole runtime, to see who still answers then.
    pub fn router(self, drills: bool) -> Router {
        let router = Router::new()
            .route("/payments", post(pay))
            .route("/rates/{currency}", get(rate))
            .route("/users/{id}/orders", get(orders))
            .with_state(self);
        if drills {
            router.route("/drill/block", post(block))
        } else {
            router
        }
    }
}

/// A payment as asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPayment {
    /// Who pays.
    pub user_id: i64,
    /// How much, in hundredths.
    pub amount_cents: i64,
    /// In which currency, such as `EUR`.
    pub currency: String,
}

/// A payment as made.
#[derive(Clone, Debug, Serialize)]
pub struct Payment {
    /// Its row.
    pub id: i64,
    /// `charged`.
    pub status: &'static str,
    /// What the provider answered.
    pub charge: Value,
}

async fn pay(
    State(payments): State<Payments>,
    Json(new): Json<NewPayment>,
) -> Result<(StatusCode, Json<Payment>), ApiError> {
    // The row first: a charge that nobody wrote down would be lost.
    let id = payments.database.insert_payment(&new).await?;
    match payments.provider.charge(id, &new).await {
        Ok(charge) => {
            payments.database.finish_payment(id, "charged").await?;
            Ok((
                StatusCode::CREATED,
                Json(Payment {
                    id,
                    status: "charged",
                    charge,
                }),
            ))
        }
        Err(error) => {
            payments.database.finish_payment(id, "failed").await?;
            Err(error)
        }
    }
}

async fn rate(
    State(payments): State<Payments>,
    Path(currency): Path<String>,
) -> Result<Json<Value>, ApiError> {
    payments.provider.rate(&currency).await.map(Json)
}

async fn orders(
    State(payments): State<Payments>,
    Path(user): Path<i64>,
) -> Result<Json<Vec<Order>>, ApiError> {
    payments.database.orders_of(user).await.map(Json)
}

#[derive(Deserialize)]
struct Drill {
    r#for: String,
}

/// Blocks every worker of the runtime, as a busy handler on each would.
async fn block(Query(drill): Query<Drill>) -> Result<StatusCode, ApiError> {
    let busy = humantime::parse_duration(&drill.r#for)
        .ok()
        .filter(|busy| *busy <= Duration::from_secs(60))
        .ok_or_else(|| ApiError::bad_request("`for` is a duration of at most 60s, such as 5s"))?;
    for _ in 0..tokio::runtime::Handle::current().metrics().num_workers() {
        tokio::spawn(async move { std::thread::sleep(busy) });
    }
    Ok(StatusCode::ACCEPTED)
}
