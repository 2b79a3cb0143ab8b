//! Many callers, one run: who asks for what is already being asked for waits
//! for that answer.
//!
//! A run is a task of its own, so that no caller is needed for it to end. The
//! map holds those that run, and nothing else: each is taken out by its
//! [`Lead`], which is dropped whatever happens.

use std::{borrow::Borrow, collections::HashMap, fmt, hash::Hash, sync::Arc, time::Duration};
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
    /// Those that were set apart and that somebody waits for, by their numbers.
    apart: HashMap<u64, Tell<T>, RandomState>,
    /// How many leads there are, those set apart included.
    leads: usize,
    next: u64,
}

struct Flight<T> {
    /// Tells it from a later one of the same key.
    number: u64,
    /// `None` before anybody waits: a channel costs more than all the rest of a run that
    /// is over at once.
    tell: Option<Tell<T>>,
}

/// What a run left behind: nothing yet, what it gave, or why it gave nothing.
type Ended<T> = Option<Result<T, Lost>>;

/// Tells those who wait how a run ended.
type Tell<T> = watch::Sender<Ended<T>>;

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
            apart: HashMap::default(),
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
        if let Some(flight) = running.by_key.get_mut(&key) {
            return Turn::Wait(flight.wait());
        }
        if let Some(known) = known(&key) {
            return Turn::Known(known);
        }
        if running.leads >= MOST_RUNS {
            return Turn::Alone;
        }
        running.leads += 1;
        let number = running.next;
        running.next += 1;
        let flight = Flight { number, tell: None };
        running.by_key.insert(key.clone(), flight);
        Turn::Lead(Lead {
            running: Arc::clone(&self.running),
            key,
            number,
            over: false,
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
        let left = running.by_key.remove_entry(key).map(|(key, flight)| {
            running.set_apart(flight);
            key
        });
        let changed = change();
        drop(running);
        // Drops a key, which is the caller's code.
        drop(left);
        changed
    }

    /// The same with all runs.
    pub(crate) fn without_any<R>(&self, change: impl FnOnce() -> R) -> R {
        let mut running = self.running.lock();
        let by_key = std::mem::take(&mut running.by_key);
        let mut left = Vec::with_capacity(by_key.len());
        for (key, flight) in by_key {
            running.set_apart(flight);
            left.push(key);
        }
        let changed = change();
        drop(running);
        drop(left);
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
    over: bool,
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
        mut self,
        most: Duration,
        run: impl Future<Output = T> + Send + 'static,
        keep: impl FnOnce(&K, &T) -> R + Send + 'static,
    ) -> Wait<T> {
        let wait = self.wait();
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
        mut self,
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
    pub(crate) fn end<R>(mut self, answer: T, keep: impl FnOnce(&K, &T) -> R) {
        let mut running = self.running.lock();
        let (ended, tell) = running.end(&self.key, self.number);
        self.over = true;
        let kept = ended.is_some().then(|| keep(&self.key, &answer));
        drop(running);
        drop((ended, kept));
        // Nobody can join it any more.
        if let Some(tell) = tell {
            tell.send_replace(Some(Ok(answer)));
        }
    }

    /// Ends it with an answer of which nothing is kept, and that is made only if somebody
    /// waits for it.
    #[cfg(feature = "fallback")]
    pub(crate) fn end_for_others(mut self, answer: impl FnOnce(&K) -> T) {
        if let Some(tell) = self.leave() {
            tell.send_replace(Some(Ok(answer(&self.key))));
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
    fn wait(&self) -> Wait<T> {
        let mut running = self.running.lock();
        match running.by_key.get_mut(&self.key) {
            Some(flight) if flight.number == self.number => flight.wait(),
            _ => Wait::of(running.apart.entry(self.number).or_insert_with(tell)),
        }
    }

    pub(crate) fn lose(&mut self, why: Lost) {
        // Told last: who hears of it and asks again must not find this run.
        if let Some(tell) = self.leave() {
            tell.send_replace(Some(Err(why)));
        }
    }

    /// It runs no more; who is to be told of it.
    fn leave(&mut self) -> Option<Tell<T>> {
        if std::mem::replace(&mut self.over, true) {
            return None;
        }
        let mut running = self.running.lock();
        let (ended, tell) = running.end(&self.key, self.number);
        drop(running);
        drop(ended);
        tell
    }
}

impl<K: Eq + Hash, T> Drop for Lead<K, T> {
    fn drop(&mut self) {
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
    /// Takes a run out: its key, unless it was set apart, and who is to be told.
    fn end(&mut self, key: &K, number: u64) -> (Option<K>, Option<Tell<T>>) {
        self.leads -= 1;
        match self.by_key.remove_entry(key) {
            Some((key, flight)) if flight.number == number => (Some(key), flight.tell),
            later => {
                if let Some((key, flight)) = later {
                    self.by_key.insert(key, flight);
                }
                (None, self.apart.remove(&number))
            }
        }
    }

    fn set_apart(&mut self, flight: Flight<T>) {
        if let Some(tell) = flight.tell {
            self.apart.insert(flight.number, tell);
        }
    }
}

impl<T> Flight<T> {
    fn wait(&mut self) -> Wait<T> {
        Wait::of(self.tell.get_or_insert_with(tell))
    }
}

fn tell<T>() -> Tell<T> {
    watch::Sender::new(None)
}

/// Waits for the answer of a run. Dropped, it leaves the run alone.
pub(crate) struct Wait<T>(watch::Receiver<Ended<T>>);

impl<T> Wait<T> {
    fn of(tell: &mut Tell<T>) -> Self {
        Self(tell.subscribe())
    }
}

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
mod tests;
