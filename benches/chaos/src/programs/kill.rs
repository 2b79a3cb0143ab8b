//! The server and all its backends are killed, and started again.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use resilience_examples::Proxy;

use super::{GIVE_UP, PATIENCE, POOL_SIZE, ms_between};
use crate::{
    crowd::Crowd,
    ground::{Ground, ProgramError},
    subject::{Plan, Subject},
};

/// How the dead server shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outage {
    /// The kernel refuses connections.
    Refused,
    /// A proxy before it takes connections, counts them, and resets them.
    Counted,
}

/// What one outage did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Killed {
    /// Calls that failed from the kill until everybody was served again.
    pub(crate) errors: f64,
    /// Those of them that had begun when the last backend was dead: whatever began
    /// while one after the other was being killed may have been in flight.
    pub(crate) later_errors: f64,
    /// From the first connection that the server let in.
    pub(crate) first_success_ms: f64,
    /// `None`: some were not served until we gave up.
    pub(crate) all_served_ms: Option<f64>,
    /// Acknowledged, and not there afterwards.
    pub(crate) lost: f64,
    /// There more than once.
    pub(crate) twice: f64,
    /// Attempts to connect, if they were counted.
    pub(crate) dials: Option<Dials>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Dials {
    pub(crate) first_second: f64,
    pub(crate) per_second_after: Option<f64>,
}

/// Runs it once.
pub(crate) async fn kill<S: Subject>(
    ground: &mut Ground,
    down: Duration,
    outage: Outage,
) -> Result<Killed, ProgramError> {
    ground.empty_table().await?;
    let proxy = match outage {
        Outage::Refused => None,
        Outage::Counted => Some(Proxy::start(ground.address())?),
    };
    let subject = S::build(&plan(ground, proxy.as_ref(), S::NAME))?;
    let crowd = Crowd::start(&subject);
    crowd.at_work().await?;

    crowd.take_errors();
    let dials_before = proxy.as_ref().map(Proxy::accepted);
    let killed = Instant::now();
    ground.postgres.kill();
    let dead = Instant::now();
    let dials = match proxy.as_ref().zip(dials_before) {
        Some((proxy, before)) => Some(count_dials(proxy, before, killed, down).await),
        None => None,
    };
    tokio::time::sleep_until((killed + down).into()).await;

    crowd.forget_answers();
    let up = ground.restart().await?;
    let served = crowd.served(GIVE_UP).await;
    let errors = crowd.take_errors();
    for error in errors.iter().filter(|_| verbose()).take(20) {
        eprintln!("      {}", error.text);
    }
    let later = errors.iter().filter(|error| error.call_began > dead);
    let later_errors = count(later.count());
    let acknowledged = crowd.stop(GIVE_UP).await;
    drop(subject);

    let written = written(ground).await?;
    let missing = acknowledged.iter().filter(|id| !written.contains_key(id));
    let twice = written.values().filter(|copies| **copies > 1);
    Ok(Killed {
        errors: count(errors.len()),
        later_errors,
        first_success_ms: served
            .first
            .map_or(ms_between(up, up + GIVE_UP), |first| ms_between(up, first)),
        all_served_ms: served.all.map(|all| ms_between(up, all)),
        lost: count(missing.count()),
        twice: count(twice.count()),
        dials,
    })
}

fn plan(ground: &Ground, proxy: Option<&Proxy>, name: &str) -> Plan {
    let address: SocketAddr = proxy.map_or_else(|| ground.address(), Proxy::address);
    Plan {
        url: ground.url_at(address, name),
        size: POOL_SIZE,
        patience: PATIENCE,
        query_deadline: None,
    }
}

async fn count_dials(proxy: &Proxy, before: u64, killed: Instant, down: Duration) -> Dials {
    let first = Duration::from_secs(1).min(down);
    tokio::time::sleep_until((killed + first).into()).await;
    let in_first = proxy.accepted();
    tokio::time::sleep_until((killed + down).into()).await;
    let rest = (down - first).as_secs_f64();
    let after = proxy.accepted() - in_first;
    Dials {
        first_second: (in_first - before) as f64,
        per_second_after: (rest > 0.0).then(|| after as f64 / rest),
    }
}

/// How often each id is in the table.
async fn written(ground: &Ground) -> Result<HashMap<i64, i64>, ProgramError> {
    let rows = ground
        .observer()
        .await?
        .query("SELECT id, count(*) FROM written GROUP BY id", &[])
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn count(number: usize) -> f64 {
    number as f64
}

fn verbose() -> bool {
    std::env::var_os("CHAOS_ERRORS").is_some()
}
