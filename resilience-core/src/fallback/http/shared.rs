//! What all services of a layer share, and the responses that they give.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};

use super::{
    CacheStatus, FallbackBody, Forwarded, Given, HttpAnswer, age, append, future,
    heard::Own,
    hot::{Hot, Place, Warm},
    key::Named,
    other::AskOther,
    stored::{HttpStored, memory},
};
use crate::{
    breaker::{Classify, Outcome},
    config::FallbackStrategy,
    fallback::{
        Served, Source,
        flow::{Again, Answer, Asking, Backup, Missed, OtherFuture, Port},
        shelf::{Found, Kept},
    },
};

pub(super) struct Shared<C, O> {
    pub(super) port: Arc<Port<HttpStored>>,
    pub(super) classify: C,
    pub(super) one_identity: bool,
    pub(super) fixed: Option<Arc<Kept<HttpStored>>>,
    pub(super) other: Arc<O>,
    pub(super) status: CacheStatus,
    pub(super) hot: Hot,
}

impl<C, O> Shared<C, O> {
    pub(super) fn largest_body(&self) -> u64 {
        self.port.inner().settings().config.largest_body
    }

    /// What this thread has given lately and may give again: as if it had been looked for.
    #[inline(always)]
    pub(super) fn again<ResB>(&self, named: &Named<'_>, max_age_ns: u64) -> Warm<ResB> {
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
    pub(super) fn note(
        &self,
        named: &Named<'_>,
        key: &[u8],
        found: &Found<HttpStored>,
        again: Option<Again>,
    ) {
        if let Some(again) = again {
            let now_ns = self.port.inner().clock.now_ns();
            self.hot
                .note(named, key, found, again, now_ns, &self.status);
        }
    }

    /// What a caller gets whose call is over at once. `place` is where the answer may be that
    /// stands in for it.
    pub(super) fn instead<ResB, E>(
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

    pub(super) fn backup<ReqB, ResB, E>(
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
    pub(super) fn given<ResB, E>(
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
    pub(super) fn stored<ResB>(
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
    pub(super) fn not_asked<ResB>(&self) -> Response<FallbackBody<ResB>> {
        let body = FallbackBody::from_memory(bytes::Bytes::new(), None);
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        append(response.headers_mut(), self.status.not_asked());
        response
    }
}
