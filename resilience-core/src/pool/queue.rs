//! Who waits, what is idle, and how many there may be.
//!
//! One lock over all three, held for a few instructions: what is idle is counted
//! with what is out, so the limit holds at every instant, also while it
//! changes. Callers are served in the order in which they came. Whoever is next is
//! taken out of the queue under the lock and woken after it: to wake a task may wake a
//! thread, and meanwhile everybody would wait for the lock. Knows nothing of
//! PostgreSQL.

use std::collections::VecDeque;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// So many are kept when nobody uses them.
    pub(super) pool_size: u32,
    /// So many more in a rush.
    pub(super) max_overflow: u32,
}

impl Limits {
    pub(super) const fn total(self) -> u32 {
        self.pool_size.saturating_add(self.max_overflow)
    }
}

/// On cache lines of its own (two, because they are fetched in pairs): every checkout
/// writes here, and what lies beside it is read for every statement.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Queue<T, E> {
    state: Mutex<State<T, E>>,
}

#[derive(Debug)]
struct State<T, E> {
    limits: Limits,
    /// Idle, out, being made, or not quite gone yet.
    open: u32,
    /// How many of those are being made.
    making: u32,
    /// How many of those are being ended: they count until they are gone, and make
    /// no other one surplus.
    ending: u32,
    /// The one that was used last is at the back, and goes out first.
    idle: VecDeque<T>,
    /// Some may have been given up: their receiver is closed.
    waiting: VecDeque<Waiting<T, E>>,
    /// How many have not.
    alive: u32,
    /// The number of the next one.
    next: u64,
}

#[derive(Debug)]
struct Waiting<T, E> {
    number: u64,
    sender: oneshot::Sender<Result<T, E>>,
}

/// A caller's place in the queue. To be handed to [`Queue::leave`] if it is given up.
#[derive(Debug)]
pub(super) struct Place<T, E> {
    number: u64,
    receiver: oneshot::Receiver<Result<T, E>>,
}

impl<T, E> Place<T, E> {
    /// What it was handed; `None`: nobody will serve it.
    pub(super) async fn served(&mut self) -> Option<Result<T, E>> {
        (&mut self.receiver).await.ok()
    }
}

/// What there is for a caller.
#[derive(Debug)]
pub(super) enum Taken<T, E> {
    Idle(T),
    /// Nothing now. And whether there is room for one more to be made.
    Wait(Place<T, E>, bool),
}

/// What became of something that was given back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given<T> {
    /// Somebody has it, or it is idle.
    Kept,
    /// There is no use for it: it is to be ended, and counts until it is.
    End(T),
}

/// Where it goes among the idle ones.
#[derive(Clone, Copy, Debug)]
enum Used {
    JustNow,
    LongAgo,
}

/// Counts of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) limits: Limits,
    pub(super) open: u32,
    pub(super) making: u32,
    pub(super) ending: u32,
    pub(super) idle: u32,
    pub(super) waiting: u32,
}

impl Counts {
    /// Those that callers have, or that are being cleaned.
    pub(super) const fn out(self) -> u32 {
        self.open
            .saturating_sub(self.making + self.ending + self.idle)
    }
}

impl<T, E> Queue<T, E> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::new(State {
                limits,
                open: 0,
                making: 0,
                ending: 0,
                idle: VecDeque::new(),
                waiting: VecDeque::new(),
                alive: 0,
                next: 0,
            }),
        }
    }

    /// Takes what is idle, or queues up for what comes next.
    pub(super) fn take(&self) -> Taken<T, E> {
        let mut state = self.state.lock();
        // Whoever is idle while others wait has been given up by one of them.
        if let Some(idle) = state.idle.pop_back() {
            return Taken::Idle(idle);
        }
        let (sender, receiver) = oneshot::channel();
        let number = state.next;
        state.next += 1;
        state.waiting.push_back(Waiting { number, sender });
        state.alive += 1;
        let room = state.open < state.limits.total();
        Taken::Wait(Place { number, receiver }, room)
    }

    /// Leaves the queue; what was handed over just then.
    pub(super) fn leave(&self, place: &mut Place<T, E>) -> Option<T> {
        let mut state = self.state.lock();
        // From here on nothing can be handed to it: who tries serves the next one.
        place.receiver.close();
        if let Ok(sent) = place.receiver.try_recv() {
            return sent.ok();
        }
        // Numbers grow from the front. One that was taken out of the queue to be served
        // counts no longer.
        let front = state.waiting.front();
        if front.is_some_and(|front| front.number <= place.number) {
            state.alive -= 1;
            state.forget_the_gone();
        }
        None
    }

    /// Gives back what a caller had. `keep`: it can be used again.
    pub(super) fn give_back(&self, item: T, keep: bool) -> Given<T> {
        let mut state = self.state.lock();
        if !keep {
            return state.end(item);
        }
        self.hand_on(state, item, Used::JustNow)
    }

    /// Puts back what was taken out with [`take_idle`](Self::take_idle), where it
    /// goes out last.
    pub(super) fn put_back(&self, item: T) -> Given<T> {
        self.hand_on(self.state.lock(), item, Used::LongAgo)
    }

    fn hand_on(&self, mut state: MutexGuard<'_, State<T, E>>, item: T, used: Used) -> Given<T> {
        if state.is_over() {
            return state.end(item);
        }
        match state.next_waiting() {
            None => state.lay_down(item, used),
            Some(next) => {
                drop(state);
                self.hand_to(next, item, used)
            }
        }
    }

    /// Serves a caller that was taken out of the queue, or else the next one.
    fn hand_to(&self, caller: oneshot::Sender<Result<T, E>>, item: T, used: Used) -> Given<T> {
        match caller.send(Ok(item)) {
            Ok(()) => Given::Kept,
            // It has left meanwhile.
            Err(Ok(back)) => self.hand_on(self.state.lock(), back, used),
            Err(Err(_)) => unreachable!("an item was sent"),
        }
    }

    /// Takes the idle ones out for which `chosen` says so; they count until
    /// [`ended`](Self::ended) or put back.
    pub(super) fn take_idle(&self, mut chosen: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut state = self.state.lock();
        let (taken, kept) = std::mem::take(&mut state.idle)
            .into_iter()
            .partition::<VecDeque<_>, _>(|item| chosen(item));
        state.idle = kept;
        taken.into()
    }

    /// Reserves room for one more to be made, if somebody waits for it, and at
    /// most `at_once` are being made.
    pub(super) fn reserve(&self, at_once: u32) -> bool {
        let mut state = self.state.lock();
        let wanted = state.making < state.alive.min(at_once);
        let room = state.open < state.limits.total();
        if wanted && room {
            state.open += 1;
            state.making += 1;
        }
        wanted && room
    }

    /// What was reserved is there.
    pub(super) fn made(&self, item: T) -> Given<T> {
        let mut state = self.state.lock();
        state.making -= 1;
        self.hand_on(state, item, Used::JustNow)
    }

    /// What was reserved cannot be made. `error`: nor will it be soon; it goes to all
    /// who wait if there is nothing else that they could wait for.
    pub(super) fn not_made(&self, error: Option<E>)
    where
        E: Clone,
    {
        let mut state = self.state.lock();
        state.making -= 1;
        state.open -= 1;
        if let Some(error) = error
            && state.open == 0
        {
            state.alive = 0;
            let all = std::mem::take(&mut state.waiting);
            drop(state);
            for waiting in all {
                let _ = waiting.sender.send(Err(error.clone()));
            }
        }
    }

    /// One that was taken out is to be ended.
    pub(super) fn will_end(&self) {
        self.state.lock().ending += 1;
    }

    /// One that was to be ended had gone by itself.
    pub(super) fn had_ended(&self) {
        self.state.lock().ending -= 1;
    }

    /// One that counted is gone; whether it was to be ended.
    pub(super) fn ended(&self, was_ending: bool) {
        let mut state = self.state.lock();
        state.open -= 1;
        state.ending -= u32::from(was_ending);
    }

    /// Changes the limits; the idle ones for which there is no room any more.
    pub(super) fn resize(&self, limits: Limits) -> Vec<T> {
        let mut state = self.state.lock();
        state.limits = limits;
        let over = (state.open - state.ending).saturating_sub(limits.total()) as usize;
        let beyond = state.idle.len().saturating_sub(limits.pool_size as usize);
        let surplus = over.max(beyond).min(state.idle.len());
        state.ending += u32::try_from(surplus).unwrap_or(u32::MAX);
        state.idle.drain(..surplus).collect()
    }

    /// Whether anybody waits.
    pub(super) fn is_wanted(&self) -> bool {
        self.state.lock().alive > 0
    }

    pub(super) fn counts(&self) -> Counts {
        let state = self.state.lock();
        Counts {
            limits: state.limits,
            open: state.open,
            making: state.making,
            ending: state.ending,
            idle: u32::try_from(state.idle.len()).unwrap_or(u32::MAX),
            waiting: state.alive,
        }
    }
}

impl<T, E> State<T, E> {
    /// Takes out who is to be served next.
    fn next_waiting(&mut self) -> Option<oneshot::Sender<Result<T, E>>> {
        while let Some(Waiting { sender, .. }) = self.waiting.pop_front() {
            // Closed under the lock, and then counted, by `leave`.
            if !sender.is_closed() {
                self.alive -= 1;
                return Some(sender);
            }
        }
        None
    }

    fn lay_down(&mut self, item: T, used: Used) -> Given<T> {
        if self.idle.len() >= self.limits.pool_size as usize {
            return self.end(item);
        }
        match used {
            Used::JustNow => self.idle.push_back(item),
            Used::LongAgo => self.idle.push_front(item),
        }
        Given::Kept
    }

    /// Whether there are more than there may be, apart from those that are ending.
    const fn is_over(&self) -> bool {
        self.open - self.ending > self.limits.total()
    }

    const fn end(&mut self, item: T) -> Given<T> {
        self.ending += 1;
        Given::End(item)
    }

    /// Keeps the queue as long as those that wait, give or take as many.
    fn forget_the_gone(&mut self) {
        if self.waiting.len() > 2 * self.alive as usize + 16 {
            self.waiting.retain(|waiting| !waiting.sender.is_closed());
        }
    }
}

#[cfg(test)]
mod tests;
