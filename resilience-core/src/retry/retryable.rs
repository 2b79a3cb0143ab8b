//! Which calls may be made again.

/// Says whether a call that was made may be made again.
///
/// Asked of calls that reached the inner service; a refused one never did, and
/// is not asked about. Any closure of that shape is one.
pub trait Retryable<Request, Response, E> {
    /// Whether `request`, which ended so, may be sent another time.
    fn retryable(&self, request: &Request, result: Result<&Response, &E>) -> bool;
}

impl<F, Request, Response, E> Retryable<Request, Response, E> for F
where
    F: Fn(&Request, Result<&Response, &E>) -> bool,
{
    fn retryable(&self, request: &Request, result: Result<&Response, &E>) -> bool {
        self(request, result)
    }
}

/// Nothing that was sent is sent again: right for every call.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnlyRefused;

impl<Request, Response, E> Retryable<Request, Response, E> for OnlyRefused {
    fn retryable(&self, _: &Request, _: Result<&Response, &E>) -> bool {
        false
    }
}

/// Whatever ended with an error is sent again: right for calls that may arrive
/// twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct EveryError;

impl<Request, Response, E> Retryable<Request, Response, E> for EveryError {
    fn retryable(&self, _: &Request, result: Result<&Response, &E>) -> bool {
        result.is_err()
    }
}
