//! The pool itself: what callers, the dialer, the cleaner and the watch share.

use std::{
    collections::HashMap,
    fmt,
    panic::Location,
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::oneshot, time::Instant};

use super::{
    connection::Connection,
    deadline,
    desk::{Desk, Overdue, place_of},
    dial::{ConnectError, Transport},
    error::{Exhausted, PoolError, Unreachable},
    gate::Gate,
    queue::{Given, Queue, Taken},
    report,
    session::Session,
    settings::{Settings, Times},
    stats::{Stats, one},
};
use crate::clock::Clock;

/// How long a connection that is ended may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// So many places are named by an error.
const MOST_PLACES: usize = 3;

pub(super) struct Inner {
    pub(super) name: Arc<str>,
    pub(super) queue: Queue<Box<Session>, ConnectError>,
    pub(super) gate: Gate,
    pub(super) stats: Stats,
    pub(super) settings: ArcSwap<Settings>,
    pub(super) times: Times,
    pub(super) transport: Box<dyn Transport>,
    pub(super) clock: Clock,
    /// Of all connections that exist, by a number of their own.
    pub(super) desks: Mutex<HashMap<u64, Arc<Desk>>>,
    /// Grows when all connections are to be replaced.
    pub(super) epoch: AtomicU64,
    /// When the log was last told that a caller got none; 0: never.
    pub(super) exhaustion_told_ms: AtomicU64,
    /// Of the first caller: connections live on it.
    runtime: OnceLock<Handle>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).finish()
    }
}

impl Inner {
    pub(super) fn new(
        name: &str,
        limits: super::queue::Limits,
        settings: Settings,
        transport: Box<dyn Transport>,
        clock: Clock,
    ) -> Self {
        Self {
            name: name.into(),
            queue: Queue::new(limits),
            gate: Gate::new(),
            stats: Stats::default(),
            times: Times::new(&settings),
            settings: ArcSwap::from_pointee(settings),
            transport,
            clock,
            desks: Mutex::default(),
            epoch: AtomicU64::new(0),
            exhaustion_told_ms: AtomicU64::new(0),
            runtime: OnceLock::new(),
        }
    }

    // ── out ──────────────────────────────────────────────────────────────

    /// A connection for the caller at `place`.
    pub(super) async fn checkout(
        self: &Arc<Self>,
        place: &'static Location<'static>,
    ) -> Result<Connection, PoolError> {
        if self.runtime.get().is_none() {
            self.start();
        }
        // An idle connection is there without a wait: a caller in a loop would keep
        // its thread from the task that sees it die.
        tokio::task::coop::consume_budget().await;
        loop {
            match self.queue.take() {
                Taken::Idle(session) => {
                    if let Some(session) = self.usable(session) {
                        self.stats.wait.note(0);
                        return Ok(self.hand_out(session, place, self.clock.now_ns()));
                    }
                }
                Taken::Wait(receiver, room) => {
                    // Under the lock of the queue: without room there is nothing to
                    // reserve, and whoever makes some looks for those who wait.
                    if room {
                        self.want_more();
                    }
                    let waiting = Waiting {
                        inner: self,
                        receiver: Some(receiver),
                    };
                    return self.wait(waiting, place).await;
                }
            }
        }
    }

    async fn wait(
        self: &Arc<Self>,
        mut waiting: Waiting<'_>,
        place: &'static Location<'static>,
    ) -> Result<Connection, PoolError> {
        let begun = Instant::now();
        let asked_ns = self.clock.ns_at(begun.into_std());
        let patience = self.times.wait();
        let work = pin!(async {
            loop {
                let session = waiting.served().await?;
                if let Some(session) = self.usable(session) {
                    return Ok(session);
                }
                // It died on its way here, and so may those that are idle.
                while waiting.receiver.is_none() {
                    match self.queue.take() {
                        Taken::Idle(session) => {
                            if let Some(session) = self.usable(session) {
                                return Ok(session);
                            }
                        }
                        Taken::Wait(receiver, _) => waiting.receiver = Some(receiver),
                    }
                }
                self.want_more();
            }
        });
        let served = deadline::within(begun, patience, work).await;
        let now_ns = self.clock.now_ns();
        let waited_ns = now_ns.saturating_sub(asked_ns);
        let waited = Duration::from_nanos(waited_ns);
        match served {
            Some(Ok(session)) => {
                self.stats.wait.note(waited_ns);
                Ok(self.hand_out(session, place, now_ns))
            }
            Some(Err(Some(error))) => {
                one(&self.stats.timeouts);
                Err(PoolError::Unreachable(Box::new(Unreachable {
                    error,
                    waited,
                })))
            }
            Some(Err(None)) | None => {
                // Described before this caller leaves the queue: it is one of them.
                let error = self.no_connection(waited);
                one(&self.stats.timeouts);
                report::no_connection(self, &error);
                Err(error)
            }
        }
    }

    /// Why there was none in time.
    fn no_connection(&self, waited: Duration) -> PoolError {
        if let Some(error) = self.gate.why_down() {
            return PoolError::Unreachable(Box::new(Unreachable { error, waited }));
        }
        let counts = self.queue.counts();
        let (_, _, last) = self.gate.picture();
        let mut holders = self.top_holders();
        let held: u32 = holders.iter().map(|(_, count, _)| count).sum();
        if holders.len() < MOST_PLACES && counts.out() > held {
            // Nobody's any more, and not yet the next one's.
            let cleaned = counts.out() - held;
            holders.push(("(being cleaned)".to_owned(), cleaned, Duration::ZERO));
        }
        PoolError::Exhausted(Box::new(Exhausted {
            size: counts.limits.total(),
            overflow: counts.limits.max_overflow,
            in_use: counts.out(),
            waiting: counts.waiting,
            waited,
            holders,
            last_connect_error: last.map(|error| format!("{}: {}", error.kind, error.message)),
        }))
    }

    fn top_holders(&self) -> Vec<(String, u32, Duration)> {
        let now_ns = self.clock.now_ns();
        // By file and line: a place has a column, too.
        let mut places: HashMap<(&str, u32), (&Location<'_>, u32, u64)> = HashMap::new();
        for desk in self.desks.lock().values() {
            if let Some((place, since_ns)) = desk.holder() {
                let held_ns = now_ns.saturating_sub(since_ns);
                let line = (place.file(), place.line());
                let seen = places.entry(line).or_insert((place, 0, 0));
                seen.1 += 1;
                seen.2 = seen.2.max(held_ns);
            }
        }
        let mut places: Vec<_> = places.into_values().collect();
        places.sort_by_key(|(_, count, longest)| std::cmp::Reverse((*count, *longest)));
        places.truncate(MOST_PLACES);
        let shown = |(place, count, longest): (&Location<'_>, u32, u64)| {
            // Whole milliseconds: it is for reading.
            let longest = Duration::from_millis(longest / 1_000_000);
            (place_of(place), count, longest)
        };
        places.into_iter().map(shown).collect()
    }

    /// Lets go of a connection that is dead.
    fn usable(self: &Arc<Self>, session: Box<Session>) -> Option<Box<Session>> {
        if session.is_closed() {
            // Where one was lost, others may have been.
            self.gate.suspect();
            return None;
        }
        Some(session)
    }

    fn hand_out(
        self: &Arc<Self>,
        session: Box<Session>,
        place: &'static Location<'static>,
        now_ns: u64,
    ) -> Connection {
        session.desk.take(place, now_ns);
        Connection::new(Arc::clone(self), session)
    }

    // ── back ─────────────────────────────────────────────────────────────

    /// A caller is done with it.
    pub(super) fn give_back(self: &Arc<Self>, session: Box<Session>) {
        let now_ns = self.clock.now_ns();
        let (held_ns, late) = session.desk.leave(now_ns);
        self.stats.usage.note(held_ns);
        if let Some(overdue) = late {
            report::late_return(self, &overdue);
        }
        if session.desk.is_clean() || session.is_closed() {
            self.put_at(session, now_ns);
        } else if let Some(runtime) = self.runtime.get() {
            runtime.spawn(Arc::clone(self).clean_and_put(session));
        }
    }

    /// Puts a clean one back, or ends it if it is old.
    pub(super) fn put(&self, session: Box<Session>) {
        self.put_at(session, self.clock.now_ns());
    }

    fn put_at(&self, mut session: Box<Session>, now_ns: u64) {
        let is_closed = session.is_closed();
        if is_closed {
            self.gate.suspect();
        }
        let is_fresh = now_ns < session.dies_ns && session.epoch == self.epoch.load(Relaxed);
        session.idle_since_ns = now_ns;
        let given = self.queue.give_back(session, !is_closed && is_fresh);
        self.end_if_not_kept(given);
    }

    pub(super) fn end_if_not_kept(&self, given: Given<Box<Session>>) {
        if let Given::End(session) = given {
            self.end(session);
        }
    }

    /// Ends one that was taken out of the queue.
    pub(super) fn retire(&self, session: Box<Session>) {
        self.queue.will_end();
        self.end(session);
    }

    /// Says goodbye and closes. The connection counts until it is gone, so that
    /// none is made in its place before.
    pub(super) fn end(&self, session: Box<Session>) {
        if !session.is_closed() {
            one(&self.stats.recycled);
        }
        if !session.desk.counts_as_ending() {
            self.queue.had_ended();
        }
        let is_stuck = !session.desk.is_ready() || session.desk.is_busy();
        let Session { client, driver, .. } = *session;
        // The driver says goodbye once there is no client and all is answered.
        drop(client);
        if is_stuck {
            driver.abort();
        }
        if let Some(runtime) = self.runtime.get()
            && !driver.is_finished()
        {
            runtime.spawn(async move {
                let mut driver = driver;
                if tokio::time::timeout(GOODBYE, &mut driver).await.is_err() {
                    // A server that takes nothing any more.
                    driver.abort();
                }
            });
        }
    }

    // ── more ─────────────────────────────────────────────────────────────

    /// Has connections made for those who wait, as far as limit and gate allow.
    pub(super) fn want_more(self: &Arc<Self>) {
        let Some(runtime) = self.runtime.get() else {
            return;
        };
        while self.queue.reserve(self.gate.at_once()) {
            runtime.spawn(super::dialer::run(Arc::clone(self)));
        }
    }

    fn start(self: &Arc<Self>) {
        let runtime = Handle::current();
        if self.runtime.set(runtime.clone()).is_ok() {
            runtime.spawn(super::watch::run(Arc::downgrade(self)));
        }
    }

    /// The connections that callers hold for longer than they may, each once.
    pub(super) fn new_leaks(&self) -> Vec<Overdue> {
        let (now_ns, limit_ns) = (self.clock.now_ns(), self.settings.load().leak_ns);
        let desks = self.desks.lock();
        desks
            .values()
            .filter_map(|desk| desk.report(now_ns, limit_ns))
            .collect()
    }
}

/// A caller in the queue. One that goes away gives back what it was just handed.
struct Waiting<'a> {
    inner: &'a Inner,
    receiver: Option<oneshot::Receiver<Result<Box<Session>, ConnectError>>>,
}

impl Waiting<'_> {
    /// `Err(None)`: nobody will serve it.
    async fn served(&mut self) -> Result<Box<Session>, Option<ConnectError>> {
        let Some(receiver) = &mut self.receiver else {
            return Err(None);
        };
        let served = receiver.await;
        self.receiver = None;
        match served {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(error)) => Err(Some(error)),
            Err(_) => Err(None),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(mut receiver) = self.receiver.take()
            && let Some(session) = self.inner.queue.leave(&mut receiver)
        {
            self.inner.put(session);
        }
    }
}
