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
    let sender = queue.state.lock().next_waiting().unwrap();
    assert_eq!(queue.counts().waiting, 1);
    assert_eq!(queue.leave(&mut first), None);
    assert_eq!(queue.counts().waiting, 1, "the second");
    assert_eq!(queue.hand_to(sender, 7, Used::JustNow), Given::Kept);
    assert_eq!(second.receiver.try_recv(), Ok(Ok(7)));
    assert_eq!(queue.counts().waiting, 0);
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
