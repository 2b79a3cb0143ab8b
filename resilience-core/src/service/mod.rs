//! Everything a service links, put together.

mod builder;
mod error;
mod events;
mod fallbacks;
mod parts;
mod pools;
mod stores;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, sync::Arc};

use axum::{Router, http::header, routing::get};
use tokio::task::AbortHandle;

pub use builder::ResilienceBuilder;
pub use error::StartError;
pub(crate) use fallbacks::Fallbacks;
#[cfg(test)]
pub(crate) use fallbacks::ManagedFallback;
#[cfg(test)]
pub(crate) use pools::ManagedPool;
pub(crate) use pools::Pools;

use crate::{
    breaker::{CircuitBreaker, KeyedBreakers, KeyedConfig, Registry},
    config::Config,
    control::ControlThread,
    health::{Health, health_router},
    http::{CorrelationIdLayer, HttpMetricsLayer},
    metrics,
    snapshot::Snapshot,
};
use parts::Parts;
use stores::Stores;

/// Breakers by name, live configuration, health, metrics, logs and the control
/// thread of one service.
///
/// A handle; when the last clone is gone the control thread stops.
///
/// # Example
///
/// ```no_run
/// use axum::{Router, routing::get};
/// use resilience_core::Resilience;
///
/// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let resilience = Resilience::builder("payments-api").config_file("config.yaml").start()?;
/// let breaker = resilience.breaker("payment_api");
/// let app = resilience.wrap(Router::new().route("/", get(|| async { "hello" })));
/// resilience.health().started();
/// # let _ = (breaker, app);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Resilience {
    parts: Arc<Parts>,
    _running: Arc<Running>,
}

/// What stops when the last handle is gone.
struct Running {
    heartbeat: AbortHandle,
    stores: Arc<Stores>,
    _control: ControlThread,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.heartbeat.abort();
        self.stores.flush();
    }
}

impl Resilience {
    /// Begins to build one for the service of that name: letters, digits,
    /// `-`, `_` and `.`, as it names files.
    #[must_use]
    pub fn builder(name: &str) -> ResilienceBuilder {
        ResilienceBuilder {
            name: name.to_owned(),
            version: "unknown".to_owned(),
            config_file: None,
            run_dir: PathBuf::from("/run/resilience"),
            state_dir: None,
            log: true,
        }
    }

    /// The breaker for the upstream of that name, with its settings from
    /// `services.<name>` or the defaults; if it was open when the process
    /// before this one was last seen, open for the rest of its wait.
    #[must_use]
    pub fn breaker(&self, name: &str) -> CircuitBreaker {
        self.parts.breaker(name, &self.parts.config.current())
    }

    /// The breakers of the upstream of that name, one for each key, such as a
    /// host or a tenant. Their settings are those of `services.<name>` or the
    /// defaults; those that were open when the process before this one was last
    /// seen, the sixteen longest at most, are open for the rest of their wait.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn of(resilience: &resilience_core::Resilience, tenant: &str) {
    /// let tenants = resilience.keyed_breakers("payment_api");
    /// let permit = tenants.get(tenant).try_acquire();
    /// # let _ = permit;
    /// # }
    /// ```
    #[must_use]
    pub fn keyed_breakers(&self, name: &str) -> KeyedBreakers {
        self.keyed_breakers_within(name, KeyedConfig::default())
    }

    /// The same with other limits than the default; those of a family that
    /// there is already stay.
    #[must_use]
    pub fn keyed_breakers_within(&self, name: &str, limits: KeyedConfig) -> KeyedBreakers {
        let config = self.parts.config.current();
        self.parts.keyed(name, &config, limits)
    }

    /// The fallback for the upstream of that name, with its settings from
    /// `services.<name>` or the defaults, for a
    /// [`FallbackLayer`](crate::fallback::FallbackLayer) around the calls to it. From
    /// then on it is in metrics, the admin API and the black box, follows the
    /// configuration, and can be switched and purged by hand. If somebody had
    /// switched it when the process before this one was last seen, it is switched
    /// still.
    ///
    /// Its answers are in memory and, with `store: file` or `store: redis`, in the
    /// store that was opened at the start.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # fn of(resilience: &resilience_core::Resilience) {
    /// let rates = resilience.fallback("rates_api");
    /// assert!(rates.snapshot().enabled);
    /// # }
    /// ```
    #[cfg(feature = "fallback")]
    #[must_use]
    pub fn fallback(&self, name: &str) -> crate::fallback::Fallback {
        self.parts.fallback(name)
    }

    /// The breakers by name.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.parts.registry
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.parts.config.current()
    }

    /// The health of the service: tell it when the start is done and when it
    /// drains, and register checks.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.parts.health
    }

    /// A picture of everything.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.parts.snapshot()
    }

    /// Adds `/health/live`, `/health/ready`, `/health/startup` and `/metrics` to
    /// the service's routes, correlation ids around all of them, and HTTP
    /// metrics around those of the service.
    pub fn wrap(&self, router: Router) -> Router {
        let (health, scraped) = (Arc::clone(&self.parts), Arc::clone(&self.parts));
        let metrics = get(move || {
            let text = metrics::render(&scraped.snapshot());
            std::future::ready(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text))
        });
        // Not counted: probes would drown the requests, and a 503 that does its
        // work would be an error in the error rate.
        let probes = Router::new()
            .merge(health_router(move || {
                std::future::ready((health.health.snapshot(), health.heartbeat_age()))
            }))
            .route("/metrics", metrics);
        router
            .layer(HttpMetricsLayer::new(self.parts.http.clone()))
            .merge(probes)
            .layer(CorrelationIdLayer::new())
    }

    /// Shows a PostgreSQL pool in metrics, the admin API and `/health/ready`,
    /// where it is the check `database`; from then on it can be resized and
    /// recycled over the admin API, and a change of `database` in the
    /// configuration is put in force on it. It takes the place of a pool of the
    /// same name.
    #[cfg(feature = "postgres")]
    pub fn add_pool(&self, pool: &crate::pool::Pool) {
        use std::time::Duration;

        use crate::health::CheckOk;

        self.parts.pools.add(Arc::new(pool.clone()));
        let (pool, severity) = (pool.clone(), self.config().ready().database);
        let (every, within) = (Duration::from_secs(1), Duration::from_secs(2));
        let added = self
            .parts
            .health
            .register("database", severity, every, within, move || {
                let pool = pool.clone();
                async move { pool.ping().await.map(|()| CheckOk::Pass) }
            });
        if let Err(error) = added {
            tracing::error!(class = "health", "the pool is not watched: {error}");
        }
    }
}

impl fmt::Debug for Resilience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resilience")
            .field("name", &self.parts.name)
            .field("registry", &self.parts.registry)
            .finish_non_exhaustive()
    }
}
