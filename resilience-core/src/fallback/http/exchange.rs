//! A call over HTTP.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::{
    heard::{AskedHttp, Own, Question},
    lines::LinesAsked,
    stored::HttpStored,
};
use crate::{
    breaker::{Classify, Outcome},
    fallback::{
        Key,
        flow::Exchange,
        oneshot::{Begun, begin},
    },
};

/// A call of the inner service.
pub(super) struct HttpCall<S: Service<Request<ReqB>>, ReqB, C, O> {
    pub(super) call: Call<S, ReqB>,
    pub(super) question: Question<C, O>,
}

type Result<S, ReqB> = std::result::Result<
    <S as Service<Request<ReqB>>>::Response,
    <S as Service<Request<ReqB>>>::Error,
>;

/// How far it is.
pub(super) enum Call<S: Service<Request<ReqB>>, ReqB> {
    NotMade(S, Request<ReqB>),
    /// It was made, with a request of these headers: an answer may differ by any of them,
    /// and says so when they are gone.
    Made(LinesAsked, Made<Result<S, ReqB>>),
}

pub(super) enum Made<T> {
    Pending(Pin<Box<dyn Future<Output = T> + Send>>),
    Over(T),
}

impl<S, ReqB> Call<S, ReqB>
where
    S: Service<Request<ReqB>> + Send + 'static,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    ReqB: Send + 'static,
{
    fn redirect(&self, stored: &HttpStored) -> Option<Key> {
        match self {
            Self::NotMade(_, request) => stored.redirect(request.headers()),
            Self::Made(asked, _) => stored.redirect(asked),
        }
    }

    #[inline(always)]
    fn make(self) -> (LinesAsked, Made<Result<S, ReqB>>) {
        match self {
            Self::NotMade(inner, request) => made(inner, request),
            Self::Made(asked, made) => (asked, made),
        }
    }

    /// One that is made, and for which nobody waits. `None`: it has failed, without an
    /// answer and without anything to wait for, as one does that an open circuit refuses.
    #[inline(always)]
    pub(super) fn unless_it_fails(
        inner: S,
        request: Request<ReqB>,
        classify: &impl Classify<S::Response, S::Error>,
    ) -> Option<Self> {
        let (asked, mut made) = made(inner, request);
        if let Made::Pending(begun) = &mut made {
            // It wakes nobody: who waits for it polls it again.
            let mut nobody = Context::from_waker(Waker::noop());
            if let Poll::Ready(result) = begun.as_mut().poll(&mut nobody) {
                made = Made::Over(result);
            }
        }
        if let Made::Over(Err(error)) = &made
            && let Outcome::Failure(_) = classify.classify(Err(error))
        {
            return None;
        }
        Some(Self::Made(asked, made))
    }
}

#[inline(always)]
fn made<S, ReqB>(inner: S, request: Request<ReqB>) -> (LinesAsked, Made<Result<S, ReqB>>)
where
    S: Service<Request<ReqB>> + Send + 'static,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    ReqB: Send + 'static,
{
    let asked = LinesAsked::of(request.headers());
    let made = match begin(inner, request) {
        Begun::Called(call) => Made::Pending(Box::pin(call)),
        begun => Made::Pending(Box::pin(begun.result())),
    };
    (asked, made)
}

impl<T> Made<T> {
    async fn result(self) -> T {
        match self {
            Self::Pending(begun) => begun.await,
            Self::Over(result) => result,
        }
    }
}

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
        self.call.redirect(stored)
    }

    fn ask(self, _: Key) -> impl Future<Output = AskedHttp<E, ResB>> + Send {
        let (asked, made) = self.call.make();
        let question = self.question;
        async move { question.answered(asked, made.result().await).await }
    }
}
