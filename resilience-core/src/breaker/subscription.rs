//! Listening to a breaker.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{CircuitBreaker, cell::Cell, journal::Observer};
use crate::snapshot::BreakerEvent;

/// Listens until it is dropped; see [`CircuitBreaker::subscribe`].
#[must_use = "dropped, it stops listening"]
pub struct Subscription {
    cell: &'static Cell,
    number: u64,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut journal = self.cell.journal.lock();
        // Should the cell be another breaker's by now, nobody has this number.
        journal
            .listeners
            .retain(|(number, _)| *number != self.number);
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Subscription").field(&self.number).finish()
    }
}

/// The number of a registry's observer.
const REGISTRY: u64 = 0;

impl CircuitBreaker {
    /// Calls `listener` with each event of the flight recorder: transitions,
    /// overrides, changes of settings.
    ///
    /// It runs in the call that changed the state, outside of any lock, and may
    /// read or change the breaker; it must not block. Its panic reaches nobody.
    /// A breaker to which nobody listens pays nothing.
    ///
    /// # Example
    ///
    /// ```
    /// # use resilience_core::{BreakerConfig, ByHand, CircuitBreaker};
    /// # use std::sync::mpsc;
    /// let breaker = CircuitBreaker::new("payment_api", BreakerConfig::default());
    /// let (events, received) = mpsc::sync_channel(16);
    /// let subscription = breaker.subscribe(move |event| {
    ///     let _ = events.try_send(event.cause); // full: this one is lost, and nobody waits
    /// });
    /// breaker.reset(&ByHand::default())?;
    /// assert_eq!(received.recv().unwrap().as_str(), "reset");
    /// drop(subscription);
    /// # Ok::<(), resilience_core::ChangeRefused>(())
    /// ```
    pub fn subscribe(
        &self,
        listener: impl Fn(&BreakerEvent) + Send + Sync + 'static,
    ) -> Subscription {
        static NEXT: AtomicU64 = AtomicU64::new(REGISTRY + 1);
        let number = NEXT.fetch_add(1, Relaxed);
        let call: Observer = std::sync::Arc::new(move |event, _| listener(event));
        self.cell.journal.lock().listeners.push((number, call));
        Subscription {
            cell: self.cell,
            number,
        }
    }

    /// Tells the registry's observer, in place of the one before.
    pub(super) fn observe(&self, observer: Observer) {
        let mut journal = self.cell.journal.lock();
        journal.listeners.retain(|(number, _)| *number != REGISTRY);
        journal.listeners.push((REGISTRY, observer));
    }
}
