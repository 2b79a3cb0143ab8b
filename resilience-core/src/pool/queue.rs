//! Who waits, what is idle, and how many there may be.
//!
//! One lock over all three, held for a few instructions: what is idle is counted
//! with what is out, so the limit holds at every instant, also while it
//! changes. Callers are served in the order in which they came. Knows nothing of
//! PostgreSQL.

use std::collections::VecDeque;

use parking_lot::Mutex;
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
    /// Some may have been given up: their receiver is gone.
    waiting: VecDeque<oneshot::Sender<Result<T, E>>>,
    /// How many have not.
    alive: u32,
}

/// What there is for a caller.
#[derive(Debug)]
pub(super) enum Taken<T, E> {
    Idle(T),
    /// Nothing now. To be handed to [`Queue::leave`] if it is given up. And whether
    /// there is room for one more to be made.
    Wait(oneshot::Receiver<Result<T, E>>, bool),
}

/// What became of something that was given back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Given<T> {
    /// Somebody has it, or it is idle.
    Kept,
    /// There is no use for it: it is to be ended, and counts until it is.
    End(T),
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
        state.waiting.push_back(sender);
        state.alive += 1;
        let room = state.open < state.limits.total();
        Taken::Wait(receiver, room)
    }

    /// Leaves the queue; what was handed over just then.
    pub(super) fn leave(&self, receiver: &mut oneshot::Receiver<Result<T, E>>) -> Option<T> {
        let mut state = self.state.lock();
        receiver.close();
        match receiver.try_recv() {
            // What is sent is sent under the lock, so this is one or the other.
            Ok(sent) => sent.ok(),
            Err(_) => {
                state.alive -= 1;
                state.forget_the_gone();
                None
            }
        }
    }

    /// Gives back what a caller had. `keep`: it can be used again.
    pub(super) fn give_back(&self, item: T, keep: bool) -> Given<T> {
        let mut state = self.state.lock();
        if !keep || state.is_over() {
            return state.end(item);
        }
        state.hand_on(item)
    }

    /// Puts back what was taken out with [`take_idle`](Self::take_idle), where it
    /// goes out last.
    pub(super) fn put_back(&self, item: T) -> Given<T> {
        let mut state = self.state.lock();
        if state.is_over() {
            return state.end(item);
        }
        if state.alive > 0 {
            return state.hand_on(item);
        }
        if state.idle.len() >= state.limits.pool_size as usize {
            return state.end(item);
        }
        state.idle.push_front(item);
        Given::Kept
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
        if state.is_over() {
            return state.end(item);
        }
        state.hand_on(item)
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
            for waiting in std::mem::take(&mut state.waiting) {
                let _ = waiting.send(Err(error.clone()));
            }
            state.alive = 0;
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
    fn hand_on(&mut self, item: T) -> Given<T> {
        let mut item = item;
        while let Some(waiting) = self.waiting.pop_front() {
            match waiting.send(Ok(item)) {
                Ok(()) => {
                    self.alive -= 1;
                    return Given::Kept;
                }
                // Given up, and counted by `leave`.
                Err(Ok(back)) => item = back,
                Err(Err(_)) => unreachable!("an item was sent"),
            }
        }
        if self.idle.len() < self.limits.pool_size as usize {
            self.idle.push_back(item);
            Given::Kept
        } else {
            self.end(item)
        }
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
            self.waiting.retain(|waiting| !waiting.is_closed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type TestQueue = Queue<u32, &'static str>;

    fn queue(pool_size: u32, max_overflow: u32) -> TestQueue {
        Queue::new(Limits {
            pool_size,
            max_overflow,
        })
    }

    /// A caller that found nothing.
    fn wait(queue: &TestQueue) -> oneshot::Receiver<Result<u32, &'static str>> {
        match queue.take() {
            Taken::Wait(receiver, _) => receiver,
            Taken::Idle(item) => panic!("{item} was idle"),
        }
    }

    #[test]
    fn callers_are_served_in_the_order_in_which_they_came() {
        let queue = queue(1, 1);
        let (mut first, mut second) = (wait(&queue), wait(&queue));
        assert!(queue.reserve(4));
        assert!(queue.reserve(4));
        assert!(!queue.reserve(4), "the limit");
        assert_eq!(queue.made(1), Given::Kept);
        assert_eq!(queue.made(2), Given::Kept);
        assert_eq!(first.try_recv(), Ok(Ok(1)));
        assert_eq!(second.try_recv(), Ok(Ok(2)));
    }

    #[test]
    fn what_is_beyond_the_size_is_ended_when_nobody_waits_for_it() {
        let queue = queue(1, 1);
        let _callers = (wait(&queue), wait(&queue));
        assert!(queue.reserve(4) && queue.reserve(4));
        assert_eq!((queue.made(1), queue.made(2)), (Given::Kept, Given::Kept));
        assert_eq!(queue.give_back(1, true), Given::Kept);
        assert_eq!(queue.give_back(2, true), Given::End(2));
        assert_eq!(queue.counts().open, 2, "until it is gone");
        queue.ended(true);
        assert_eq!((queue.counts().open, queue.counts().idle), (1, 1));
    }

    #[test]
    fn one_that_is_ending_makes_no_other_one_surplus() {
        let queue = queue(2, 0);
        let _callers = (wait(&queue), wait(&queue));
        assert!(queue.reserve(4) && queue.reserve(4));
        assert_eq!((queue.made(1), queue.made(2)), (Given::Kept, Given::Kept));
        let one = Limits {
            pool_size: 1,
            max_overflow: 0,
        };
        assert!(queue.resize(one).is_empty());
        assert_eq!(queue.give_back(1, true), Given::End(1));
        assert_eq!(queue.give_back(2, true), Given::Kept);
    }

    #[test]
    fn what_is_handed_to_a_caller_that_leaves_comes_back() {
        let queue = queue(1, 0);
        let mut caller = wait(&queue);
        assert!(queue.reserve(4));
        assert_eq!(queue.made(7), Given::Kept);
        assert_eq!(queue.leave(&mut caller), Some(7));
        assert_eq!(queue.give_back(7, true), Given::Kept);
        assert_eq!(queue.counts().idle, 1);
    }

    #[test]
    fn callers_that_left_leave_no_trace_in_the_queue() {
        let queue = queue(1, 0);
        for _ in 0..1_000 {
            let mut caller = wait(&queue);
            assert_eq!(queue.leave(&mut caller), None);
        }
        assert!(queue.state.lock().waiting.len() < 20);
        assert!(!queue.is_wanted());
        assert!(!queue.reserve(4), "nobody wants one");
    }

    #[test]
    fn an_error_reaches_those_who_wait_only_if_there_is_nothing_else_to_wait_for() {
        let queue = queue(2, 0);
        let mut first = wait(&queue);
        assert!(queue.reserve(1));
        assert_eq!(queue.made(1), Given::Kept);
        assert_eq!(first.try_recv(), Ok(Ok(1)));
        let mut second = wait(&queue);
        assert!(queue.reserve(1));
        queue.not_made(Some("auth"));
        assert!(second.try_recv().is_err(), "1 may come back");
        assert_eq!(queue.give_back(1, false), Given::End(1));
        queue.ended(true);
        assert!(queue.reserve(1));
        queue.not_made(Some("auth"));
        assert_eq!(second.try_recv(), Ok(Err("auth")));
        assert_eq!(queue.counts().waiting, 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take,
        Leave(usize),
        Give(usize, bool),
        Reserve(u32),
        Make,
        Fail,
        Ended,
        Resize(u32, u32),
        TakeIdle,
        PutBack,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Take),
            1 => any::<usize>().prop_map(Step::Leave),
            3 => (any::<usize>(), any::<bool>()).prop_map(|(which, keep)| Step::Give(which, keep)),
            4 => (1u32..5).prop_map(Step::Reserve),
            4 => Just(Step::Make),
            1 => Just(Step::Fail),
            3 => Just(Step::Ended),
            1 => (1u32..6, 0u32..4).prop_map(|(size, overflow)| Step::Resize(size, overflow)),
            1 => Just(Step::TakeIdle),
            1 => Just(Step::PutBack),
        ]
    }

    proptest! {
        // Never above the limit, and never a lost slot.
        #[test]
        fn nothing_is_made_above_the_limit_and_nothing_is_lost(
            steps in prop::collection::vec(step(), 1..300),
        ) {
            let queue = queue(3, 1);
            let (mut waiting, mut out, mut ending, mut checked) = (vec![], vec![], 0u32, vec![]);
            let (mut making, mut next) = (0u32, 0u32);
            for step in steps {
                match step {
                    Step::Take => match queue.take() {
                        Taken::Idle(item) => out.push(item),
                        Taken::Wait(receiver, _) => waiting.push(receiver),
                    },
                    Step::Leave(which) if !waiting.is_empty() => {
                        let mut receiver = waiting.swap_remove(which % waiting.len());
                        out.extend(queue.leave(&mut receiver));
                    }
                    Step::Give(which, keep) if !out.is_empty() => {
                        let item = out.swap_remove(which % out.len());
                        ending += u32::from(queue.give_back(item, keep) != Given::Kept);
                    }
                    Step::Reserve(at_once) => {
                        let before = queue.counts();
                        if queue.reserve(at_once) {
                            making += 1;
                            prop_assert!(before.open < before.limits.total());
                            prop_assert!(before.making < at_once);
                        }
                    }
                    Step::Make if making > 0 => {
                        making -= 1;
                        next += 1;
                        ending += u32::from(queue.made(next) != Given::Kept);
                    }
                    Step::Fail if making > 0 => {
                        making -= 1;
                        queue.not_made(None);
                    }
                    Step::Ended if ending > 0 => {
                        ending -= 1;
                        queue.ended(true);
                    }
                    Step::Resize(pool_size, max_overflow) => {
                        let surplus = queue.resize(Limits { pool_size, max_overflow });
                        ending += u32::try_from(surplus.len()).unwrap();
                    }
                    Step::TakeIdle => checked.extend(queue.take_idle(|item| item % 2 == 0)),
                    Step::PutBack => for item in checked.drain(..) {
                        ending += u32::from(queue.put_back(item) != Given::Kept);
                    },
                    _ => {}
                }
                // Whoever was served has it.
                waiting.retain_mut(|receiver| match receiver.try_recv() {
                    Ok(Ok(item)) => { out.push(item); false }
                    _ => true,
                });
                let counts = queue.counts();
                let accounted = out.len() + checked.len() + counts.idle as usize;
                prop_assert_eq!(counts.open as usize, accounted + (making + ending) as usize);
                prop_assert_eq!((counts.making, counts.ending), (making, ending));
                prop_assert_eq!(counts.waiting as usize, waiting.len());
                prop_assert!(counts.idle <= counts.limits.pool_size);
                prop_assert!(counts.waiting == 0 || counts.idle == 0);
            }
        }
    }
}
