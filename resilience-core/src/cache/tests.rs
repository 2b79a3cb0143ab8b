use std::{
    sync::atomic::{AtomicU64 as Count, Ordering::SeqCst},
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};

use super::*;
use crate::ManualClock;

type Rates = Cache<String, u64, &'static str>;

const TTL: Duration = Duration::from_secs(300);

fn rates() -> (Rates, ManualClock) {
    let (clock, hand) = Clock::manual();
    let weigh = |key: &String, _: &u64| key.len();
    (Cache::with_clock(1 << 20, weigh, clock), hand)
}

/// An upstream that answers the number of the question, when it is let.
#[derive(Clone)]
struct Upstream {
    asked: Arc<Count>,
    gate: Arc<Semaphore>,
}

impl Upstream {
    fn open() -> Self {
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self {
            gate,
            ..Self::shut()
        }
    }

    fn shut() -> Self {
        Self {
            asked: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    fn fetch(&self) -> impl Future<Output = Result<u64, &'static str>> + Send + 'static {
        let number = self.asked.fetch_add(1, SeqCst) + 1;
        let gate = Arc::clone(&self.gate);
        async move {
            gate.acquire().await.expect("never closed").forget();
            Ok(number)
        }
    }

    fn asked(&self) -> u64 {
        self.asked.load(SeqCst)
    }

    /// Lets the question that is waiting longest be answered.
    fn answer_one(&self) {
        self.gate.add_permits(1);
    }
}

/// Lets the tasks run until it holds.
async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to that");
}

async fn get(rates: &Rates, upstream: &Upstream) -> u64 {
    *rates
        .get_or_fetch("EUR", TTL, || upstream.fetch())
        .await
        .unwrap()
}

#[tokio::test]
async fn an_answer_is_fetched_again_at_its_ttl_and_not_a_nanosecond_before() {
    let (rates, hand) = rates();
    let upstream = Upstream::open();
    assert_eq!(get(&rates, &upstream).await, 1);
    hand.advance(TTL - Duration::from_nanos(1));
    assert_eq!(get(&rates, &upstream).await, 1);
    hand.advance(Duration::from_nanos(1));
    assert_eq!(get(&rates, &upstream).await, 2);
    assert_eq!(get(&rates, &upstream).await, 2);
    let seen = rates.snapshot();
    assert_eq!((seen.hits, seen.misses, seen.coalesced), (2, 2, 0));
    assert_eq!((seen.entries, seen.evictions, seen.fetching), (1, 0, 0));
    assert!(seen.bytes >= 3 && seen.most_bytes == 1 << 20);
}

#[tokio::test]
async fn the_ttl_is_that_of_who_asks() {
    let (rates, hand) = rates();
    let upstream = Upstream::open();
    assert_eq!(get(&rates, &upstream).await, 1);
    hand.advance(Duration::from_secs(10));
    let hurried = rates.get_or_fetch("EUR", Duration::from_secs(5), || upstream.fetch());
    assert_eq!(*hurried.await.unwrap(), 2);
}

#[tokio::test]
async fn an_answer_is_as_old_as_the_beginning_of_its_fetch() {
    let (rates, hand) = rates();
    let upstream = Upstream::shut();
    let mut caller = task::spawn(get(&rates, &upstream));
    assert_pending!(caller.poll());
    hand.advance(TTL);
    upstream.answer_one();
    until(|| rates.snapshot().fetching == 0).await;
    assert_eq!(assert_ready!(caller.poll()), 1);
    assert_eq!(rates.entry("EUR").unwrap().stored_at_ns, 0);
    upstream.answer_one();
    assert_eq!(
        get(&rates, &upstream).await,
        2,
        "it was past its time when it came"
    );
}

#[tokio::test]
async fn an_error_goes_to_all_who_wait_and_is_not_stored() {
    let (rates, hand) = rates();
    let upstream = Upstream::open();
    assert_eq!(get(&rates, &upstream).await, 1);
    hand.advance(TTL);

    let fail = || rates.get_or_fetch("EUR", TTL, || async { Err("down") });
    let (mut first, mut second) = (task::spawn(fail()), task::spawn(fail()));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    until(|| rates.snapshot().fetching == 0).await;
    for answer in [first.poll(), second.poll()] {
        let Err(FetchError::Failed(error)) = assert_ready!(answer) else {
            panic!("an answer from nowhere")
        };
        assert_eq!(*error, "down");
    }
    assert_eq!(
        *rates.entry("EUR").unwrap().value,
        1,
        "the last good answer"
    );
    assert_eq!(get(&rates, &upstream).await, 2);
    assert_eq!(rates.snapshot().coalesced, 1);
}

#[tokio::test]
async fn a_thousand_callers_make_one_fetch_also_when_the_first_is_cancelled() {
    let (rates, _hand) = rates();
    let upstream = Upstream::shut();
    let mut callers: Vec<_> = (0..1_001)
        .map(|_| {
            let mut caller = task::spawn(Box::pin(get(&rates, &upstream)));
            assert_pending!(caller.poll());
            caller
        })
        .collect();
    drop(callers.remove(0));
    upstream.answer_one();
    for caller in callers {
        assert_eq!(caller.into_inner().await, 1);
    }
    assert_eq!(upstream.asked(), 1);
    let seen = rates.snapshot();
    assert_eq!((seen.hits, seen.misses, seen.coalesced), (0, 1, 1_000));
}

#[tokio::test]
async fn a_hit_needs_no_runtime_turn_and_does_not_call_the_fetch() {
    let (rates, _hand) = rates();
    let upstream = Upstream::open();
    get(&rates, &upstream).await;
    let hit = rates.get_or_fetch("EUR", TTL, || -> std::future::Ready<_> {
        unreachable!("it is fresh")
    });
    assert_eq!(*assert_ready_ok!(task::spawn(hit).poll()), 1);
}

#[tokio::test]
async fn what_is_invalidated_while_it_is_fetched_is_not_stored_and_not_joined() {
    let (rates, _hand) = rates();
    let upstream = Upstream::shut();
    let mut before = task::spawn(get(&rates, &upstream));
    assert_pending!(before.poll());
    rates.invalidate("EUR");
    let mut after = task::spawn(get(&rates, &upstream));
    assert_pending!(after.poll());
    tokio::task::yield_now().await;

    upstream.answer_one();
    until(|| before.is_woken()).await;
    assert_eq!(assert_ready!(before.poll()), 1);
    assert!(rates.entry("EUR").is_none(), "an answer from before");

    upstream.answer_one();
    until(|| after.is_woken()).await;
    assert_eq!(assert_ready!(after.poll()), 2);
    assert_eq!(get(&rates, &upstream).await, 2);
}

#[tokio::test]
async fn what_is_cleared_while_it_is_fetched_is_not_stored_either() {
    let (rates, _hand) = rates();
    let upstream = Upstream::shut();
    let mut before = task::spawn(get(&rates, &upstream));
    assert_pending!(before.poll());
    rates.clear();
    upstream.answer_one();
    until(|| before.is_woken()).await;
    assert_eq!(assert_ready!(before.poll()), 1);
    assert_eq!(rates.snapshot().entries, 0);
}

#[tokio::test]
async fn a_key_that_is_forgotten_is_fetched_again_and_the_others_are_not() {
    let (rates, _hand) = rates();
    let upstream = Upstream::open();
    let usd = || rates.get_or_fetch("USD", TTL, || upstream.fetch());
    assert_eq!(get(&rates, &upstream).await, 1);
    assert_eq!(*usd().await.unwrap(), 2);
    rates.invalidate("EUR");
    assert_eq!(get(&rates, &upstream).await, 3);
    assert_eq!(*usd().await.unwrap(), 2);
    rates.clear();
    assert_eq!(rates.snapshot().bytes, 0);
    assert_eq!(*usd().await.unwrap(), 4);
}

#[tokio::test]
async fn who_fetches_while_too_many_do_gets_an_answer_that_is_not_stored() {
    let (rates, _hand) = rates();
    let upstream = Upstream::shut();
    let keys: Vec<_> = (0..flight::MOST_RUNS).map(|key| key.to_string()).collect();
    let mut callers: Vec<_> = keys
        .iter()
        .map(|key| {
            let ask = rates.get_or_fetch(key.as_str(), TTL, || upstream.fetch());
            let mut caller = task::spawn(Box::pin(ask));
            assert_pending!(caller.poll());
            caller
        })
        .collect();
    assert_eq!(get(&rates, &Upstream::open()).await, 1);
    assert!(rates.entry("EUR").is_none());
    callers.clear();
    upstream.gate.add_permits(flight::MOST_RUNS);
    until(|| rates.snapshot().fetching == 0).await;
    assert_eq!(get(&rates, &Upstream::open()).await, 1);
    assert!(rates.entry("EUR").is_some());
}

#[tokio::test]
async fn a_weigher_that_panics_is_told_and_leaves_nothing_behind() {
    let cache: Cache<String, u64, ()> = Cache::new(1 << 20, |_, _| panic!("on purpose"));
    let lost = cache.get_or_fetch("EUR", TTL, || async { Ok(1) }).await;
    assert!(matches!(lost, Err(FetchError::Lost(Lost::Panicked))));
    let seen = cache.snapshot();
    assert_eq!((seen.fetching, seen.entries), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_read_and_invalidate_never_see_an_answer_from_before_their_own_change() {
    let cache: Cache<u64, u64, ()> = Cache::new(1 << 20, |_, _| 0);
    let truth: Arc<Vec<Count>> = Arc::new((0..4).map(|_| Count::new(0)).collect());
    let writers = (0..4_u64).map(|task| {
        let (cache, truth) = (cache.clone(), Arc::clone(&truth));
        tokio::spawn(async move {
            for round in 0..2_000_u64 {
                let key = (task + round) % 4;
                let place = usize::try_from(key).unwrap();
                let least = if round % 3 == 0 {
                    let written = truth[place].fetch_add(1, SeqCst) + 1;
                    cache.invalidate(&key);
                    written
                } else {
                    0
                };
                let read = Arc::clone(&truth);
                let fetch = || async move {
                    let seen = read[place].load(SeqCst);
                    tokio::task::yield_now().await;
                    Ok(seen)
                };
                let seen = *cache.get_or_fetch(&key, TTL, fetch).await.unwrap();
                assert!(seen >= least, "{seen} after {least} was written");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let seen = cache.snapshot();
    assert_eq!(seen.hits + seen.misses + seen.coalesced, 8_000);
    until(|| cache.snapshot().fetching == 0).await;
}

#[cfg(feature = "log")]
#[tokio::test]
async fn what_a_fetch_logs_belongs_to_the_request_that_began_it() {
    use tracing::Span;

    let _here = tracing::subscriber::set_default(tracing_subscriber::registry());
    let (rates, _hand) = rates();
    let request = tracing::info_span!("request");
    let number = request.id().expect("the registry numbers each").into_u64();
    let fetch = || async { Ok(Span::current().id().map_or(0, |id| id.into_u64())) };
    let seen = tracing::Instrument::instrument(rates.get_or_fetch("EUR", TTL, fetch), request);
    assert_eq!(*seen.await.unwrap(), number);
}
