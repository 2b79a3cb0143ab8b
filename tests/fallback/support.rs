//! Stores, and ways to look at them.

use std::time::{Duration, Instant};

use resilience_core::fallback::{
    Key, Record, Terms,
    store::{RedisRoots, RedisStore, SecondLevel},
};
use resilience_examples::{RedisOptions, TemporaryRedis};

/// Long enough for a machine under load, and never waited for in full.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What a read may cost. It is 5 ms; the rest is for a machine that is busy.
pub(crate) const COSTS_AT_MOST: Duration = Duration::from_millis(50);

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
    SecondLevel::new(RedisStore::new(url, &RedisRoots::System).unwrap())
}

/// Keeps an answer of `rates` for an hour, and waits until it is stored.
pub(crate) fn store(second: &SecondLevel, key: &str, payload: &str) {
    keep(second, key, payload);
    assert!(second.flush(SOON), "{:?}", second.snapshot());
}

/// Keeps an answer of `rates` for an hour.
pub(crate) fn keep(second: &SecondLevel, key: &str, payload: &str) {
    second.keep("rates", &Key::from(key), record(payload), in_an_hour());
}

pub(crate) async fn read(second: &SecondLevel, key: &str) -> Option<String> {
    let found = second.read("rates", &Key::from(key)).await?;
    Some(String::from_utf8(found.payload.to_vec()).unwrap())
}

/// Reads until it is there. Reads of a store that was down are tried a second later.
pub(crate) async fn read_soon(second: &SecondLevel, key: &str) -> String {
    let until = Instant::now() + SOON;
    loop {
        if let Some(found) = read(second, key).await {
            return found;
        }
        assert!(Instant::now() < until, "never: {:?}", second.snapshot());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !is() {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads a key that nobody has kept for a while, and gives what the dearest of all
/// reads cost.
pub(crate) async fn dearest(what: &str, second: &SecondLevel) -> Duration {
    let mut costs = Vec::new();
    let until = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < until {
        let began = Instant::now();
        assert_eq!(read(second, "nobody's").await, None);
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
    assert!(worst < COSTS_AT_MOST, "{what}: a read took {worst:?}");
    worst
}
