//! Waiting for what takes a while, never longer than needed.

use std::time::{Duration, Instant};

/// Long enough for whatever happens in a moment, also on a loaded machine.
pub const SOON: Duration = Duration::from_secs(20);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Looks until it is as it should be, and returns what was seen then. The error
/// of a look says what is not yet as it should be.
///
/// # Panics
///
/// When the deadline passes, with the last look's error.
pub async fn eventually<T>(
    deadline: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let until = Instant::now() + deadline;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(problem) => assert!(
                Instant::now() < until,
                "still not so after {deadline:?}: {problem}"
            ),
        }
        tokio::time::sleep(LOOK).await;
    }
}
