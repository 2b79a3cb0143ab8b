//! The second level over a store that does as it is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::*;
use crate::fallback::{Key, Record, Terms};

const LONG: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mood {
    #[default]
    Well,
    /// Answers nothing, for ever.
    Hangs,
    Fails,
    /// Gives back what nobody wrote.
    Lies,
    /// Takes no record.
    Full,
}

#[derive(Debug, Default)]
struct Inside {
    mood: Mutex<Mood>,
    records: Mutex<BTreeMap<Vec<u8>, Bytes>>,
    reads: Mutex<u32>,
    batches: Mutex<u32>,
    /// If set, a read says that it has begun and waits until it is let.
    gate: Mutex<Option<(Arc<Notify>, Arc<Notify>)>>,
}

#[derive(Debug, Default)]
struct Fake(Arc<Inside>);

impl Store for Fake {
    fn kind(&self) -> &'static str {
        "fake"
    }

    fn place(&self) -> String {
        "here".to_owned()
    }

    fn read(&self, key: &[u8]) -> StoreFuture<'_, Option<Bytes>> {
        *self.0.reads.lock() += 1;
        let found = self.0.records.lock().get(key).cloned();
        Box::pin(async move {
            let gate = self.0.gate.lock().take();
            if let Some((begun, let_go)) = gate {
                begun.notify_one();
                let_go.notified().await;
            }
            match self.mood() {
                Mood::Well | Mood::Full => Ok(found),
                Mood::Fails => Err(self.error()),
                Mood::Lies => Ok(Some(Bytes::from_static(b"RFB\x02 what else"))),
                Mood::Hangs => std::future::pending().await,
            }
        })
    }

    fn write(&self, changes: &[Change]) -> StoreFuture<'_, u64> {
        *self.0.batches.lock() += 1;
        let mut written = 0;
        let mood = self.mood();
        if mood == Mood::Well || mood == Mood::Lies {
            let mut records = self.0.records.lock();
            for Change { key, record, .. } in changes {
                match record {
                    Some(record) => {
                        written += 1;
                        records.insert(key.to_vec(), record.clone())
                    }
                    None => records.remove(&key[..]),
                };
            }
        }
        Box::pin(async move {
            match mood {
                Mood::Fails => Err(self.error()),
                Mood::Hangs => std::future::pending().await,
                _ => Ok(written),
            }
        })
    }

    fn clear(&self, prefix: &[u8]) -> StoreFuture<'_, u64> {
        let mut records = self.0.records.lock();
        let before = records.len();
        records.retain(|key, _| !key.starts_with(prefix));
        let gone = (before - records.len()) as u64;
        Box::pin(async move { Ok(gone) })
    }
}

impl Fake {
    fn mood(&self) -> Mood {
        *self.0.mood.lock()
    }

    fn error(&self) -> StoreError {
        StoreError::Failed {
            store: "fake",
            message: "told to".to_owned(),
        }
    }
}

fn second() -> (SecondLevel, Arc<Inside>) {
    let fake = Fake::default();
    let inside = Arc::clone(&fake.0);
    (SecondLevel::new(fake), inside)
}

fn record(payload: &str) -> Record {
    Record {
        asked_at_ms: 7,
        terms: Terms::default(),
        kind: "text/1".into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
    }
}

fn eur() -> Key {
    Key::from("EUR")
}

/// Keeps an answer until the end of time.
fn keep(second: &SecondLevel, name: &str, payload: &str) {
    second.keep(name, &eur(), record(payload), u64::MAX);
}

async fn read(second: &SecondLevel, name: &str) -> Option<String> {
    let found = second.read(name, &eur()).await?;
    Some(String::from_utf8(found.payload.to_vec()).unwrap())
}

/// Looks until it is so.
fn eventually(what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + LONG;
    while !is() {
        assert!(Instant::now() < until, "not within {LONG:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn what_is_kept_is_read_at_once_and_written_by_itself_within_a_second() {
    let (second, inside) = second();
    let began = Instant::now();
    keep(&second, "rates", "1.08");
    assert_eq!(read(&second, "rates").await.as_deref(), Some("1.08"));
    assert_eq!(*inside.reads.lock(), 0, "it was read from what waits");
    eventually("it is written", || !inside.records.lock().is_empty());
    // With air for a busy machine; it is 200 ms by itself.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let stored = inside.records.lock().first_key_value().unwrap().0.clone();
    assert_eq!(stored, b"rates\0EUR");
    assert!(second.flush(LONG));
    assert_eq!(read(&second, "rates").await.as_deref(), Some("1.08"));
    assert_eq!(read(&second, "other").await, None);
    assert_eq!(*inside.reads.lock(), 2 + 1, "one of them to look again");
    let picture = second.snapshot();
    assert_eq!((picture.read_hits, picture.read_misses), (2, 1));
    assert_eq!((picture.written, picture.pending), (1, 0));
    assert!(picture.up && picture.last_error.is_none());
}

#[tokio::test]
async fn forgotten_and_cleared_is_gone_at_once_and_later_from_the_store() {
    let (second, inside) = second();
    for name in ["rates", "stock", "stock2"] {
        keep(&second, name, "old");
    }
    assert!(second.flush(LONG));
    second.forget("rates", &eur());
    second.clear("stock");
    assert_eq!(read(&second, "rates").await, None);
    assert_eq!(read(&second, "stock").await, None);
    assert_eq!(read(&second, "stock2").await.as_deref(), Some("old"));
    keep(&second, "stock", "new");
    assert!(second.flush(LONG));
    assert_eq!(read(&second, "rates").await, None);
    assert_eq!(read(&second, "stock").await.as_deref(), Some("new"));
    assert_eq!(inside.records.lock().len(), 2);
}

#[tokio::test]
async fn what_is_forgotten_while_it_is_read_is_not_served() {
    let fake = Fake::default();
    let inside = Arc::clone(&fake.0);
    let second = SecondLevel::with_deadline(fake, LONG);
    keep(&second, "rates", "old");
    assert!(second.flush(LONG));
    // It would be the one that waits at the gate.
    eventually("the first batch is read again", || {
        second.snapshot().shadow_reads == 1
    });
    let gate = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    *inside.gate.lock() = Some(gate.clone());
    let (begun, let_go) = gate;
    let meanwhile = async {
        begun.notified().await;
        second.forget("rates", &eur());
        // Written already when the read is back.
        assert!(second.flush(LONG));
        let_go.notify_one();
    };
    let (found, ()) = tokio::join!(read(&second, "rates"), meanwhile);
    assert_eq!(found, None);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_a_few_reads_5_ms_and_the_others_nothing() {
    let (second, inside) = second();
    *inside.mood.lock() = Mood::Hangs;
    let mut costs = Vec::new();
    for _ in 0..20 {
        let began = tokio::time::Instant::now();
        assert_eq!(read(&second, "rates").await, None);
        costs.push(began.elapsed());
    }
    assert_eq!(*inside.reads.lock(), 5, "the circuit opened after five");
    assert!(costs.iter().all(|cost| *cost <= Duration::from_millis(5)));
    assert!(costs[5..].iter().all(Duration::is_zero), "{costs:?}");
    let picture = second.snapshot();
    assert_eq!((picture.read_failures, picture.read_hits), (20, 0));
    assert_eq!((picture.up, picture.read_misses), (false, 0));
    assert_eq!(picture.last_error.unwrap().kind, "timeout");
    assert_eq!(&*second.breaker().name(), "fallback_fake");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_skipped_and_counted() {
    let (second, inside) = second();
    *inside.mood.lock() = Mood::Lies;
    assert_eq!(read(&second, "rates").await, None);
    let picture = second.snapshot();
    assert_eq!((picture.unreadable, picture.read_misses), (1, 1));
    assert!(picture.up, "it is no failure of the store");
}

#[tokio::test]
async fn what_could_not_be_written_waits_and_is_written_when_it_can_be() {
    let (second, inside) = second();
    *inside.mood.lock() = Mood::Fails;
    keep(&second, "rates", "1.08");
    eventually("it was tried", || *inside.batches.lock() >= 1);
    assert!(!second.flush(Duration::from_millis(1)));
    eventually("it is told", || !second.snapshot().up);
    let picture = second.snapshot();
    assert_eq!((picture.pending, picture.not_written), (1, 0));
    let error = picture.last_error.unwrap();
    assert_eq!((&*error.kind, &*error.message), ("failed", "told to"));
    assert_eq!(read(&second, "rates").await.as_deref(), Some("1.08"));
    *inside.mood.lock() = Mood::Well;
    assert!(second.flush(LONG));
    let picture = second.snapshot();
    assert_eq!((picture.pending, picture.written), (0, 1));
    assert!(picture.up && picture.last_error.is_some());
}

#[tokio::test]
async fn what_has_no_room_to_wait_and_what_the_store_does_not_take_is_counted() {
    let (second, inside) = second();
    *inside.mood.lock() = Mood::Full;
    keep(&second, "rates", "1.08");
    assert!(second.flush(LONG));
    let picture = second.snapshot();
    assert_eq!((picture.written, picture.not_written), (0, 1));

    *inside.mood.lock() = Mood::Fails;
    let more = 100;
    for number in 0..queue::MOST_KEYS + more {
        let key = Key::from(number.to_string());
        second.keep("rates", &key, record("x"), u64::MAX);
    }
    let picture = second.snapshot();
    assert_eq!(picture.not_written, 1 + more as u64);
    assert_eq!(picture.pending, queue::MOST_KEYS as u64);
}

#[test]
fn a_store_that_fails_is_not_asked_again_and_again() {
    let (second, inside) = second();
    *inside.mood.lock() = Mood::Fails;
    keep(&second, "rates", "1.08");
    let began = Instant::now();
    // In a hurry all the time.
    assert!(!second.flush(Duration::from_millis(600)));
    let batches = *inside.batches.lock();
    let took = began.elapsed().as_millis();
    // One at once, and then 250 ms and 500 ms later.
    let most = 2 + took / 250;
    assert!(u128::from(batches) <= most, "{batches} in {took} ms");
}

#[test]
fn when_the_last_handle_is_gone_what_waits_is_written_and_the_store_is_let_go() {
    let (second, inside) = second();
    let store: Weak<Inside> = Arc::downgrade(&inside);
    let clone = second.clone();
    drop(second);
    keep(&clone, "rates", "1.08");
    drop(clone);
    eventually("it is written", || !inside.records.lock().is_empty());
    drop(inside);
    eventually("the thread ends", || store.upgrade().is_none());
}

#[test]
fn a_store_that_fails_keeps_its_thread_for_two_seconds_at_the_end_and_no_longer() {
    let (second, inside) = second();
    let store: Weak<Inside> = Arc::downgrade(&inside);
    keep(&second, "rates", "1.08");
    assert!(second.flush(LONG));
    *inside.mood.lock() = Mood::Fails;
    keep(&second, "rates", "1.09");
    drop((second, inside));
    eventually("the thread ends", || store.upgrade().is_none());
}

#[test]
fn one_of_what_is_written_is_read_again_and_what_is_wrong_with_it_is_counted() {
    let (second, inside) = second();
    keep(&second, "rates", "1.08");
    assert!(second.flush(LONG));
    // The batch is told of before it is looked at again.
    eventually("it is read again", || second.snapshot().shadow_reads == 1);
    assert_eq!(second.snapshot().shadow_failures, 0);
    *inside.mood.lock() = Mood::Lies;
    // Not every batch, but one in so many.
    for _ in 0..64 {
        keep(&second, "rates", "1.09");
        assert!(second.flush(LONG));
    }
    eventually("it is read again", || second.snapshot().shadow_reads == 2);
    assert_eq!(second.snapshot().shadow_failures, 1);
}
