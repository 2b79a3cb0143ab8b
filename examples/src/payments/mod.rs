//! The payments service: what a service author writes who links
//! `resilience-core`.

mod database;
mod drills;
mod error;
mod upstream;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{get, post},
};
use resilience_core::CircuitBreaker;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use database::{Database, Order, UserOrders};
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

    /// The service's routes; with `drills` also those that do it harm.
    pub fn router(self, drills: bool) -> Router {
        let mut router = Router::new()
            .route("/payments", post(pay))
            .route("/rates/{currency}", get(rate))
            .route("/users/{id}/orders", get(orders))
            .route("/users/orders", get(orders_of_many));
        if drills {
            router = router.merge(drills::router());
        }
        router.with_state(self)
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

/// `?n=20`: so many users.
#[derive(Deserialize)]
struct Page {
    n: i64,
}

impl Page {
    fn users(&self) -> Result<i64, ApiError> {
        let allowed = (1..=100).contains(&self.n).then_some(self.n);
        allowed.ok_or_else(|| ApiError::bad_request("`n` is a number of users, 1 to 100"))
    }
}

async fn orders_of_many(
    State(payments): State<Payments>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<UserOrders>>, ApiError> {
    let orders = payments.database.orders_of_many(page.users()?).await?;
    Ok(Json(orders))
}
