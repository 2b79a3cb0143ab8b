//! Another service to ask.

use std::fmt;

use http::{Request, Response};
use parking_lot::Mutex;
use tower_service::Service;

use super::FallbackBody;
use crate::fallback::{BoxError, flow::OtherFuture, oneshot::ready_and_call};

/// There is no other service.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOther;

/// The other service of [`HttpFallbackLayer::other`](super::HttpFallbackLayer::other).
pub struct Other<S>(Mutex<S>);

impl<S> Other<S> {
    pub(super) const fn new(service: S) -> Self {
        Self(Mutex::new(service))
    }
}

impl<S> fmt::Debug for Other<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Other").finish_non_exhaustive()
    }
}

/// What may be asked when a call fails. For those two and no others.
pub trait AskOther<ReqB, ResB>: sealed::Sealed + Send + Sync + 'static {
    /// Its call, not begun yet, if there is one.
    #[doc(hidden)]
    fn ask(&self, request: &Request<ReqB>) -> Option<Asked<ResB>>;
}

/// A call of another service.
#[doc(hidden)]
pub struct Asked<ResB>(pub(super) OtherFuture<Response<FallbackBody<ResB>>>);

impl<ResB> fmt::Debug for Asked<ResB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

impl<ReqB, ResB> AskOther<ReqB, ResB> for NoOther {
    fn ask(&self, _: &Request<ReqB>) -> Option<Asked<ResB>> {
        None
    }
}

impl<S, ReqB, ResB> AskOther<ReqB, ResB> for Other<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    ReqB: Default + Send + 'static,
{
    fn ask(&self, request: &Request<ReqB>) -> Option<Asked<ResB>> {
        // Locked to be cloned: a service need not be `Sync`.
        let service = self.0.lock().clone();
        // Only what has no body comes here.
        let mut again = Request::new(ReqB::default());
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        *again.version_mut() = request.version();
        *again.headers_mut() = request.headers().clone();
        *again.extensions_mut() = request.extensions().clone();
        Some(Asked(Box::pin(async move {
            let response = ready_and_call(service, again).await.map_err(Into::into)?;
            Ok(response.map(FallbackBody::passed))
        })))
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::NoOther {}
    impl<S> Sealed for super::Other<S> {}
}
