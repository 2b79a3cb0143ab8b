//! Answers from within the service itself.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    AdminSource, Condition, Observed, Receipt, ResetError, ResetOutcome, ResetRequest, Unavailable,
    routes::nearest,
};
use crate::{
    breaker::{ByHand, ChangeRefused, Registry},
    snapshot::Snapshot,
};

/// A heartbeat older than this means that the service's runtime is blocked.
pub const BLOCKED_AFTER: Duration = Duration::from_secs(2);

/// How many receipts are kept for their idempotency keys.
const MOST_RECEIPTS: usize = 256;

/// Takes a snapshot of the whole service.
pub(crate) type TakeSnapshot = Arc<dyn Fn() -> Snapshot + Send + Sync>;

/// The service answers for itself.
#[derive(Clone)]
pub(crate) struct LocalSource {
    take: TakeSnapshot,
    registry: Registry,
    receipts: Arc<Mutex<VecDeque<(String, Receipt)>>>,
}

impl LocalSource {
    pub(crate) fn new(take: TakeSnapshot, registry: Registry) -> Self {
        Self {
            take,
            registry,
            receipts: Arc::default(),
        }
    }

    fn reset_now(&self, name: &str, request: &ResetRequest) -> Result<Receipt, ResetError> {
        let Some(breaker) = self.registry.find(name) else {
            let breakers = self.registry.all();
            let names: Vec<_> = breakers.iter().map(|breaker| breaker.name()).collect();
            let nearest = nearest(name, names.iter().map(AsRef::as_ref));
            return Err(ResetError::Unknown {
                name: name.to_owned(),
                nearest,
            });
        };
        let by = ByHand {
            actor: request.actor.clone(),
            reason: request.reason.clone(),
            if_generation: request.if_generation,
            dry_run: request.dry_run,
        };
        let done = breaker.reset(&by).map_err(|refused| match refused {
            ChangeRefused::Disabled => ResetError::Disabled,
            ChangeRefused::Overridden(kind) => ResetError::Overridden(kind),
            ChangeRefused::NotOverridden => ResetError::NotOverridden,
            ChangeRefused::Moved { actual } => ResetError::Moved {
                expected: request.if_generation.unwrap_or(actual),
                actual,
            },
        })?;
        let (outcome, detail) = if request.dry_run {
            (
                ResetOutcome::DryRun,
                format!("it is {}, and would be CLOSED", done.before),
            )
        } else {
            (
                ResetOutcome::Applied,
                format!("it was {}, and is CLOSED now", done.before),
            )
        };
        Ok(Receipt {
            service: name.to_owned(),
            replica: (self.take)().replica,
            before: done.before,
            after: done.after,
            outcome,
            generation: done.generation,
            discarded: done.discarded,
            detail,
        })
    }
}

impl AdminSource for LocalSource {
    async fn observe(&self) -> Result<Observed, Unavailable> {
        let snapshot = Arc::new((self.take)());
        let condition = match snapshot.heartbeat_age_ms.map(Duration::from_millis) {
            Some(age) if age > BLOCKED_AFTER => Condition::RuntimeBlocked,
            _ => Condition::Live,
        };
        Ok(Observed {
            snapshot,
            age: Duration::ZERO,
            condition,
        })
    }

    async fn reset(&self, breaker: &str, request: ResetRequest) -> Result<Receipt, ResetError> {
        // A dry run is no change that could be made twice, and its receipt is
        // none that the change itself may be given.
        let key = request.idempotency_key.as_ref();
        let Some(key) = key.filter(|_| !request.dry_run) else {
            return self.reset_now(breaker, &request);
        };
        // Held while resetting, so that two requests with one key reset once.
        // Nothing in there waits.
        let mut receipts = self.receipts.lock();
        let key = format!("{breaker} {key}");
        if let Some((_, receipt)) = receipts.iter().find(|(known, _)| *known == key) {
            return Ok(receipt.clone());
        }
        let receipt = self.reset_now(breaker, &request)?;
        if receipts.len() == MOST_RECEIPTS {
            receipts.pop_front();
        }
        receipts.push_back((key, receipt.clone()));
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BreakerConfig, ErrorClass, snapshot::State};

    fn source() -> LocalSource {
        let registry = Registry::new();
        let breaker = registry.get_or_create("payment_api", &BreakerConfig::default());
        for _ in 0..20 {
            breaker.try_acquire().unwrap().failure(ErrorClass::TIMEOUT);
        }
        let reader = registry.clone();
        let take = move || Snapshot {
            breakers: reader.snapshot(),
            ..Snapshot::of_nothing("payments-api")
        };
        LocalSource::new(Arc::new(take), registry)
    }

    #[tokio::test]
    async fn the_same_key_gets_the_same_receipt_and_resets_once() {
        let source = source();
        let request = ResetRequest {
            idempotency_key: Some("k".into()),
            ..Default::default()
        };
        let first = source.reset("payment_api", request.clone()).await.unwrap();
        assert_eq!(
            (first.before, first.outcome),
            (State::Open, ResetOutcome::Applied)
        );
        let again = source.reset("payment_api", request).await.unwrap();
        assert_eq!(again, first);
        let other = source
            .reset("payment_api", ResetRequest::default())
            .await
            .unwrap();
        assert_eq!(other.before, State::Closed);
    }

    #[tokio::test]
    async fn a_dry_run_is_not_remembered_by_its_key() {
        let source = source();
        let real = ResetRequest {
            idempotency_key: Some("k".into()),
            ..Default::default()
        };
        let dry = ResetRequest {
            dry_run: true,
            ..real.clone()
        };
        let rehearsed = source.reset("payment_api", dry.clone()).await.unwrap();
        assert_eq!(rehearsed.before, State::Open);
        let done = source.reset("payment_api", real).await.unwrap();
        assert_eq!(done.outcome, ResetOutcome::Applied);
        let rehearsed = source.reset("payment_api", dry).await.unwrap();
        assert_eq!(
            (rehearsed.before, rehearsed.outcome),
            (State::Closed, ResetOutcome::DryRun)
        );
    }

    #[tokio::test]
    async fn an_unknown_name_is_refused_with_the_nearest_and_makes_no_breaker() {
        let source = source();
        let error = source
            .reset("payment_apl", ResetRequest::default())
            .await
            .unwrap_err();
        let ResetError::Unknown { nearest, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(nearest, ["payment_api"]);
        assert_eq!(source.registry.all().len(), 1);
    }

    #[tokio::test]
    async fn an_old_heartbeat_is_a_blocked_runtime() {
        let take = || Snapshot {
            heartbeat_age_ms: Some(2_001),
            ..Snapshot::of_nothing("a")
        };
        let source = LocalSource::new(Arc::new(take), Registry::new());
        assert_eq!(
            source.observe().await.unwrap().condition,
            Condition::RuntimeBlocked
        );
    }
}
