//! Answers that another process has kept.

use std::collections::HashMap;

use bytes::Bytes;

use super::*;
use crate::fallback::store::{Change, SecondLevel, Store, StoreFuture};

/// A store that is a map.
#[derive(Debug, Default)]
struct Map(Mutex<HashMap<Vec<u8>, Bytes>>);

impl Store for Map {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn place(&self) -> String {
        "a map".to_owned()
    }

    fn read(&self, key: &[u8]) -> StoreFuture<'_, Option<Bytes>> {
        let found = self.0.lock().get(key).cloned();
        Box::pin(async move { Ok(found) })
    }

    fn write(&self, changes: &[Change]) -> StoreFuture<'_, u64> {
        let mut map = self.0.lock();
        for change in changes {
            match &change.record {
                Some(record) => map.insert(change.key.to_vec(), record.clone()),
                None => map.remove(&*change.key),
            };
        }
        drop(map);
        let written = changes.iter().filter(|change| change.record.is_some());
        let written = u64::try_from(written.count()).unwrap();
        Box::pin(async move { Ok(written) })
    }

    fn clear(&self, prefix: &[u8]) -> StoreFuture<'_, u64> {
        let mut map = self.0.lock();
        let before = map.len();
        map.retain(|key, _| !key.starts_with(prefix));
        let gone = u64::try_from(before - map.len()).unwrap();
        drop(map);
        Box::pin(async move { Ok(gone) })
    }
}

pub(crate) fn second_level() -> SecondLevel {
    SecondLevel::new(Map::default())
}

/// A process with that second level, as of so many seconds after noon.
pub(crate) fn process(
    config: &FallbackConfig,
    second: &SecondLevel,
    seconds: i64,
) -> (Fallback, Hands) {
    let (clock, hand) = Clock::manual();
    let now = noon() + jiff::SignedDuration::from_secs(seconds);
    let (wall, wall_hand) = WallClock::manual(now);
    let fallback = Fallback::builder("rates", config)
        .clock(clock)
        .wall_clock(wall)
        .second_level(second.clone())
        .build();
    let hands = Hands {
        clock: hand,
        wall: wall_hand,
    };
    (fallback, hands)
}

fn stored_rates(fallback: &Fallback, upstream: &Upstream, codec: &str) -> Rates {
    let layer = layer(fallback).codec(Codec::json(codec));
    Rates::new(layer.layer(upstream.clone()))
}

#[tokio::test]
async fn after_a_restart_the_answers_are_there_and_as_old_as_they_are() {
    let (second, upstream) = (second_level(), Upstream::open());
    let before = process(&config(), &second, 0).0;
    get(&stored_rates(&before, &upstream, "rates/1"), "EUR").await;
    assert_eq!(before.snapshot().store, "file");

    let (after, _hands) = process(&config(), &second, 299);
    let rates = stored_rates(&after, &upstream, "rates/1");
    let answer = ask(&rates, "EUR").await.unwrap();
    assert_eq!((*answer, answer.served().source()), (1, Source::Fresh));
    assert_eq!(answer.served().age(), 299 * SECOND);
    assert_eq!(answer.served().as_of(), noon());
    assert_eq!(upstream.asked(), 1);
    // From memory now.
    assert_eq!(get(&rates, "EUR").await, (1, Source::Fresh));
    let seen = after.snapshot();
    assert_eq!(second.snapshot().read_hits, 1);
    assert_eq!(
        (seen.cache.entries, seen.cache.hits, seen.cache.misses),
        (1, 1, 1)
    );
    assert_eq!(seen.oldest_ms, Some(299_000));

    // Past its time it is better than a failure, and no more.
    upstream.is(Mood::Down);
    for (seconds, source) in [
        (300, Some(Source::Stale)),
        (3_599, Some(Source::Stale)),
        (3_600, None),
    ] {
        let rates = stored_rates(
            &process(&config(), &second, seconds).0,
            &upstream,
            "rates/1",
        );
        let answer = ask(&rates, "EUR").await;
        assert_eq!(
            answer.as_ref().ok().map(|answer| answer.served().source()),
            source
        );
        if let Err(error) = answer {
            let dead_for = Duration::ZERO;
            assert_eq!(error.tried(), &Tried::TooOld { dead_for });
        }
    }
    upstream.is(Mood::Well);
    let rates = stored_rates(&process(&config(), &second, 300).0, &upstream, "rates/1");
    assert_eq!(get(&rates, "EUR").await.1, Source::Live);
}

#[tokio::test]
async fn what_cannot_be_used_is_counted_and_the_upstream_is_asked() {
    let (second, upstream) = (second_level(), Upstream::open());
    let before = process(&config(), &second, 0).0;
    get(&stored_rates(&before, &upstream, "rates/1"), "EUR").await;
    // Of another version; from the future by more than a minute.
    for (seconds, codec) in [(0, "rates/2"), (-61, "rates/1")] {
        let after = process(&config(), &second, seconds).0;
        upstream.is(Mood::Down);
        let rates = stored_rates(&after, &upstream, codec);
        assert_eq!(fails(&rates, "EUR").await, Tried::NothingStored);
        assert_eq!(after.snapshot().unreadable, 1);
    }
    // By a minute it may be: clocks differ.
    let after = process(&config(), &second, -60).0;
    let rates = stored_rates(&after, &upstream, "rates/1");
    let answer = ask(&rates, "EUR").await.unwrap();
    assert_eq!(answer.served().age(), Duration::ZERO);
    assert_eq!(after.snapshot().unreadable, 0);
}

#[tokio::test]
async fn without_a_codec_answers_stay_in_memory() {
    let (second, upstream) = (second_level(), Upstream::open());
    let before = process(&config(), &second, 0).0;
    get(&rates(&before, &upstream), "EUR").await;
    let after = process(&config(), &second, 0).0;
    assert_eq!(
        get(&rates(&after, &upstream), "EUR").await,
        (2, Source::Live)
    );
    assert_eq!(second.snapshot().read_misses, 0);
}

#[tokio::test]
async fn a_purge_reaches_the_second_level_and_what_is_on_its_way_there() {
    let (second, upstream) = (second_level(), Upstream::shut());
    let before = process(&config(), &second, 0).0;
    let rates = stored_rates(&before, &upstream, "rates/1");
    upstream.answer_one();
    get(&rates, "EUR").await;
    let on_its_way = tokio::spawn(rates.clone().oneshot("USD"));
    until(|| upstream.asked() == 2).await;
    before.purge();
    upstream.answer_one();
    assert_eq!(*on_its_way.await.unwrap().unwrap(), 2);
    let after = process(&config(), &second, 0).0;
    upstream.is(Mood::Down);
    let rates = stored_rates(&after, &upstream, "rates/1");
    for currency in ["EUR", "USD"] {
        upstream.answer_one();
        assert_eq!(fails(&rates, currency).await, Tried::NothingStored);
    }
}

#[tokio::test]
async fn what_is_dead_in_memory_gives_way_to_what_another_process_has_kept() {
    let (second, upstream) = (second_level(), Upstream::open());
    let (one, hands) = process(&config(), &second, 0);
    let rates = stored_rates(&one, &upstream, "rates/1");
    get(&rates, "EUR").await;
    hands.clock.advance(STALE_LIMIT);
    hands
        .wall
        .set(noon() + jiff::SignedDuration::from_secs(3_600));
    let other = process(&config(), &second, 3_000).0;
    get(&stored_rates(&other, &upstream, "rates/1"), "USD").await;
    // Keeps it anew.
    let other = process(&config(), &second, 3_000).0;
    assert_eq!(
        get(&stored_rates(&other, &upstream, "rates/1"), "EUR")
            .await
            .1,
        Source::Live
    );
    upstream.is(Mood::Down);
    let answer = ask(&rates, "EUR").await.unwrap();
    assert_eq!((*answer, answer.served().source()), (3, Source::Stale));
    assert_eq!(answer.served().age(), 600 * SECOND);
}

#[tokio::test]
async fn while_it_is_off_answers_go_to_the_second_level_and_none_is_read_from_there() {
    let mut off = config();
    off.enabled = false;
    let (second, upstream) = (second_level(), Upstream::open());
    let before = process(&off, &second, 0).0;
    get(&stored_rates(&before, &upstream, "rates/1"), "EUR").await;
    let after = process(&off, &second, 0).0;
    let rates = stored_rates(&after, &upstream, "rates/1");
    upstream.is(Mood::Down);
    assert_eq!(fails(&rates, "EUR").await, Tried::SwitchedOff);
    assert_eq!(second.snapshot().read_hits, 0);
    after.switch(Some(true), None, None);
    assert_eq!(get(&rates, "EUR").await, (1, Source::Fresh));
}
