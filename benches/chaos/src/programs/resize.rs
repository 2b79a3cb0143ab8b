//! The size of a pool changes all the time while callers come and go.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::{PATIENCE, POOL_SIZE};
use crate::{
    ground::{Ground, ProgramError, until},
    subject::{Plan, Session, Subject},
};

/// The least it is set to; [`POOL_SIZE`] is the most.
const SMALLEST: u32 = 2;
const CALLERS: usize = 16;
/// A backend is there for a moment after its client has left. One that is seen
/// so many times in a row, this far apart, is a connection.
const SIGHTINGS: usize = 3;
const BETWEEN_SIGHTINGS: Duration = Duration::from_millis(5);

/// What the storm did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resized {
    /// Sessions handed out at once, over the most that was ever allowed.
    pub(crate) handed_out_above: f64,
    /// Connections that the server had at once, over the same.
    pub(crate) connected_above: f64,
    /// How often the size was changed.
    pub(crate) changes: u64,
}

/// Runs it for so long; `None` if the size of the pool is fixed.
pub(crate) async fn resize<S: Subject>(
    ground: &Ground,
    storm: Duration,
) -> Result<Option<Resized>, ProgramError> {
    let observer = ground.observer().await?;
    let subject = S::build(&Plan {
        url: ground.url_at(ground.address(), S::NAME),
        size: POOL_SIZE,
        patience: PATIENCE,
        query_deadline: None,
    })?;
    if subject.resize(POOL_SIZE).is_err() {
        return Ok(None);
    }
    let seen = Arc::<Seen>::default();
    let mut tasks = JoinSet::new();
    for _ in 0..CALLERS {
        tasks.spawn(call(subject.clone(), Arc::clone(&seen)));
    }
    tasks.spawn(change(subject.clone(), Arc::clone(&seen)));

    let end = Instant::now() + storm;
    let mut sightings: Vec<HashSet<i32>> = Vec::new();
    let mut most = 0;
    while Instant::now() < end {
        if sightings.len() == SIGHTINGS {
            sightings.remove(0);
        }
        sightings.push(backends(&observer, S::NAME).await?);
        if let [first, others @ ..] = sightings.as_slice()
            && others.len() + 1 == SIGHTINGS
        {
            let stayed = first
                .iter()
                .filter(|pid| others.iter().all(|other| other.contains(pid)));
            most = most.max(stayed.count());
        }
        tokio::time::sleep(BETWEEN_SIGHTINGS).await;
    }
    seen.stop.store(true, Relaxed);
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(PATIENCE, all).await;
    let above = |most: u32| f64::from(most.saturating_sub(POOL_SIZE));
    Ok(Some(Resized {
        handed_out_above: above(seen.most_out.load(Relaxed)),
        connected_above: above(u32::try_from(most).unwrap_or(u32::MAX)),
        changes: seen.changes.load(Relaxed),
    }))
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    out: AtomicU32,
    most_out: AtomicU32,
    calls: AtomicU64,
    changes: AtomicU64,
}

async fn call<S: Subject>(subject: S, seen: Arc<Seen>) {
    while !seen.stop.load(Relaxed) {
        let Ok(mut session) = subject.get().await else {
            tokio::task::yield_now().await;
            continue;
        };
        // Counted for less than the pool has it out, so never too many.
        let out = seen.out.fetch_add(1, Relaxed) + 1;
        seen.most_out.fetch_max(out, Relaxed);
        let _ = session.run("SELECT pg_sleep(0.002)").await;
        seen.out.fetch_sub(1, Relaxed);
        drop(session);
        seen.calls.fetch_add(1, Relaxed);
    }
}

/// Another size after every few calls, so that each one meets the pool at work.
async fn change<S: Subject>(subject: S, seen: Arc<Seen>) {
    while !seen.stop.load(Relaxed) {
        let wanted = seen.calls.load(Relaxed) + fastrand::u64(1..20);
        let reached = || seen.calls.load(Relaxed) >= wanted || seen.stop.load(Relaxed);
        until(PATIENCE, reached).await;
        // The ends more often than what lies between: the way is longest.
        let size = match fastrand::u8(..4) {
            0 => SMALLEST,
            1 => POOL_SIZE,
            _ => fastrand::u32(SMALLEST..=POOL_SIZE),
        };
        if subject.resize(size).is_ok() {
            seen.changes.fetch_add(1, Relaxed);
        }
    }
}

async fn backends(observer: &Client, name: &str) -> Result<HashSet<i32>, ProgramError> {
    let rows = observer
        .query(
            "SELECT pid FROM pg_stat_activity WHERE application_name = $1",
            &[&name],
        )
        .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
