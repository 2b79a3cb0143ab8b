//! The network between: silent loss, half-open connections, delay.

use std::time::{Duration, Instant};

use resilience_core::pool::{Pool, QueryError};
use resilience_examples::{TemporaryPostgres, proxy::Proxy};

use super::support::{ask, config, postgres};

async fn through_a_proxy(settings: &str) -> (TemporaryPostgres, Proxy, Pool) {
    let postgres = postgres().await;
    let proxy = Proxy::start(([127, 0, 0, 1], postgres.port()).into()).unwrap();
    let (port, ours) = (
        postgres.port().to_string(),
        proxy.address().port().to_string(),
    );
    let url = postgres.url().replace(&port, &ours);
    let pool = Pool::new("test", &url, &config(settings)).unwrap();
    (postgres, proxy, pool)
}

#[tokio::test]
async fn when_packets_are_lost_nobody_waits_longer_than_its_deadline() {
    let settings = "pool_size: 1, max_overflow: 0, pool_timeout: 300ms, query_timeout: 300ms, \
         connect_timeout: 300ms";
    let (_postgres, proxy, pool) = through_a_proxy(settings).await;
    let connection = pool.get().await.unwrap();
    proxy.hold().await;
    let begun = Instant::now();
    let lost = connection.query("SELECT 1", &[]).await.unwrap_err();
    assert!(matches!(lost, QueryError::Timeout { .. }), "{lost}");
    drop(connection);
    pool.get().await.unwrap_err();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    proxy.forward().await;
    pool.configure(&config("pool_size: 1, max_overflow: 0, pool_timeout: 20s"));
    let connection = pool.get().await.unwrap();
    assert_eq!(ask::<i32>(&connection, "SELECT 7").await, 7);
}

#[tokio::test]
async fn a_connection_whose_server_is_silently_gone_is_given_up() {
    let settings = "pool_size: 1, max_overflow: 0, query_timeout: 300ms";
    let (_postgres, proxy, pool) = through_a_proxy(settings).await;
    drop(pool.get().await.unwrap());
    proxy.half_open();
    let connection = pool.get().await.unwrap();
    connection.query("SELECT 1", &[]).await.unwrap_err();
    drop(connection);
    let next = pool.get().await.unwrap();
    assert_eq!(ask::<i32>(&next, "SELECT 1").await, 1);
}

#[tokio::test]
async fn delay_is_no_outage() {
    let settings = "pool_size: 2, connect_timeout: 10s";
    let (_postgres, proxy, pool) = through_a_proxy(settings).await;
    let each = Duration::from_millis(20);
    proxy.set_latency(each, each);
    let connection = pool.get().await.unwrap();
    assert_eq!(ask::<i32>(&connection, "SELECT 1").await, 1);
    assert_eq!(pool.snapshot().totals.dial_failures, 0);
}
