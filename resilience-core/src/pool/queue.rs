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

    fn hand_on<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<T, E>>,
        mut item: T,
        used: Used,
    ) -> Given<T> {
        loop {
            if state.is_over() {
                return state.end(item);
            }
            let Some(next) = state.next_waiting() else {
                return state.lay_down(item, used);
            };
            drop(state);
            match next.send(Ok(item)) {
                Ok(()) => return Given::Kept,
                // It has left since it was taken out of the queue.
                Err(Ok(back)) => item = back,
                Err(Err(_)) => unreachable!("an item was sent"),
            }
            state = self.state.lock();
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
    fn wait(queue: &TestQueue) -> Place<u32, &'static str> {
        match queue.take() {
            Taken::Wait(place, _) => place,
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
        assert_eq!(first.receiver.try_recv(), Ok(Ok(1)));
        assert_eq!(second.receiver.try_recv(), Ok(Ok(2)));
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
    fn one_that_leaves_while_it_is_about_to_be_served_is_counted_once_and_the_next_is_served() {
        let queue = queue(1, 0);
        let (mut first, mut second) = (wait(&queue), wait(&queue));
        assert!(queue.reserve(4));
        let sender = queue.state.lock().next_waiting().unwrap();
        assert_eq!(queue.counts().waiting, 1);
        assert_eq!(queue.leave(&mut first), None);
        assert_eq!(queue.counts().waiting, 1, "the second");
        assert_eq!(sender.send(Ok(7)), Err(Ok(7)));
        assert_eq!(queue.made(7), Given::Kept);
        assert_eq!(second.receiver.try_recv(), Ok(Ok(7)));
        assert_eq!(queue.counts().waiting, 0);
    }

    #[test]
    fn threads_that_come_leave_and_give_back_lose_nothing_and_leave_nobody_waiting() {
        const ITEMS: u32 = 2;
        let queue = queue(ITEMS, 0);
        let callers: Vec<_> = (0..ITEMS).map(|_| wait(&queue)).collect();
        for item in 0..ITEMS {
            assert!(queue.reserve(ITEMS));
            assert_eq!(queue.made(item), Given::Kept);
        }
        for mut caller in callers {
            let item = caller.receiver.try_recv().unwrap().unwrap();
            assert_eq!(queue.give_back(item, true), Given::Kept);
        }
        let come_and_go = |thread: u32| {
            for round in 0..5_000 {
                let item = match queue.take() {
                    Taken::Idle(item) => Some(item),
                    // Some are patient, some leave at once.
                    Taken::Wait(place, _) if (round + thread) % 3 == 0 => {
                        place.receiver.blocking_recv().ok().and_then(Result::ok)
                    }
                    Taken::Wait(mut place, _) => {
                        std::thread::yield_now();
                        queue.leave(&mut place)
                    }
                };
                if let Some(item) = item {
                    assert_eq!(queue.give_back(item, true), Given::Kept);
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || come_and_go(thread));
            }
        });
        let counts = queue.counts();
        assert_eq!(
            (counts.idle, counts.waiting, counts.open),
            (ITEMS, 0, ITEMS)
        );
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
        assert_eq!(first.receiver.try_recv(), Ok(Ok(1)));
        let mut second = wait(&queue);
        assert!(queue.reserve(1));
        queue.not_made(Some("auth"));
        assert!(second.receiver.try_recv().is_err(), "1 may come back");
        assert_eq!(queue.give_back(1, false), Given::End(1));
        queue.ended(true);
        assert!(queue.reserve(1));
        queue.not_made(Some("auth"));
        assert_eq!(second.receiver.try_recv(), Ok(Err("auth")));
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
                        Taken::Wait(place, _) => waiting.push(place),
                    },
                    Step::Leave(which) if !waiting.is_empty() => {
                        let mut place = waiting.swap_remove(which % waiting.len());
                        out.extend(queue.leave(&mut place));
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
                waiting.retain_mut(|place| match place.receiver.try_recv() {
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
