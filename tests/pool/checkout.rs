//! A checkout as a tower service, and a connection for a handler that asks.

use std::{convert::Infallible, time::Duration};

use resilience_core::{
    BreakerConfig, BreakerOptions, CallError, CircuitBreaker, CircuitBreakerLayer,
    pool::{Checkout, Connection, LazyConnection, PoolError, PoolLayer},
    snapshot::State,
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::support::{ask, pool, postgres};

#[tokio::test]
async fn a_breaker_on_the_checkout_opens_with_the_outage_and_refuses_at_once() {
    let mut postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, pool_timeout: 50ms");
    let config = BreakerConfig::try_from(BreakerOptions {
        minimum_calls: 2,
        ..BreakerOptions::default()
    });
    let breaker = CircuitBreaker::new("database", config.unwrap());
    let mut checkout = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .service(pool.clone());
    let connection = checkout.ready().await.unwrap().call(Checkout::here()).await;
    assert_eq!(ask::<i32>(&connection.unwrap(), "SELECT 1").await, 1);
    postgres.kill();
    while breaker.state() == State::Closed {
        // The first one may get the connection whose end has not been seen yet.
        let refused = checkout.ready().await.unwrap().call(Checkout::here()).await;
        if let Err(error) = refused {
            let CallError::Inner(PoolError::Unreachable(_)) = error else {
                panic!("{error}");
            };
        }
    }
    let refused = checkout.ready().await.unwrap().call(Checkout::here()).await;
    assert!(matches!(refused.unwrap_err(), CallError::Open { .. }));
}

#[tokio::test]
async fn load_shedding_and_a_timeout_stand_before_it_and_its_place_is_the_callers() {
    let postgres = postgres().await;
    let pool = pool(
        &postgres,
        "pool_size: 1, max_overflow: 0, pool_timeout: 20s",
    );
    let checkout = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(1)
        .timeout(Duration::from_millis(100))
        .service(pool.clone());
    let line = line!() + 1;
    let held = checkout.clone().oneshot(Checkout::here()).await.unwrap();
    let place = pool.snapshot().holders[0].place.clone();
    assert!(place.ends_with(&format!("checkout.rs:{line}")), "{place}");
    let waits = tokio::spawn(checkout.clone().oneshot(Checkout::here()));
    while pool.snapshot().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let shed = checkout.clone().oneshot(Checkout::here()).await;
    assert!(
        shed.unwrap_err()
            .is::<tower::load_shed::error::Overloaded>()
    );
    let late = waits.await.unwrap().unwrap_err();
    assert!(late.is::<tower::timeout::error::Elapsed>());
    assert_eq!(pool.snapshot().waiting, 0, "it has left the queue");
    drop(held);
}

#[tokio::test]
async fn a_handler_takes_a_connection_only_if_it_asks() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1");
    let handler = service_fn(async |request: http::Request<bool>| {
        let lazy: &LazyConnection = request.extensions().get().unwrap();
        let connection: Option<Connection> = match request.body() {
            true => Some(lazy.get().await.unwrap()),
            false => None,
        };
        Ok::<_, Infallible>(connection)
    });
    let service = ServiceBuilder::new()
        .layer(PoolLayer::new(pool.clone()))
        .service(handler);
    let call = |asks| service.clone().oneshot(http::Request::new(asks));
    assert!(call(false).await.unwrap().is_none());
    assert_eq!(pool.snapshot().totals.dials, 0);
    let connection = call(true).await.unwrap().unwrap();
    assert_eq!(ask::<i32>(&connection, "SELECT 1").await, 1);
}

/// Nothing is sent for it, so it took no time, and it is nobody's last statement.
#[tokio::test]
async fn a_statement_that_is_found_prepared_is_not_timed_and_not_counted() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1");
    let timed = || pool.snapshot().query.counts.iter().sum::<u64>();
    let connection = pool.get().await.unwrap();
    let before = timed();
    connection.prepare_cached("SELECT 1").await.unwrap();
    assert_eq!(timed(), before + 1, "it is sent to be prepared");
    connection.execute("SELECT 2 AS two", &[]).await.unwrap();
    let run = timed();
    for _ in 0..3 {
        connection.prepare_cached("SELECT 1").await.unwrap();
    }
    assert_eq!(timed(), run);
    let last = pool.snapshot().holders[0].last_sql.clone();
    assert_eq!(last.as_deref(), Some("SELECT ? AS two"));
}
