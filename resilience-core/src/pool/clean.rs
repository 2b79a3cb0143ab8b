//! What happens to a connection before the next statement, or the next user, if the
//! last one left something behind.
//!
//! A statement that was given up is cancelled on the server and its answer waited
//! for: whatever comes next on the connection would wait for it anyway, and a
//! cancellation that comes late hits the statement that runs then. So the
//! cancellation is over before anything else is sent. A transaction is rolled
//! back; settings, temporary tables, locks and the like are reset. What cannot
//! be cleaned in time is closed.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;

use super::{error::QueryError, inner::Inner, session::Session, stats::one};

/// How long a cancellation may take, and then the answer to what was cancelled,
/// and then each statement of the cleaning, at most: a server that is well takes a
/// few milliseconds for all of it.
const LONGEST: Duration = Duration::from_secs(1);

/// The same here: never longer than a new connection may take, which is what there
/// would be instead.
fn each_within(inner: &Inner) -> Duration {
    inner.settings.load().connect.min(LONGEST)
}

/// How long to see whether there is anything to cancel.
const A_MOMENT: Duration = Duration::from_millis(20);

/// All that a session can be left with, but for prepared statements, which
/// tokio-postgres relies on, and `DISCARD PLANS`, which would throw away what
/// they are prepared for. As one script it needs no transaction to be over.
const RESET: &str = "ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
     SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// Asks the server to give up what runs on the session, without waiting for it.
pub(super) fn cancel(inner: &Arc<Inner>, session: &Session) {
    let mut cancelling = session.cancelling.lock();
    let runs = cancelling.as_ref().is_some_and(|task| !task.is_finished());
    if runs || session.is_closed() {
        return;
    }
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        // Dropped outside of the runtime: cancelled when it is returned.
        return;
    };
    one(&inner.stats.cancelled);
    let (address, token) = (session.address.clone(), session.client.cancel_token());
    let (asked, within) = (inner.transport.cancel(address, token), each_within(inner));
    *cancelling = Some(runtime.spawn(async move {
        let is_over = tokio::time::timeout(within, asked).await;
        is_over.unwrap_or(false)
    }));
}

/// Makes a session ready for its holder's next statement.
pub(super) async fn make_ready(inner: &Arc<Inner>, session: &Session) -> Result<(), QueryError> {
    let unusable = |why| QueryError::Unusable { why };
    if session.desk.is_broken() {
        return Err(unusable("an earlier statement could not be cancelled"));
    }
    if session.desk.is_in_doubt() && !settle(inner, session).await {
        return Err(unusable("a statement that was given up did not end"));
    }
    match session.desk.take_undo() {
        None => Ok(()),
        Some(savepoint) => {
            let script = undo(savepoint);
            if within_limit(inner, session, &script).await {
                Ok(())
            } else {
                session.desk.break_off();
                Err(unusable("a transaction that was dropped is not undone"))
            }
        }
    }
}

/// The script that undoes a dropped transaction, or a dropped savepoint.
fn undo(savepoint: u32) -> String {
    match savepoint {
        0 => "ROLLBACK".to_owned(),
        _ => format!("ROLLBACK TO SAVEPOINT sp_{savepoint}; RELEASE SAVEPOINT sp_{savepoint}"),
    }
}

impl Inner {
    /// Cleans a session that its user has returned, and puts it back.
    pub(super) async fn clean_and_put(self: Arc<Self>, session: Box<Session>) {
        let mut cleaning = Cleaning {
            inner: &self,
            session: Some(session),
        };
        let Some(session) = &cleaning.session else {
            return;
        };
        let is_clean = clean(&self, session).await;
        if let Some(session) = cleaning.session.take() {
            if is_clean {
                one(&self.stats.cleaned);
                self.put(session);
            } else {
                self.retire(session);
            }
        }
    }
}

/// Ends what it holds, should the runtime end before it is clean.
struct Cleaning<'a> {
    inner: &'a Inner,
    session: Option<Box<Session>>,
}

impl Drop for Cleaning<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.inner.retire(session);
        }
    }
}

async fn clean(inner: &Arc<Inner>, session: &Session) -> bool {
    let desk = &session.desk;
    if desk.is_broken() {
        return false;
    }
    // Of one that was used past us it is not known; mostly it is answered.
    let unanswered = desk.is_unseen() && !is_alive(session, A_MOMENT).await;
    if desk.is_in_doubt() || unanswered {
        cancel(inner, session);
        if !settle(inner, session).await {
            return false;
        }
    }
    // Only now: what it left behind is not left on the server.
    if desk.is_lost() {
        return false;
    }
    let script = if desk.has_traces() { RESET } else { "ROLLBACK" };
    let done = within_limit(inner, session, script).await;
    desk.was_cleaned();
    done
}

/// Waits until nothing that was sent is left unanswered; whether that is so.
async fn settle(inner: &Arc<Inner>, session: &Session) -> bool {
    let task = session.cancelling.lock().take();
    let mut cancelling = Cancelling { session, task };
    if !cancelling.is_over().await {
        // A server that wakes up later may find it still, and would give up
        // whatever runs then.
        inner.gate.suspect();
        session.desk.break_off();
        return false;
    }
    // Others that are on their way are answered before.
    let within = match inner.settings.load().query {
        Some(limit) if session.desk.is_busy() => limit + each_within(inner),
        _ => each_within(inner),
    };
    // Answers come in order: an empty statement is answered after all others.
    // The cancellation may hit the first; the second it cannot: the backend had its
    // signal before it answered the first.
    for _ in 0..2 {
        let asked = tokio::time::timeout(within, session.client.simple_query("")).await;
        match asked {
            Ok(Ok(_)) => {
                session.desk.is_settled();
                return true;
            }
            Ok(Err(error)) if error.code() == Some(&SqlState::QUERY_CANCELED) => {}
            Ok(Err(_)) | Err(_) => break,
        }
    }
    inner.gate.suspect();
    session.desk.break_off();
    false
}

/// A cancellation that is waited for. Whoever stops waiting leaves it to the next:
/// nothing may be sent to the next user before it is over.
struct Cancelling<'a> {
    session: &'a Session,
    task: Option<JoinHandle<bool>>,
}

impl Cancelling<'_> {
    async fn is_over(&mut self) -> bool {
        let Some(task) = &mut self.task else {
            return true;
        };
        let is_over = task.await.unwrap_or(false);
        self.task = None;
        is_over
    }
}

impl Drop for Cancelling<'_> {
    fn drop(&mut self) {
        if self.task.is_some() {
            *self.session.cancelling.lock() = self.task.take();
        }
    }
}

async fn within_limit(inner: &Inner, session: &Session, script: &str) -> bool {
    let done = tokio::time::timeout(each_within(inner), session.client.batch_execute(script)).await;
    matches!(done, Ok(Ok(())))
}

/// Asks an idle session for a sign of life.
pub(super) async fn is_alive(session: &Session, within: Duration) -> bool {
    let asked = tokio::time::timeout(within, session.client.simple_query("")).await;
    matches!(asked, Ok(Ok(_)))
}
