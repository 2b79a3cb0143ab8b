//! Answers that come in parts. The statement is under way until the last one.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use pin_project_lite::pin_project;
use tokio_postgres::Row;

use super::{error::QueryError, operation::Operation};

pin_project! {
    /// The rows of [`Connection::query_raw`](super::Connection::query_raw).
    #[must_use = "streams do nothing unless polled"]
    #[derive(Debug)]
    pub struct RowStream<'a> {
        #[pin]
        parts: Parts<'a, Rows>,
    }
}

pin_project! {
    /// The data of [`Connection::copy_out`](super::Connection::copy_out).
    #[must_use = "streams do nothing unless polled"]
    #[derive(Debug)]
    pub struct CopyOutStream<'a> {
        #[pin]
        parts: Parts<'a, Data>,
    }
}

impl<'a> RowStream<'a> {
    pub(super) fn new(operation: Operation<'a>, rows: tokio_postgres::RowStream) -> Self {
        let stream = Rows { rows };
        Self {
            parts: Parts::new(operation, stream),
        }
    }
}

impl<'a> CopyOutStream<'a> {
    pub(super) fn new(operation: Operation<'a>, data: tokio_postgres::CopyOutStream) -> Self {
        let stream = Data { data };
        Self {
            parts: Parts::new(operation, stream),
        }
    }
}

impl Stream for RowStream<'_> {
    type Item = Result<Row, QueryError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.project().parts.poll_next(cx)
    }
}

impl Stream for CopyOutStream<'_> {
    type Item = Result<Bytes, QueryError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.project().parts.poll_next(cx)
    }
}

pin_project! {
    /// A stream and the operation that ends with it.
    #[derive(Debug)]
    struct Parts<'a, S> {
        #[pin]
        stream: S,
        operation: Option<Operation<'a>>,
    }
}

impl<'a, S> Parts<'a, S> {
    const fn new(operation: Operation<'a>, stream: S) -> Self {
        Self {
            stream,
            operation: Some(operation),
        }
    }
}

impl<T, S> Stream for Parts<'_, S>
where
    S: Stream<Item = Result<T, tokio_postgres::Error>>,
{
    type Item = Result<T, QueryError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if this.operation.is_none() {
            return Poll::Ready(None);
        }
        let part = ready!(this.stream.poll_next(cx));
        // After an error there is no more.
        if !matches!(part, Some(Ok(_)))
            && let Some(operation) = this.operation.take()
        {
            operation.finish();
        }
        Poll::Ready(part.map(|part| part.map_err(QueryError::from)))
    }
}

// tokio-postgres' streams say nothing of themselves when printed.

pin_project! {
    struct Rows {
        #[pin]
        rows: tokio_postgres::RowStream,
    }
}

pin_project! {
    struct Data {
        #[pin]
        data: tokio_postgres::CopyOutStream,
    }
}

impl Stream for Rows {
    type Item = Result<Row, tokio_postgres::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.project().rows.poll_next(cx)
    }
}

impl Stream for Data {
    type Item = Result<Bytes, tokio_postgres::Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.project().data.poll_next(cx)
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rows")
    }
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Data")
    }
}
