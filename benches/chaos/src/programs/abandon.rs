//! A caller gives up in the middle of a query, and the next one wants the only
//! connection.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::{PATIENCE, ms_between};
use crate::{
    ground::{Ground, ProgramError},
    subject::{Plan, Session, Subject},
};

/// How long the query runs when nobody stops it.
const QUERY: Duration = Duration::from_secs(3);
/// When it is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_millis(100);

/// What one abandoned query did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abandoned {
    /// Until the next user had its answer.
    pub(crate) next_user_ms: f64,
    /// Backends that still worked for nobody by then.
    pub(crate) orphans: f64,
}

/// Abandons a query `rounds` times.
pub(crate) async fn abandon<S: Subject>(
    ground: &Ground,
    rounds: usize,
) -> Result<Vec<Abandoned>, ProgramError> {
    let observer = ground.observer().await?;
    let subject = S::build(&Plan {
        url: ground.url_at(ground.address(), S::NAME),
        size: 1,
        patience: PATIENCE,
        query_deadline: None,
    })?;
    let mut outcomes = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        {
            let mut session = subject.get().await?;
            let query = format!("SELECT pg_sleep({})", QUERY.as_secs());
            // Time runs out, and with it the query and its session are dropped.
            let _ = tokio::time::timeout(GIVEN_UP_AFTER, session.run(&query)).await;
        }
        let abandoned = Instant::now();
        let mut next = subject.get().await?;
        next.ask("SELECT 'here'").await?;
        let answered = Instant::now();
        drop(next);
        outcomes.push(Abandoned {
            next_user_ms: ms_between(abandoned, answered),
            orphans: f64::from(sleeping(&observer).await?),
        });
        // The next round counts its own only.
        let end = Instant::now() + 2 * QUERY;
        while sleeping(&observer).await? > 0 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(outcomes)
}

async fn sleeping(observer: &Client) -> Result<i32, ProgramError> {
    let row = observer
        .query_one(
            "SELECT count(*)::int FROM pg_stat_activity
             WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'",
            &[],
        )
        .await?;
    Ok(row.get(0))
}
