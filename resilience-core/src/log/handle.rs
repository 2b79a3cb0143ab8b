//! Setting the log up, and changing it while it runs.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{RwLock, RwLockReadGuard};
use tracing_subscriber::{Registry, layer::SubscriberExt};

use super::{filter::LogFilter, layer::LineLayer, record::Format};

/// How to log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Name of the service, field 3 of each line.
    pub service: String,
    /// Text or JSON. Default: text.
    pub format: Format,
    /// What is written. Default: level `info`.
    pub level: LogFilter,
}

impl LogOptions {
    /// The defaults for a service of this name.
    pub fn new(service: impl Into<String>) -> Self {
        Self {
            service: service.into(),
            format: Format::default(),
            level: LogFilter::default(),
        }
    }
}

/// Why the log was not set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Somebody was first.
    #[error(
        "the process already has a tracing subscriber, expected none: call `log::init` once and \
         before any other, or add a `LineLayer` to the subscriber that is there"
    )]
    AlreadySet,
}

/// Writes the log of this process to standard output.
///
/// # Errors
///
/// [`LogError::AlreadySet`] if the process has a tracing subscriber already.
pub fn init(options: LogOptions) -> Result<LogHandle, LogError> {
    let (layer, handle) = LineLayer::new(options, io::stdout());
    tracing::subscriber::set_global_default(Registry::default().with(layer))
        .map_err(|_| LogError::AlreadySet)?;
    Ok(handle)
}

/// Changes the log while it runs. Cheap to clone; dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct LogHandle {
    shared: Arc<Shared>,
}

impl LogHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Sets what is written, from the next record on.
    pub fn set_level(&self, level: impl Into<LogFilter>) {
        // A statement of its own: the lock has to be free when the cache asks
        // the layer again.
        self.shared.settings.write().filter = level.into();
        tracing_core::callsite::rebuild_interest_cache();
    }

    /// Sets how records are written, from the next one on.
    pub fn set_format(&self, format: Format) {
        self.shared.settings.write().format = format;
    }

    /// What is written.
    #[must_use]
    pub fn level(&self) -> LogFilter {
        self.shared.filter().clone()
    }

    /// How records are written.
    #[must_use]
    pub fn format(&self) -> Format {
        self.shared.format()
    }

    /// How many lines could not be written.
    #[must_use]
    pub fn lost(&self) -> u64 {
        // ordering: Relaxed, a count that publishes nothing.
        self.shared.lost.load(Ordering::Relaxed)
    }
}

/// What layer and handle share.
#[derive(Debug)]
pub(super) struct Shared {
    service: String,
    settings: RwLock<Settings>,
    lost: AtomicU64,
}

#[derive(Debug)]
struct Settings {
    filter: LogFilter,
    format: Format,
}

impl Shared {
    pub(super) fn new(options: LogOptions) -> Self {
        Self {
            service: options.service,
            settings: RwLock::new(Settings {
                filter: options.level,
                format: options.format,
            }),
            lost: AtomicU64::new(0),
        }
    }

    pub(super) fn service(&self) -> &str {
        &self.service
    }

    pub(super) fn filter(&self) -> impl std::ops::Deref<Target = LogFilter> + '_ {
        RwLockReadGuard::map(self.settings.read(), |settings| &settings.filter)
    }

    pub(super) fn format(&self) -> Format {
        self.settings.read().format
    }

    pub(super) fn count_lost(&self) {
        // ordering: Relaxed, see `LogHandle::lost`.
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
