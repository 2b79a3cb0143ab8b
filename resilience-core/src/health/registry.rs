//! The checks of a service, and where it stands between start and stop.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use tokio::{runtime::Handle, task::AbortHandle};

use super::check::{Check, CheckOk, clip};
use crate::snapshot::{CheckSnapshot, HealthSnapshot, HealthStatus, Severity};

/// The health of a service. Cheap to clone; when the last clone is dropped, the
/// checks stop.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), resilience_core::health::RegisterError> {
/// use resilience_core::{Health, health::CheckOk, snapshot::Severity};
/// use std::time::Duration;
///
/// let health = Health::new();
/// health.register(
///     "database",
///     Severity::Critical,
///     Duration::from_secs(5),
///     Duration::from_secs(2),
///     || async { Ok(CheckOk::Pass) },
/// )?;
/// health.started();
/// assert!(health.snapshot().started);
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Health {
    shared: Arc<Shared>,
}

/// Why a check was not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Two checks would answer under one name.
    #[error("there is a health check `{0}` already: give this one another name")]
    Taken(String),
    /// It would be asked without a pause, or never have time to answer.
    #[error(
        "the health check `{name}` has {what} 0s, expected more: `5s` and `2s` are usual for \
         interval and deadline"
    )]
    Zero {
        /// Name of the check.
        name: String,
        /// `interval` or `deadline`.
        what: &'static str,
    },
    /// There is nothing to run it on.
    #[error(
        "the health check `{0}` runs in the background and needs a tokio runtime: register it \
         inside of one"
    )]
    NoRuntime(String),
}

type Ask = dyn Fn() -> (HealthStatus, Option<String>) + Send + Sync;

enum Entry {
    /// Asked in the background.
    Background {
        check: Arc<Check>,
        task: AbortHandle,
    },
    /// Asked when a snapshot is taken.
    Computed {
        severity: Mutex<Severity>,
        ask: Arc<Ask>,
    },
}

// The background tasks hold their `Check` and nothing of this: else they
// would keep alive what is to stop them.
#[derive(Default)]
struct Shared {
    started: AtomicBool,
    draining: AtomicBool,
    checks: RwLock<BTreeMap<String, Arc<Entry>>>,
}

impl Health {
    /// Not started, and without checks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The start is over: `startup` passes, and `ready` may.
    pub fn started(&self) {
        // ordering: Relaxed here and below, each flag stands for itself.
        self.shared.started.store(true, Relaxed);
    }

    /// The service is about to stop: `ready` fails from now on, so that no new
    /// requests are sent here.
    pub fn draining(&self) {
        self.shared.draining.store(true, Relaxed);
    }

    /// Adds a check that is run in the background, at once and then `interval`
    /// after each end. One that does not end within `deadline` is dropped and
    /// has failed; one whose answer is older than three intervals and the
    /// deadline, because the runtime does not run it, has failed too.
    ///
    /// Until its first answer it counts as failed.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] for a name that is taken, a zero duration, or a call
    /// outside of a tokio runtime.
    pub fn register<F, Fut>(
        &self,
        name: impl Into<String>,
        severity: Severity,
        interval: Duration,
        deadline: Duration,
        check: F,
    ) -> Result<(), RegisterError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<CheckOk, String>> + Send + 'static,
    {
        let name = name.into();
        for (what, given) in [("interval", interval), ("deadline", deadline)] {
            if given.is_zero() {
                return Err(RegisterError::Zero { name, what });
            }
        }
        let Ok(runtime) = Handle::try_current() else {
            return Err(RegisterError::NoRuntime(name));
        };
        self.add(name, |name| {
            let cell = Arc::new(Check::new(name.to_owned(), severity, interval, deadline));
            let task = runtime.spawn(Arc::clone(&cell).supervise(check));
            Entry::Background {
                check: cell,
                task: task.abort_handle(),
            }
        })
    }

    /// Adds a check that is asked whenever a snapshot is taken, for what can be
    /// read from atomics: circuit breakers, the fill of a pool. It must not
    /// block, and must not hold a clone of this `Health`, which would then
    /// never be dropped.
    ///
    /// # Errors
    ///
    /// [`RegisterError::Taken`].
    pub fn register_fn<F>(
        &self,
        name: impl Into<String>,
        severity: Severity,
        ask: F,
    ) -> Result<(), RegisterError>
    where
        F: Fn() -> (HealthStatus, Option<String>) + Send + Sync + 'static,
    {
        self.add(name.into(), |_| Entry::Computed {
            severity: Mutex::new(severity),
            ask: Arc::new(ask),
        })
    }

    /// Takes a check out and stops it; `false` if there is none of that name.
    pub fn unregister(&self, name: &str) -> bool {
        // Dropping the entry aborts its task.
        self.shared.checks.write().remove(name).is_some()
    }

    /// Sets how much a check weighs, from now on; `false` if there is none of
    /// that name. A check that was off is asked at once, and counts as failed
    /// until it has answered.
    pub fn set_severity(&self, name: &str, severity: Severity) -> bool {
        let Some(entry) = self.shared.checks.read().get(name).cloned() else {
            return false;
        };
        match &*entry {
            Entry::Background { check, .. } => check.set_severity(severity),
            Entry::Computed { severity: cell, .. } => *cell.lock() = severity,
        }
        true
    }

    /// What the checks last said, by name. Waits for none of them.
    #[must_use]
    pub fn snapshot(&self) -> HealthSnapshot {
        // Copied out: a computed check runs the code of somebody else.
        let checks: Vec<_> = {
            let checks = self.shared.checks.read();
            let copy = |(name, entry): (&String, &Arc<Entry>)| (name.clone(), Arc::clone(entry));
            checks.iter().map(copy).collect()
        };
        HealthSnapshot {
            started: self.shared.started.load(Relaxed),
            draining: self.shared.draining.load(Relaxed),
            checks: checks
                .into_iter()
                .map(|(name, entry)| entry.snapshot(name))
                .collect(),
        }
    }

    fn add(&self, name: String, entry: impl FnOnce(&str) -> Entry) -> Result<(), RegisterError> {
        let mut checks = self.shared.checks.write();
        if checks.contains_key(&name) {
            return Err(RegisterError::Taken(name));
        }
        let entry = entry(&name);
        checks.insert(name, Arc::new(entry));
        Ok(())
    }
}

impl Entry {
    fn snapshot(&self, name: String) -> CheckSnapshot {
        match self {
            Self::Background { check, .. } => check.snapshot(),
            Self::Computed { severity, ask } => {
                let severity = *severity.lock();
                let (status, output) = if severity == Severity::Off {
                    (HealthStatus::Pass, None)
                } else {
                    // A health answer must come even when a check is broken.
                    let panicked = |_: Box<dyn Any + Send>| {
                        (HealthStatus::Fail, Some("the check panicked".to_owned()))
                    };
                    catch_unwind(AssertUnwindSafe(|| ask())).unwrap_or_else(panicked)
                };
                CheckSnapshot {
                    name,
                    severity,
                    status,
                    at: (severity != Severity::Off).then(Timestamp::now),
                    output: output.map(clip),
                }
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Self::Background { task, .. } = self {
            task.abort();
        }
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.shared.checks.read();
        f.debug_struct("Health")
            .field("started", &self.shared.started)
            .field("draining", &self.shared.draining)
            .field("checks", &checks.keys().collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests;
