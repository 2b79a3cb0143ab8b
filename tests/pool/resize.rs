//! The limits change while the pool works.

use resilience_core::pool::{PoolError, QueryError};

use super::support::{config, pool, postgres, until};

#[tokio::test]
async fn more_room_serves_those_who_wait_and_less_takes_nothing_away() {
    let postgres = postgres().await;
    let pool = pool(
        &postgres,
        "pool_size: 1, max_overflow: 0, pool_timeout: 20s",
    );
    let first = pool.get().await.unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await }
    });
    until("it waits", async || pool.snapshot().waiting == 1).await;
    pool.resize(2, 1);
    let second = waiting.await.unwrap().unwrap();
    pool.resize(1, 0);
    assert_eq!((pool.snapshot().open, pool.snapshot().size), (2, 1));
    first.batch_execute("SELECT 1").await.unwrap();
    second.batch_execute("SELECT 1").await.unwrap();
    drop((first, second));
    until("one is left", async || pool.snapshot().open == 1).await;
}

#[tokio::test]
async fn the_configuration_resizes_it_and_wins_over_what_was_set_by_hand_only_when_it_changes() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 4, max_overflow: 1");
    pool.resize(9, 0);
    pool.configure(&config("pool_size: 4, max_overflow: 1, slow_query: 1s"));
    assert_eq!(pool.snapshot().size, 9);
    pool.configure(&config("pool_size: 5, max_overflow: 1"));
    assert_eq!(pool.snapshot().size, 6);
}

#[tokio::test]
async fn a_deadline_that_is_changed_holds_from_the_next_statement_on() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    let connection = pool.get().await.unwrap();
    connection
        .batch_execute("SELECT pg_sleep(0.2)")
        .await
        .unwrap();
    pool.configure(&config(
        "pool_size: 1, max_overflow: 0, query_timeout: 500ms, pool_timeout: 50ms, slow_query: 1ms",
    ));
    let late = connection.batch_execute("SELECT pg_sleep(20)").await;
    assert!(matches!(late, Err(QueryError::Timeout { .. })), "{late:?}");
    let waits = pool.get().await.unwrap_err();
    assert!(matches!(waits, PoolError::Exhausted(_)), "{waits}");
    let before = pool.snapshot().totals.slow_queries;
    connection
        .batch_execute("SELECT pg_sleep(0.01)")
        .await
        .unwrap();
    assert_eq!(pool.snapshot().totals.slow_queries, before + 1);
}
