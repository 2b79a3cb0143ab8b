//! Many callers, one run: who asks for what is already being asked for waits
//! for that answer.
//!
//! A run is a task of its own, so that no caller is needed for it to end. The
//! map holds those that run, and nothing else: each is taken out by its
//! [`Lead`], which is dropped whatever happens.

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, OnceLock},
    time::Duration,
};
#[cfg(feature = "fallback")]
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use ahash::RandomState;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Runs by key. A handle: clones share them.
pub(crate) struct Flights<K, T> {
    running: Arc<Mutex<Running<K, T>>>,
}

struct Running<K, T> {
    by_key: HashMap<K, Flight<T>, RandomState>,
    /// How many leads there are, those set apart included.
    leads: usize,
    next: u64,
}

struct Flight<T> {
    /// Tells it from a later one of the same key.
    number: u64,
    tell: Arc<Tell<T>>,
}

/// What a run left behind: nothing yet, what it gave, or why it gave nothing.
type Ended<T> = Option<Result<T, Lost>>;

/// Tells those who wait how a run ended. There is a channel from the first of them on: it
/// costs more than all the rest of a run that is over at once.
struct Tell<T>(OnceLock<watch::Sender<Ended<T>>>);

impl<T> Tell<T> {
    fn wait(&self) -> Wait<T> {
        let tell = self.0.get_or_init(|| watch::Sender::new(None));
        Wait(tell.subscribe())
    }
}

/// Why a run gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Lost {
    /// It panicked. The panic itself went to the panic hook.
    #[error("the fetch panicked")]
    Panicked,
    /// It took longer than this, and was dropped.
    #[error("the fetch took longer than {0:?}")]
    TookTooLong(Duration),
    /// The runtime that it ran on was shut down.
    #[error("the runtime was shut down before the fetch was done")]
    ShutDown,
}

/// What a caller gets who asks.
pub(crate) enum Turn<K: Eq + Hash, T> {
    /// It was answered before the lock was taken.
    Known(T),
    /// Somebody is asking already.
    Wait(Wait<T>),
    /// Nobody is: this caller has to begin.
    Lead(Lead<K, T>),
    /// Nobody is, and too many run already: this caller has to ask alone.
    Alone,
}

/// So many run at one time. A run goes on when its callers are gone, so without
/// a bound a client that asks for ever new keys and hangs up would leave a task
/// behind for each. Far more than a database answers at a time.
pub(crate) const MOST_RUNS: usize = 4_096;

impl<K, T> Flights<K, T>
where
    K: Eq + Hash + Clone,
    T: Clone,
{
    pub(crate) fn new() -> Self {
        let running = Running {
            by_key: HashMap::default(),
            leads: 0,
            next: 0,
        };
        Self {
            running: Arc::new(Mutex::new(running)),
        }
    }

    /// The turn of a caller. `known` is asked under the lock, and so after
    /// whatever a run that has ended has kept.
    pub(crate) fn turn(&self, key: K, known: impl FnOnce(&K) -> Option<T>) -> Turn<K, T> {
        let mut running = self.running.lock();
        if let Some(flight) = running.by_key.get(&key) {
            return Turn::Wait(flight.tell.wait());
        }
        if let Some(known) = known(&key) {
            return Turn::Known(known);
        }
        if running.leads >= MOST_RUNS {
            return Turn::Alone;
        }
        running.leads += 1;
        let tell = Arc::new(Tell(OnceLock::new()));
        let number = running.next;
        running.next += 1;
        let flight = Flight {
            number,
            tell: Arc::clone(&tell),
        };
        running.by_key.insert(key.clone(), flight);
        Turn::Lead(Lead {
            running: Arc::clone(&self.running),
            key,
            number,
            tell,
        })
    }

    /// Does `change` with the run of `key` set apart: it goes on for those who
    /// wait for it, keeps nothing, and nobody joins it any more.
    pub(crate) fn without<Q, R>(&self, key: &Q, change: impl FnOnce() -> R) -> R
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut running = self.running.lock();
        let apart = running.by_key.remove_entry(key);
        let changed = change();
        drop(running);
        // Drops a key, which is the caller's code.
        drop(apart);
        changed
    }

    /// The same with all runs.
    pub(crate) fn without_any<R>(&self, change: impl FnOnce() -> R) -> R {
        let mut running = self.running.lock();
        let apart = std::mem::take(&mut running.by_key);
        let changed = change();
        drop(running);
        drop(apart);
        changed
    }

    /// Does `change` while no run ends, begins or is set apart.
    #[cfg(feature = "fallback")]
    pub(crate) fn meanwhile<R>(&self, change: impl FnOnce() -> R) -> R {
        let running = self.running.lock();
        let changed = change();
        drop(running);
        changed
    }

    /// How many run, those set apart included.
    pub(crate) fn len(&self) -> usize {
        self.running.lock().leads
    }
}

impl<K, T> Clone for Flights<K, T> {
    fn clone(&self) -> Self {
        Self {
            running: Arc::clone(&self.running),
        }
    }
}

impl<K, T> fmt::Debug for Flights<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").finish_non_exhaustive()
    }
}

/// The duty to answer all who ask for a key. Dropped before that, it tells them
/// that there will be no answer.
pub(crate) struct Lead<K: Eq + Hash, T> {
    running: Arc<Mutex<Running<K, T>>>,
    key: K,
    number: u64,
    tell: Arc<Tell<T>>,
}

impl<K, T> Lead<K, T>
where
    K: Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(crate) const fn key(&self) -> &K {
        &self.key
    }

    /// Runs it in a task, for at most `most`.
    ///
    /// `keep` stores the answer. It runs under the lock, so that nobody is
    /// between this run and what it has stored, and not at all if the run was
    /// set apart. What it returns is dropped when the lock is free.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub(crate) fn run<R>(
        self,
        most: Duration,
        run: impl Future<Output = T> + Send + 'static,
        keep: impl FnOnce(&K, &T) -> R + Send + 'static,
    ) -> Wait<T> {
        let wait = self.tell.wait();
        tokio::spawn(async move {
            match tokio::time::timeout(most, run).await {
                Ok(answer) => self.end(answer, keep),
                Err(_) => self.lose(Lost::TookTooLong(most)),
            }
        });
        wait
    }

    /// The same, polled once where it is, before there is a task: a run that is over
    /// at once, such as one that is refused, needs none.
    ///
    /// Its caller cannot be cancelled before the task has it: there is nothing to wait
    /// for until then.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, if it is not over at once.
    #[cfg(feature = "fallback")]
    pub(crate) async fn run_from_here<R>(
        self,
        most: Duration,
        mut run: Pin<Box<impl Future<Output = T> + Send + 'static>>,
        keep: impl FnOnce(&K, &T) -> R + Send + 'static,
    ) -> Result<T, Lost> {
        match poll_once(run.as_mut()) {
            Ok(Poll::Ready(answer)) => {
                self.end(answer.clone(), keep);
                Ok(answer)
            }
            Ok(Poll::Pending) => self.run(most, run, keep).answer().await,
            Err(panicked) => {
                self.lose(panicked);
                Err(panicked)
            }
        }
    }

    /// Ends it with an answer.
    pub(crate) fn end<R>(self, answer: T, keep: impl FnOnce(&K, &T) -> R) {
        let mut running = self.running.lock();
        let ended = running.take(&self.key, self.number);
        let kept = ended.is_some().then(|| keep(&self.key, &answer));
        drop(running);
        drop((ended, kept));
        // Nobody can join it any more.
        if let Some(tell) = self.tell.0.get() {
            tell.send_replace(Some(Ok(answer)));
        }
    }
}

/// With a waker that wakes nobody: if it is not over, a task polls it next, and is the
/// one to be woken.
#[cfg(feature = "fallback")]
fn poll_once<F: Future>(run: Pin<&mut F>) -> Result<Poll<F::Output>, Lost> {
    caught(|| run.poll(&mut Context::from_waker(Waker::noop())))
}

/// A panic is the run's, as in a task, and not its caller's; nobody looks at what it left
/// behind.
#[cfg(feature = "fallback")]
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Lost> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Lost::Panicked)
}

impl<K: Eq + Hash, T> Lead<K, T> {
    pub(crate) fn lose(&self, why: Lost) {
        let mut running = self.running.lock();
        let ended = running.take(&self.key, self.number);
        drop(running);
        drop(ended);
        let Some(tell) = self.tell.0.get() else {
            return;
        };
        // Told last: who hears of it and asks again must not find this run.
        tell.send_if_modified(|told| {
            let first = told.is_none();
            if first {
                *told = Some(Err(why));
            }
            first
        });
    }
}

impl<K: Eq + Hash, T> Drop for Lead<K, T> {
    fn drop(&mut self) {
        self.running.lock().leads -= 1;
        // Without a panic only a runtime drops a task that has not ended.
        let why = if std::thread::panicking() {
            Lost::Panicked
        } else {
            Lost::ShutDown
        };
        self.lose(why);
    }
}

impl<K: Eq + Hash, T> Running<K, T> {
    /// Takes a run out, unless it was set apart or has been taken out.
    fn take(&mut self, key: &K, number: u64) -> Option<(K, Flight<T>)> {
        let flight = self.by_key.get(key)?;
        if flight.number != number {
            return None;
        }
        self.by_key.remove_entry(key)
    }
}

/// Waits for the answer of a run. Dropped, it leaves the run alone.
pub(crate) struct Wait<T>(watch::Receiver<Ended<T>>);

impl<T: Clone> Wait<T> {
    pub(crate) async fn answer(mut self) -> Result<T, Lost> {
        match self.0.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().expect("waited until there is one"),
            // A lead tells why before it is gone.
            Err(_) => Err(Lost::ShutDown),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        task::Poll,
    };

    use tokio::sync::Semaphore;
    use tokio_test::{assert_pending, assert_ready_eq, task};

    use super::*;

    type Numbers = Flights<&'static str, u64>;

    const LONG: Duration = Duration::from_secs(60);

    /// Asks as a cache does that keeps nothing.
    fn ask<F>(flights: &Numbers, run: impl FnOnce() -> F) -> Wait<u64>
    where
        F: Future<Output = u64> + Send + 'static,
    {
        match flights.turn("rate", |_| None) {
            Turn::Known(_) => unreachable!("nothing is known"),
            Turn::Wait(wait) => wait,
            Turn::Lead(lead) => lead.run(LONG, run(), |_, _| ()),
            Turn::Alone => unreachable!("few run"),
        }
    }

    #[tokio::test]
    async fn a_thousand_callers_get_the_answer_of_one_run_also_when_the_first_is_cancelled() {
        let flights = Numbers::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let mut callers: Vec<_> = (0..1_001)
            .map(|_| {
                let wait = ask(&flights, || {
                    let (runs, gate) = (Arc::clone(&runs), Arc::clone(&gate));
                    async move {
                        runs.fetch_add(1, SeqCst);
                        let _open = gate.acquire().await;
                        7
                    }
                });
                let mut caller = task::spawn(Box::pin(wait.answer()));
                assert_pending!(caller.poll());
                caller
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(runs.load(SeqCst), 1, "it runs by now");

        drop(callers.remove(0));
        gate.add_permits(1);
        for caller in callers {
            assert_eq!(caller.into_inner().await, Ok(7));
        }
        assert_eq!(runs.load(SeqCst), 1);
        assert_eq!(flights.len(), 0);
    }

    #[cfg(feature = "fallback")]
    fn from_here<F>(flights: &Numbers, run: F) -> impl Future<Output = Result<u64, Lost>>
    where
        F: Future<Output = u64> + Send + 'static,
    {
        let Turn::Lead(lead) = flights.turn("rate", |_| None) else {
            unreachable!("nobody else asks")
        };
        Box::pin(lead.run_from_here(LONG, Box::pin(run), |_, _| ()))
    }

    /// Outside of a runtime, where there is no task to be had.
    #[cfg(feature = "fallback")]
    #[test]
    fn a_run_that_is_over_at_once_needs_no_task_and_answers_who_waits() {
        let flights = Numbers::new();
        let lead = from_here(&flights, async { 7 });
        let mut waits = task::spawn(ask(&flights, || async { 8 }).answer());
        assert_pending!(waits.poll());
        assert_ready_eq!(task::spawn(lead).poll(), Ok(7));
        assert_ready_eq!(waits.poll(), Ok(7));
        assert_eq!(flights.len(), 0);
    }

    #[cfg(feature = "fallback")]
    #[tokio::test]
    async fn a_run_that_was_begun_where_it_is_goes_on_when_its_caller_is_gone() {
        let flights = Numbers::new();
        let gate = Arc::new(Semaphore::new(0));
        let open = Arc::clone(&gate);
        let mut lead = task::spawn(from_here(&flights, async move {
            let _open = open.acquire().await;
            7
        }));
        assert_pending!(lead.poll());
        let waits = ask(&flights, || async { 8 });
        drop(lead);
        gate.add_permits(1);
        assert_eq!(waits.answer().await, Ok(7));
        assert_eq!(flights.len(), 0);
    }

    #[cfg(feature = "fallback")]
    #[tokio::test]
    async fn a_run_that_panics_where_it_is_leaves_its_caller_alone_and_the_next_one_runs() {
        let flights = Numbers::new();
        let lead = from_here(&flights, async { panic!("on purpose") });
        let waits = ask(&flights, || async { 8 });
        assert_eq!(lead.await, Err(Lost::Panicked));
        assert_eq!(waits.answer().await, Err(Lost::Panicked));
        assert_eq!(flights.len(), 0);
        assert_eq!(from_here(&flights, async { 9 }).await, Ok(9));
    }

    #[tokio::test]
    async fn a_run_that_nobody_waits_for_goes_on() {
        let flights = Numbers::new();
        let ended = Arc::new(Semaphore::new(0));
        let tell = Arc::clone(&ended);
        drop(ask(&flights, || async move {
            tokio::task::yield_now().await;
            tell.add_permits(1);
            7
        }));
        let _ended = ended.acquire().await;
        for _ in 0..1_000 {
            if flights.len() == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it never left the map");
    }

    #[tokio::test]
    async fn who_waits_for_a_run_that_panics_is_told_so_and_the_next_one_runs() {
        let flights = Numbers::new();
        let first = ask(&flights, || async { panic!("on purpose") });
        let second = ask(&flights, || async { 8 });
        assert_eq!(first.answer().await, Err(Lost::Panicked));
        assert_eq!(second.answer().await, Err(Lost::Panicked));
        assert_eq!(flights.len(), 0);
        assert_eq!(ask(&flights, || async { 9 }).answer().await, Ok(9));
    }

    #[tokio::test]
    async fn a_panic_before_the_run_begins_is_told_too() {
        let flights = Numbers::new();
        let Turn::Lead(lead) = flights.turn("rate", |_| None) else {
            unreachable!("nobody else asks")
        };
        let waits = ask(&flights, || async { 8 });
        let begin = std::panic::AssertUnwindSafe(|| {
            let _lead = lead;
            panic!("on purpose");
        });
        assert!(std::panic::catch_unwind(begin).is_err());
        assert_eq!(waits.answer().await, Err(Lost::Panicked));
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_hangs_ends_at_its_limit_and_the_next_one_runs() {
        let flights = Numbers::new();
        let first = ask(&flights, std::future::pending);
        assert_eq!(first.answer().await, Err(Lost::TookTooLong(LONG)));
        assert_eq!(flights.len(), 0);
        assert_eq!(ask(&flights, || async { 9 }).answer().await, Ok(9));
    }

    #[test]
    fn a_runtime_that_ends_leaves_nobody_waiting() {
        let flights = Numbers::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let wait = runtime.block_on(async { ask(&flights, std::future::pending) });
        let mut caller = task::spawn(wait.answer());
        assert_pending!(caller.poll());
        drop(runtime);
        assert_ready_eq!(caller.poll(), Err(Lost::ShutDown));
        assert_eq!(flights.len(), 0);
    }

    #[test]
    fn outside_of_a_runtime_it_panics_and_leaves_nothing_behind() {
        let flights = Numbers::new();
        let begin = std::panic::AssertUnwindSafe(|| drop(ask(&flights, || async { 7 })));
        assert!(std::panic::catch_unwind(begin).is_err());
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn a_run_set_apart_answers_those_who_wait_and_keeps_nothing() {
        let flights = Numbers::new();
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (older, newer) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let ask = |answer, gate: &Arc<Semaphore>| match flights.turn("rate", |_| None) {
            Turn::Lead(lead) => {
                let (gate, kept) = (Arc::clone(gate), Arc::clone(&kept));
                let run = async move {
                    let _open = gate.acquire().await;
                    answer
                };
                lead.run(LONG, run, move |_, &answer| kept.lock().push(answer))
            }
            _ => panic!("joined"),
        };
        let first = ask(1, &older);
        flights.without("rate", || ());
        let second = ask(2, &newer);

        older.add_permits(1);
        assert_eq!(first.answer().await, Ok(1));
        let joins = || matches!(flights.turn("rate", |_| None), Turn::Wait(_));
        assert!(joins(), "the older one took the newer one out");
        flights.without_any(|| ());
        assert!(!joins());
        newer.add_permits(1);
        assert_eq!(second.answer().await, Ok(2));
        assert!(kept.lock().is_empty());
    }

    #[tokio::test]
    async fn between_a_run_and_what_it_keeps_nobody_begins_another() {
        let flights = Numbers::new();
        let kept = Arc::new(Mutex::new(None));
        let keep = Arc::clone(&kept);
        let Turn::Lead(lead) = flights.turn("rate", |_| None) else {
            unreachable!("nobody else asks")
        };
        let wait = lead.run(LONG, async { 7 }, move |_, &answer| {
            *keep.lock() = Some(answer);
        });
        let mut caller = task::spawn(wait.answer());
        // Looked at after each step of the runtime.
        let mut known = None;
        for _ in 0..1_000 {
            match flights.turn("rate", |_| *kept.lock()) {
                Turn::Known(answer) => known = Some(answer),
                Turn::Wait(_) => tokio::task::yield_now().await,
                Turn::Lead(_) | Turn::Alone => panic!("a second run"),
            }
        }
        assert_eq!(known, Some(7));
        assert!(matches!(caller.poll(), Poll::Ready(Ok(7))));
    }

    #[test]
    fn no_more_than_so_many_run_also_when_they_are_set_apart() {
        let flights: Flights<usize, u64> = Flights::new();
        let mut leads: Vec<_> = (0..MOST_RUNS)
            .map(|key| flights.turn(key, |_| None))
            .collect();
        assert!(leads.iter().all(|turn| matches!(turn, Turn::Lead(_))));
        assert!(matches!(flights.turn(MOST_RUNS, |_| None), Turn::Alone));
        assert!(matches!(flights.turn(0, |_| None), Turn::Wait(_)));
        flights.without_any(|| ());
        assert!(matches!(flights.turn(0, |_| None), Turn::Alone));
        assert!(matches!(flights.turn(0, |_| Some(7)), Turn::Known(7)));
        leads.pop();
        assert!(matches!(flights.turn(0, |_| None), Turn::Lead(_)));
        leads.clear();
        assert_eq!(flights.len(), 0);
    }
}
