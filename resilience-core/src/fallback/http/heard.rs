//! What an answer over HTTP says of itself.

use std::sync::Arc;

use http::{Response, header, response};
use http_body::Body;

use super::{
    Collected, FallbackBody, Given, HttpAnswer, Keep, collect,
    directives::OnResponse,
    lines::LinesAsked,
    shared::Shared,
    stored::{HttpNote, HttpStored},
    terms,
};
use crate::{
    breaker::{Classify, Outcome},
    fallback::{
        Key,
        flow::{self, Asked, Note, Said, Verdict},
    },
};

pub(super) type Own<B> = Response<FallbackBody<B>>;
pub(super) type AskedHttp<E, B> = Asked<HttpStored, E, Own<B>>;

/// What is known of a request when its answer comes, beside its headers.
pub(super) struct Question<C, O> {
    pub(super) shared: Arc<Shared<C, O>>,
    /// The key of the URI, under which a note may be.
    pub(super) primary: Key,
    /// It comes with somebody's credentials.
    pub(super) personal: bool,
    /// Its answer may be kept.
    pub(super) keep: bool,
}

impl<C, O> Question<C, O> {
    /// Judges what came, and reads it if it may be kept. `asked` are the request's headers:
    /// an answer may differ by any of them.
    pub(super) async fn answered<ResB, E>(
        self,
        asked: LinesAsked,
        result: Result<Response<ResB>, E>,
    ) -> AskedHttp<E, ResB>
    where
        ResB: Body,
        ResB::Error: Send + Sync + 'static,
        C: Classify<Response<ResB>, E>,
    {
        let Self {
            shared,
            primary,
            personal,
            keep,
        } = self;
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
