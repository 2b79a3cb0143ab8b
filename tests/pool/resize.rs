//! The limits change while the pool works.

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
