//! A call over HTTP, and what its answer says of itself.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use http::{HeaderMap, Request, Response, header, response};
use http_body::Body;
use tower_service::Service;

use super::{
    Collected, FallbackBody, Given, HttpAnswer, Keep, collect,
    directives::OnResponse,
    service::Shared,
    stored::{HttpNote, HttpStored},
    terms,
};
use crate::{
    breaker::{Classify, Outcome},
    fallback::{
        Key,
        flow::{self, Asked, Exchange, Note, Said, Verdict},
        oneshot::Oneshot,
    },
};

/// A call of the inner service.
pub(super) struct HttpCall<S: Service<Request<ReqB>>, ReqB, C, O> {
    /// `None` while it is being made.
    pub(super) call: Option<Call<S, ReqB>>,
    pub(super) shared: Arc<Shared<C, O>>,
    /// The key of the URI, under which a note may be.
    pub(super) primary: Key,
    /// It comes with somebody's credentials.
    pub(super) personal: bool,
    /// Its answer may be kept.
    pub(super) keep: bool,
}

/// How far it is.
pub(super) enum Call<S: Service<Request<ReqB>>, ReqB> {
    NotMade(S, Request<ReqB>),
    /// It was made, with a request of these headers: an answer may differ by any of them,
    /// and says so when they are gone.
    Made(HeaderMap, Made<S, ReqB>),
}

pub(super) enum Made<S: Service<Request<ReqB>>, ReqB> {
    Pending(Pin<Box<Begun<S, ReqB>>>),
    Over(Result<S::Response, S::Error>),
}

type Begun<S, ReqB> = Oneshot<
    S,
    Request<ReqB>,
    <S as Service<Request<ReqB>>>::Future,
    <S as Service<Request<ReqB>>>::Error,
>;

impl<S: Service<Request<ReqB>>, ReqB> Call<S, ReqB> {
    fn headers(&self) -> &HeaderMap {
        match self {
            Self::NotMade(_, request) => request.headers(),
            Self::Made(headers, _) => headers,
        }
    }

    fn make(self) -> (HeaderMap, Made<S, ReqB>) {
        match self {
            Self::NotMade(inner, request) => {
                let asked = request.headers().clone();
                let begun = Box::pin(Oneshot::new(inner, request));
                (asked, Made::Pending(begun))
            }
            Self::Made(asked, made) => (asked, made),
        }
    }

    /// Makes it, and waits for nothing.
    fn make_now(self) -> Self {
        let (asked, mut made) = self.make();
        if let Made::Pending(begun) = &mut made {
            // It wakes nobody: who waits for it polls it again.
            let mut nobody = Context::from_waker(Waker::noop());
            if let Poll::Ready(result) = begun.as_mut().poll(&mut nobody) {
                made = Made::Over(result);
            }
        }
        Self::Made(asked, made)
    }
}

impl<S: Service<Request<ReqB>>, ReqB> Made<S, ReqB> {
    async fn result(self) -> Result<S::Response, S::Error> {
        match self {
            Self::Pending(begun) => begun.await,
            Self::Over(result) => result,
        }
    }
}

type Own<B> = Response<FallbackBody<B>>;
type AskedHttp<E, B> = Asked<HttpStored, E, Own<B>>;

impl<S, ReqB, ResB, E, C, O> Exchange<HttpStored> for HttpCall<S, ReqB, C, O>
where
    S: Service<Request<ReqB>, Response = Response<ResB>, Error = E> + Send + 'static,
    S::Future: Send + 'static,
    ReqB: Send + 'static,
    ResB: Body + Send + 'static,
    ResB::Data: Send,
    ResB::Error: Send + Sync,
    E: Send + Sync + 'static,
    C: Classify<Response<ResB>, E> + Send + Sync + 'static,
    O: Send + Sync + 'static,
{
    type Error = E;
    type Own = Own<ResB>;

    fn redirect(&self, stored: &HttpStored) -> Option<Key> {
        let call = self.call.as_ref().expect(THERE);
        stored.redirect(call.headers())
    }

    fn fails_at_once(&mut self) -> bool {
        let call = self.call.take().expect(THERE).make_now();
        let fails = match &call {
            Call::Made(_, Made::Over(Err(error))) => {
                matches!(
                    self.shared.classify.classify(Err(error)),
                    Outcome::Failure(_)
                )
            }
            _ => false,
        };
        self.call = Some(call);
        fails
    }

    fn ask(self, _: Key) -> impl Future<Output = AskedHttp<E, ResB>> + Send {
        let Self {
            call,
            shared,
            primary,
            personal,
            keep,
        } = self;
        let (asked, made) = call.expect(THERE).make();
        async move {
            let result = made.result().await;
            let outcome = shared.classify.classify(result.as_ref());
            let response = match result {
                Ok(response) => response,
                Err(error) => {
                    let verdict = match outcome {
                        Outcome::Failure(_) => Verdict::Failed { status: None },
                        _ => Verdict::Ignored,
                    };
                    let said = Said::Error(error);
                    return Asked { said, verdict };
                }
            };
            let (parts, body) = response.into_parts();
            match outcome {
                Outcome::Ignored => own(parts, FallbackBody::passed(body), Verdict::Ignored),
                Outcome::Failure(_) => {
                    let status = Some(parts.status.as_u16());
                    let verdict = Verdict::Failed { status };
                    if personal || !keep || is_private(&parts) {
                        return own(parts, FallbackBody::passed(body), verdict);
                    }
                    match Box::pin(read(parts, body, shared.largest_body())).await {
                        Ok(answer) => Asked {
                            said: Said::Value(HttpStored::Answer(answer)),
                            verdict,
                        },
                        Err((parts, body, _)) => own(parts, body, verdict),
                    }
                }
                Outcome::Success => {
                    let (terms, vary) = match terms(personal, shared.one_identity, &parts) {
                        Keep::Yes { terms, vary } if keep => (terms, vary),
                        Keep::Yes { .. } => {
                            let verdict = Verdict::NotKept { forgets: false };
                            return own(parts, FallbackBody::passed(body), verdict);
                        }
                        Keep::No { forgets } => {
                            let verdict = Verdict::NotKept { forgets };
                            return own(parts, FallbackBody::passed(body), verdict);
                        }
                    };
                    let answer = match Box::pin(read(parts, body, shared.largest_body())).await {
                        Ok(answer) => answer,
                        Err((parts, body, broken)) => {
                            let verdict = if broken {
                                Verdict::Failed { status: None }
                            } else {
                                Verdict::NotKept { forgets: false }
                            };
                            return own(parts, body, verdict);
                        }
                    };
                    let bytes = Some(answer.weight());
                    let mut keep = flow::Keep {
                        terms,
                        bytes,
                        under: primary.clone(),
                        note: None,
                    };
                    if !vary.is_empty() {
                        let there = shared.port.find(&primary);
                        let there = there.filter(|there| match &there.value.value {
                            HttpStored::Note(note) => note.vary == vary,
                            HttpStored::Answer(_) => false,
                        });
                        let (note, under) = match there {
                            Some(there) => {
                                let under = there.value.value.redirect(&asked);
                                (Note::Known(primary, there), under)
                            }
                            None => {
                                let note = HttpNote::new(&primary, vary);
                                let under = note.variant(&asked);
                                let bytes = note.weight();
                                let value = HttpStored::Note(Box::new(note));
                                let key = primary;
                                (Note::New { key, value, bytes }, under)
                            }
                        };
                        let Some(under) = under else {
                            // By what it differs, it is nobody else's.
                            let given = Given::new(answer.into_memory(), 1);
                            let (parts, body) = given.into_response().into_parts();
                            return own(parts, body, Verdict::NotKept { forgets: false });
                        };
                        (keep.under, keep.note) = (under, Some(note));
                    }
                    Asked {
                        said: Said::Value(HttpStored::Answer(answer)),
                        verdict: Verdict::Good(keep),
                    }
                }
            }
        }
    }
}

const THERE: &str = "it is taken only to be put back made";

/// All of an answer. If it is not to be had: the answer as it came, and whether that is
/// because the upstream failed in the middle of it.
async fn read<B: Body>(
    parts: response::Parts,
    body: B,
    limit: u64,
) -> Result<HttpAnswer, (response::Parts, FallbackBody<B>, bool)>
where
    B::Error: Send + Sync + 'static,
{
    let (data, trailers) = match collect(body, limit).await {
        Collected::Whole { data, trailers } => (data, trailers),
        Collected::TooLarge(body) => return Err((parts, body, false)),
        Collected::Failed(error) => return Err((parts, FallbackBody::failed(error), true)),
    };
    match HttpAnswer::new(&parts, &data, trailers.as_ref()) {
        Some(answer) => Ok(answer),
        None => Err((
            parts,
            FallbackBody::from_memory(data, trailers.map(Box::new)),
            false,
        )),
    }
}

fn own<E, B>(
    parts: response::Parts,
    body: FallbackBody<B>,
    verdict: Verdict<HttpStored>,
) -> AskedHttp<E, B> {
    Asked {
        said: Said::Own(Response::from_parts(parts, body)),
        verdict,
    }
}

/// Whether a failure is for who asked only.
fn is_private(parts: &response::Parts) -> bool {
    let said = OnResponse::of(parts.headers.get_all(header::CACHE_CONTROL));
    said.private || said.no_store || parts.headers.contains_key(header::SET_COOKIE)
}
