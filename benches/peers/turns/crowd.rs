//! Many tasks on few connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use resilience_peers::pools::{Session, Subject};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

/// So many tasks share [`CONNECTIONS`].
const TASKS: usize = 64;
const CONNECTIONS: u32 = 8;
/// All tasks of a crowd together make so many operations: some 30 ms.
const OPERATIONS: u64 = 1_600;

/// What a crowd has seen.
#[derive(Debug)]
pub(crate) struct Slice {
    /// Wall time of all, divided by the operations.
    pub(crate) each_ns: f64,
    /// Processor time of this process, the same way.
    pub(crate) processor_ns: f64,
    /// For a connection.
    pub(crate) waits: Vec<Duration>,
}

/// A pool that has all its connections, each with the statement prepared.
pub(crate) async fn full<S: Subject>(url: &str) -> S {
    let pool = S::build(url, Some(CONNECTIONS));
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut session = pool.get().await;
        session.select_one().await;
        all.push(session);
    }
    drop(all);
    // What happens once only, in a pool as in a server, is not measured.
    crowd(&pool).await;
    pool
}

/// 64 tasks get, run a prepared `SELECT 1`, and give back.
pub(crate) async fn crowd<S: Subject>(pool: &S) -> Slice {
    let processor = processor_ns();
    let started = Instant::now();
    let begun = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (pool, begun) = (pool.clone(), Arc::clone(&begun));
        tasks.spawn(async move {
            let mut waits = Vec::new();
            // ordering: Relaxed. A count and nothing else.
            // Shared, so that no task is done while others have much to do: the
            // crowd is whole until the end, and who is starved waits that long.
            while begun.fetch_add(1, Relaxed) < OPERATIONS {
                let asked = Instant::now();
                let mut session = pool.get().await;
                waits.push(asked.elapsed());
                session.select_one().await;
            }
            waits
        });
    }
    let waits = tasks.join_all().await.concat();
    let operations = OPERATIONS as f64;
    Slice {
        each_ns: started.elapsed().as_secs_f64() * 1e9 / operations,
        processor_ns: (processor_ns() - processor) / operations,
        waits,
    }
}

/// What this process has used so far.
fn processor_ns() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 * 1e9 + used.tv_nsec as f64
}
