//! The payments service: what a service author writes who links
//! `resilience-core`.

mod database;
mod drills;
mod error;
mod upstream;

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use resilience_core::{
    CircuitBreaker,
    fallback::{Fallback, Served},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use database::{Database, Order, UserOrders};
pub use error::{ApiError, causes};
pub use upstream::PaymentProvider;

/// The upstream's name: its breaker, its fallback, its metrics, its log lines.
pub const PAYMENT_API: &str = "payment_api";

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Payments {
    /// PostgreSQL.
    pub database: Database,
    /// The payment provider, behind its breaker and its fallback.
    pub provider: PaymentProvider,
}

impl Payments {
    /// Puts the service together.
    pub fn new(
        database: Database,
        upstream: &str,
        breaker: CircuitBreaker,
        fallback: Fallback,
    ) -> Self {
        let provider = PaymentProvider::new(upstream, breaker, fallback);
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

/// `?on=2026-01-31`: the rate of that day.
#[derive(Deserialize)]
struct Day {
    on: Option<String>,
}

async fn rate(
    State(payments): State<Payments>,
    Path(currency): Path<String>,
    Query(day): Query<Day>,
) -> Result<(HeaderMap, Json<Value>), ApiError> {
    let answer = payments.provider.rate(&currency, day.on.as_deref());
    let mut answer = answer.await?;
    // Who pays by it should know, and not only who reads headers.
    if let Some(served) = answer.served.as_ref().filter(|served| served.is_degraded())
        && let Value::Object(rate) = &mut answer.json
    {
        rate.insert("note".to_owned(), note(served).into());
    }
    Ok((answer.headers, Json(answer.json)))
}

/// Such as `cached rate as of 14:02:11 UTC`, and with the day if that is another.
fn note(served: &Served) -> String {
    let as_of = served.as_of();
    let format = if served.age() < ALMOST_A_DAY {
        "%H:%M:%S UTC"
    } else {
        "%Y-%m-%d %H:%M:%S UTC"
    };
    format!("cached rate as of {}", as_of.strftime(format))
}

/// Up to that age a time of day says which day is meant.
const ALMOST_A_DAY: Duration = Duration::from_secs(23 * 3600);

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
