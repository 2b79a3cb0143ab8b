//! All connections are out.

use resilience_core::pool::PoolError;

use super::support::{pool, postgres, until};

#[tokio::test]
async fn the_error_says_how_many_there_are_and_who_has_them() {
    let postgres = postgres().await;
    let pool = pool(
        &postgres,
        "pool_size: 1, max_overflow: 1, pool_timeout: 100ms",
    );
    let line = line!() + 1;
    let _holders = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    let error = pool.get().await.unwrap_err();
    let PoolError::Exhausted(exhausted) = &error else {
        panic!("{error}");
    };
    assert_eq!((exhausted.size, exhausted.overflow), (2, 1));
    assert_eq!((exhausted.in_use, exhausted.waiting), (2, 1));
    let (place, count, _) = &exhausted.holders[0];
    assert_eq!(*count, 2);
    assert!(place.ends_with(&format!("exhausted.rs:{line}")), "{place}");
    let said = error.to_string();
    assert!(
        said.starts_with(
            "Connection pool exhausted: size:2 overflow:1 in_use:2 waiting:1 waited:1"
        ),
        "{said}"
    );
    assert!(said.ends_with(" last_connect_error:none"), "{said}");
    assert_eq!(error.class(), "pool_exhausted");
}

#[tokio::test]
async fn overflow_is_there_in_a_rush_and_gone_after_it() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 2");
    let rush = [
        pool.get().await.unwrap(),
        pool.get().await.unwrap(),
        pool.get().await.unwrap(),
    ];
    assert_eq!((pool.snapshot().open, pool.snapshot().in_use), (3, 3));
    drop(rush);
    until("one is left", async || {
        let snapshot = pool.snapshot();
        (snapshot.open, snapshot.idle, snapshot.in_use) == (1, 1, 0)
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_its_place_in_the_queue_to_the_next() {
    let postgres = postgres().await;
    let pool = pool(
        &postgres,
        "pool_size: 1, max_overflow: 0, pool_timeout: 20s",
    );
    let holder = pool.get().await.unwrap();
    let wait = || {
        let pool = pool.clone();
        tokio::spawn(async move { pool.get().await })
    };
    let (gone, stays) = (wait(), wait());
    until("both wait", async || pool.snapshot().waiting == 2).await;
    gone.abort();
    until("one waits", async || pool.snapshot().waiting == 1).await;
    drop(holder);
    drop(stays.await.unwrap().unwrap());
    assert_eq!(pool.snapshot().idle, 1);
}
