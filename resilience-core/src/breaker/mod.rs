//! The circuit breaker.
//!
//! [`CircuitBreaker`] is the thing itself: [`try_acquire`] for any code,
//! [`call`] for a future. [`CircuitBreakerLayer`] guards a tower service.
//!
//! [`KeyedBreakers`] are many of them, one for each key.
//!
//! From the inside out: `word` is the state word and its pure transitions;
//! `window`, `running` and `probes` are what a closed and a half-open circuit
//! count, in `stripes` where many threads count; `cell` is the shared memory
//! and puts them together.
//!
//! [`try_acquire`]: CircuitBreaker::try_acquire
//! [`call`]: CircuitBreaker::call

mod by_hand;
mod cell;
mod config;
mod easy;
mod error;
mod journal;
mod keyed;
mod line;
mod outcome;
mod permit;
mod pieces;
mod probes;
mod registry;
mod running;
mod settings;
pub(crate) mod stripes;
mod subscription;
mod totals;
mod window;
mod word;

#[cfg(feature = "tower")]
mod classify;
#[cfg(feature = "tower")]
mod future;
#[cfg(feature = "tower")]
mod layer;
#[cfg(feature = "tower")]
mod parking;
#[cfg(feature = "tower")]
mod service;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::{
    clock::Clock,
    snapshot::{BreakerSnapshot, OverrideKind, State},
};
use cell::{Cell, Former};

pub use by_hand::{ByHand, ChangeRefused, Changed};
#[cfg(feature = "tower")]
pub use classify::{Classify, ErrorsFail, HttpStatusFails};
pub use config::{BreakerConfig, BreakerConfigError, BreakerOptions, Window};
pub use error::{CallError, Rejected};
#[cfg(feature = "tower")]
pub use future::ResponseFuture;
pub use journal::Observer;
#[cfg(feature = "tower")]
pub use keyed::{KeyedBreakerLayer, KeyedBreakerService};
pub use keyed::{KeyedBreakers, KeyedConfig, KeyedOptions, KeyedSubscription};
#[cfg(feature = "tower")]
pub use layer::CircuitBreakerLayer;
pub use outcome::{ErrorClass, Outcome};
pub use permit::Permit;
pub use registry::Registry;
#[cfg(feature = "tower")]
pub use service::CircuitBreakerService;
pub use subscription::Subscription;

/// Stops calling an upstream that fails, and tries again later.
///
/// A handle: clones share one circuit. Asking and recording take no lock,
/// allocate nothing and touch no reference count; see `benches/`.
///
/// # Example
///
/// ```
/// use resilience_core::{BreakerConfig, CircuitBreaker, ErrorClass};
///
/// let breaker = CircuitBreaker::new("payment_api", BreakerConfig::default());
/// let permit = breaker.try_acquire()?;
/// match "1.0876".parse::<f64>() {
///     Ok(_rate) => permit.success(),
///     Err(_) => permit.failure(ErrorClass::OTHER),
/// }
/// # Ok::<(), resilience_core::Rejected>(())
/// ```
///
/// # Source
///
/// State names: M. Nygard, *Release It!*, 2nd ed., ch. 5. Rates are compared
/// with `>=` and durations with `>` as in resilience4j.
#[derive(Clone)]
pub struct CircuitBreaker {
    cell: &'static Cell,
    // Counted once a handle, never once a call.
    _owner: Arc<Owner>,
}

impl CircuitBreaker {
    /// A closed breaker (or a disabled one, if the settings say so).
    ///
    /// The name is the `service` label of its metrics.
    #[must_use]
    pub fn new(name: &str, config: BreakerConfig) -> Self {
        Self::with_clock(name, config, Clock::default())
    }

    /// The same with a clock of the caller's, for tests.
    #[must_use]
    pub fn with_clock(name: &str, config: BreakerConfig, clock: Clock) -> Self {
        let owner = Owner::take(name, config, clock);
        Self {
            cell: owner.cell,
            _owner: Arc::new(owner),
        }
    }

    /// Asks to make one call now. The [`Permit`] is told how it went.
    ///
    /// Never waits: no lock and no retry loop on the closed path. A permit
    /// that is dropped counts as neither outcome, and a probe's slot is free
    /// again.
    ///
    /// # Errors
    ///
    /// [`Rejected`] while open; it says for how long.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        let admission = self.cell.try_acquire()?;
        Ok(Permit::new(self.cell, admission))
    }

    #[cfg(feature = "tower")]
    #[inline]
    fn try_acquire_mostly_closed(&self) -> Result<Permit, Rejected> {
        let admission = self.cell.try_acquire_mostly_closed()?;
        Ok(Permit::new(self.cell, admission))
    }

    /// Awaits `call` if the circuit lets it through: an `Err` is a failure. A
    /// future that is dropped half-way counts as neither outcome.
    ///
    /// # Errors
    ///
    /// [`CallError::Open`] if it was refused (`call` is then dropped without
    /// being polled), [`CallError::Inner`] with its error if it failed.
    ///
    /// # Example
    ///
    /// ```
    /// # use resilience_core::{BreakerConfig, CallError, CircuitBreaker};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let breaker = CircuitBreaker::new("payment_api", BreakerConfig::default());
    /// let rate = breaker.call(async { Ok::<_, std::io::Error>(1.0876) }).await;
    /// assert_eq!(rate.unwrap(), 1.0876);
    /// # }
    /// ```
    pub async fn call<F, T, E>(&self, call: F) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let permit = self.try_acquire()?;
        match call.await {
            Ok(answer) => {
                permit.success();
                Ok(answer)
            }
            Err(error) => {
                permit.failure(ErrorClass::OTHER);
                Err(CallError::Inner(error))
            }
        }
    }

    /// The state that callers meet now.
    #[must_use]
    pub fn state(&self) -> State {
        self.cell.state()
    }

    /// The name it was made with.
    #[must_use]
    pub fn name(&self) -> Arc<str> {
        self.cell.journal.lock().name.clone()
    }

    /// All there is to know about it.
    #[must_use]
    pub fn snapshot(&self) -> BreakerSnapshot {
        self.cell.snapshot()
    }

    /// Closes the circuit and empties its window; whatever was armed (the wait,
    /// the probes' leases) is void with the old generation.
    ///
    /// # Errors
    ///
    /// [`ChangeRefused`] if it is switched off, overridden (a reset removes no
    /// override: [`enable`](Self::enable) does), or no longer in the
    /// generation that was expected.
    pub fn reset(&self, by: &ByHand) -> Result<Changed, ChangeRefused> {
        self.cell.reset(by)
    }

    /// Sets a state by hand, for so long or, with `None`, until it is removed;
    /// it replaces the one that is set. Nothing ends it early, and what the
    /// state machine says stays visible beside it.
    ///
    /// # Errors
    ///
    /// [`ChangeRefused::Moved`] if it is no longer in the generation that was
    /// expected.
    ///
    /// # Example
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use resilience_core::{BreakerConfig, ByHand, CircuitBreaker, snapshot::OverrideKind};
    /// let breaker = CircuitBreaker::new("payment_api", BreakerConfig::default());
    /// let by = ByHand { reason: Some("their maintenance".into()), ..ByHand::default() };
    /// let half_an_hour = Some(Duration::from_secs(30 * 60));
    /// breaker.set_override(OverrideKind::ForcedOpen, half_an_hour, &by)?;
    /// assert!(breaker.try_acquire().is_err());
    /// breaker.enable(&by)?;
    /// assert!(breaker.try_acquire().is_ok());
    /// # Ok::<(), resilience_core::ChangeRefused>(())
    /// ```
    pub fn set_override(
        &self,
        kind: OverrideKind,
        lasts: Option<Duration>,
        by: &ByHand,
    ) -> Result<Changed, ChangeRefused> {
        self.cell.set_override(kind, lasts, by)
    }

    /// Removes the override: the state machine's own state is in force again,
    /// with an empty window; an open circuit has the rest of its wait.
    ///
    /// # Errors
    ///
    /// [`ChangeRefused`] if there is none, or it is no longer in the generation
    /// that was expected.
    pub fn enable(&self, by: &ByHand) -> Result<Changed, ChangeRefused> {
        self.cell.remove_override(by)
    }

    /// Puts other settings in force. The state stays, and so does the window: a
    /// longer one begins with what the shorter one held, a shorter one with the
    /// newest of it; only between a count and a time it starts empty.
    pub fn configure(&self, config: BreakerConfig) {
        self.cell.configure(config);
    }

    /// Takes over what a process before a restart left of it, as of `now`: an
    /// open circuit stays open for the rest of its wait, an override until its
    /// end, and the flight recorder goes on. A trip older than `oldest_trip`
    /// is left alone.
    pub fn restore(
        &self,
        left: &BreakerSnapshot,
        taken_at: Timestamp,
        now: Timestamp,
        oldest_trip: Duration,
    ) {
        let wait = match (left.computed_state, left.retry_after_ms) {
            (State::Open, Some(wait_ms)) => Duration::from_millis(wait_ms),
            _ => Duration::ZERO,
        };
        // Should the wall clock have been set back, none of the wait is over:
        // too long by seconds, and never longer than the wait itself.
        let passed = Duration::try_from(now.duration_since(taken_at)).unwrap_or_default();
        let open_for = if passed > oldest_trip {
            Duration::ZERO
        } else {
            wait.saturating_sub(passed)
        };
        let former = Former {
            open_for,
            openings: left.openings,
            overridden: left.overridden.clone(),
            events: left.events.clone(),
        };
        self.cell.restore(&former, now);
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("name", &self.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Gives the cell back for reuse when the last handle is gone.
struct Owner {
    cell: &'static Cell,
}

/// Cells of breakers that are gone. As long as the most breakers that ever
/// lived at one time, so never longer than memory once held.
static FREE: Mutex<Vec<&'static Cell>> = Mutex::new(Vec::new());

impl Owner {
    fn take(name: &str, config: BreakerConfig, clock: Clock) -> Self {
        let reusable = if clock.is_default() {
            FREE.lock().pop()
        } else {
            None
        };
        let cell = match reusable {
            Some(cell) => {
                cell.reuse(name, config);
                cell
            }
            None => Box::leak(Box::new(Cell::new(name, config, clock))),
        };
        Self { cell }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.cell.retire();
        // A cell with a clock of its own (a test's) would give that clock to a
        // stranger.
        if self.cell.clock().is_default() {
            FREE.lock().push(self.cell);
        }
    }
}

#[cfg(test)]
mod tests;
