//! The tower service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use super::{
    Answered, FallbackError, Key, Terms,
    flow::{
        Answer, Asked, Asking, Backup, Exchange, Keep, Look, OtherFuture, Port, Said, Verdict, Want,
    },
    future::ResponseFuture,
    layer::{Other, Weigh},
    oneshot::ready_and_call,
    shelf::Kept,
};
use crate::{
    breaker::{Classify, Outcome},
    config::FallbackStrategy,
};

/// Service made by [`FallbackLayer`](super::FallbackLayer).
///
/// It is always ready, and does not ask the inner service whether it is: that might
/// keep something ready, such as a slot of a bulkhead, for a call that memory answers.
/// A call that has to be made is made with a clone of the inner service, which is asked
/// then.
pub struct FallbackService<S, Req, V, K, C> {
    inner: S,
    shared: Arc<Shared<Req, V, K, C>>,
}

pub(super) struct Shared<Req, V, K, C> {
    pub(super) port: Arc<Port<V>>,
    pub(super) key: K,
    pub(super) classify: C,
    pub(super) weigh: Option<Arc<Weigh<V>>>,
    pub(super) fixed: Option<Arc<Kept<V>>>,
    pub(super) other: Option<Arc<Other<Req, V>>>,
}

impl<S, Req, V, K, C> FallbackService<S, Req, V, K, C> {
    pub(super) fn new(inner: S, shared: Shared<Req, V, K, C>) -> Self {
        Self {
            inner,
            shared: Arc::new(shared),
        }
    }
}

impl<S, Req, V, E, K, C> Service<Req> for FallbackService<S, Req, V, K, C>
where
    S: Service<Req, Response = V, Error = E> + Clone + Send + 'static,
    S::Future: Send + 'static,
    Req: Send + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
    K: Fn(&Req) -> Option<Key> + Send + Sync + 'static,
    C: Classify<V, E> + Send + Sync + 'static,
{
    type Response = Answered<V>;
    type Error = FallbackError<E>;
    type Future = ResponseFuture<S::Future, V, E>;

    /// Always.
    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let Some(key) = (self.shared.key)(&request) else {
            return ResponseFuture::pass(self.inner.clone(), request);
        };
        match self.shared.port.look(key.as_bytes(), Want::ALL, |_| None) {
            Look::Pass => ResponseFuture::pass(self.inner.clone(), request),
            Look::Hit(hit) => {
                if let Some(key) = hit.refresh {
                    let call = || self.exchange(request);
                    self.shared.port.refresh(key.clone(), key, call);
                }
                ResponseFuture::hit(Answered::shared(hit.found.value, hit.served))
            }
            Look::Ask(asking, _) => {
                let backup = self.backup::<E>(&request, asking);
                let ask = Arc::clone(&self.shared.port).ask(
                    key,
                    Want::ALL,
                    self.exchange(request),
                    backup,
                );
                ResponseFuture::later(Box::pin(async move {
                    match ask.await {
                        Answer::Value(value, served) => Ok(Answered::shared(value, served)),
                        Answer::Own(value, served) => Ok(Answered::own(value, served)),
                        Answer::Error(error) => Err(error),
                    }
                }))
            }
        }
    }
}

impl<S, Req, V, K, C> FallbackService<S, Req, V, K, C>
where
    S: Clone,
    V: Send + Sync + 'static,
    K: Send + Sync + 'static,
    C: Send + Sync + 'static,
    Req: Send + 'static,
{
    fn exchange(&self, request: Req) -> Box<Call<S, Req, V, K, C>> {
        Box::new(Call {
            inner: self.inner.clone(),
            request,
            shared: Arc::clone(&self.shared),
        })
    }

    fn backup<E>(&self, request: &Req, asking: Asking) -> Backup<V, V>
    where
        C: Classify<V, E>,
    {
        let shared = &self.shared;
        match asking.strategy {
            _ if !asking.enabled => Backup::Off,
            FallbackStrategy::Static => Backup::Fixed(shared.fixed.clone()),
            FallbackStrategy::Service => Backup::Other(shared.other.as_ref().map(|other| {
                let (call, shared) = (other(request), Arc::clone(shared));
                let judged: OtherFuture<V> = Box::pin(async move {
                    let value = call.await?;
                    match Classify::<V, E>::classify(&shared.classify, Ok(&value)) {
                        Outcome::Failure(class) => {
                            Err(format!("its answer is a failure ({class})").into())
                        }
                        _ => Ok(value),
                    }
                });
                judged
            })),
            FallbackStrategy::Cache | FallbackStrategy::None => Backup::Stored,
        }
    }
}

/// A call of the inner service, not made yet.
struct Call<S, Req, V, K, C> {
    inner: S,
    request: Req,
    shared: Arc<Shared<Req, V, K, C>>,
}

impl<S, Req, V, E, K, C> Exchange<V> for Call<S, Req, V, K, C>
where
    S: Service<Req, Response = V, Error = E> + Send + 'static,
    S::Future: Send + 'static,
    Req: Send + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
    K: Send + Sync + 'static,
    C: Classify<V, E> + Send + Sync + 'static,
{
    type Error = E;
    type Own = V;

    fn redirect(&self, _: &V) -> Option<Key> {
        None
    }

    async fn ask(self, key: Key) -> Asked<V, E, V> {
        let Self {
            inner,
            request,
            shared,
        } = self;
        let result = ready_and_call(inner, request).await;
        let outcome = shared.classify.classify(result.as_ref());
        let verdict = match (&result, outcome) {
            (_, Outcome::Failure(_)) => Verdict::Failed { status: None },
            (Ok(value), Outcome::Success) => Verdict::Good(Keep {
                terms: Terms::default(),
                bytes: shared.weigh.as_ref().map(|weigh| weigh(value)),
                under: key,
                note: None,
            }),
            // An error that is none: it is for who asked to read.
            _ => Verdict::Ignored,
        };
        let said = match result {
            Ok(value) => Said::Value(value),
            Err(error) => Said::Error(error),
        };
        Asked { said, verdict }
    }
}

// By hand: to derive it asks the same of all the types.
impl<S: Clone, Req, V, K, C> Clone for FallbackService<S, Req, V, K, C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: fmt::Debug, Req, V, K, C> fmt::Debug for FallbackService<S, Req, V, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
