//! Ways to do the service harm, to see what is told of it then. Served with
//! `--allow-drills` only.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;

use super::{ApiError, Page, Payments, UserOrders};

pub(super) fn router() -> Router<Payments> {
    Router::new()
        .route("/drill/block", post(block))
        .route("/drill/slow", post(slow))
        .route("/drill/hold", post(hold))
        .route("/drill/users/orders", get(one_by_one))
}

/// `?for=5s`: how long it goes on.
#[derive(Deserialize)]
struct Drill {
    r#for: String,
}

impl Drill {
    fn duration(&self) -> Result<Duration, ApiError> {
        humantime::parse_duration(&self.r#for)
            .ok()
            .filter(|duration| *duration <= Duration::from_secs(60))
            .ok_or_else(|| ApiError::bad_request("`for` is a duration of at most 60s, such as 5s"))
    }
}

/// Blocks every worker of the runtime, as a busy handler on each would.
async fn block(Query(drill): Query<Drill>) -> Result<StatusCode, ApiError> {
    let busy = drill.duration()?;
    for _ in 0..tokio::runtime::Handle::current().metrics().num_workers() {
        tokio::spawn(async move { std::thread::sleep(busy) });
    }
    Ok(StatusCode::ACCEPTED)
}

/// A statement that takes so long.
async fn slow(
    State(payments): State<Payments>,
    Query(drill): Query<Drill>,
) -> Result<StatusCode, ApiError> {
    let seconds = drill.duration()?.as_secs_f64();
    let connection = payments.database.pool().get().await?;
    // The number stands in the text, where a log line must not show it.
    let sleep = format!("SELECT pg_sleep({seconds})");
    connection.query_one(&sleep, &[]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sits on a connection, as a handler does that calls somebody else meanwhile.
async fn hold(
    State(payments): State<Payments>,
    Query(drill): Query<Drill>,
) -> Result<StatusCode, ApiError> {
    let held_for = drill.duration()?;
    let connection = payments.database.pool().get().await?;
    connection
        .query_one("SELECT count(*) FROM orders WHERE item <> 'secret'", &[])
        .await?;
    tokio::time::sleep(held_for).await;
    drop(connection);
    Ok(StatusCode::NO_CONTENT)
}

/// What `GET /users/orders` answers, with a statement for each user: N+1.
async fn one_by_one(
    State(payments): State<Payments>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<UserOrders>>, ApiError> {
    let mut users = payments.database.users(page.users()?).await?;
    for user in &mut users {
        user.orders = payments.database.orders_of(user.id).await?;
    }
    Ok(Json(users))
}
