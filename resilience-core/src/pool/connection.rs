//! A connection in the hands of a caller.

use std::{
    future::Future,
    panic::Location,
    pin::{Pin, pin},
    sync::Arc,
};

use tokio_postgres::{
    CopyInSink, Row, SimpleQueryMessage,
    types::{BorrowToSql, ToSql, Type},
};

use super::{
    error::QueryError,
    inner::Inner,
    operation::{self, Operation},
    prepared::Prepared,
    session::Session,
    sql::{Sql, Text},
    stream::{CopyOutStream, RowStream},
    transaction::{Transaction, TransactionBuilder},
};

/// A connection of a [`Pool`](super::Pool); back in it when dropped.
///
/// It has the methods of `tokio_postgres::Client` under their names. Each is
/// timed, has `query_timeout` to be answered, and is logged when it is slow.
/// A future that is dropped before its answer is there has its statement
/// cancelled on the server; the next statement, or the next user, waits until
/// that is over. Statements may be sent while others are not yet answered
/// (pipelining): join their futures.
///
/// When it is dropped, what it left behind is cleaned before anybody else has it:
/// a transaction is rolled back, settings and the like are reset.
///
/// # Example
///
/// ```no_run
/// # async fn orders(pool: resilience_core::pool::Pool, user: i64) -> Result<usize, Box<dyn std::error::Error>> {
/// let connection = pool.get().await?;
/// let select = connection.prepare_cached("SELECT item FROM orders WHERE user_id = $1").await?;
/// let rows = connection.query(&select, &[&user]).await?;
/// # Ok(rows.len())
/// # }
/// ```
#[derive(Debug)]
pub struct Connection {
    inner: Arc<Inner>,
    /// Always there, until it is dropped.
    session: Option<Box<Session>>,
}

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Connection {
    pub(super) fn new(inner: Arc<Inner>, session: Box<Session>) -> Self {
        Self {
            inner,
            session: Some(session),
        }
    }

    pub(super) fn session(&self) -> &Session {
        self.session
            .as_ref()
            .expect("a connection has its session until it is dropped")
    }

    // Work is pinned by those who begin it. Handed down as it is, it would be copied
    // from each function to the next, and each would have room for two of it.

    async fn run<T>(
        &self,
        place: &'static Location<'static>,
        text: Text<'_>,
        work: Pin<&mut impl Future<Output = Result<T, tokio_postgres::Error>>>,
    ) -> Result<T, QueryError> {
        operation::run(&self.inner, self.session(), place, text, work).await
    }

    async fn run_preparing(
        &self,
        place: &'static Location<'static>,
        text: &str,
        work: Pin<
            &mut impl Future<Output = Result<tokio_postgres::Statement, tokio_postgres::Error>>,
        >,
    ) -> Result<tokio_postgres::Statement, QueryError> {
        operation::prepare(&self.inner, self.session(), place, text, work).await
    }

    async fn prepare_at(
        &self,
        place: &'static Location<'static>,
        text: &str,
    ) -> Result<Prepared, QueryError> {
        let work = pin!(self.session().client.prepare(text));
        let statement = self.run_preparing(place, text, work).await?;
        Ok(Prepared::new(statement, text))
    }

    async fn begin<'a, T>(
        &'a self,
        place: &'static Location<'static>,
        text: Text<'a>,
        work: Pin<&mut impl Future<Output = Result<T, tokio_postgres::Error>>>,
    ) -> Result<(Operation<'a>, T), QueryError> {
        operation::begin(&self.inner, self.session(), place, text, work).await
    }

    /// Sends a script of the pool's own, which leaves no trace.
    pub(super) async fn run_own(&self, text: &str) -> Result<(), QueryError> {
        operation::run_own(&self.inner, self.session(), text).await
    }

    // ── rows ─────────────────────────────────────────────────────────────

    /// The rows of a statement.
    ///
    /// # Errors
    ///
    /// [`QueryError`], as for every method here.
    #[track_caller]
    pub fn query<'a, T: ?Sized + Sql>(
        &'a self,
        statement: &'a T,
        parameters: Parameters<'a>,
    ) -> impl Future<Output = Result<Vec<Row>, QueryError>> + Send + 'a {
        let place = Location::caller();
        async move {
            let work = pin!(self.session().client.query(statement.inner(), parameters));
            self.run(place, statement.text(), work).await
        }
    }

    /// The one row of a statement.
    ///
    /// # Errors
    ///
    /// Also if there is none, or more than one.
    #[track_caller]
    pub fn query_one<'a, T: ?Sized + Sql>(
        &'a self,
        statement: &'a T,
        parameters: Parameters<'a>,
    ) -> impl Future<Output = Result<Row, QueryError>> + Send + 'a {
        let place = Location::caller();
        async move {
            let work = pin!(
                self.session()
                    .client
                    .query_one(statement.inner(), parameters)
            );
            self.run(place, statement.text(), work).await
        }
    }

    /// The row of a statement, or none.
    ///
    /// # Errors
    ///
    /// Also if there is more than one.
    #[track_caller]
    pub fn query_opt<'a, T: ?Sized + Sql>(
        &'a self,
        statement: &'a T,
        parameters: Parameters<'a>,
    ) -> impl Future<Output = Result<Option<Row>, QueryError>> + Send + 'a {
        let place = Location::caller();
        async move {
            let work = pin!(
                self.session()
                    .client
                    .query_opt(statement.inner(), parameters)
            );
            self.run(place, statement.text(), work).await
        }
    }

    /// The rows of a statement as they come. Dropped before its end, it has the
    /// statement cancelled.
    ///
    /// # Errors
    ///
    /// [`QueryError`]; `query_timeout` is for the first answer.
    #[track_caller]
    pub fn query_raw<'a, T, P, I>(
        &'a self,
        statement: &'a T,
        parameters: I,
    ) -> impl Future<Output = Result<RowStream<'a>, QueryError>> + Send + 'a
    where
        T: ?Sized + Sql,
        P: BorrowToSql + Send + 'a,
        I: IntoIterator<Item = P> + Send + 'a,
        I::IntoIter: ExactSizeIterator + Send,
    {
        let place = Location::caller();
        async move {
            let work = pin!(
                self.session()
                    .client
                    .query_raw(statement.inner(), parameters)
            );
            let (operation, rows) = self.begin(place, statement.text(), work).await?;
            Ok(RowStream::new(operation, rows))
        }
    }

    // ── no rows ──────────────────────────────────────────────────────────

    /// How many rows a statement changed.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    #[track_caller]
    pub fn execute<'a, T: ?Sized + Sql>(
        &'a self,
        statement: &'a T,
        parameters: Parameters<'a>,
    ) -> impl Future<Output = Result<u64, QueryError>> + Send + 'a {
        let place = Location::caller();
        async move {
            let work = pin!(self.session().client.execute(statement.inner(), parameters));
            self.run(place, statement.text(), work).await
        }
    }

    /// Runs statements parted by semicolons, without parameters.
    ///
    /// # Errors
    ///
    /// [`QueryError`]; those that follow are not run.
    #[track_caller]
    pub fn batch_execute<'a>(
        &'a self,
        script: &'a str,
    ) -> impl Future<Output = Result<(), QueryError>> + Send + 'a {
        let place = Location::caller();
        async move {
            let work = pin!(self.session().client.batch_execute(script));
            self.run(place, Text::of(script), work).await
        }
    }

    /// The same, with the rows as text.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    #[track_caller]
    pub fn simple_query<'a>(
        &'a self,
        script: &'a str,
    ) -> impl Future<Output = Result<Vec<SimpleQueryMessage>, QueryError>> + Send + 'a {
        let place = Location::caller();
        async move {
            let work = pin!(self.session().client.simple_query(script));
            self.run(place, Text::of(script), work).await
        }
    }

    // ── prepared ─────────────────────────────────────────────────────────

    /// Prepares a statement on this connection.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    #[track_caller]
    pub fn prepare<'a>(
        &'a self,
        text: &'a str,
    ) -> impl Future<Output = Result<Prepared, QueryError>> + Send + 'a {
        self.prepare_at(Location::caller(), text)
    }

    /// Prepares a statement whose parameters have these types.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    #[track_caller]
    pub fn prepare_typed<'a>(
        &'a self,
        text: &'a str,
        types: &'a [Type],
    ) -> impl Future<Output = Result<Prepared, QueryError>> + Send + 'a {
        let place = Location::caller();
        async move {
            let work = pin!(self.session().client.prepare_typed(text, types));
            let statement = self.run_preparing(place, text, work).await?;
            Ok(Prepared::new(statement, text))
        }
    }

    /// Prepares a statement, or finds it prepared by an earlier user of this
    /// connection. One that is found is not sent, and so neither timed nor counted.
    ///
    /// The first 1,000 texts stay prepared as long as the connection lives; another one is
    /// prepared each time, as by [`prepare`](Self::prepare).
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    #[track_caller]
    pub fn prepare_cached<'a>(
        &'a self,
        text: &'a str,
    ) -> impl Future<Output = Result<Prepared, QueryError>> + Send + 'a {
        let place = Location::caller();
        async move {
            let session = self.session();
            // Nothing is sent for it, so there is nothing to time, to cancel or to clean up.
            if let Some(found) = session.prepared.find(text) {
                return Ok(found);
            }
            if session.prepared.is_full() {
                return self.prepare_at(place, text).await;
            }
            let work = pin!(session.client.prepare_cached(text));
            let statement = self.run_preparing(place, text, work).await?;
            Ok(session.prepared.keep(Prepared::new(statement, text)))
        }
    }

    // ── copy ─────────────────────────────────────────────────────────────

    /// Starts a `COPY … FROM STDIN`. Dropped before it is finished, it fails on
    /// the server.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    #[track_caller]
    pub fn copy_in<'a, T, U>(
        &'a self,
        statement: &'a T,
    ) -> impl Future<Output = Result<CopyInSink<U>, QueryError>> + Send + 'a
    where
        T: ?Sized + Sql,
        U: bytes::Buf + Send + 'static,
    {
        let place = Location::caller();
        async move {
            let work = pin!(self.session().client.copy_in(statement.inner()));
            let sink = self.run(place, statement.text(), work).await?;
            // Its end is not seen from here: an answer may be outstanding when
            // the connection is returned.
            self.session().desk.may_be_unanswered();
            Ok(sink)
        }
    }

    /// The data of a `COPY … TO STDOUT` as it comes. Dropped before its end, it
    /// has the statement cancelled.
    ///
    /// # Errors
    ///
    /// [`QueryError`]; `query_timeout` is for the first answer.
    #[track_caller]
    pub fn copy_out<'a, T: ?Sized + Sql>(
        &'a self,
        statement: &'a T,
    ) -> impl Future<Output = Result<CopyOutStream<'a>, QueryError>> + Send + 'a {
        let place = Location::caller();
        async move {
            let work = pin!(self.session().client.copy_out(statement.inner()));
            let (operation, data) = self.begin(place, statement.text(), work).await?;
            Ok(CopyOutStream::new(operation, data))
        }
    }

    // ── transactions ─────────────────────────────────────────────────────

    /// Begins a transaction, which is rolled back unless it is committed.
    ///
    /// # Errors
    ///
    /// [`QueryError`].
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, QueryError> {
        self.build_transaction().start().await
    }

    /// A transaction with an isolation level of its own, or one that only reads.
    pub const fn build_transaction(&mut self) -> TransactionBuilder<'_> {
        TransactionBuilder::new(self)
    }

    // ── the way out ──────────────────────────────────────────────────────

    /// The client underneath, for what has no method here. What is done with it is
    /// neither timed nor cancelled; the session is cleaned afterwards.
    #[must_use]
    pub fn raw(&self) -> &tokio_postgres::Client {
        self.session().desk.may_be_unanswered();
        &self.session().client
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.session().is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.inner.give_back(session);
        }
    }
}
