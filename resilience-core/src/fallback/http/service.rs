//! The tower service for HTTP.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    Ask, FallbackBody, Wanted,
    exchange::{Call, HttpCall},
    future::HttpResponseFuture,
    heard::{Own, Question},
    hot::{Place, Warm},
    other::{AskOther, NoOther},
    passes,
    shared::Shared,
    stored::HttpStored,
    wanted,
};
use crate::{
    breaker::{Classify, HttpStatusFails},
    fallback::{
        FallbackError, Key,
        flow::{Asking, Backup, Look, Missed, Now, Spare, Want},
    },
};

/// Service made by [`HttpFallbackLayer`](super::HttpFallbackLayer).
///
/// It is always ready, and does not ask the inner service whether it is: that might
/// keep something ready, such as a slot of a bulkhead, for a call that memory answers.
/// A call that has to be made is made with a clone of the inner service, which is asked
/// then: when the future is polled, or at once if there is an answer for its failure.
pub struct HttpFallbackService<S, C = HttpStatusFails, O = NoOther> {
    inner: S,
    shared: Arc<Shared<C, O>>,
}

impl<S, C, O> HttpFallbackService<S, C, O> {
    pub(super) fn new(inner: S, shared: Shared<C, O>) -> Self {
        Self {
            inner,
            shared: Arc::new(shared),
        }
    }
}

impl<S, ReqB, ResB, E, C, O> Service<Request<ReqB>> for HttpFallbackService<S, C, O>
where
    S: Service<Request<ReqB>, Response = Response<ResB>, Error = E> + Clone + Send + 'static,
    S::Future: Send + 'static,
    ReqB: Body + Send + 'static,
    ResB: Body + Send + 'static,
    ResB::Data: Send,
    ResB::Error: Send + Sync,
    E: Send + Sync + 'static,
    C: Classify<Response<ResB>, E>
        + Classify<Response<FallbackBody<ResB>>, E>
        + Send
        + Sync
        + 'static,
    O: AskOther<ReqB, ResB>,
{
    type Response = Response<FallbackBody<ResB>>;
    type Error = FallbackError<E>;
    type Future = HttpResponseFuture<S::Future, ResB, E>;

    /// Always.
    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline(always)]
    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        if passes(request.method()) {
            return HttpResponseFuture::pass(self.inner.clone(), request);
        }
        self.answer(request)
    }
}

/// An inner service.
trait Upstream<ReqB>:
    Service<
        Request<ReqB>,
        Response = Response<Self::Body>,
        Error: Send + Sync + 'static,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
    type Body: Body<Data: Send, Error: Send + Sync> + Send + 'static;
}

impl<S, ReqB, ResB> Upstream<ReqB> for S
where
    S: Service<
            Request<ReqB>,
            Response = Response<ResB>,
            Error: Send + Sync + 'static,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static,
    ResB: Body<Data: Send, Error: Send + Sync> + Send + 'static,
{
    type Body = ResB;
}

impl<S, C, O> HttpFallbackService<S, C, O> {
    /// A call, to be asked for under the key of its URI.
    fn exchange<ReqB>(
        &self,
        call: Call<S, ReqB>,
        ask: Ask,
        primary: Key,
    ) -> Box<HttpCall<S, ReqB, C, O>>
    where
        S: Service<Request<ReqB>>,
    {
        Box::new(HttpCall {
            call,
            question: Question {
                shared: Arc::clone(&self.shared),
                primary,
                personal: ask.personal,
                keep: ask.keep,
            },
        })
    }

    /// All that a layer has to do with what is its business. Never inlined: what is not
    /// need not make room on the stack for it.
    #[inline(never)]
    fn answer<ReqB>(
        &self,
        request: Request<ReqB>,
    ) -> HttpResponseFuture<S::Future, S::Body, S::Error>
    where
        S: Upstream<ReqB>,
        ReqB: Body + Send + 'static,
        C: Classify<S::Response, S::Error>
            + Classify<Response<FallbackBody<S::Body>>, S::Error>
            + Send
            + Sync
            + 'static,
        O: AskOther<ReqB, S::Body>,
    {
        let shared = &self.shared;
        let wanted = wanted(
            request.method(),
            request.uri(),
            request.headers(),
            request.body().is_end_stream(),
            shared.one_identity,
        );
        let (named, ask) = match wanted {
            Wanted::Pass => return HttpResponseFuture::pass(self.inner.clone(), request),
            Wanted::Forgets(key) => {
                let (port, key) = (Arc::clone(&shared.port), Key::from(&*key));
                let forget = move || port.forget(&key);
                return HttpResponseFuture::forgets(self.inner.clone(), request, forget);
            }
            Wanted::Ask(named, ask) => (named, ask),
        };
        let want = Want {
            read: ask.read,
            keep: ask.keep,
            share: ask.share,
            max_age_ns: ask.max_age.map_or(u64::MAX, |seconds| {
                // One of that many seconds will do.
                (u64::from(seconds) + 1) * 1_000_000_000
            }),
        };
        if want.read {
            match shared.again(&named, want.max_age_ns) {
                Warm::Fresh(response) => return HttpResponseFuture::hit(response),
                Warm::Spare(key, spare, place) if want.share && !ask.only_stored => {
                    return self.now(request, key, ask, want, spare, Some(place));
                }
                Warm::Spare(..) | Warm::Nothing => {}
            }
        }
        let key = named.key();
        let redirect = |stored: &HttpStored| stored.redirect(request.headers());
        match shared.port.look(&key, want, redirect) {
            Look::Pass => HttpResponseFuture::pass(self.inner.clone(), request),
            Look::Hit(hit) => {
                shared.note(&named, &key, &hit.found, hit.again);
                let response = shared.stored(hit.found.value, hit.served, Missed::Nothing);
                if let Some(refresh) = hit.refresh {
                    self.refresh(request, &key, ask, refresh);
                }
                HttpResponseFuture::hit(response)
            }
            Look::Ask(..) if ask.only_stored => HttpResponseFuture::hit(shared.not_asked()),
            Look::Ask(asking, None) => self.miss(request, &key, ask, want, asking),
            Look::Ask(_, Some(spare)) => {
                shared.note(&named, &key, &spare.found, spare.again);
                self.now(request, Key::from(&*key), ask, want, spare, None)
            }
        }
    }

    /// Has an answer fetched anew, for nobody who waits.
    #[inline(never)]
    fn refresh<ReqB>(&self, request: Request<ReqB>, key: &[u8], ask: Ask, refresh: Key)
    where
        S: Upstream<ReqB>,
        ReqB: Send + 'static,
        C: Classify<S::Response, S::Error> + Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        let primary = Key::from(key);
        let exchange = || {
            let call = Call::NotMade(self.inner.clone(), request);
            self.exchange(call, ask, primary.clone())
        };
        let port = &self.shared.port;
        port.refresh(primary.clone(), refresh, exchange);
    }

    #[inline(never)]
    fn miss<ReqB>(
        &self,
        request: Request<ReqB>,
        key: &[u8],
        ask: Ask,
        want: Want,
        asking: Asking,
    ) -> HttpResponseFuture<S::Future, S::Body, S::Error>
    where
        S: Upstream<ReqB>,
        ReqB: Body + Send + 'static,
        C: Classify<S::Response, S::Error>
            + Classify<Response<FallbackBody<S::Body>>, S::Error>
            + Send
            + Sync
            + 'static,
        O: AskOther<ReqB, S::Body>,
    {
        let backup = self.shared.backup::<_, _, S::Error>(&request, asking);
        self.ask(request, Key::from(key), ask, want, backup, asking.missed)
    }

    /// A call for whose failure there is an answer.
    #[inline(never)]
    fn now<ReqB>(
        &self,
        request: Request<ReqB>,
        key: Key,
        ask: Ask,
        want: Want,
        spare: Spare<HttpStored>,
        place: Option<Place>,
    ) -> HttpResponseFuture<S::Future, S::Body, S::Error>
    where
        S: Upstream<ReqB>,
        ReqB: Send + 'static,
        C: Classify<S::Response, S::Error> + Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        let shared = &self.shared;
        // Still there if the call is not made.
        let mut request = Some(request);
        let made = shared.port.now(&key, want, spare, || {
            let request = request.take().expect("it is made once");
            let call = Call::unless_it_fails(self.inner.clone(), request, &shared.classify)?;
            Some(self.exchange(call, ask, key.clone()))
        });
        match made {
            Now::Done(answer) => HttpResponseFuture::over(shared.instead(answer, place)),
            Now::Begun(begun) => {
                let shared = Arc::clone(shared);
                HttpResponseFuture::later(Box::pin(async move {
                    let answer = shared.port.ended(begun).await;
                    shared.given(answer, Missed::Stale)
                }))
            }
            Now::NotMade => {
                let request = request.expect("the call is not made");
                self.ask(request, key, ask, want, Backup::Stored, Missed::Stale)
            }
        }
    }

    fn ask<ReqB>(
        &self,
        request: Request<ReqB>,
        key: Key,
        ask: Ask,
        want: Want,
        backup: Backup<HttpStored, Own<S::Body>>,
        missed: Missed,
    ) -> HttpResponseFuture<S::Future, S::Body, S::Error>
    where
        S: Upstream<ReqB>,
        ReqB: Send + 'static,
        C: Classify<S::Response, S::Error> + Send + Sync + 'static,
        O: Send + Sync + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let call = Call::NotMade(self.inner.clone(), request);
        let exchange = self.exchange(call, ask, key.clone());
        HttpResponseFuture::later(Box::pin(async move {
            let port = Arc::clone(&shared.port);
            let answer = port.ask(key, want, exchange, backup).await;
            shared.given(answer, missed)
        }))
    }
}

impl<S: Clone, C, O> Clone for HttpFallbackService<S, C, O> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: fmt::Debug, C, O> fmt::Debug for HttpFallbackService<S, C, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpFallbackService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
