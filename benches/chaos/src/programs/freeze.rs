//! The whole server stands still for a while, as on a machine that hangs.

use std::time::{Duration, Instant};

use super::{GIVE_UP, POOL_SIZE, ms, ms_between};
use crate::{
    crowd::Crowd,
    ground::{Ground, ProgramError},
    subject::{Plan, Subject},
};

/// How long a caller is ready to wait for a connection, and for an answer.
const DEADLINE: Duration = Duration::from_secs(1);

/// What it did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frozen {
    /// The longest single wait, for a connection or for an answer.
    pub(crate) longest_wait_ms: f64,
    /// From the moment it went on; `None`: some were not served until we gave up.
    pub(crate) whole_again_ms: Option<f64>,
}

/// Runs it once.
pub(crate) async fn freeze<S: Subject>(
    ground: &Ground,
    frozen: Duration,
) -> Result<Frozen, ProgramError> {
    ground.empty_table().await?;
    let subject = S::build(&Plan {
        url: ground.url_at(ground.address(), S::NAME),
        size: POOL_SIZE,
        patience: DEADLINE,
        query_deadline: Some(DEADLINE),
    })?;
    let crowd = Crowd::start(&subject);
    crowd.at_work().await?;

    crowd.forget_waits();
    let began = Instant::now();
    ground.postgres.freeze();
    tokio::time::sleep_until((began + frozen).into()).await;
    crowd.forget_answers();
    let woken = Instant::now();
    ground.postgres.thaw();
    let served = crowd.served(GIVE_UP).await;
    let longest_wait_ms = ms(crowd.longest_wait());
    crowd.stop(DEADLINE).await;
    Ok(Frozen {
        longest_wait_ms,
        whole_again_ms: served.all.map(|all| ms_between(woken, all)),
    })
}
