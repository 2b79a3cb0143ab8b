//! The whole API on one screen, and the process that serves it.

use std::{
    future::{self, Future},
    io,
    net::SocketAddr,
    sync::Arc,
};

use axum::{
    Router,
    extract::State,
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use resilience_core::{
    Problem,
    control::{Condition, admin_router},
};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    audit::{self, AuditLog},
    auth::TokenFile,
    database::{self, Database},
    guard::{AllowedHosts, Guard},
    health::{self, Probe},
    journal::Journal,
    metrics::{ServiceUp, SidecarMetrics},
    problem,
    serve::{self, Limits},
    service::{LinkSettings, RunDir, ServiceLink},
    settings::Settings,
};

/// What the handlers share.
#[derive(Clone, Debug)]
struct App {
    link: ServiceLink,
    database: Database,
    journal: Journal,
    metrics: SidecarMetrics,
}

/// Reads and changes; for loopback, or with the token.
fn admin(app: App, guard: Guard) -> Router {
    let guard = Arc::new(guard);
    Router::new()
        .route("/", get(|| async { INDEX }))
        .merge(admin_router(app.link.clone()))
        .merge(database::router(app.database.clone(), app.journal.clone()))
        .merge(public_routes(app))
        .layer(middleware::from_fn_with_state(guard, Guard::stand))
        // Outside of the guard, so that what the guard lets through and the
        // router does not know is dressed too.
        .layer(middleware::map_response(problem::dress))
}

/// Reads that anyone may make.
fn public(app: App) -> Router {
    public_routes(app).layer(middleware::map_response(problem::dress))
}

fn public_routes(app: App) -> Router {
    let probe = |probe| {
        get(
            move |State(app): State<App>| async move { health::answer(probe, &app.link.sight().await) },
        )
    };
    Router::new()
        .route("/health/live", probe(Probe::Live))
        .route("/health/ready", probe(Probe::Ready))
        .route("/health/startup", probe(Probe::Startup))
        .route("/metrics", get(metrics))
        .route("/sidecar/livez", get(|| async { "ok\n" }))
        .with_state(app)
}

const INDEX: &str = "\
admin sidecar

GET  /admin/circuit-breaker                  all breakers
GET  /admin/circuit-breaker/{svc}            one, in full
GET  /admin/circuit-breaker/{svc}/state      {\"state\":\"CLOSED\"}, HALF_OPEN or OPEN
GET  /admin/circuit-breaker/{svc}/explain    why it is in this state
GET  /admin/circuit-breaker/{svc}/events     what happened to it, newest first
POST /admin/circuit-breaker/{svc}/reset      close it; ?watch=5s waits and says whether it stayed so
POST /admin/circuit-breaker/{svc}/force-open refuse every call
POST /admin/circuit-breaker/{svc}/disable    let every call through, count nothing
POST /admin/circuit-breaker/{svc}/metrics-only
                                             let every call through, count, show what it would do
POST /admin/circuit-breaker/{svc}/enable     remove what one of these three has set
     these take ?dry_run, which says what would happen, and a JSON body, all of it optional:
     {\"reason\": \"…\", \"if_generation\": 7}, and the three {\"for\": \"30m\"}; without: until removed
GET  /admin/db/activity                      statements that run now, and who blocks them
GET  /admin/db/slow-queries                  the slowest on average
GET  /admin/db/table-sizes                   the largest tables
GET  /admin/db/missing-indexes               where an index may be missing, and why
GET  /admin/db/connections                   connections by state, wait event, application
GET  /admin/db/leaks                         older than 10 minutes, or idle in a transaction
GET  /admin/db/idle                          idle for longer than ?longer_than=5m
GET  /admin/db/locks                         who waits for whose lock
     these take ?limit=50 (at most 500), and are tables with Accept: text/plain
POST /admin/db/terminate                     end a backend, {\"pid\": 4711}, or several,
                                             {\"idle_longer_than\": \"5m\"}; both with \"reason\"; ?dry_run
GET  /admin/pools                            all connection pools
GET  /admin/pools/{name}                     one, in full
GET  /admin/pools/{name}/connections         who holds its connections, longest first
POST /admin/pools/{name}/resize              {\"pool_size\": 30, \"max_overflow\": 20}, one of them or both
POST /admin/pools/{name}/recycle             replace every connection, none before it is returned
     these take ?dry_run and a \"reason\" too
GET  /admin/fallback                         all fallbacks and their stores, and what is amiss with them
GET  /admin/fallback/{svc}                   one, in full
POST /admin/fallback/{svc}/enable            answer in place of the upstream; by hand, unless the
                                             configuration says so already
POST /admin/fallback/{svc}/disable           let every failure through to the caller
POST /admin/fallback/{svc}/purge             forget every answer
     these take ?dry_run and a \"reason\" too; a switch by hand outlives a restart
GET  /admin/config                           what is configured, and where from
GET  /health/live                            200 or 503: the service makes progress
GET  /health/ready                           200 or 503: the service can take requests
GET  /health/startup                         200 or 503: the service has started
GET  /metrics                                Prometheus text
GET  /sidecar/livez                          the sidecar itself
";

async fn metrics(State(app): State<App>) -> Response {
    let sight = app.link.sight().await.ok();
    let answered =
        |condition: &Condition| matches!(condition, Condition::Live | Condition::RuntimeBlocked);
    let service = ServiceUp {
        service: match &sight {
            Some(sight) => sight.snapshot.service.clone(),
            None => app.link.service_name().unwrap_or("unknown".to_owned()),
        },
        up: sight.as_ref().is_some_and(|s| answered(&s.condition)),
        heartbeat_age: sight.as_ref().and_then(|sight| sight.heartbeat_age()),
    };
    let own = match app.metrics.render(&service) {
        Ok(own) => own,
        Err(error) => {
            return Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("cannot render the metrics: {error}"),
            )
            .advice("report this: it is a mistake in the sidecar")
            .into_response();
        }
    };
    // Also from the last picture: counters that vanished would look like a
    // restart, and `admin_service_up` says what they are.
    let mut text = sight.map_or_else(String::new, |s| {
        resilience_core::metrics::render(&s.snapshot)
    });
    text.push_str(&own);
    let format = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, format)], text).into_response()
}

/// Why the sidecar did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A listener's port cannot be had, or the machine gives no thread.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The metrics cannot be made.
    #[error("cannot make the metrics")]
    Metrics(#[from] prometheus::Error),
}

/// A sidecar whose listeners are bound.
#[derive(Debug)]
pub struct Sidecar {
    app: App,
    guard: Guard,
    admin: TcpListener,
    public: TcpListener,
}

impl Sidecar {
    /// Binds both listeners; the service need not be there yet.
    ///
    /// # Errors
    ///
    /// [`StartError`] names the address that cannot be had.
    pub async fn bind(settings: &Settings) -> Result<Self, StartError> {
        let metrics = SidecarMetrics::try_new()?;
        let admin = serve::bind("admin", "--admin-listen", settings.admin_listen()).await?;
        let public = serve::bind("public", "--public-listen", settings.public_listen()).await?;
        let audit = AuditLog::new(settings.audit_log().to_owned(), audit::MAX_BYTES)?;
        let run_dir = RunDir::new(settings.run_dir(), settings.service().map(str::to_owned));
        let link = LinkSettings {
            run_dir,
            ask_timeout: settings.ask_timeout(),
            patience: settings.change_patience(),
        };
        let hosts = AllowedHosts::new(admin.local_addr()?.ip(), settings.allowed_hosts());
        let token = settings.token_file().map(TokenFile::new);
        let journal = Journal::new(audit, metrics.clone());
        Ok(Self {
            app: App {
                link: ServiceLink::new(link, journal.clone()),
                database: Database::new(settings.database().cloned()),
                journal,
                metrics: metrics.clone(),
            },
            guard: Guard::new(hosts, token, metrics),
            admin,
            public,
        })
    }

    /// Where the admin API is.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub fn admin_addr(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Where health and metrics are.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub fn public_addr(&self) -> io::Result<SocketAddr> {
        self.public.local_addr()
    }

    /// Serves until `stop` is ready, then lets open requests end.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            app,
            guard,
            admin: admin_listener,
            public: public_listener,
        } = self;
        let (link, database) = (app.link.clone(), app.database.clone());
        let (sender, stopping) = watch::channel(false);
        let limits = Limits::default();
        let serving = async {
            tokio::join!(
                serve::serve(
                    admin_listener,
                    admin(app.clone(), guard),
                    limits,
                    stopping.clone()
                ),
                serve::serve(public_listener, public(app), limits, stopping.clone()),
            )
        };
        let reserved = async {
            database.reserve().await;
            future::pending().await
        };
        let signal = async {
            tokio::select! {
                () = stop => {}
                () = link.watch() => {}
                // Ends with the process and not the other way round: a database
                // that hangs must not keep it.
                () = reserved => {}
            }
            sender.send_replace(true);
        };
        tokio::join!(serving, signal);
        link.abandon();
    }
}
