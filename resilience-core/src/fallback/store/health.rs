//! What a store has done, and whether it can be used: counted always, said once.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::StoreError;
use crate::snapshot::{StoreErrorSnapshot, StoreSnapshot};

/// A store that fails and recovers again and again is not said more often.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What was counted.
// ordering: Relaxed in all places. They are figures to look at, and publish no
// other memory.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) read_hits: AtomicU64,
    pub(super) read_misses: AtomicU64,
    read_failures: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) not_written: AtomicU64,
    pub(super) shadow_reads: AtomicU64,
    pub(super) shadow_failures: AtomicU64,
    /// Reading and writing fail apart: a full disk can be read.
    reads: Mutex<Way>,
    writes: Mutex<Way>,
}

/// One of the two ways.
#[derive(Debug, Default)]
struct Way {
    down: bool,
    last_error: Option<StoreErrorSnapshot>,
    /// When it was said that it is down.
    said: Option<Timestamp>,
    /// Whether it is to be said that it is up again.
    told_down: bool,
}

/// What is to be said of a change.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Down,
    Up,
}

pub(super) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}

impl Health {
    /// How a read went. One that was not tried changes nothing of what is known.
    pub(super) fn read(&self, went: Result<(), &StoreError>, place: &str) {
        if went.is_err() {
            count(&self.read_failures, 1);
        }
        if matches!(went, Err(StoreError::NotAsked { .. })) {
            return;
        }
        let news = self.reads.lock().note(went, Timestamp::now());
        say(news, went.err(), place, "read from");
    }

    /// How a batch went, or a clear, or opening the store.
    pub(super) fn write(&self, went: Result<(), &StoreError>, place: &str) {
        let news = self.writes.lock().note(went, Timestamp::now());
        say(news, went.err(), place, "written to");
    }

    /// Fills in what it knows.
    pub(super) fn fill(&self, picture: &mut StoreSnapshot) {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        picture.read_hits = read(&self.read_hits);
        picture.read_misses = read(&self.read_misses);
        picture.read_failures = read(&self.read_failures);
        picture.unreadable = read(&self.unreadable);
        picture.written = read(&self.written);
        picture.not_written = read(&self.not_written);
        picture.shadow_reads = read(&self.shadow_reads);
        picture.shadow_failures = read(&self.shadow_failures);
        let (reads, writes) = (self.reads.lock(), self.writes.lock());
        picture.up = !reads.down && !writes.down;
        // Of the way that is down, if one is; else the later one.
        let both = [&*reads, &*writes];
        let down = both.into_iter().filter(|way| picture.up || way.down);
        let errors = down.filter_map(|way| way.last_error.as_ref());
        picture.last_error = errors.max_by_key(|error| error.at).cloned();
    }
}

impl Way {
    fn note(&mut self, went: Result<(), &StoreError>, now: Timestamp) -> Option<News> {
        let Err(error) = went else {
            let was_down = std::mem::take(&mut self.down);
            return (was_down && std::mem::take(&mut self.told_down)).then_some(News::Up);
        };
        let message = match error {
            StoreError::Failed { message, .. } => message.clone(),
            other => other.to_string(),
        };
        self.last_error = Some(StoreErrorSnapshot {
            at: now,
            kind: error.label().to_owned(),
            message,
        });
        let first = !std::mem::replace(&mut self.down, true);
        let lately = self
            .said
            .is_some_and(|said| now.duration_since(said).unsigned_abs() < SAY_EVERY);
        if !first || lately {
            return None;
        }
        (self.said, self.told_down) = (Some(now), true);
        Some(News::Down)
    }
}

fn say(news: Option<News>, error: Option<&StoreError>, place: &str, done: &str) {
    match (news, error) {
        (Some(News::Down), Some(error)) => tracing::warn!(
            class = error.label(),
            place,
            "answers cannot be {done} the fallback's store: {error}; those in memory are served"
        ),
        (Some(News::Up), _) => {
            tracing::info!(place, "answers are {done} the fallback's store again");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn failed(message: &str) -> StoreError {
        StoreError::Failed {
            store: "redis",
            message: message.to_owned(),
        }
    }

    #[test]
    fn a_change_is_said_once_and_what_goes_up_and_down_all_the_time_once_a_minute() {
        let mut way = Way::default();
        let start = Timestamp::UNIX_EPOCH;
        let at = |seconds| start + SignedDuration::from_secs(seconds);
        let error = failed("gone");
        assert_eq!(way.note(Ok(()), at(0)), None);
        assert_eq!(way.note(Err(&error), at(1)), Some(News::Down));
        assert_eq!(way.note(Err(&error), at(2)), None);
        assert_eq!(way.note(Ok(()), at(3)), Some(News::Up));
        assert_eq!(way.note(Ok(()), at(4)), None);
        // Nothing is said of coming back from what was not said.
        assert_eq!(way.note(Err(&error), at(5)), None);
        assert_eq!(way.note(Ok(()), at(6)), None);
        assert_eq!(way.note(Err(&error), at(61)), Some(News::Down));
        // Also when the clock was set back.
        assert_eq!(way.note(Ok(()), at(62)), Some(News::Up));
        assert_eq!(way.note(Err(&error), at(-9_000)), Some(News::Down));
    }

    #[test]
    fn the_picture_shows_the_error_of_what_is_down_and_the_last_one_when_all_is_up() {
        let health = Health::default();
        let picture = || {
            let mut picture = StoreSnapshot::default();
            health.fill(&mut picture);
            let error = picture.last_error.map(|error| error.message);
            (picture.up, error.unwrap_or_default())
        };
        assert_eq!(picture(), (true, String::new()));
        health.write(Err(&failed("disk full")), "here");
        health.read(Err(&failed("no answer")), "here");
        health.read(Ok(()), "here");
        assert_eq!(picture(), (false, "disk full".to_owned()));
        health.write(Ok(()), "here");
        assert_eq!(picture(), (true, "no answer".to_owned()));
        let open = StoreError::NotAsked { store: "redis" };
        health.read(Err(&open), "here");
        assert_eq!(picture(), (true, "no answer".to_owned()));
        assert_eq!(health.read_failures.load(Relaxed), 2);
    }
}
