//! Stores, and ways to look at them.

use std::time::{Duration, Instant};

use resilience_core::{
    Clock,
    fallback::{
        Key, Record, Terms,
        store::{RedisRoots, RedisStore, SecondLevel},
    },
};
use resilience_examples::{RedisOptions, TemporaryRedis};

/// Long enough for a machine under load, and never waited for in full.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What a read may cost, and one tick of the timer: 5 ms, of which 4 are waited.
const COSTS_AT_MOST: Duration = Duration::from_millis(6);

/// When an answer is useless: an hour from now.
pub(crate) fn in_an_hour() -> u64 {
    now_ms() + 3_600_000
}

pub(crate) fn now_ms() -> u64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

pub(crate) fn record(payload: &str) -> Record {
    Record {
        asked_at_ms: now_ms(),
        terms: Terms::default(),
        kind: "text/1".into(),
        payload: payload.to_owned().into(),
    }
}

pub(crate) async fn server() -> TemporaryRedis {
    server_with(&[]).await
}

pub(crate) async fn server_with(settings: &[(&str, &str)]) -> TemporaryRedis {
    let settings = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let options = RedisOptions {
        settings,
        ..RedisOptions::default()
    };
    TemporaryRedis::start(options).await.unwrap()
}

/// A second level on the Redis at this URL.
pub(crate) fn on_redis(url: &str) -> SecondLevel {
    on_redis_by(url, Clock::default())
}

/// The same with another clock for the pace at which it connects.
pub(crate) fn on_redis_by(url: &str, clock: Clock) -> SecondLevel {
    let store = RedisStore::new(url, &RedisRoots::System).unwrap();
    SecondLevel::new(store.clock(clock))
}

/// Keeps an answer of `rates` for an hour, and waits until it is stored.
pub(crate) async fn store(second: &SecondLevel, key: &str, payload: &str) {
    keep(second, key, payload);
    flush(second).await;
}

/// Waits until all is stored. Not on this thread, which may be the network's.
pub(crate) async fn flush(second: &SecondLevel) {
    let flushing = second.clone();
    let flushed = tokio::task::spawn_blocking(move || flushing.flush(SOON));
    assert!(flushed.await.unwrap(), "{:?}", second.snapshot());
}

/// Keeps an answer of `rates` for an hour.
pub(crate) fn keep(second: &SecondLevel, key: &str, payload: &str) {
    second.keep("rates", &Key::from(key), record(payload), in_an_hour());
}

pub(crate) async fn read(second: &SecondLevel, key: &str) -> Option<String> {
    let found = second.read("rates", &Key::from(key)).await?;
    Some(String::from_utf8(found.payload.to_vec()).unwrap())
}

/// Reads until it is there: reads of a store that was down are tried a second later,
/// and on a busy machine one takes too long.
pub(crate) async fn read_soon(second: &SecondLevel, key: &str) -> String {
    read_soon_of(second, "rates", key.as_bytes()).await
}

/// The same of any fallback and any key.
pub(crate) async fn read_soon_of(second: &SecondLevel, name: &str, key: &[u8]) -> String {
    let until = Instant::now() + SOON;
    loop {
        if let Some(found) = second.read(name, &Key::from(key)).await {
            return String::from_utf8(found.payload.to_vec()).unwrap();
        }
        assert!(Instant::now() < until, "never: {:?}", second.snapshot());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads what cannot be read until so many such reads are counted.
pub(crate) async fn is_unreadable(second: &SecondLevel, key: &str, counted: u64) {
    let until = Instant::now() + SOON;
    while second.snapshot().unreadable < counted {
        assert_eq!(read(second, key).await, None, "{key}");
        assert!(Instant::now() < until, "never: {:?}", second.snapshot());
    }
    assert_eq!(second.snapshot().unreadable, counted, "{key}");
}

/// Nothing has failed but for reads that took too long, as they do where the machine
/// is busy.
pub(crate) fn is_well(second: &SecondLevel) {
    let error = second.snapshot().last_error;
    let well = error.as_ref().is_none_or(|error| error.kind == "timeout");
    assert!(well, "{error:?}");
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !is() {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads a key that nobody has kept, for a while. No read may be outrun by a timer that
/// is set in the same moment: a machine that is busy delays both.
pub(crate) async fn is_cheap(what: &str, second: &SecondLevel) {
    let mut costs = Vec::new();
    let until = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < until {
        let began = Instant::now();
        // Set when it is first polled, after the read.
        let late = async { tokio::time::sleep(COSTS_AT_MOST).await };
        tokio::select! {
            biased;
            found = read(second, "nobody's") => assert_eq!(found, None),
            () = late => panic!("{what}: a read took longer than {COSTS_AT_MOST:?}"),
        }
        costs.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    costs.sort();
    let dear = costs
        .iter()
        .filter(|cost| **cost > Duration::from_millis(1));
    let (dear, all) = (dear.count(), costs.len());
    let (worst, median) = (costs[all - 1], costs[all / 2]);
    eprintln!("{what}: the dearest of {all} reads {worst:?}, half {median:?}, {dear} above 1 ms");
}
