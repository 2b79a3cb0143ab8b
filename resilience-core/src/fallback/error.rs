//! Why a call with a fallback failed all the same.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use crate::cache::Lost;

/// The upstream failed, and nothing could be put in place of its answer.
///
/// Its source is the upstream's error. Callers that waited for one call share it. It is
/// an error itself if that one is, which a boxed error is not:
/// [`BoxedError`](crate::BoxedError) is.
pub struct FallbackError<E> {
    cause: Cause<E>,
    tried: Tried,
}

enum Cause<E> {
    Own(E),
    Shared(Arc<E>),
    Lost(Lost),
}

/// What was tried when the upstream had failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tried {
    /// Nothing: such a call has no fallback.
    NotForThis,
    /// Nothing: it was not judged a failure.
    NotAFailure,
    /// Nothing: it is switched off.
    SwitchedOff,
    /// No answer was stored.
    NothingStored,
    /// One was, and is too old.
    TooOld {
        /// For how long it has been.
        dead_for: Duration,
    },
    /// The strategy is `static`, and no answer is fixed.
    NothingFixed,
    /// The strategy is `service`, and there is no other service.
    NoOther,
    /// The other service failed as well.
    OtherFailed {
        /// What it said.
        message: Arc<str>,
    },
}

impl Tried {
    /// The one place where it becomes a label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotForThis => "not_for_this",
            Self::NotAFailure => "not_a_failure",
            Self::SwitchedOff => "switched_off",
            Self::NothingStored => "miss",
            Self::TooOld { .. } => "dead",
            Self::NothingFixed => "nothing_fixed",
            Self::NoOther => "no_other",
            Self::OtherFailed { .. } => "other_failed",
        }
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotForThis => f.write_str("such a call has no fallback"),
            Self::NotAFailure => f.write_str("that was judged to be no failure of the upstream"),
            Self::SwitchedOff => f.write_str("its fallback is switched off"),
            Self::NothingStored => f.write_str("no good answer is stored for it"),
            Self::TooOld { dead_for } => write!(
                f,
                "its last good answer has been too old for {}",
                Rounded(*dead_for)
            ),
            Self::NothingFixed => f.write_str("no answer is fixed for that"),
            Self::NoOther => f.write_str("there is no other service to ask"),
            Self::OtherFailed { message } => {
                write!(f, "so did the other service: {message}")
            }
        }
    }
}

/// Nobody needs nanoseconds of it.
struct Rounded(Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        match ms {
            0..1_000 => write!(f, "{ms} ms"),
            1_000..120_000 => write!(f, "{} s", ms / 1_000),
            120_000..7_200_000 => write!(f, "{} min", ms / 60_000),
            _ => write!(f, "{} h", ms / 3_600_000),
        }
    }
}

impl<E> FallbackError<E> {
    pub(crate) const fn own(error: E, tried: Tried) -> Self {
        Self {
            cause: Cause::Own(error),
            tried,
        }
    }

    pub(crate) const fn shared(error: Arc<E>, tried: Tried) -> Self {
        Self {
            cause: Cause::Shared(error),
            tried,
        }
    }

    pub(crate) const fn lost(lost: Lost, tried: Tried) -> Self {
        Self {
            cause: Cause::Lost(lost),
            tried,
        }
    }

    /// The upstream's error; `None` if it never came to one: see
    /// [`lost`](Self::why_lost).
    #[must_use]
    pub fn upstream(&self) -> Option<&E> {
        match &self.cause {
            Cause::Own(error) => Some(error),
            Cause::Shared(error) => Some(error),
            Cause::Lost(_) => None,
        }
    }

    /// Why the call never came to an answer or an error, if it did not.
    #[must_use]
    pub const fn why_lost(&self) -> Option<Lost> {
        match self.cause {
            Cause::Lost(lost) => Some(lost),
            _ => None,
        }
    }

    /// What was tried.
    #[must_use]
    pub const fn tried(&self) -> &Tried {
        &self.tried
    }
}

impl<E: fmt::Debug> fmt::Debug for FallbackError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("FallbackError");
        match &self.cause {
            Cause::Own(error) => shown.field("upstream", error),
            Cause::Shared(error) => shown.field("upstream", error),
            Cause::Lost(lost) => shown.field("lost", lost),
        };
        shown.field("tried", &self.tried).finish()
    }
}

impl<E> fmt::Display for FallbackError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Lost(Lost::Panicked) => f.write_str("the call panicked")?,
            Cause::Lost(Lost::TookTooLong(most)) => {
                write!(f, "the call took longer than {most:?}")?;
            }
            Cause::Lost(_) => f.write_str("the call was ended with its runtime")?,
            _ => f.write_str("the call failed")?,
        }
        let tried = &self.tried;
        match tried {
            // Says "so did".
            Tried::OtherFailed { .. } => write!(f, ", and {tried}"),
            _ => write!(f, "; {tried}"),
        }
    }
}

// By hand: so the source can be downcast to `E`, and not to an `Arc` of it.
impl<E: Error + 'static> Error for FallbackError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.upstream().map(|error| error as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_in_a_sentence_what_failed_and_what_was_tried() {
        let said = |tried| FallbackError::own(fmt::Error, tried).to_string();
        let dead = |seconds| Tried::TooOld {
            dead_for: Duration::from_secs(seconds),
        };
        assert_eq!(
            said(Tried::NothingStored),
            "the call failed; no good answer is stored for it"
        );
        assert_eq!(
            said(dead(3_600 * 3 + 59)),
            "the call failed; its last good answer has been too old for 3 h"
        );
        assert!(said(dead(119)).ends_with("for 119 s"));
        assert!(said(dead(120)).ends_with("for 2 min"));
        assert!(said(dead(0)).ends_with("for 0 ms"));
        assert_eq!(
            said(Tried::OtherFailed {
                message: "connection refused".into()
            }),
            "the call failed, and so did the other service: connection refused"
        );
        let lost = Lost::TookTooLong(Duration::from_secs(120));
        let lost: FallbackError<fmt::Error> = FallbackError::lost(lost, Tried::SwitchedOff);
        assert_eq!(
            lost.to_string(),
            "the call took longer than 120s; its fallback is switched off"
        );
        assert!(lost.source().is_none() && lost.why_lost().is_some());
    }

    #[test]
    fn the_source_is_the_upstreams_error_itself_also_when_it_is_shared() {
        let errors = [
            FallbackError::own(fmt::Error, Tried::NothingStored),
            FallbackError::shared(Arc::new(fmt::Error), Tried::NothingStored),
        ];
        fn is_error(_: impl Error) {}
        let boxed = crate::BoxedError::from(Box::<dyn Error + Send + Sync>::from("reset"));
        is_error(FallbackError::own(
            crate::CallError::Inner(boxed),
            Tried::NoOther,
        ));
        for error in errors {
            let source = error.source().unwrap();
            assert!(source.downcast_ref::<fmt::Error>().is_some());
            assert_eq!(error.tried(), &Tried::NothingStored);
        }
    }
}
