//! The flight recorder of one breaker, and the other things that only change
//! by a transition or by hand. Behind a lock that no call ever takes: only
//! whoever has already changed the state writes here, and changes by hand are
//! made under it, one after the other.

use std::{collections::VecDeque, fmt, sync::Arc};

use jiff::Timestamp;

use super::config::BreakerConfig;
use crate::snapshot::{
    BreakerEvent, BreakerSettings, Cause, OverrideKind, OverrideSnapshot, State, TransitionCount,
};

/// How many events are kept.
const MOST_EVENTS: usize = 256;

/// Called with each event and the breaker's name, outside of any lock. It runs
/// in the call that changed the state, so it must not block.
pub type Observer = Arc<dyn Fn(&BreakerEvent, &str) + Send + Sync>;

pub(super) struct Journal {
    pub(super) name: Arc<str>,
    pub(super) created: Timestamp,
    pub(super) config: BreakerConfig,
    pub(super) settings: BreakerSettings,
    pub(super) overridden: Option<OverrideSnapshot>,
    /// Those who listen, by number.
    pub(super) listeners: Vec<(u64, Observer)>,
    /// Newest first, by generation: two threads that change the state one
    /// after the other may arrive here in the other order.
    events: VecDeque<BreakerEvent>,
    /// Those of the process before a restart, whose generations were its own.
    former: Vec<BreakerEvent>,
    transitions: Vec<TransitionCount>,
}

impl Journal {
    pub(super) fn new(name: &str, config: BreakerConfig) -> Self {
        Self {
            name: name.into(),
            created: Timestamp::now(),
            config,
            settings: BreakerSettings::default(),
            overridden: None,
            listeners: Vec::new(),
            events: VecDeque::new(),
            former: Vec::new(),
            transitions: Vec::new(),
        }
    }

    /// What the state word's mode ought to be.
    pub(super) fn mode(&self) -> Option<OverrideKind> {
        let configured = (!self.config.options().enabled).then_some(OverrideKind::Disabled);
        let set = self.overridden.as_ref().map(|set| set.kind);
        set.or(configured)
    }

    pub(super) fn write(&mut self, event: BreakerEvent) {
        // Of a machine whose judgement is only looked at, the circuit that
        // callers meet did not change.
        let only_looked_at =
            event.mode == Some(OverrideKind::MetricsOnly) && event.cause != Cause::MetricsOnly;
        if event.changed_the_state() && !only_looked_at {
            self.count(event.from, event.to, event.cause);
        }
        let is_older =
            |other: &BreakerEvent| super::word::is_newer(other.generation, event.generation);
        let place = self
            .events
            .iter()
            .take_while(|other| is_older(other))
            .count();
        if place < MOST_EVENTS {
            // Room first: the one too many would double what is allocated.
            self.events.truncate(MOST_EVENTS - 1);
            self.events.insert(place, event);
        }
    }

    /// Takes over the events of the process before a restart.
    pub(super) fn continue_from(&mut self, events: &[BreakerEvent]) {
        self.former = events.iter().take(MOST_EVENTS).cloned().collect();
    }

    pub(super) fn events(&self) -> Vec<BreakerEvent> {
        let all = self.events.iter().chain(&self.former);
        all.take(MOST_EVENTS).cloned().collect()
    }

    pub(super) fn transitions(&self) -> Vec<TransitionCount> {
        self.transitions.clone()
    }

    /// Of this process.
    pub(super) fn newest(&self) -> Option<&BreakerEvent> {
        self.events.front()
    }

    /// For how long it last opened, in milliseconds.
    pub(super) fn last_wait_ms(&self) -> Option<u64> {
        self.events.iter().find_map(|event| event.wait_ms)
    }

    /// The last time that the state machine opened it.
    pub(super) fn last_opening(&self) -> Option<&BreakerEvent> {
        self.events
            .iter()
            .find(|event| event.to == State::Open && event.cause != Cause::ForcedOpen)
    }

    pub(super) fn since(&self) -> Timestamp {
        let last = self.events.iter().find(|event| event.changed_the_state());
        last.map_or(self.created, |event| event.at)
    }

    // At most one entry for each edge and cause: a few dozen.
    fn count(&mut self, from: State, to: State, cause: Cause) {
        let same = |t: &&mut TransitionCount| t.from == from && t.to == to && t.cause == cause;
        if let Some(transition) = self.transitions.iter_mut().find(same) {
            transition.count += 1;
        } else {
            self.transitions.push(TransitionCount {
                from,
                to,
                cause,
                count: 1,
            });
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("name", &self.name)
            .field("events", &self.events.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::WindowSnapshot;

    fn event(generation: u32, to: State) -> BreakerEvent {
        BreakerEvent {
            at: Timestamp::now(),
            from: State::Closed,
            to,
            cause: Cause::FailureRate,
            generation,
            window: WindowSnapshot::default(),
            threshold_percent: None,
            classes: Vec::new(),
            slow_running: 0,
            wait_ms: None,
            mode: None,
            expires_at: None,
            detail: None,
            actor: None,
            reason: None,
        }
    }

    fn generations(journal: &Journal) -> Vec<u32> {
        journal
            .events()
            .iter()
            .map(|event| event.generation)
            .collect()
    }

    #[test]
    fn an_event_that_arrives_late_stands_where_its_generation_puts_it() {
        let mut journal = Journal::new("a", BreakerConfig::default());
        for generation in [1, 3, 2] {
            journal.write(event(generation, State::Open));
        }
        assert_eq!(generations(&journal), [3, 2, 1]);
        assert_eq!(journal.transitions()[0].count, 3);
    }

    #[test]
    fn one_that_is_older_than_all_that_are_kept_is_not_kept() {
        let mut journal = Journal::new("a", BreakerConfig::default());
        for generation in (2..=257).chain([1]) {
            journal.write(event(generation, State::Closed));
        }
        let kept = generations(&journal);
        assert_eq!((kept.len(), kept[0], kept[255]), (MOST_EVENTS, 257, 2));
        assert_eq!(journal.events.capacity(), MOST_EVENTS);
    }

    #[test]
    fn only_the_newest_events_are_kept() {
        let mut journal = Journal::new("a", BreakerConfig::default());
        for generation in 1..=300 {
            journal.write(event(generation, State::Closed));
        }
        let kept = generations(&journal);
        assert_eq!((kept.len(), kept[0], kept[255]), (MOST_EVENTS, 300, 45));
    }
}
