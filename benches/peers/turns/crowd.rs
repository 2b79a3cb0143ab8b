//! Many tasks on few connections.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use resilience_peers::pools::{Session, Subject};
use rustix::time::{ClockId, clock_gettime};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

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

/// A pool that has all its connections, each with the statement prepared, in a runtime
/// of its own: what it leaves there, timers and tasks, no other has to carry.
pub(crate) struct Stand<S> {
    pool: S,
    runtime: Runtime,
}

impl<S> fmt::Debug for Stand<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stand").finish_non_exhaustive()
    }
}

impl<S: Subject> Stand<S> {
    pub(crate) fn build(url: &str) -> Self {
        // Not kept on their processors: the server's processes need those as well.
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("two threads are to be had");
        let pool = runtime.block_on(full(url));
        let stand = Self { pool, runtime };
        // What happens once only, in a pool as in a server, is not measured.
        stand.slice();
        stand
    }

    /// 64 tasks get, run a prepared `SELECT 1`, and give back.
    pub(crate) fn slice(&self) -> Slice {
        self.runtime.block_on(crowd(&self.pool))
    }
}

async fn full<S: Subject>(url: &str) -> S {
    let pool = S::build(url, Some(CONNECTIONS));
    let mut all = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut session = pool.get().await;
        session.select_one().await;
        all.push(session);
    }
    pool
}

async fn crowd<S: Subject>(pool: &S) -> Slice {
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
