//! Each way in which there is no connection says which it is.

use resilience_core::{
    pool::{ConnectErrorKind, Pool, PoolError},
    snapshot::ServerState,
};
use resilience_examples::{PostgresOptions, TemporaryPostgres};

use super::support::{ask, config, observer, pid, pool, postgres, until};

async fn kind(pool: &Pool) -> ConnectErrorKind {
    match pool.get().await.unwrap_err() {
        PoolError::Unreachable(error) => error.error.kind(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_refused_and_callers_wait_as_long_as_they_may() {
    let mut postgres = postgres().await;
    postgres.kill();
    let pool = pool(&postgres, "pool_timeout: 200ms");
    let begun = std::time::Instant::now();
    let error = pool.get().await.unwrap_err();
    assert!(begun.elapsed() >= std::time::Duration::from_millis(200));
    assert_eq!(error.class(), "database_connect");
    let said = error.to_string();
    assert!(
        said.starts_with("no connection to the database: refused: "),
        "{said}"
    );
    let snapshot = pool.snapshot();
    assert_eq!(snapshot.server, ServerState::Down);
    assert_eq!(snapshot.last_connect_error.unwrap().kind, "refused");
    assert_eq!((snapshot.waiting, snapshot.totals.timeouts), (0, 1));
    until("nobody dials", async || pool.snapshot().open == 0).await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_said_at_once() {
    let postgres = postgres().await;
    let url = postgres.url().replace("/app", "/nowhere");
    let pool = Pool::new("test", &url, &config("pool_timeout: 20s")).unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(kind(&pool).await, ConnectErrorKind::Auth);
    assert!(begun.elapsed() < std::time::Duration::from_secs(15));
}

#[tokio::test]
async fn a_server_that_is_full_is_waited_for() {
    let postgres = TemporaryPostgres::start(PostgresOptions {
        settings: vec![
            ("max_connections".to_owned(), "5".to_owned()),
            ("superuser_reserved_connections".to_owned(), "0".to_owned()),
            ("max_wal_senders".to_owned(), "0".to_owned()),
        ],
        ..PostgresOptions::default()
    })
    .await
    .unwrap();
    let taken = [
        observer(&postgres).await,
        observer(&postgres).await,
        observer(&postgres).await,
        observer(&postgres).await,
    ];
    let pool = pool(&postgres, "pool_size: 3, pool_timeout: 300ms");
    let first = pool.get().await.unwrap();
    assert_eq!(kind(&pool).await, ConnectErrorKind::TooManyConnections);
    // The one that there is still goes round.
    drop(first);
    let again = pool.get().await.unwrap();
    pool.configure(&config("pool_size: 3, pool_timeout: 20s"));
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(drop) }
    });
    until("it waits", async || pool.snapshot().waiting == 1).await;
    drop(taken);
    waiting.await.unwrap().unwrap();
    drop(again);
}

#[tokio::test]
async fn a_backend_that_is_terminated_under_a_statement_costs_that_statement_alone() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    let observer = observer(&postgres).await;
    let connection = pool.get().await.unwrap();
    let victim = pid(&connection).await;
    let (ended, ()) = tokio::join!(connection.batch_execute("SELECT pg_sleep(30)"), async {
        until("it runs", async || {
            let sql = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1";
            let row = observer.query_opt(sql, &[&victim]).await.unwrap();
            row.is_some_and(|row| row.get(0))
        })
        .await;
        let end = "SELECT pg_terminate_backend($1)";
        observer.query_one(end, &[&victim]).await.unwrap();
    });
    assert!(ended.unwrap_err().is_outage());
    drop(connection);
    let next = pool.get().await.unwrap();
    assert_ne!(pid(&next).await, victim);
    assert_eq!(ask::<i32>(&next, "SELECT 1").await, 1);
}

#[tokio::test]
async fn a_url_that_is_none_is_said_when_the_pool_is_made() {
    let error = Pool::new("test", "postgres://host:port/", &config("")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the database URL is not usable: "),
        "{error}"
    );
}
