//! The payments service of the demo and of the integration tests.

use std::{error::Error, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Parser;
use resilience_core::{
    Resilience,
    log::{startup, startup_failed},
    pool::Pool,
};
use resilience_examples::payments::{Database, PAYMENT_API, Payments, causes};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// A payments service: a row in PostgreSQL, then a call of the payment provider.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    /// Address to serve on; port 0 takes a free one and logs it.
    #[arg(long, env = "PAYMENTS_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// PostgreSQL, as a URL or as `key=value` pairs.
    #[arg(long, env = "PAYMENTS_DATABASE")]
    database: String,
    /// The payment provider.
    #[arg(
        long,
        env = "PAYMENTS_UPSTREAM",
        default_value = "http://127.0.0.1:8081"
    )]
    upstream: String,
    /// Where the control socket and the black box lie.
    #[arg(long, env = "PAYMENTS_RUN_DIR", default_value = "/run/resilience")]
    run_dir: PathBuf,
    /// Where the last good rates are kept with `fallback: {store: file}`, through a
    /// restart. Default: what systemd gives, else a folder in /var/lib/resilience.
    #[arg(long, env = "PAYMENTS_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// The configuration; looked at once a second.
    #[arg(long, env = "PAYMENTS_CONFIG")]
    config: Option<PathBuf>,
    /// Serves what does it harm: `POST /drill/block?for=5s` blocks the whole runtime,
    /// `slow` is a slow statement, `hold` sits on a connection, and
    /// `GET /drill/users/orders?n=20` has a statement for each user.
    #[arg(long)]
    allow_drills: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let mut builder = Resilience::builder("payments-api")
        .version(env!("CARGO_PKG_VERSION"))
        .run_dir(&args.run_dir);
    if let Some(state_dir) = &args.state_dir {
        builder = builder.state_dir(state_dir);
    }
    if let Some(config) = &args.config {
        builder = builder.config_file(config);
    }
    let resilience = match builder.start() {
        Ok(resilience) => resilience,
        Err(error) => return error.report(),
    };
    match serve(&args, &resilience).await {
        Ok(()) => ExitCode::SUCCESS,
        Err((step, error)) => {
            startup_failed(step, causes(&*error));
            ExitCode::FAILURE
        }
    }
}

type Failed = (&'static str, Box<dyn Error>);

/// Names the step of the start that failed.
fn at<E: Into<Box<dyn Error>>>(step: &'static str) -> impl FnOnce(E) -> Failed {
    move |error| (step, error.into())
}

async fn serve(args: &Args, resilience: &Resilience) -> Result<(), Failed> {
    let pool = Pool::new("main", &args.database, resilience.config().database())
        .map_err(at("database"))?;
    resilience.add_pool(&pool);
    let database = Database::new(pool);
    database.migrate().await.map_err(at("migrations"))?;
    startup("migrations", "the tables are there");

    let payments = Payments::new(
        database,
        &args.upstream,
        resilience.breaker(PAYMENT_API),
        resilience.fallback(PAYMENT_API),
    );
    let app = resilience.wrap(payments.router(args.allow_drills));
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", args.listen))
        .map_err(at("listener"))?;
    let address = listener.local_addr().map_err(at("listener"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(at("signals"))?;
    startup("listener", format!("listening on http://{address}"));
    resilience.health().started();

    let health = resilience.health().clone();
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        health.draining();
    };
    axum::serve(listener, app)
        .with_graceful_shutdown(stop)
        .await
        .map_err(at("serving"))
}
