//! The tower service for HTTP.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use tower_service::Service;

use super::{
    Ask, CacheStatus, FallbackBody, Forwarded, Given, HttpAnswer, Wanted, age, append,
    exchange::{Call, HttpCall},
    future::{self, HttpResponseFuture},
    heard::{Own, Question},
    hot::{Hot, Place, Warm},
    key::Named,
    other::{AskOther, NoOther},
    passes,
    stored::{HttpStored, memory},
    wanted,
};
use crate::{
    breaker::{Classify, HttpStatusFails, Outcome},
    config::FallbackStrategy,
    fallback::{
        FallbackError, Key, Served, Source,
        flow::{Again, Answer, Asking, Backup, Look, Missed, Now, OtherFuture, Port, Spare, Want},
        shelf::{Found, Kept},
    },
};

/// Service made by [`HttpFallbackLayer`](super::HttpFallbackLayer).
///
/// It is always ready, and does not ask the inner service whether it is: that might
/// keep something ready, such as a slot of a bulkhead, for a call that memory answers.
/// A call that has to be made is made with a clone of the inner service, which is asked
/// then.
pub struct HttpFallbackService<S, C = HttpStatusFails, O = NoOther> {
    inner: S,
    shared: Arc<Shared<C, O>>,
}

pub(super) struct Shared<C, O> {
    pub(super) port: Arc<Port<HttpStored>>,
    pub(super) classify: C,
    pub(super) one_identity: bool,
    pub(super) fixed: Option<Arc<Kept<HttpStored>>>,
    pub(super) other: Arc<O>,
    pub(super) status: CacheStatus,
    pub(super) hot: Hot,
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
    fn answer<ReqB, ResB, E>(
        &self,
        request: Request<ReqB>,
    ) -> HttpResponseFuture<S::Future, ResB, E>
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
    fn refresh<ReqB, ResB, E>(&self, request: Request<ReqB>, key: &[u8], ask: Ask, refresh: Key)
    where
        S: Service<Request<ReqB>, Response = Response<ResB>, Error = E> + Clone + Send + 'static,
        S::Future: Send + 'static,
        ReqB: Send + 'static,
        ResB: Body + Send + 'static,
        ResB::Data: Send,
        ResB::Error: Send + Sync,
        E: Send + Sync + 'static,
        C: Classify<Response<ResB>, E> + Send + Sync + 'static,
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
    fn miss<ReqB, ResB, E>(
        &self,
        request: Request<ReqB>,
        key: &[u8],
        ask: Ask,
        want: Want,
        asking: Asking,
    ) -> HttpResponseFuture<S::Future, ResB, E>
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
        let backup = self.shared.backup::<_, _, E>(&request, asking);
        self.ask(request, Key::from(key), ask, want, backup, asking.missed)
    }

    /// A call for whose failure there is an answer.
    #[inline(never)]
    fn now<ReqB, ResB, E>(
        &self,
        request: Request<ReqB>,
        key: Key,
        ask: Ask,
        want: Want,
        spare: Spare<HttpStored>,
        place: Option<Place>,
    ) -> HttpResponseFuture<S::Future, ResB, E>
    where
        S: Service<Request<ReqB>, Response = Response<ResB>, Error = E> + Clone + Send + 'static,
        S::Future: Send + 'static,
        ReqB: Send + 'static,
        ResB: Body + Send + 'static,
        ResB::Data: Send,
        ResB::Error: Send + Sync,
        E: Send + Sync + 'static,
        C: Classify<Response<ResB>, E> + Send + Sync + 'static,
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

    fn ask<ReqB, ResB, E>(
        &self,
        request: Request<ReqB>,
        key: Key,
        ask: Ask,
        want: Want,
        backup: Backup<HttpStored, Own<ResB>>,
        missed: Missed,
    ) -> HttpResponseFuture<S::Future, ResB, E>
    where
        S: Service<Request<ReqB>, Response = Response<ResB>, Error = E> + Clone + Send + 'static,
        S::Future: Send + 'static,
        ReqB: Send + 'static,
        ResB: Body + Send + 'static,
        ResB::Data: Send,
        ResB::Error: Send + Sync,
        E: Send + Sync + 'static,
        C: Classify<Response<ResB>, E> + Send + Sync + 'static,
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

impl<C, O> Shared<C, O> {
    pub(super) fn largest_body(&self) -> u64 {
        self.port.inner().settings().config.largest_body
    }

    /// What this thread has given lately and may give again: as if it had been looked for.
    #[inline(always)]
    fn again<ResB>(&self, named: &Named<'_>, max_age_ns: u64) -> Warm<ResB> {
        let inner = self.port.inner();
        let version = self.port.version();
        let now_ns = inner.clock.now_ns();
        let warm = self
            .hot
            .again(named, version, now_ns, max_age_ns, &self.status);
        if let Warm::Fresh(_) = &warm {
            inner.counts.fresh();
        }
        warm
    }

    /// For the next who asks for the same.
    fn note(&self, named: &Named<'_>, key: &[u8], found: &Found<HttpStored>, again: Option<Again>) {
        if let Some(again) = again {
            let now_ns = self.port.inner().clock.now_ns();
            self.hot
                .note(named, key, found, again, now_ns, &self.status);
        }
    }

    /// What a caller gets whose call is over at once. `place` is where the answer may be that
    /// stands in for it.
    fn instead<ResB, E>(
        &self,
        answer: Answer<HttpStored, E, Own<ResB>>,
        place: Option<Place>,
    ) -> future::Answer<ResB, E> {
        match (answer, place) {
            (Answer::Value(kept, served), Some(place)) if served.source == Source::Stale => {
                let age_s = served.age_ms / 1_000;
                let ready = self.hot.stale(place, &kept, age_s, &self.status);
                let Some(mut response) = ready else {
                    return Ok(self.stored(kept, served, Missed::Stale));
                };
                response.extensions_mut().insert(served);
                Ok(response)
            }
            (answer, _) => self.given(answer, Missed::Stale),
        }
    }

    /// The fixed answer of the configuration, made anew for each call that may need it:
    /// it follows the configuration, and who has a fixed answer has few failures a
    /// second.
    fn configured(&self) -> Option<Arc<Kept<HttpStored>>> {
        let settings = self.port.inner().settings();
        let answer = settings.config.answer.as_ref()?;
        let response = Response::builder()
            .status(answer.status)
            .header(header::CONTENT_TYPE, &answer.content_type)
            .body(())
            .expect("the configuration was checked");
        let body = answer.body.as_bytes();
        let answer = HttpAnswer::new(&response.into_parts().0, body, None).expect("one header");
        Some(Kept::passing(HttpStored::Answer(answer)))
    }

    fn backup<ReqB, ResB, E>(
        self: &Arc<Self>,
        request: &Request<ReqB>,
        asking: Asking,
    ) -> Backup<HttpStored, Own<ResB>>
    where
        ResB: Send + 'static,
        C: Classify<Response<FallbackBody<ResB>>, E> + Send + Sync + 'static,
        O: AskOther<ReqB, ResB>,
    {
        match asking.strategy {
            _ if !asking.enabled => Backup::Off,
            FallbackStrategy::Static => {
                let fixed = self.fixed.clone();
                Backup::Fixed(fixed.or_else(|| self.configured()))
            }
            FallbackStrategy::Service => Backup::Other(self.other.ask(request).map(|call| {
                let shared = Arc::clone(self);
                let judged: OtherFuture<Response<FallbackBody<ResB>>> = Box::pin(async move {
                    let response = call.0.await?;
                    match Classify::<_, E>::classify(&shared.classify, Ok(&response)) {
                        Outcome::Failure(_) => {
                            let status = response.status();
                            Err(format!("it answered {status}").into())
                        }
                        _ => Ok(response),
                    }
                });
                judged
            })),
            FallbackStrategy::Cache | FallbackStrategy::None => Backup::Stored,
        }
    }

    /// What a caller gets.
    fn given<ResB, E>(
        &self,
        answer: Answer<HttpStored, E, Own<ResB>>,
        missed: Missed,
    ) -> future::Answer<ResB, E> {
        match answer {
            Answer::Value(kept, served) => Ok(self.stored(kept, served, missed)),
            Answer::Own(mut response, served) => {
                append(response.headers_mut(), self.asked(&served, missed));
                response.extensions_mut().insert(served);
                Ok(response)
            }
            Answer::Error(error) => Err(error),
        }
    }

    /// The response of something that was stored, or is a copy of what many get.
    fn stored<ResB>(
        &self,
        kept: Arc<Kept<HttpStored>>,
        served: Served,
        missed: Missed,
    ) -> Response<FallbackBody<ResB>> {
        let memory = memory(kept);
        let age_s = served.age_ms / 1_000;
        let ttl_s = served.told.ttl_ms.div_euclid(1_000);
        let status = match served.source {
            Source::Fresh => {
                // Without `Served`: that would cost more than all the rest.
                let given = Given::aged(memory, age(age_s), self.status.fresh(ttl_s));
                return given.into_response();
            }
            Source::Refreshing => self.status.revalidating(ttl_s),
            Source::Stale => {
                let status = served.told.status;
                let status = status.and_then(|status| StatusCode::from_u16(status).ok());
                self.status.instead_of(status)
            }
            _ => self.asked(&served, missed),
        };
        let from_memory = !matches!(served.source, Source::Live | Source::Fixed);
        // What was old when it came still is.
        let given = if from_memory || age_s > 0 {
            Given::aged(memory, age(age_s), status)
        } else {
            let mut given = Given::new(memory, 1);
            append(&mut given.headers, status);
            given
        };
        let mut response = given.into_response();
        response.extensions_mut().insert(served);
        response
    }

    /// Why the upstream was asked, for the answer that it gave.
    fn asked(&self, served: &Served, missed: Missed) -> HeaderValue {
        let why = match missed {
            Missed::Off => Forwarded::Bypass,
            Missed::NotWanted => Forwarded::Request,
            Missed::Nothing => Forwarded::UriMiss,
            Missed::NotThisOne => Forwarded::VaryMiss,
            Missed::Stale => Forwarded::Stale,
        };
        let told = served.told;
        self.status.asked(why, told.stored, told.collapsed)
    }

    /// RFC 9111, section 5.2.1.7.
    fn not_asked<ResB>(&self) -> Response<FallbackBody<ResB>> {
        let body = FallbackBody::from_memory(bytes::Bytes::new(), None);
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        append(response.headers_mut(), self.status.not_asked());
        response
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
