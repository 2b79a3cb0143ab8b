//! A statement that nobody waits for any more.

use std::time::{Duration, Instant};

use resilience_core::pool::QueryError;
use tokio::time::timeout;

use super::support::{ask, observer, pid, pool, postgres, until};

const LONG: &str = "SELECT pg_sleep(30)";

#[tokio::test]
async fn the_next_user_does_not_wait_for_it_and_no_backend_goes_on_with_it() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    let observer = observer(&postgres).await;
    let first = {
        let connection = pool.get().await.unwrap();
        let first = pid(&connection).await;
        let given_up = timeout(Duration::from_millis(50), connection.batch_execute(LONG)).await;
        assert!(given_up.is_err());
        first
    };
    let begun = Instant::now();
    let connection = pool.get().await.unwrap();
    assert_eq!(ask::<i32>(&connection, "SELECT 1").await, 1);
    assert!(begun.elapsed() < Duration::from_secs(10), "{begun:?}");
    assert_eq!(pid(&connection).await, first, "the same session, cleaned");
    until("nobody sleeps", async || {
        let sleeping =
            "SELECT count(*) FROM pg_stat_activity WHERE query = $1 AND state = 'active'";
        let row = observer.query_one(sleeping, &[&LONG]).await.unwrap();
        row.get::<_, i64>(0) == 0
    })
    .await;
    assert_eq!(pool.snapshot().totals.cancelled, 1);
}

#[tokio::test]
async fn its_holder_goes_on_with_the_next_statement() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1");
    let connection = pool.get().await.unwrap();
    let given_up = timeout(Duration::from_millis(50), connection.batch_execute(LONG)).await;
    assert!(given_up.is_err());
    for number in 0..20i32 {
        let row = connection.query_one("SELECT $1::int", &[&number]).await;
        assert_eq!(row.unwrap().get::<_, i32>(0), number);
    }
}

#[tokio::test]
async fn one_that_is_not_answered_in_time_is_an_error_that_says_so() {
    let postgres = postgres().await;
    let pool = pool(
        &postgres,
        "pool_size: 1, max_overflow: 0, query_timeout: 100ms",
    );
    let connection = pool.get().await.unwrap();
    let late = connection.batch_execute(LONG).await.unwrap_err();
    assert!(matches!(late, QueryError::Timeout { .. }), "{late}");
    assert!(late.is_outage(), "whether it was done is not known");
    assert_eq!(ask::<i32>(&connection, "SELECT 1").await, 1);
}

#[tokio::test]
async fn one_of_several_that_are_sent_at_once_takes_no_other_with_it() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    let connection = pool.get().await.unwrap();
    // Prepared before, so that each is one message, in this order.
    let long = connection.prepare("SELECT 1, pg_sleep(0.3)").await.unwrap();
    let short = connection.prepare("SELECT 2").await.unwrap();
    let work = connection.query_one(&long, &[]);
    let dropped = timeout(Duration::from_millis(100), connection.query(&short, &[]));
    let (work, dropped) = tokio::join!(work, dropped);
    assert!(dropped.is_err());
    assert_eq!(work.unwrap().get::<_, i32>(0), 1);
    drop(connection);
    let next = pool.get().await.unwrap();
    assert_eq!(ask::<i32>(&next, "SELECT 3").await, 3);
}

#[tokio::test]
async fn statements_that_are_sent_at_once_are_answered_in_order() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1");
    let connection = pool.get().await.unwrap();
    let (one, two, three) = tokio::join!(
        ask::<i32>(&connection, "SELECT 1"),
        ask::<i32>(&connection, "SELECT 2"),
        ask::<i32>(&connection, "SELECT 3"),
    );
    assert_eq!((one, two, three), (1, 2, 3));
}

#[tokio::test]
async fn whoever_stops_waiting_for_a_cancellation_leaves_it_to_the_next_and_it_hits_nobody() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    for round in 0..20u64 {
        let connection = pool.get().await.unwrap();
        let given_up = timeout(Duration::from_millis(10), connection.batch_execute(LONG)).await;
        assert!(given_up.is_err());
        let patience = Duration::from_micros(round * 100);
        let _ = timeout(patience, connection.query("SELECT 1", &[])).await;
        drop(connection);
        let next = pool.get().await.unwrap();
        for number in 0..20i32 {
            let row = next.query_one("SELECT $1::int", &[&number]).await;
            assert_eq!(row.unwrap().get::<_, i32>(0), number);
        }
    }
}
