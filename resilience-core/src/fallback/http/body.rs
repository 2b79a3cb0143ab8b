//! A body that is read to its end, and one that comes from memory.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;

pin_project! {
    /// The body of a response that came through a fallback: from memory, or the upstream's
    /// own.
    pub struct FallbackBody<B> {
        #[pin]
        state: State<B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<B> {
        Memory { data: Bytes, trailers: Option<Box<HeaderMap>> },
        Passed { #[pin] body: B },
        // Pinned where it was read from, so that any body can be moved.
        ReadOn { read: Bytes, rest: Pin<Box<B>> },
        Failed { how: Box<dyn Failed<B> + Send + Sync> },
    }
}

/// An error of `B` that is to be handed on. A trait, since the type of it can be named only
/// where `B` is known to be a body, and a [`FallbackBody`] may be named anywhere.
trait Failed<B> {
    /// The error, once.
    fn take(&mut self) -> Option<B::Error>
    where
        B: Body;

    fn was_taken(&self) -> bool;
}

impl<B: Body> Failed<B> for Option<B::Error> {
    fn take(&mut self) -> Option<B::Error> {
        Option::take(self)
    }

    fn was_taken(&self) -> bool {
        self.is_none()
    }
}

impl<B> FallbackBody<B> {
    /// A body from memory.
    #[inline]
    pub(crate) const fn from_memory(data: Bytes, trailers: Option<Box<HeaderMap>>) -> Self {
        Self {
            state: State::Memory { data, trailers },
        }
    }

    /// The body of the upstream, untouched.
    pub(crate) fn passed(body: B) -> Self {
        Self {
            state: State::Passed { body },
        }
    }

    /// A body that fails at once: the upstream's has failed while it was read.
    pub(crate) fn failed(error: B::Error) -> Self
    where
        B: Body,
        B::Error: Send + Sync + 'static,
    {
        Self {
            state: State::Failed {
                how: Box::new(Some(error)),
            },
        }
    }

    fn read_on(read: Bytes, rest: Pin<Box<B>>) -> Self {
        Self {
            state: State::ReadOn { read, rest },
        }
    }
}

impl<B> Body for FallbackBody<B>
where
    B: Body,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let poll = match self.project().state.project() {
            StateProj::Memory { data, trailers } => {
                let frame = if data.is_empty() {
                    trailers.take().map(|trailers| Frame::trailers(*trailers))
                } else {
                    Some(Frame::data(mem::take(data)))
                };
                return Poll::Ready(frame.map(Ok));
            }
            StateProj::ReadOn { read, .. } if !read.is_empty() => {
                return Poll::Ready(Some(Ok(Frame::data(mem::take(read)))));
            }
            StateProj::ReadOn { rest, .. } => rest.as_mut().poll_frame(cx),
            StateProj::Passed { body } => body.poll_frame(cx),
            StateProj::Failed { how } => return Poll::Ready(how.take().map(Err)),
        };
        poll.map_ok(|frame| frame.map_data(bytes_of))
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Memory { data, trailers } => data.is_empty() && trailers.is_none(),
            State::Passed { body } => body.is_end_stream(),
            State::ReadOn { read, rest } => read.is_empty() && rest.is_end_stream(),
            State::Failed { how } => how.was_taken(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Memory { data, .. } => SizeHint::with_exact(len(data)),
            State::Passed { body } => body.size_hint(),
            State::ReadOn { read, rest } => {
                let (read, rest) = (len(read), rest.size_hint());
                let mut all = SizeHint::new();
                all.set_lower(read.saturating_add(rest.lower()));
                if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
                    all.set_upper(upper);
                }
                all
            }
            State::Failed { .. } => SizeHint::default(),
        }
    }
}

/// Not what is in it.
impl<B> fmt::Debug for FallbackBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match &self.state {
            State::Memory { .. } => "memory",
            State::Passed { .. } | State::ReadOn { .. } | State::Failed { .. } => "upstream",
        };
        f.debug_struct("FallbackBody")
            .field("from", &from)
            .finish_non_exhaustive()
    }
}

/// What became of reading a body.
#[derive(Debug)]
pub(crate) enum Collected<B: Body> {
    /// It was read to its end.
    Whole {
        /// All of its data.
        data: Bytes,
        /// Its trailers.
        trailers: Option<HeaderMap>,
    },
    /// It is larger than the limit: this begins with what was read, and goes on with the
    /// rest as it comes.
    TooLarge(FallbackBody<B>),
    /// The upstream failed in the middle.
    Failed(B::Error),
}

/// Reads a body of at most `limit` bytes. One that says beforehand that it is larger is
/// not read at all.
///
/// Holds at most twice the limit and one frame; a body of one frame is not copied.
pub(crate) async fn collect<B: Body>(body: B, limit: u64) -> Collected<B> {
    if body.size_hint().lower() > limit {
        return Collected::TooLarge(FallbackBody::passed(body));
    }
    let mut body = Box::pin(body);
    let mut read = Read::default();
    let mut trailers: Option<HeaderMap> = None;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Collected::Failed(error),
        };
        match frame.into_data() {
            Ok(data) => {
                read.push(bytes_of(data));
                if read.len() > limit {
                    return Collected::TooLarge(FallbackBody::read_on(read.finish(), body));
                }
            }
            Err(other) => {
                if let Ok(more) = other.into_trailers() {
                    trailers.get_or_insert_default().extend(more);
                }
            }
        }
    }
    Collected::Whole {
        data: read.finish(),
        trailers,
    }
}

/// What was read: a frame, or a copy of several. Were each kept as it is, a body in small
/// frames would take many times its size.
#[derive(Default)]
struct Read {
    only: Bytes,
    several: BytesMut,
}

impl Read {
    fn push(&mut self, frame: Bytes) {
        if self.len() == 0 {
            self.only = frame;
        } else {
            self.several.extend_from_slice(&mem::take(&mut self.only));
            self.several.extend_from_slice(&frame);
        }
    }

    fn len(&self) -> u64 {
        len(&self.only) + len(&self.several)
    }

    fn finish(self) -> Bytes {
        if self.several.is_empty() {
            self.only
        } else {
            self.several.freeze()
        }
    }
}

/// Without a copy, if they are bytes already.
fn bytes_of(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http::HeaderValue;
    use http_body_util::{Empty, Full};
    use tokio_test::task;

    use super::*;

    /// Frames one after the other, each after a while.
    #[derive(Debug)]
    struct Frames {
        left: VecDeque<Result<Frame<Bytes>, &'static str>>,
        waited: bool,
        hint: SizeHint,
    }

    impl Body for Frames {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            self.waited = !self.waited;
            if self.waited {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(self.left.pop_front())
        }

        fn is_end_stream(&self) -> bool {
            self.left.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            self.hint
        }
    }

    fn frames(data: &[&'static str]) -> Frames {
        Frames {
            left: data
                .iter()
                .map(|data| Ok(Frame::data(Bytes::from_static(data.as_bytes()))))
                .collect(),
            waited: false,
            hint: SizeHint::new(),
        }
    }

    fn sum(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static("x-sum"),
            HeaderValue::from_static(value),
        )])
    }

    async fn whole(body: Frames, limit: u64) -> (Bytes, Option<HeaderMap>) {
        match collect(body, limit).await {
            Collected::Whole { data, trailers } => (data, trailers),
            other => panic!("{other:?}"),
        }
    }

    async fn too_large(body: Frames, limit: u64) -> FallbackBody<Frames> {
        match collect(body, limit).await {
            Collected::TooLarge(body) => body,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_body_within_the_limit_is_read_whole_with_its_trailers() {
        assert_eq!(whole(frames(&[]), 0).await, (Bytes::new(), None));
        assert_eq!(whole(frames(&["ab"]), 2).await.0, "ab");
        let mut body = frames(&["ab", "", "c", "def"]);
        body.left.push_back(Ok(Frame::trailers(sum("1"))));
        assert_eq!(whole(body, 6).await, ("abcdef".into(), Some(sum("1"))));
    }

    #[tokio::test]
    async fn a_body_of_one_frame_is_not_copied() {
        let data = Bytes::from(vec![b'x'; 100]);
        let (read, _) = match collect(Full::new(data.clone()), 100).await {
            Collected::Whole { data, trailers } => (data, trailers),
            other => panic!("{other:?}"),
        };
        assert_eq!(read.as_ptr(), data.as_ptr());
    }

    #[tokio::test]
    async fn a_body_in_tiny_frames_takes_no_more_than_its_size() {
        let (data, _) = whole(frames(&["x"; 10_000]), 10_000).await;
        let buffer = data.try_into_mut().unwrap();
        assert!(buffer.len() == 10_000 && buffer.capacity() <= 20_000);
    }

    #[tokio::test]
    async fn of_a_body_that_is_too_large_nothing_is_lost() {
        let mut body = frames(&["ab", "cd", "ef", "gh"]);
        body.left.push_back(Ok(Frame::trailers(sum("1"))));
        let body = too_large(body, 5).await;
        let first = body.boxed().frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "abcdef");

        let mut body = frames(&["ab", "cd", "ef", "gh"]);
        body.left.push_back(Ok(Frame::trailers(sum("1"))));
        let all = too_large(body, 5).await.collect().await.unwrap();
        assert_eq!(all.trailers(), Some(&sum("1")));
        assert_eq!(all.to_bytes(), "abcdefgh");
    }

    #[tokio::test]
    async fn one_that_says_that_it_is_too_large_is_not_read() {
        let mut body = frames(&["ab", "cd"]);
        body.hint = SizeHint::with_exact(4);
        let body = too_large(body, 3).await;
        assert_eq!(body.size_hint().exact(), Some(4));
        let State::Passed { body } = body.state else {
            panic!("it was read");
        };
        assert!(!body.waited && body.left.len() == 2);
    }

    #[tokio::test]
    async fn a_failure_in_the_middle_is_a_failure_and_no_short_body() {
        let mut body = frames(&["ab"]);
        body.left.push_back(Err("reset"));
        assert!(matches!(collect(body, 9).await, Collected::Failed("reset")));
        // Beyond the limit it is for whoever reads on.
        let mut body = frames(&["ab", "cd"]);
        body.left.push_back(Err("reset"));
        let read = too_large(body, 3).await.collect().await;
        assert_eq!(read.unwrap_err(), "reset");
    }

    #[tokio::test]
    async fn a_body_from_memory_is_exact_about_its_size_and_its_end() {
        let mut body = FallbackBody::<Frames>::from_memory("abc".into(), Some(Box::new(sum("1"))));
        assert_eq!(
            (body.size_hint().exact(), body.is_end_stream()),
            (Some(3), false)
        );
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "abc"
        );
        assert_eq!(
            (body.size_hint().exact(), body.is_end_stream()),
            (Some(0), false)
        );
        assert_eq!(
            body.frame()
                .await
                .unwrap()
                .unwrap()
                .into_trailers()
                .unwrap(),
            sum("1")
        );
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none());

        let empty = FallbackBody::<Frames>::from_memory(Bytes::new(), None);
        assert!(empty.is_end_stream());
    }

    #[tokio::test]
    async fn a_body_that_was_passed_on_is_what_it_was() {
        let mut body = FallbackBody::passed(frames(&["ab", "c"]));
        assert!(!body.is_end_stream() && body.size_hint().upper().is_none());
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "ab"
        );
        assert_eq!(body.collect().await.unwrap().to_bytes(), "c");
        assert!(FallbackBody::passed(Empty::<Bytes>::new()).is_end_stream());
    }

    #[tokio::test]
    async fn a_body_that_failed_fails_once_more_and_is_over() {
        let mut body = FallbackBody::<Frames>::failed("reset");
        assert!(!body.is_end_stream());
        assert_eq!(body.frame().await.unwrap().unwrap_err(), "reset");
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }

    #[tokio::test]
    async fn sizes_are_exact_while_it_is_read_on() {
        let mut body = frames(&["ab", "cd", "ef"]);
        // It does not say before that it is larger.
        body.hint.set_upper(9);
        let mut body = too_large(body, 3).await;
        let hint = body.size_hint();
        assert_eq!((hint.lower(), hint.upper()), (4, Some(13)));
        assert!(!body.is_end_stream());
        let mut first = task::spawn(body.frame());
        assert!(first.poll().is_ready(), "what was read is there at once");
        drop(first);
        assert_eq!(body.size_hint().upper(), Some(9));
    }
}
