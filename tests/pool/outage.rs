//! The server is killed, or stands still.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use resilience_core::{pool::Pool, snapshot::ServerState};

use super::support::{pool, postgres, until};

/// Callers that ask all the time.
struct Callers {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    served: Arc<AtomicU32>,
    failed: Arc<AtomicU32>,
    longest_ms: Arc<AtomicU32>,
}

impl Callers {
    fn start(pool: &Pool, count: usize) -> Self {
        let (stop, served, failed, longest_ms) = <(
            Arc<AtomicBool>,
            Arc<AtomicU32>,
            Arc<AtomicU32>,
            Arc<AtomicU32>,
        )>::default();
        let tasks = (0..count)
            .map(|_| {
                let (pool, stop, longest_ms) =
                    (pool.clone(), Arc::clone(&stop), Arc::clone(&longest_ms));
                let (served, failed) = (Arc::clone(&served), Arc::clone(&failed));
                tokio::spawn(async move {
                    while !stop.load(Relaxed) {
                        let begun = Instant::now();
                        let answered = async {
                            let connection = pool.get().await.map_err(|error| error.to_string())?;
                            let asked = connection.query_one("SELECT pg_sleep(0.002)", &[]).await;
                            asked.map_err(|error| error.to_string())
                        };
                        let count = match answered.await {
                            Ok(_) => &served,
                            Err(_) => &failed,
                        };
                        count.fetch_add(1, Relaxed);
                        let took = u32::try_from(begun.elapsed().as_millis()).unwrap();
                        longest_ms.fetch_max(took, Relaxed);
                    }
                })
            })
            .collect();
        Self {
            stop,
            tasks,
            served,
            failed,
            longest_ms,
        }
    }

    async fn more_are_served(&self, what: &str) {
        let before = self.served.load(Relaxed);
        until(what, async || self.served.load(Relaxed) >= before + 100).await;
    }

    async fn end(self) {
        self.stop.store(true, Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_costs_the_statements_in_flight_and_everybody_else_waits_for_the_server() {
    let mut postgres = postgres().await;
    let pool = pool(
        &postgres,
        "pool_size: 8, max_overflow: 0, pool_timeout: 30s",
    );
    let callers = Callers::start(&pool, 32);
    callers.more_are_served("before").await;
    postgres.kill();
    until("it is down", async || {
        pool.snapshot().server == ServerState::Down
    })
    .await;
    let dials = pool.snapshot().totals.dials;
    until("the prober tries", async || {
        pool.snapshot().totals.dials >= dials + 10
    })
    .await;
    assert!(pool.snapshot().waiting >= 24, "{:?}", pool.snapshot());
    postgres.restart().await.unwrap();
    callers.more_are_served("after").await;
    assert!(callers.failed.load(Relaxed) <= 8, "{:?}", callers.failed);
    assert_eq!(pool.snapshot().server, ServerState::Up);
    callers.end().await;
    let snapshot = pool.snapshot();
    assert!(snapshot.open <= 8 && snapshot.in_use == 0, "{snapshot:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_leaves_nobody_stuck_beyond_its_deadline() {
    let postgres = postgres().await;
    let pool = pool(
        &postgres,
        "pool_size: 4, max_overflow: 0, pool_timeout: 500ms, query_timeout: 500ms",
    );
    let callers = Callers::start(&pool, 16);
    callers.more_are_served("before").await;
    postgres.freeze();
    until("some give up", async || callers.failed.load(Relaxed) >= 48).await;
    postgres.thaw();
    callers.more_are_served("after").await;
    // Two deadlines, one after the other, and the machine's own load.
    let longest = Duration::from_millis(callers.longest_ms.load(Relaxed).into());
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    callers.end().await;
    until("all are back", async || pool.snapshot().in_use == 0).await;
}

#[tokio::test]
async fn an_idle_pool_does_not_dial_a_dead_server() {
    let mut postgres = postgres().await;
    let pool = pool(&postgres, "pool_timeout: 100ms");
    postgres.kill();
    pool.get().await.unwrap_err();
    until("nobody dials", async || pool.snapshot().open == 0).await;
    let dials = pool.snapshot().totals.dials;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.snapshot().totals.dials, dials);
}
