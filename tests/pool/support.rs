//! A server and a pool on it.

use std::time::Duration;

use resilience_core::{
    config::{Config, DatabaseConfig},
    pool::{Connection, Pool},
};
use resilience_examples::{PostgresOptions, TemporaryPostgres};

/// Long enough for a machine under load, and never waited for in full.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn postgres() -> TemporaryPostgres {
    TemporaryPostgres::start(PostgresOptions::default())
        .await
        .unwrap()
}

/// The `database` section of this text.
pub(crate) fn config(database: &str) -> DatabaseConfig {
    let text = format!("database: {{{database}}}");
    Config::parse("test.yaml", &text, [])
        .unwrap()
        .database()
        .clone()
}

pub(crate) fn pool(postgres: &TemporaryPostgres, database: &str) -> Pool {
    Pool::new("test", &postgres.url(), &config(database)).unwrap()
}

/// What one row with one column says.
pub(crate) async fn ask<T>(connection: &Connection, sql: &str) -> T
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    connection.query_one(sql, &[]).await.unwrap().get(0)
}

pub(crate) async fn pid(connection: &Connection) -> i32 {
    ask(connection, "SELECT pg_backend_pid()").await
}

/// Waits until `is` says so.
pub(crate) async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let waited = tokio::time::timeout(SOON, async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited
        .await
        .unwrap_or_else(|_| panic!("{what}: not in time"));
}

/// A connection of our own, beside the pool.
pub(crate) async fn observer(postgres: &TemporaryPostgres) -> tokio_postgres::Client {
    resilience_tests::client::connect(postgres, |_| {}).await
}
