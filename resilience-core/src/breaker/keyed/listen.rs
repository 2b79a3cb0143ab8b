//! Listening to all breakers of a family.

use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use super::{Family, KeyedBreakers};
use crate::{
    breaker::{CircuitBreaker, Subscription},
    snapshot::BreakerEvent,
    sync::{AtomicU64, Ordering::Relaxed},
};

type Listener = Arc<dyn Fn(&str, &BreakerEvent) + Send + Sync>;

/// Those who listen, by number.
pub(super) struct Listeners {
    all: RwLock<Vec<(u64, Listener)>>,
    next: AtomicU64,
}

impl Listeners {
    pub(super) fn new() -> Self {
        Self {
            all: RwLock::default(),
            next: AtomicU64::new(0),
        }
    }

    fn tell(&self, key: &str, event: &BreakerEvent) {
        // Copied first: a listener may subscribe, or stop listening.
        let all: Vec<Listener> = self.all.read().iter().map(|(_, l)| l.clone()).collect();
        for listener in all {
            // One that panics must not keep the news from the others.
            let listen = || listener(key, event);
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(listen));
        }
    }
}

/// Listens until it is dropped; see [`KeyedBreakers::subscribe`].
#[must_use = "dropped, it stops listening"]
pub struct KeyedSubscription {
    family: Weak<Family>,
    number: u64,
}

impl Drop for KeyedSubscription {
    fn drop(&mut self) {
        if let Some(family) = self.family.upgrade() {
            let mut all = family.listeners.all.write();
            let place = all.iter().position(|(number, _)| *number == self.number);
            let gone = place.map(|place| all.remove(place));
            // What it had captured goes when the lock is free.
            drop(all);
            drop(gone);
        }
    }
}

impl std::fmt::Debug for KeyedSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, .. } = self;
        f.debug_tuple("KeyedSubscription").field(number).finish()
    }
}

impl KeyedBreakers {
    /// Calls `listener` with the key and each event of any member's flight
    /// recorder; those without a place of their own have the key `other`.
    ///
    /// It runs in the call that changed the state, outside of any lock, and may
    /// use the family; it must not block. Its panic reaches nobody. A breaker
    /// that was evicted is not heard any more.
    pub fn subscribe(
        &self,
        listener: impl Fn(&str, &BreakerEvent) + Send + Sync + 'static,
    ) -> KeyedSubscription {
        let listeners = &self.family.listeners;
        let number = listeners.next.fetch_add(1, Relaxed);
        listeners.all.write().push((number, Arc::new(listener)));
        KeyedSubscription {
            family: Arc::downgrade(&self.family),
            number,
        }
    }
}

impl Family {
    /// Passes on what a breaker tells.
    pub(super) fn hear(self: &Arc<Self>, key: Arc<str>, breaker: &CircuitBreaker) -> Subscription {
        // Weak: the family holds the breaker, which holds this.
        let family = Arc::downgrade(self);
        breaker.subscribe(move |event| {
            if let Some(family) = family.upgrade() {
                family.listeners.tell(&key, event);
            }
        })
    }
}
