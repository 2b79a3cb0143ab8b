//! Everything at once, at random.

use std::time::Duration;

use tokio::time::timeout;

use super::support::{ask, pool, postgres, until};

/// So many callers give up at random points; `make chaos` has ten thousand.
const CALLERS: u64 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_give_up_at_random_points_lose_no_connection_and_mix_up_no_answer() {
    let postgres = postgres().await;
    let pool = pool(
        &postgres,
        "pool_size: 4, max_overflow: 2, pool_timeout: 20s",
    );
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..CALLERS {
        if tasks.len() >= 32 {
            tasks.join_next().await.unwrap().unwrap();
        }
        let pool = pool.clone();
        tasks.spawn(async move {
            // Spread over what a checkout and a statement take.
            let patience = Duration::from_micros(number * 7_919 % 4_000);
            let work = async {
                let mut connection = pool.get().await.unwrap();
                let number = i64::try_from(number).unwrap();
                let transaction = connection.transaction().await.unwrap();
                let row = transaction.query_one("SELECT $1::int8", &[&number]).await;
                assert_eq!(row.unwrap().get::<_, i64>(0), number);
                transaction.commit().await.unwrap();
            };
            let _ = timeout(patience, work).await;
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    until("all are back", async || {
        let snapshot = pool.snapshot();
        snapshot.in_use == 0 && snapshot.waiting == 0
    })
    .await;
    let snapshot = pool.snapshot();
    assert!(snapshot.open <= 6 && snapshot.idle <= 4, "{snapshot:?}");
    for _ in 0..6 {
        let connection = pool.get().await.unwrap();
        assert_eq!(ask::<i32>(&connection, "SELECT 1").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_resizes_never_has_more_connections_than_were_ever_allowed() {
    let postgres = postgres().await;
    let pool = pool(
        &postgres,
        "pool_size: 8, max_overflow: 0, pool_timeout: 20s",
    );
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    let connection = pool.get().await.unwrap();
                    connection.query("SELECT 1", &[]).await.unwrap();
                }
            })
        })
        .collect();
    let mut most = 0;
    for step in 0.. {
        pool.resize([8, 2, 5, 3][step % 4], 0);
        most = most.max(pool.snapshot().open);
        tokio::task::yield_now().await;
        if callers.iter().all(tokio::task::JoinHandle::is_finished) {
            break;
        }
    }
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(most <= 8, "{most}");
    pool.resize(2, 0);
    until("two are left", async || pool.snapshot().open <= 2).await;
}
