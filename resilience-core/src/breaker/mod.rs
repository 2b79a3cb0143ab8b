//! The circuit breaker.
//!
//! [`CircuitBreaker`] is the thing itself: [`try_acquire`] for any code,
//! [`call`] for a future. [`CircuitBreakerLayer`] guards a tower service.
//!
//! From the inside out: `word` is the state word and its pure transitions,
//! `window` and `probes` are what a closed and a half-open circuit count,
//! `cell` is the shared memory and puts them together.
//!
//! [`try_acquire`]: CircuitBreaker::try_acquire
//! [`call`]: CircuitBreaker::call

mod cell;
mod config;
mod error;
mod journal;
mod outcome;
mod permit;
mod probes;
mod registry;
mod settings;
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
mod service;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    clock::Clock,
    snapshot::{BreakerEvent, BreakerSnapshot, State, WindowSnapshot},
};
use cell::{ByHand, Cell, Refused};

#[cfg(feature = "tower")]
pub use classify::{Classify, ErrorsFail, HttpStatusFails};
pub use config::{BreakerConfig, BreakerConfigError, BreakerOptions, Window};
pub use error::{CallError, Rejected};
#[cfg(feature = "tower")]
pub use future::ResponseFuture;
pub use journal::Observer;
#[cfg(feature = "tower")]
pub use layer::CircuitBreakerLayer;
pub use outcome::{ErrorClass, Outcome};
pub use permit::Permit;
pub use registry::Registry;
#[cfg(feature = "tower")]
pub use service::CircuitBreakerService;

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
    /// [`Rejected`] while open; its `retry_after` is the time left, zero while
    /// all probes of a half-open circuit are in flight.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit, Rejected> {
        match self.cell.try_acquire() {
            Ok(admission) => Ok(Permit::new(self.cell, admission)),
            Err(retry_after) => Err(Rejected { retry_after }),
        }
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

    /// The state now.
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
    /// [`ResetRefused`] if it is disabled, or no longer in the generation that
    /// was expected.
    pub fn reset(&self, request: &Reset) -> Result<ResetDone, ResetRefused> {
        let by = ByHand {
            actor: request.actor.clone(),
            reason: request.reason.clone(),
        };
        match self.cell.reset(&by, request.if_generation, request.dry_run) {
            Ok(changed) => Ok(ResetDone {
                before: changed.before,
                after: changed.after,
                generation: changed.generation,
                discarded: changed.discarded,
            }),
            Err(Refused::Disabled) => Err(ResetRefused::Disabled),
            Err(Refused::Moved { actual }) => Err(ResetRefused::Moved { actual }),
        }
    }

    /// Puts other settings in force. State and window stay; a window of another
    /// shape starts empty.
    pub fn configure(&self, config: BreakerConfig) {
        self.cell.configure(config);
    }

    /// Takes over the open circuit of a process before a restart, with the rest
    /// of its wait and its flight recorder (newest first).
    pub fn restore_open(&self, remaining: Duration, events: &[BreakerEvent]) {
        self.cell.restore_open(remaining, events);
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

/// A reset as asked for by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Who asks, for the flight recorder.
    pub actor: Option<String>,
    /// Why, for the flight recorder.
    pub reason: Option<String>,
    /// Only if the breaker is still in this generation.
    pub if_generation: Option<u32>,
    /// Say what would happen, change nothing.
    pub dry_run: bool,
}

/// What a reset did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResetDone {
    /// State before.
    pub before: State,
    /// State after; of a dry run the same as before.
    pub after: State,
    /// The generation now in force.
    pub generation: u32,
    /// What the discarded window held; of an open circuit, the window that
    /// opened it.
    pub discarded: WindowSnapshot,
}

/// Why a reset was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResetRefused {
    /// It is disabled by configuration.
    #[error("the breaker is disabled by configuration")]
    Disabled,
    /// It is in another generation.
    #[error("the breaker is in generation {actual} by now")]
    Moved {
        /// The generation it is in.
        actual: u32,
    },
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
