//! A checkout as a tower service, so that a breaker, a timeout or load shedding
//! can be stacked on it.

use std::{
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{Connection, Pool, PoolError};

/// The request for a connection. It remembers where it was made: reports of leaks
/// and of an exhausted pool name that line.
#[derive(Clone, Copy, Debug)]
pub struct Checkout {
    place: &'static Location<'static>,
}

impl Checkout {
    /// A request by the line that calls this.
    #[must_use]
    #[track_caller]
    pub const fn here() -> Self {
        Self {
            place: Location::caller(),
        }
    }

    pub(super) const fn place(self) -> &'static Location<'static> {
        self.place
    }
}

/// Response future of a [`Pool`] as a service.
///
/// Boxed, which [`Pool::get`] is not: some ten nanoseconds beside the hundreds of a
/// checkout and the many thousands of a statement.
#[must_use = "futures do nothing unless polled"]
pub struct CheckoutFuture(Pin<Box<dyn Future<Output = Result<Connection, PoolError>> + Send>>);

impl fmt::Debug for CheckoutFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckoutFuture")
    }
}

impl Future for CheckoutFuture {
    type Output = Result<Connection, PoolError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// # Example
///
/// A checkout for which at most 64 callers wait, and nobody while the database is
/// known to be down:
///
/// ```
/// use resilience_core::{CircuitBreaker, CircuitBreakerLayer, pool::{Checkout, Pool}};
/// use tower::{BoxError, ServiceBuilder, ServiceExt};
///
/// # async fn checkout(pool: Pool, breaker: CircuitBreaker) -> Result<(), BoxError> {
/// let checkout = ServiceBuilder::new()
///     .load_shed()
///     .concurrency_limit(64)
///     .layer(CircuitBreakerLayer::new(breaker))
///     .service(pool);
/// let connection = checkout.oneshot(Checkout::here()).await?;
/// # Ok(())
/// # }
/// ```
impl Service<Checkout> for Pool {
    type Response = Connection;
    type Error = PoolError;
    type Future = CheckoutFuture;

    /// Always ready: a caller waits in `call`, where its deadline counts and its
    /// place in the queue is its own.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PoolError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Checkout) -> CheckoutFuture {
        let pool = self.clone();
        CheckoutFuture(Box::pin(async move {
            pool.inner.checkout(request.place()).await
        }))
    }
}
