//! Why a fetch gave no answer.

use std::{error::Error, fmt, sync::Arc};

use super::Lost;

/// Why there is no answer. All callers that waited for one fetch get the same.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError<E: ?Sized> {
    /// The fetch failed, with this error. It was not stored: the next caller
    /// fetches again.
    Failed(Arc<E>),
    /// The fetch ended without an answer.
    Lost(Lost),
}

impl<E: ?Sized> FetchError<E> {
    /// The one place where an error becomes a label: `failed`, `panicked`,
    /// `timeout` or `shut_down`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Failed(_) => "failed",
            Self::Lost(Lost::Panicked) => "panicked",
            Self::Lost(Lost::TookTooLong(_)) => "timeout",
            Self::Lost(Lost::ShutDown) => "shut_down",
        }
    }
}

// By hand: to derive it asks for `E: Clone`.
impl<E: ?Sized> Clone for FetchError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Lost(why) => Self::Lost(*why),
        }
    }
}

impl<E: ?Sized> fmt::Display for FetchError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(_) => f.write_str("the fetch failed"),
            Self::Lost(why) => why.fmt(f),
        }
    }
}

// By hand: so the source can be downcast to `E`, and not to an `Arc` of it.
impl<E: Error + 'static> Error for FetchError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(&**error),
            // Says itself what there is to say.
            Self::Lost(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_source_is_the_error_of_the_fetch_itself() {
        let error = FetchError::Failed(Arc::new(fmt::Error));
        let source = error.source().unwrap();
        assert!(source.downcast_ref::<fmt::Error>().is_some());
    }

    #[test]
    fn each_says_what_happened_and_has_its_own_label() {
        let errors: [FetchError<fmt::Error>; 4] = [
            FetchError::Failed(Arc::new(fmt::Error)),
            FetchError::Lost(Lost::Panicked),
            FetchError::Lost(Lost::TookTooLong(Duration::from_secs(5))),
            FetchError::Lost(Lost::ShutDown),
        ];
        let told = errors.map(|error| format!("{}: {error}", error.label()));
        assert_eq!(
            told,
            [
                "failed: the fetch failed",
                "panicked: the fetch panicked",
                "timeout: the fetch took longer than 5s",
                "shut_down: the runtime was shut down before the fetch was done",
            ]
        );
    }
}
