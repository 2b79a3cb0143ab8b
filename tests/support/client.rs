//! A client of a database beside everything that is tested.

use resilience_examples::TemporaryPostgres;
use tokio_postgres::{Client, Config, NoTls};

/// Connects, with what `change` says besides. Ends with the client.
///
/// # Panics
///
/// When it cannot.
pub async fn connect(postgres: &TemporaryPostgres, change: impl FnOnce(&mut Config)) -> Client {
    let mut config: Config = postgres.url().parse().expect("a URL");
    change(&mut config);
    let (client, connection) = config.connect(NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// The process of the server that answers it.
///
/// # Panics
///
/// Without an answer.
pub async fn pid(client: &Client) -> i32 {
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await;
    row.expect("an answer").get(0)
}
