//! What a tower service's answers say about the upstream.

use std::{any::Any, error::Error, io};

use http::Response;

use super::outcome::{ErrorClass, Outcome};
use crate::BoxedError;

/// Judges an answer or an error.
pub trait Classify<T, E> {
    /// How the call went.
    fn classify(&self, result: Result<&T, &E>) -> Outcome;
}

/// Any closure of that shape.
impl<F, T, E> Classify<T, E> for F
where
    F: Fn(Result<&T, &E>) -> Outcome,
{
    fn classify(&self, result: Result<&T, &E>) -> Outcome {
        self(result)
    }
}

/// Every answer is a success, every error a failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorsFail;

impl<T, E> Classify<T, E> for ErrorsFail
where
    E: 'static,
{
    #[inline]
    fn classify(&self, result: Result<&T, &E>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(error) => Outcome::Failure(class_of_any(error)),
        }
    }
}

/// The default for HTTP: a 5xx and every error (a timeout, a failed connect)
/// is a failure; any other answer, a 4xx too, is a success, because the
/// upstream did its work.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpStatusFails;

impl<B, E> Classify<Response<B>, E> for HttpStatusFails
where
    E: 'static,
{
    #[inline]
    fn classify(&self, result: Result<&Response<B>, &E>) -> Outcome {
        match result {
            Ok(response) if response.status().is_server_error() => {
                Outcome::Failure(ErrorClass::http(response.status().as_u16()))
            }
            Ok(_) => Outcome::Success,
            Err(error) => Outcome::Failure(class_of_any(error)),
        }
    }
}

/// The class of any error type. tower's middleware box their errors, and a box
/// of `dyn Error` is no `Error` itself, so no bound covers both; boxes and
/// `io::Error` are looked into, other types are [`ErrorClass::OTHER`]: give
/// a closure to tell them apart.
fn class_of_any(error: &dyn Any) -> ErrorClass {
    if let Some(boxed) = error.downcast_ref::<Box<dyn Error + Send + Sync>>() {
        class_of(boxed.as_ref())
    } else if let Some(boxed) = error.downcast_ref::<BoxedError>() {
        class_of(&**boxed)
    } else if let Some(io) = error.downcast_ref::<io::Error>() {
        class_of(io)
    } else {
        ErrorClass::OTHER
    }
}

/// How deep a chain of sources is followed; a chain may be a circle.
const DEEPEST_SOURCE: usize = 16;

/// Finds the class in an error or in what caused it.
fn class_of(error: &(dyn Error + 'static)) -> ErrorClass {
    let mut class = ErrorClass::OTHER;
    let mut next = Some(error);
    for _ in 0..DEEPEST_SOURCE {
        let Some(error) = next else { break };
        next = error.source();
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return class_of_io(io.kind()).unwrap_or(class);
        }
        // Of the clients and of tower's Timeout we know the texts only: the
        // types would tie this crate to their versions.
        let text = error.to_string();
        if text.contains("timed out") || text.contains("deadline has elapsed") {
            return ErrorClass::TIMEOUT;
        }
        if text.contains("(Connect)") || text.contains("connect error") {
            class = ErrorClass::CONNECT;
        }
    }
    class
}

fn class_of_io(kind: io::ErrorKind) -> Option<ErrorClass> {
    use io::ErrorKind as Kind;
    match kind {
        Kind::TimedOut => Some(ErrorClass::TIMEOUT),
        Kind::ConnectionRefused
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::AddrNotAvailable => Some(ErrorClass::CONNECT),
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof => Some(ErrorClass::CONNECTION),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Boxed = Box<dyn Error + Send + Sync>;

    fn http(status: u16) -> Outcome {
        let response = Response::builder().status(status).body(()).unwrap();
        Classify::<_, Boxed>::classify(&HttpStatusFails, Ok(&response))
    }

    #[test]
    fn a_5xx_is_a_failure_with_its_status_and_a_4xx_is_none() {
        assert_eq!(http(503), Outcome::Failure(ErrorClass::http(503)));
        assert_eq!(http(404), Outcome::Success);
        assert_eq!(http(429), Outcome::Success);
        assert_eq!(http(200), Outcome::Success);
    }

    #[tokio::test(start_paused = true)]
    async fn timeouts_and_failed_connects_are_told_apart() {
        let elapsed = tokio::time::timeout(std::time::Duration::ZERO, std::future::pending::<()>())
            .await
            .unwrap_err();
        assert_eq!(class_of(&elapsed), ErrorClass::TIMEOUT);
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(class_of(&refused), ErrorClass::CONNECT);
        let nested = io::Error::other(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(class_of(&io::Error::other("strange")), ErrorClass::OTHER);
        assert_eq!(class_of(&nested), ErrorClass::OTHER);
        let boxed: Boxed = Box::new(elapsed);
        assert_eq!(class_of_any(&boxed), ErrorClass::TIMEOUT);
        assert_eq!(class_of_any(&BoxedError::from(boxed)), ErrorClass::TIMEOUT);
        let boxed: Boxed = refused.into();
        assert_eq!(class_of_any(&BoxedError::from(boxed)), ErrorClass::CONNECT);
    }

    #[test]
    fn a_closure_can_ignore_an_error() {
        let classify = |result: Result<&(), &io::Error>| match result {
            Ok(()) => Outcome::Success,
            Err(_) => Outcome::Ignored,
        };
        assert_eq!(
            classify.classify(Err(&io::Error::other("mine"))),
            Outcome::Ignored
        );
    }
}
