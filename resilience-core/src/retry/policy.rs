//! The policy for tower's retry layer.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Sleep, sleep};
use tower::retry::{
    Policy,
    budget::{Budget, TpsBudget},
};

use super::{
    backoff::Backoff,
    config::{RetryConfig, RetryOptions},
    retryable::{EveryError, OnlyRefused, Retryable},
};
use crate::breaker::CallError;

/// Retries calls that a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer)
/// guards; for tower's [`RetryLayer`](tower::retry::RetryLayer), outside of it.
///
/// A refused call is tried again when the circuit lets a probe through, if that
/// is within [`patience`](RetryOptions::patience); it was never made, so this
/// is right for every call. Which of those that were made are tried again, the
/// [`Retryable`] says: none of them by default.
///
/// A retry waits as long as the circuit asks for, and on top of that up to
/// [`base`](RetryOptions::base) for the first, doubled with each, at most
/// [`cap`](RetryOptions::cap), drawn uniformly from nothing to that (full
/// jitter).
///
/// Every retry is paid from a [budget](tower::retry::budget) that all clones
/// share: with [`successes_per_retry`](RetryOptions::successes_per_retry) at 5,
/// retries add at most a fifth to the load of an upstream in trouble. Make one
/// policy for each upstream and clone it.
///
/// Costs a clone of the request for each attempt, and tower's budget takes a
/// lock for moments with each answer that is a success. A caller that hangs up
/// while a retry waits leaves nothing behind; what it paid stays paid.
///
/// # Example
///
/// ```
/// use resilience_core::{
///     BreakerConfig, CircuitBreaker, CircuitBreakerLayer, RetryConfig, RetryPolicy,
/// };
/// use tower::{ServiceBuilder, ServiceExt, retry::RetryLayer, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let breaker = CircuitBreaker::new("payment_api", BreakerConfig::default());
/// let policy = RetryPolicy::new(RetryConfig::default());
/// let client = ServiceBuilder::new()
///     .layer(RetryLayer::new(policy.clone()))
///     .layer(CircuitBreakerLayer::new(breaker))
///     .service(service_fn(|name: &'static str| async move {
///         Ok::<_, std::io::Error>(format!("hello {name}"))
///     }));
/// assert_eq!(client.oneshot("world").await.unwrap(), "hello world");
/// assert_eq!(policy.retries(), 0);
/// # }
/// ```
pub struct RetryPolicy<R = OnlyRefused> {
    pub(super) shared: Arc<Shared>,
    retryable: R,
    /// Retries of the one call that this clone is for.
    retried: u32,
}

pub(super) struct Shared {
    options: RetryOptions,
    backoff: Backoff,
    pub(super) budget: TpsBudget,
    retries: AtomicU64,
    budget_exhausted: AtomicU64,
}

impl RetryPolicy {
    /// Retries calls that were refused, and none that were made.
    #[must_use]
    pub fn new(config: RetryConfig) -> Self {
        Self::with(config, OnlyRefused, fastrand::u64(..))
    }

    /// The same with waits that follow from `seed`, for tests.
    #[must_use]
    pub fn with_seed(config: RetryConfig, seed: u64) -> Self {
        Self::with(config, OnlyRefused, seed)
    }
}

impl RetryPolicy<EveryError> {
    /// Retries calls that were refused or ended with an error. Only for calls
    /// that may arrive twice: one that timed out may have been carried out.
    #[must_use]
    pub fn idempotent(config: RetryConfig) -> Self {
        RetryPolicy::new(config).retry_if(EveryError)
    }
}

impl<R> RetryPolicy<R> {
    /// The same, budget included, with another judgement of which calls may be
    /// made again.
    ///
    /// ```
    /// use http::{Method, Request, Response, StatusCode};
    /// use resilience_core::{RetryConfig, RetryPolicy};
    ///
    /// let policy = RetryPolicy::new(RetryConfig::default()).retry_if(
    ///     |request: &Request<String>, result: Result<&Response<String>, &std::io::Error>| {
    ///         request.method() == Method::GET
    ///             && result.is_ok_and(|r| r.status() == StatusCode::SERVICE_UNAVAILABLE)
    ///     },
    /// );
    /// # let _ = policy;
    /// ```
    #[must_use]
    pub fn retry_if<T>(self, retryable: T) -> RetryPolicy<T> {
        RetryPolicy {
            shared: self.shared,
            retryable,
            retried: self.retried,
        }
    }

    /// Retries of all clones.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.shared.retries.load(Relaxed)
    }

    /// Retries of all clones that were due and not made, because the budget was
    /// spent. Grows while an upstream is in trouble that retries do not help.
    #[must_use]
    pub fn budget_exhausted(&self) -> u64 {
        self.shared.budget_exhausted.load(Relaxed)
    }

    fn with(config: RetryConfig, retryable: R, seed: u64) -> Self {
        let options = config.options().clone();
        let shared = Shared {
            backoff: Backoff::new(options.base, options.cap, seed),
            budget: budget(&options),
            options,
            retries: AtomicU64::new(0),
            budget_exhausted: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
            retryable,
            retried: 0,
        }
    }

    /// The wait before the next attempt, if there is to be one.
    fn next(&mut self, at_least: Duration) -> Option<Duration> {
        let shared = &self.shared;
        if self.retried + 1 >= shared.options.most_attempts {
            return None;
        }
        // ordering: Relaxed, both counters: read by people alone.
        if !shared.budget.withdraw() {
            shared.budget_exhausted.fetch_add(1, Relaxed);
            return None;
        }
        shared.retries.fetch_add(1, Relaxed);
        let wait = at_least + shared.backoff.next(self.retried);
        self.retried += 1;
        Some(wait)
    }
}

/// tower's budget for these options.
#[expect(
    clippy::cast_precision_loss,
    reason = "at most 1000, which a float holds exactly"
)]
fn budget(options: &RetryOptions) -> TpsBudget {
    // It takes a share of the successes and rounds its reciprocal down to a
    // whole number. With the half, that number is ours whatever the rounding.
    let share = 1.0 / (options.successes_per_retry as f32 + 0.5);
    TpsBudget::new(
        options.budget_window,
        options.free_retries_per_second,
        share,
    )
}

impl<R, Request, Response, E> Policy<Request, Response, CallError<E>> for RetryPolicy<R>
where
    R: Retryable<Request, Response, E>,
    Request: Clone,
{
    type Future = Sleep;

    fn retry(
        &mut self,
        request: &mut Request,
        result: &mut Result<Response, CallError<E>>,
    ) -> Option<Sleep> {
        let at_least = match result {
            Err(CallError::Open { retry_after }) => {
                // Asked before the budget: nobody pays for what is not done.
                if *retry_after > self.shared.options.patience {
                    return None;
                }
                *retry_after
            }
            Err(CallError::Inner(error)) => {
                if !self.retryable.retryable(request, Err(error)) {
                    return None;
                }
                Duration::ZERO
            }
            Ok(response) => {
                if !self.retryable.retryable(request, Ok(response)) {
                    self.shared.budget.deposit();
                    return None;
                }
                Duration::ZERO
            }
        };
        self.next(at_least).map(sleep)
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}

// By hand, so that a closure that is no `Debug` can be the judge.
impl<R> fmt::Debug for RetryPolicy<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("options", &self.shared.options)
            .field("retries", &self.retries())
            .field("budget_exhausted", &self.budget_exhausted())
            .finish_non_exhaustive()
    }
}

// A clone is for another call.
impl<R: Clone> Clone for RetryPolicy<R> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            retryable: self.retryable.clone(),
            retried: 0,
        }
    }
}
