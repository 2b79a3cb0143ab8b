//! A pool in the extensions of each request.

use std::{
    future::Future,
    panic::Location,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

use super::{Connection, Pool, PoolError};

/// Puts a [`LazyConnection`] into each request's extensions.
///
/// A handler that needs the database asks it for a connection; one that does not
/// takes none out of the pool.
///
/// # Example
///
/// ```
/// use resilience_core::pool::{LazyConnection, Pool, PoolError, PoolLayer};
/// # #[derive(Clone)] struct Inner;
/// # fn router(pool: Pool) {
/// use tower_layer::Layer;
///
/// async fn handler(request: http::Request<()>) -> Result<(), PoolError> {
///     let database = request.extensions().get::<LazyConnection>().expect("PoolLayer is there");
///     let connection = database.get().await?;
///     Ok(())
/// }
/// # let service = Inner;
/// let service = PoolLayer::new(pool).layer(service);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PoolLayer {
    pool: Pool,
}

impl PoolLayer {
    /// A layer over this pool.
    #[must_use]
    pub const fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

impl<S> Layer<S> for PoolLayer {
    type Service = PoolService<S>;

    fn layer(&self, inner: S) -> PoolService<S> {
        PoolService {
            inner,
            pool: self.pool.clone(),
        }
    }
}

/// Service made by [`PoolLayer`].
#[derive(Clone, Debug)]
pub struct PoolService<S> {
    inner: S,
    pool: Pool,
}

impl<S, Body> Service<http::Request<Body>> for PoolService<S>
where
    S: Service<http::Request<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> S::Future {
        let lazy = LazyConnection {
            pool: self.pool.clone(),
        };
        request.extensions_mut().insert(lazy);
        self.inner.call(request)
    }
}

/// A connection for those who ask. Cloning is cheap and takes none.
#[derive(Clone, Debug)]
pub struct LazyConnection {
    pool: Pool,
}

impl LazyConnection {
    /// Takes a connection out of the pool; it is back when dropped.
    ///
    /// # Errors
    ///
    /// Those of [`Pool::get`].
    #[track_caller]
    pub fn get(&self) -> impl Future<Output = Result<Connection, PoolError>> + Send + '_ {
        self.pool.get_at(Location::caller())
    }
}
