//! One statement: timed, within a deadline, and cancelled if it is given up.

use std::{
    future::Future,
    panic::Location,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    clean, deadline, desk::Desk, error::QueryError, inner::Inner, report, session::Session,
    sql::Text, statement, stats::one,
};

/// A statement that has been sent and not been answered. Dropped before it is
/// finished, it has been given up.
#[derive(Debug)]
pub(super) struct Operation<'a> {
    inner: &'a Arc<Inner>,
    session: &'a Session,
    place: &'static Location<'static>,
    text: Option<&'a str>,
    begun: Instant,
    /// What takes longer is logged.
    slow: Option<Duration>,
    finished: bool,
}

/// Sends a statement of the caller's and waits for its answer.
pub(super) async fn run<T>(
    inner: &Arc<Inner>,
    session: &Session,
    place: &'static Location<'static>,
    text: Text<'_>,
    work: Pin<&mut impl Future<Output = Result<T, tokio_postgres::Error>>>,
) -> Result<T, QueryError> {
    let (operation, answer) = begin(inner, session, place, text, work).await?;
    operation.finish();
    Ok(answer)
}

/// Has a statement of the caller's prepared.
pub(super) async fn prepare<T>(
    inner: &Arc<Inner>,
    session: &Session,
    place: &'static Location<'static>,
    text: &str,
    work: Pin<&mut impl Future<Output = Result<T, tokio_postgres::Error>>>,
) -> Result<T, QueryError> {
    let (text, note) = (Text::of(text), Desk::begin_to_prepare);
    let (operation, prepared) = send(inner, session, place, text, work, note).await?;
    operation.finish();
    Ok(prepared)
}

/// Sends a script of the pool's own, which leaves no trace.
pub(super) async fn run_own(
    inner: &Arc<Inner>,
    session: &Session,
    script: &str,
) -> Result<(), QueryError> {
    let place = session
        .desk
        .holder()
        .map_or(Location::caller(), |(place, _)| place);
    let work = pin!(session.client.batch_execute(script));
    let (operation, ()) = send(
        inner,
        session,
        place,
        Text::of(script),
        work,
        Desk::begin_own,
    )
    .await?;
    operation.finish();
    Ok(())
}

/// The same, for a statement whose answer goes on after its first part.
pub(super) async fn begin<'a, T>(
    inner: &'a Arc<Inner>,
    session: &'a Session,
    place: &'static Location<'static>,
    text: Text<'a>,
    work: Pin<&mut impl Future<Output = Result<T, tokio_postgres::Error>>>,
) -> Result<(Operation<'a>, T), QueryError> {
    send(inner, session, place, text, work, Desk::begin).await
}

async fn send<'a, T>(
    inner: &'a Arc<Inner>,
    session: &'a Session,
    place: &'static Location<'static>,
    text: Text<'a>,
    work: Pin<&mut impl Future<Output = Result<T, tokio_postgres::Error>>>,
    note: impl FnOnce(&Desk, Text<'_>) -> Option<u32>,
) -> Result<(Operation<'a>, T), QueryError> {
    if !session.desk.is_ready() {
        make_ready(inner, session).await?;
    }
    let repeated = note(&session.desk, text);
    let begun = Instant::now();
    let (limit, slow) = (inner.times.query(), inner.times.slow());
    let operation = Operation {
        inner,
        session,
        place,
        text: text.text,
        begun,
        slow,
        finished: false,
    };
    if let Some(times) = repeated {
        one(&inner.stats.repeated);
        report::repeated(inner, place, text.text.unwrap_or_default(), times);
    }
    let answered = match limit {
        None => work.await,
        Some(limit) => match deadline::within(begun, limit, work).await {
            Some(answered) => answered,
            None => return Err(QueryError::Timeout { after: limit }),
        },
    };
    match answered {
        Ok(answer) => Ok((operation, answer)),
        Err(error) => {
            operation.finish();
            Err(failed(inner, session, error))
        }
    }
}

/// Boxed: it is seldom needed, and its future is larger than all the rest.
#[cold]
fn make_ready<'a>(
    inner: &'a Arc<Inner>,
    session: &'a Session,
) -> Pin<Box<impl Future<Output = Result<(), QueryError>> + 'a>> {
    Box::pin(clean::make_ready(inner, session))
}

fn failed(inner: &Inner, session: &Session, error: tokio_postgres::Error) -> QueryError {
    let error = QueryError::from(error);
    if error.is_outage() {
        // Its end may not have been seen yet.
        session.desk.break_off();
        inner.gate.suspect();
    }
    error
}

impl Operation<'_> {
    /// It has been answered in full.
    pub(super) fn finish(mut self) {
        self.finished = true;
        self.session.desk.end();
        let took = self.begun.elapsed();
        self.inner.stats.query.note_time(took);
        if let Some(limit) = self.slow.filter(|limit| took > *limit) {
            one(&self.inner.stats.slow);
            let text = self.text.map(statement::normalise);
            report::slow(self.inner, self.place, text.as_deref(), took, limit);
        }
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.inner.stats.query.note_time(self.begun.elapsed());
        // Beside others on this connection it is cancelled when the connection is
        // returned: the server would cancel whichever it is at.
        if self.session.desk.give_up() {
            clean::cancel(self.inner, self.session);
        }
    }
}
