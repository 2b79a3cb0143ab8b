//! Connections that nobody uses, or that are old.

use std::{future::poll_fn, pin::pin, task::Poll};

use resilience_examples::TemporaryPostgres;

use super::support::{config, observer, pid, pool, postgres, until};

#[tokio::test]
async fn one_that_is_idle_for_long_is_closed() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 2, idle_timeout: 1s");
    drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
    assert_eq!(pool.snapshot().idle, 2);
    until("none is left", async || pool.snapshot().open == 0).await;
    assert_eq!(pool.snapshot().totals.recycled, 2);
}

#[tokio::test]
async fn one_that_is_old_is_replaced() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0, max_lifetime: 1s");
    let first = pid(&pool.get().await.unwrap()).await;
    until("another", async || {
        pid(&pool.get().await.unwrap()).await != first
    })
    .await;
}

#[tokio::test]
async fn an_idle_one_is_asked_for_a_sign_of_life_and_a_dead_one_is_gone_before_a_caller_comes() {
    let postgres = postgres().await;
    let proxy =
        resilience_examples::proxy::Proxy::start(([127, 0, 0, 1], postgres.port()).into()).unwrap();
    let url = postgres.url().replace(
        &postgres.port().to_string(),
        &proxy.address().port().to_string(),
    );
    let settings = "pool_size: 1, keepalive: 1s, connect_timeout: 1s";
    let pool = resilience_core::pool::Pool::new("test", &url, &config(settings)).unwrap();
    let first = pid(&pool.get().await.unwrap()).await;
    // The server side is gone, and nobody told the client.
    proxy.half_open();
    until("it is gone", async || pool.snapshot().open == 0).await;
    assert_ne!(pid(&pool.get().await.unwrap()).await, first);
}

#[tokio::test]
async fn all_are_replaced_on_request_the_idle_ones_at_once_and_the_others_when_they_are_back() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 2, max_overflow: 0");
    let (held, idle) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let before = [pid(&held).await, pid(&idle).await];
    drop(idle);
    assert_eq!(pool.recycle(), 2);
    assert_eq!(pid(&held).await, before[0], "nothing is taken away");
    drop(held);
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    for after in [pid(&one).await, pid(&two).await] {
        assert!(!before.contains(&after));
    }
}

#[tokio::test]
async fn two_that_died_on_their_way_to_a_caller_are_no_exhausted_pool() {
    let postgres = postgres().await;
    for _ in 0..10 {
        if two_die_on_their_way(&postgres).await {
            return;
        }
    }
    panic!("each time the pool looked at the idle one before the caller could");
}

/// Whether both were still there for the caller.
async fn two_die_on_their_way(postgres: &TemporaryPostgres) -> bool {
    let pool = pool(postgres, "pool_size: 2, max_overflow: 0");
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let pids = [pid(&one).await, pid(&two).await];
    // Polled by hand, and so only when both are dead.
    let mut caller = pin!(pool.get());
    let asked = poll_fn(|context| Poll::Ready(caller.as_mut().poll(context).is_pending()));
    assert!(asked.await);
    assert_eq!(pool.snapshot().waiting, 1);

    // The server ends them while nothing of ours runs that could see it.
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(async {
                let end = "SELECT pg_terminate_backend(pid, 20000) FROM unnest($1::int[]) AS pid";
                let observer = observer(postgres).await;
                observer.query(end, &[&&pids[..]]).await.unwrap();
            });
        });
        ended.join().unwrap();
    });
    // So one goes to the caller, and the other is idle.
    drop((one, two));
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.waiting, snapshot.idle), (0, 1));
    until("both are seen to be gone", async || {
        pool.snapshot().open == 0
    })
    .await;
    // Now and then the pool looks at those that are idle.
    let both = pool.snapshot().idle == 1;
    assert!(!pids.contains(&pid(&caller.await.unwrap()).await));
    both
}
