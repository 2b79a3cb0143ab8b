//! A boxed error that is an error.

use std::{error::Error, fmt, ops::Deref};

/// The boxed error of tower's middleware, as an error that others can have as their
/// source.
///
/// A `Box<dyn Error>` is no [`Error`] itself, and no other type can say that its source
/// is either an error or such a box. So [`CallError`](crate::CallError) of a boxed error
/// is none, nor is what a fallback makes of that, and neither can be passed on with `?`.
/// They are errors if the service inside has this one: put
/// `map_err(BoxedError::from)` around what boxes.
///
/// It says what the error in it says, and has its source. It dereferences to it, to be
/// asked with `is` and `downcast_ref`.
///
/// # Example
///
/// ```
/// use std::{error::Error, time::Duration};
///
/// use resilience_core::{BoxedError, BreakerConfig, CircuitBreaker, CircuitBreakerLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn, timeout::error::Elapsed};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let breaker = CircuitBreaker::new("rates", BreakerConfig::default());
/// let rates = ServiceBuilder::new()
///     .layer(CircuitBreakerLayer::new(breaker.clone()))
///     .map_err(BoxedError::from)
///     .timeout(Duration::from_millis(10))
///     .service(service_fn(|()| std::future::pending::<Result<f64, std::io::Error>>()));
///
/// let error: Box<dyn Error> = rates.oneshot(()).await.unwrap_err().into();
/// let source: &BoxedError = error.source().and_then(|e| e.downcast_ref()).unwrap();
/// assert!(source.is::<Elapsed>());
/// # }
/// ```
#[derive(Debug)]
pub struct BoxedError(Box<dyn Error + Send + Sync>);

impl BoxedError {
    /// The box again.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn Error + Send + Sync> {
        self.0
    }
}

impl From<Box<dyn Error + Send + Sync>> for BoxedError {
    fn from(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(error)
    }
}

impl Deref for BoxedError {
    type Target = dyn Error + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Display for BoxedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for BoxedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CallError;

    #[test]
    fn it_is_said_once_in_a_chain_and_found_by_its_type() {
        let inner = CallError::Inner(fmt::Error);
        let said = inner.to_string();
        let boxed: BoxedError = Box::<dyn Error + Send + Sync>::from(inner).into();
        let outer: Box<dyn Error> = CallError::Inner(boxed).into();
        let mut chain = Vec::new();
        let mut next = outer.source();
        while let Some(error) = next {
            chain.push(error.to_string());
            next = error.source();
        }
        assert_eq!(chain, [said, fmt::Error.to_string()]);
        let boxed: &BoxedError = outer.source().unwrap().downcast_ref().unwrap();
        assert!(boxed.is::<CallError<fmt::Error>>());
    }
}
