//! A family as others see it.

use super::KeyedBreakers;
use crate::{
    breaker::CircuitBreaker,
    snapshot::{BreakerSnapshot, KeyedSnapshot, State},
};

/// How many of the breakers that are not closed are shown one by one.
const MOST_SHOWN: usize = 16;
/// And how many events of each.
const MOST_EVENTS: usize = 8;

impl KeyedBreakers {
    /// A picture of the family; its size has a bound whatever the keys are.
    ///
    /// Looks at every member, so its cost grows with them.
    #[must_use]
    pub fn snapshot(&self) -> KeyedSnapshot {
        let family = &self.family;
        // Together, so that no member is counted twice or not at all. The
        // handles are copied: the lock is not held while reading.
        let (breakers, mut totals, evicted) = {
            let members = family.members.read();
            (members.breakers(), members.former, members.evicted)
        };
        let (mut open, mut half_open) = (0, 0);
        let mut shown = Shown::default();
        for breaker in &breakers {
            // Nearly all of them, and a picture costs a dozen times as much.
            if breaker.cell.is_plainly_closed() {
                totals += breaker.cell.totals();
                continue;
            }
            let snapshot = breaker.snapshot();
            totals += snapshot.totals;
            match snapshot.state {
                State::Open => open += 1,
                State::HalfOpen => half_open += 1,
                State::Closed => {}
            }
            shown.offer(snapshot);
        }
        if let Some(other) = family.other.get().map(|other| &other.breaker) {
            let snapshot = other.snapshot();
            totals += snapshot.totals;
            shown.offer(snapshot);
        }
        let totals = {
            // Between a member's going and its calls being added to those of
            // the former, the sum is too low.
            let mut told = family.told.lock();
            *told = told.at_least(totals);
            *told
        };
        let settings = family.settings.lock().clone();
        let mut not_closed = shown.finish();
        for breaker in &mut not_closed {
            breaker.config = settings.clone();
        }
        KeyedSnapshot {
            name: family.name.to_string(),
            members: u32::try_from(breakers.len()).unwrap_or(u32::MAX),
            open,
            half_open,
            capacity: family.limits.options().capacity,
            evicted,
            overflowed: family.overflowed(),
            totals,
            not_closed,
        }
    }

    /// All members, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<CircuitBreaker> {
        self.family.members.read().breakers()
    }
}

/// The few that are shown, of as many as are offered.
#[derive(Default)]
struct Shown(Vec<BreakerSnapshot>);

impl Shown {
    fn offer(&mut self, mut breaker: BreakerSnapshot) {
        if breaker.state == State::Closed && breaker.overridden.is_none() {
            return;
        }
        breaker.events.truncate(MOST_EVENTS);
        self.0.push(breaker);
        if self.0.len() >= 4 * MOST_SHOWN {
            self.cut();
        }
    }

    fn cut(&mut self) {
        // Those that let calls through, by an override, behind those that do not.
        let order = |b: &BreakerSnapshot| (b.state == State::Closed, b.since, b.name.clone());
        self.0.sort_by_cached_key(order);
        self.0.truncate(MOST_SHOWN);
    }

    fn finish(mut self) -> Vec<BreakerSnapshot> {
        self.cut();
        self.0
    }
}
