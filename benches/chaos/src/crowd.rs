//! Callers that ask for a session, write an id, give it back, and begin anew.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    ground::{ProgramError, until},
    subject::{Failure, Session, Subject},
};

/// How many callers there are.
pub(crate) const CALLERS: usize = 32;
/// How long it may take until all of them have been served once.
const AT_WORK_WITHIN: Duration = Duration::from_secs(5);
/// Errors that are remembered; a pool that lets everybody dial makes some
/// thousands a second.
const ERRORS_KEPT: usize = 1_000_000;

/// The callers, at work until this is dropped or [stopped](Self::stop).
pub(crate) struct Crowd {
    seen: Arc<Seen>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    next_id: AtomicI64,
    log: Mutex<Log>,
}

/// What happened to them so far.
#[derive(Default)]
struct Log {
    callers: Vec<Caller>,
    acknowledged: HashSet<i64>,
    errors: Vec<CallError>,
}

/// One of them.
#[derive(Clone, Copy)]
struct Caller {
    /// Since when it has been waiting for the pool or for an answer.
    waits_since: Instant,
    /// The first answer since [`Crowd::forget_answers`].
    first_served: Option<Instant>,
    /// The longest single wait since then that is over.
    longest: Duration,
}

/// See [`Crowd::served`].
pub(crate) struct Served {
    pub(crate) first: Option<Instant>,
    pub(crate) all: Option<Instant>,
}

/// A call that failed.
pub(crate) struct CallError {
    /// When the call began, that is, when it asked for a session.
    pub(crate) call_began: Instant,
    pub(crate) text: String,
}

impl Crowd {
    /// Sends them to the pool, whose database has a table
    /// `written (id bigint)`.
    pub(crate) fn start<S: Subject>(subject: &S) -> Self {
        let now = Instant::now();
        let seen = Arc::new(Seen::default());
        let fresh = Caller {
            waits_since: now,
            first_served: None,
            longest: Duration::ZERO,
        };
        seen.log().callers = vec![fresh; CALLERS];
        let mut tasks = JoinSet::new();
        for caller in 0..CALLERS {
            tasks.spawn(work(caller, subject.clone(), Arc::clone(&seen)));
        }
        Self { seen, tasks }
    }

    /// Waits until all are at work, or as many as ever are: there are pools in
    /// which some callers starve.
    ///
    /// # Errors
    ///
    /// [`ProgramError::TooLate`] when none of them was served.
    pub(crate) async fn at_work(&self) -> Result<(), ProgramError> {
        match self.served(AT_WORK_WITHIN).await.first {
            Some(_) => Ok(()),
            None => Err(ProgramError::TooLate {
                what: "a first answer",
                within: AT_WORK_WITHIN,
            }),
        }
    }

    /// Counts answers from now on.
    pub(crate) fn forget_answers(&self) {
        for caller in &mut self.seen.log().callers {
            caller.first_served = None;
        }
    }

    /// When the first of them was served, and when the last one was for the first
    /// time; `None` if they are not within `within`.
    pub(crate) async fn served(&self, within: Duration) -> Served {
        let all = || {
            let log = self.seen.log();
            log.callers
                .iter()
                .all(|caller| caller.first_served.is_some())
        };
        let whole = until(within, all).await;
        let log = self.seen.log();
        let firsts = log.callers.iter().filter_map(|caller| caller.first_served);
        Served {
            first: firsts.clone().min(),
            all: firsts.max().filter(|_| whole),
        }
    }

    /// Measures waits from now on. What waits already is measured from when it
    /// began to.
    pub(crate) fn forget_waits(&self) {
        for caller in &mut self.seen.log().callers {
            caller.longest = Duration::ZERO;
        }
    }

    /// The longest that one of them waited for the pool, or for an answer; waits
    /// that are not over count too.
    pub(crate) fn longest_wait(&self) -> Duration {
        let log = self.seen.log();
        let waits = log
            .callers
            .iter()
            .map(|caller| caller.longest.max(caller.waits_since.elapsed()));
        waits.max().unwrap_or_default()
    }

    /// What has failed since this was last asked.
    pub(crate) fn take_errors(&self) -> Vec<CallError> {
        std::mem::take(&mut self.seen.log().errors)
    }

    /// Lets them end their calls, those that take longer than `within` excepted,
    /// and returns the ids whose writing was acknowledged.
    pub(crate) async fn stop(mut self, within: Duration) -> HashSet<i64> {
        self.seen.stop.store(true, Relaxed);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // Whoever is stuck is ended with the set.
        let _ = tokio::time::timeout(within, all).await;
        self.tasks.shutdown().await;
        std::mem::take(&mut self.seen.log().acknowledged)
    }
}

impl Seen {
    fn log(&self) -> MutexGuard<'_, Log> {
        // A panic while it was held leaves nothing half done.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One wait of a caller is over and the next one begins.
    fn waited(&self, caller: usize) {
        let mut log = self.log();
        let caller = &mut log.callers[caller];
        caller.longest = caller.longest.max(caller.waits_since.elapsed());
        caller.waits_since = Instant::now();
    }

    fn acknowledged(&self, caller: usize, id: i64) {
        self.waited(caller);
        let mut log = self.log();
        log.acknowledged.insert(id);
        let now = Instant::now();
        log.callers[caller].first_served.get_or_insert(now);
    }

    fn failed(&self, caller: usize, call_began: Instant, failure: &Failure) {
        self.waited(caller);
        let mut log = self.log();
        if log.errors.len() < ERRORS_KEPT {
            log.errors.push(CallError {
                call_began,
                text: failure.to_string(),
            });
        }
    }
}

async fn work<S: Subject>(caller: usize, subject: S, seen: Arc<Seen>) {
    while !seen.stop.load(Relaxed) {
        let call_began = Instant::now();
        let mut session = match subject.get().await {
            Ok(session) => session,
            Err(failure) => {
                seen.failed(caller, call_began, &failure);
                // A pool that refuses without a wait must not starve the rest.
                tokio::task::yield_now().await;
                continue;
            }
        };
        seen.waited(caller);
        let id = seen.next_id.fetch_add(1, Relaxed);
        let written = session
            .run(&format!("INSERT INTO written VALUES ({id})"))
            .await;
        match written {
            Ok(()) => seen.acknowledged(caller, id),
            Err(failure) => seen.failed(caller, call_began, &failure),
        }
    }
}
