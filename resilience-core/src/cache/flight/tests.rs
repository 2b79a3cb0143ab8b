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
    assert_eq!(flights.len(), 0);
    assert!(flights.running.lock().apart.is_empty());
}

/// It may be set apart before anybody waits, by who has begun it too.
#[tokio::test]
async fn who_waits_for_a_run_that_was_set_apart_is_told_how_it_ended() {
    let flights = Numbers::new();
    let Turn::Lead(lead) = flights.turn("rate", |_| None) else {
        unreachable!("nobody else asks")
    };
    flights.without("rate", || ());
    let wait = lead.run(LONG, async { 7 }, |_, _| ());
    assert_eq!(wait.answer().await, Ok(7));
    assert!(flights.running.lock().apart.is_empty());
}

#[cfg(feature = "fallback")]
#[tokio::test]
async fn an_answer_for_others_is_made_only_if_somebody_waits() {
    let flights = Numbers::new();
    let lead = || match flights.turn("rate", |_| None) {
        Turn::Lead(lead) => lead,
        _ => unreachable!("nobody else asks"),
    };
    lead().end_for_others(|_| panic!("for nobody"));
    assert_eq!(flights.len(), 0);
    let lead = lead();
    let waits = ask(&flights, || async { 8 });
    lead.end_for_others(|_| 7);
    assert_eq!(waits.answer().await, Ok(7));
    assert_eq!(flights.len(), 0);
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
