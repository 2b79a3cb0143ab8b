//! Answers from within the service itself.

mod fallbacks;
mod pools;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::{
    Action, AdminSource, BreakerReceipt, ChangeError, ChangeOutcome, ChangeRequest, Condition,
    Observed, Receipt, Subject, Unavailable,
    routes::nearest,
    words::{set_to, until},
};
use crate::{
    breaker::{ByHand, ChangeRefused, Changed, Registry},
    service::{Fallbacks, Pools},
    snapshot::{BreakerSnapshot, Snapshot, State},
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
    pools: Pools,
    fallbacks: Fallbacks,
    made: Arc<Mutex<VecDeque<Made>>>,
}

/// A change that was made, and is not made again for the same key.
struct Made {
    name: String,
    key: String,
    request: ChangeRequest,
    receipt: Receipt,
}

impl LocalSource {
    pub(crate) fn new(take: TakeSnapshot, registry: Registry) -> Self {
        Self {
            take,
            registry,
            pools: Pools::default(),
            fallbacks: Fallbacks::default(),
            made: Arc::default(),
        }
    }

    /// The same that also changes these pools.
    pub(crate) fn with_pools(self, pools: Pools) -> Self {
        Self { pools, ..self }
    }

    /// The same that also changes these fallbacks.
    pub(crate) fn with_fallbacks(self, fallbacks: Fallbacks) -> Self {
        Self { fallbacks, ..self }
    }

    fn change_now(&self, name: &str, request: &ChangeRequest) -> Result<Receipt, ChangeError> {
        match request.action.subject() {
            Subject::Breaker => self.change_breaker(name, request).map(Receipt::Breaker),
            Subject::Pool => {
                let replica = (self.take)().replica;
                pools::change(&self.pools, name, request, replica).map(Receipt::Pool)
            }
            Subject::Fallback => {
                let replica = (self.take)().replica;
                let changed = fallbacks::change(&self.fallbacks, name, request, replica);
                changed.map(Receipt::Fallback)
            }
        }
    }

    fn change_breaker(
        &self,
        name: &str,
        request: &ChangeRequest,
    ) -> Result<BreakerReceipt, ChangeError> {
        let Some(breaker) = self.registry.find(name) else {
            let breakers = self.registry.all();
            let names: Vec<_> = breakers.iter().map(|breaker| breaker.name()).collect();
            let nearest = nearest(name, names.iter().map(AsRef::as_ref));
            return Err(ChangeError::Unknown {
                subject: Subject::Breaker,
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
        let changed = match (request.action, request.action.sets()) {
            (_, Some(kind)) => breaker.set_override(kind, request.lasts, &by),
            (Action::Enable, None) => breaker.enable(&by),
            (_, None) => breaker.reset(&by),
        };
        let changed = changed.map_err(|refused| match refused {
            ChangeRefused::Disabled => ChangeError::Disabled,
            ChangeRefused::Overridden(kind) => ChangeError::Overridden(kind),
            ChangeRefused::NotOverridden => ChangeError::NotOverridden,
            ChangeRefused::Moved { actual } => ChangeError::Moved {
                expected: request.if_generation.unwrap_or(actual),
                actual,
            },
        })?;
        let now = breaker.snapshot();
        let expires_at = expiry(request, &changed, &now);
        Ok(BreakerReceipt {
            service: name.to_owned(),
            replica: (self.take)().replica,
            action: request.action,
            before: changed.before,
            after: changed.after,
            outcome: if request.dry_run {
                ChangeOutcome::DryRun
            } else {
                ChangeOutcome::Applied
            },
            generation: changed.generation,
            expires_at,
            discarded: changed.discarded,
            detail: detail(request, &changed, expires_at, &now),
        })
    }
}

/// When the override ends: as the breaker shows it, or, of a rehearsal or should
/// somebody have replaced it meanwhile, as it was asked for.
fn expiry(request: &ChangeRequest, changed: &Changed, now: &BreakerSnapshot) -> Option<Timestamp> {
    let lasts = SignedDuration::try_from(request.lasts?).ok()?;
    let set = now.overridden.as_ref();
    let set = set.filter(|_| !request.dry_run && now.generation == changed.generation);
    match set {
        Some(set) => set.expires_at,
        None => Timestamp::now().checked_add(lasts).ok(),
    }
}

/// What was done, in a sentence.
fn detail(
    request: &ChangeRequest,
    changed: &Changed,
    expires_at: Option<Timestamp>,
    now: &BreakerSnapshot,
) -> String {
    let before = changed.before;
    if let Some(kind) = request.action.sets() {
        let (set, until) = (set_to(kind), until(expires_at));
        return if request.dry_run {
            format!("it is {before}, and would be {set} {until}")
        } else {
            format!("it was {before}, and is {set} {until}")
        };
    }
    // Of a rehearsal, `after` is the state of now.
    let after = match (request.dry_run, request.action) {
        (false, _) => changed.after,
        (true, Action::Enable) if now.enabled => now.computed_state,
        (true, _) => State::Closed,
    };
    let removed = request.action == Action::Enable;
    match (request.dry_run, removed) {
        (false, false) => format!("it was {before}, and is {after} now"),
        (true, false) => format!("it is {before}, and would be {after}"),
        (false, true) => format!("its override is removed: it was {before}, and is {after} now"),
        (true, true) => format!("it is {before}, and would be {after} without its override"),
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

    async fn change(&self, name: &str, request: ChangeRequest) -> Result<Receipt, ChangeError> {
        // A dry run is no change that could be made twice, and its receipt is
        // none that the change itself may be given.
        let key = request.idempotency_key.clone();
        let Some(key) = key.filter(|_| !request.dry_run) else {
            return self.change_now(name, &request);
        };
        // Held while changing, so that two requests with one key change once.
        // Nothing in there waits.
        let mut made = self.made.lock();
        let subject = request.action.subject();
        let known = made.iter().find(|made| {
            made.request.action.subject() == subject && made.name == name && made.key == key
        });
        if let Some(known) = known {
            // A receipt for something else would be a lie.
            return if known.request.is_same_change(&request) {
                Ok(known.receipt.clone())
            } else {
                Err(ChangeError::KeyUsed(known.request.action))
            };
        }
        let receipt = self.change_now(name, &request)?;
        if made.len() == MOST_RECEIPTS {
            made.pop_front();
        }
        made.push_back(Made {
            name: name.to_owned(),
            key,
            request,
            receipt: receipt.clone(),
        });
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BreakerConfig, BreakerOptions, ErrorClass, snapshot::OverrideKind};

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

    fn with_key(action: Action) -> ChangeRequest {
        ChangeRequest {
            idempotency_key: Some("k".into()),
            ..ChangeRequest::new(action)
        }
    }

    async fn make(
        source: &LocalSource,
        request: &ChangeRequest,
    ) -> Result<BreakerReceipt, ChangeError> {
        match source.change("payment_api", request.clone()).await? {
            Receipt::Breaker(receipt) => Ok(receipt),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_same_key_gets_the_same_receipt_and_the_change_is_made_once() {
        for action in Action::OF_BREAKERS {
            let source = source();
            if action == Action::Enable {
                let set = ChangeRequest::new(Action::Disable);
                make(&source, &set).await.unwrap();
            }
            let first = make(&source, &with_key(action)).await.unwrap();
            assert_eq!(
                (first.action, first.outcome),
                (action, ChangeOutcome::Applied)
            );
            let again = make(&source, &with_key(action)).await.unwrap();
            assert_eq!(again, first);
            let breaker = source.registry.find("payment_api").unwrap();
            assert_eq!(breaker.snapshot().generation, first.generation, "{action}");
        }
    }

    #[tokio::test]
    async fn a_key_of_another_change_is_refused_and_gets_no_receipt_for_it() {
        let source = source();
        let hour = ChangeRequest {
            lasts: Some(Duration::from_secs(3_600)),
            ..with_key(Action::ForceOpen)
        };
        make(&source, &hour).await.unwrap();
        for other in [with_key(Action::Reset), with_key(Action::ForceOpen)] {
            let refused = make(&source, &other).await.unwrap_err();
            assert!(
                matches!(refused, ChangeError::KeyUsed(Action::ForceOpen)),
                "{refused}"
            );
        }
    }

    #[tokio::test]
    async fn a_dry_run_is_not_remembered_by_its_key() {
        let source = source();
        let real = with_key(Action::Reset);
        let dry = ChangeRequest {
            dry_run: true,
            ..real.clone()
        };
        let rehearsed = make(&source, &dry).await.unwrap();
        assert_eq!(rehearsed.before, State::Open);
        let done = make(&source, &real).await.unwrap();
        assert_eq!(done.outcome, ChangeOutcome::Applied);
        let rehearsed = make(&source, &dry).await.unwrap();
        assert_eq!(
            (rehearsed.before, rehearsed.outcome),
            (State::Closed, ChangeOutcome::DryRun)
        );
    }

    #[tokio::test]
    async fn an_unknown_name_is_refused_with_the_nearest_and_makes_no_breaker() {
        let source = source();
        for action in Action::OF_BREAKERS {
            let request = ChangeRequest::new(action);
            let error = source.change("payment_apl", request).await.unwrap_err();
            let ChangeError::Unknown { nearest, .. } = error else {
                panic!("{error}")
            };
            assert_eq!(nearest, ["payment_api"]);
        }
        assert_eq!(source.registry.all().len(), 1);
    }

    #[tokio::test]
    async fn a_receipt_says_what_was_done_and_until_when() {
        let source = source();
        let hour = |action| ChangeRequest {
            lasts: Some(Duration::from_secs(3_600)),
            ..ChangeRequest::new(action)
        };
        let dry = |request| ChangeRequest {
            dry_run: true,
            ..request
        };
        let now = Timestamp::now();
        let set = make(&source, &hour(Action::Disable)).await.unwrap();
        let end = set.expires_at.unwrap();
        let lasts = end.duration_since(now).as_secs();
        assert!((3_600..3_610).contains(&lasts), "{end}");
        let breaker = source.registry.find("payment_api").unwrap();
        let shown = breaker.snapshot().overridden.unwrap().expires_at;
        assert_eq!(shown, Some(end));
        let end = super::super::words::instant(end);

        let disabled = format!("it was OPEN, and is disabled until {end}");
        assert_eq!(set.detail, disabled);
        let mut told = Vec::new();
        for request in [
            dry(ChangeRequest::new(Action::Enable)),
            ChangeRequest::new(Action::Enable),
            ChangeRequest::new(Action::MetricsOnly),
            dry(ChangeRequest::new(Action::ForceOpen)),
            ChangeRequest::new(Action::Reset),
            ChangeRequest::new(Action::Enable),
            dry(ChangeRequest::new(Action::Reset)),
        ] {
            told.push(make(&source, &request).await.unwrap().detail);
        }
        assert_eq!(
            told,
            [
                "it is CLOSED, and would be OPEN without its override",
                "its override is removed: it was CLOSED, and is OPEN now",
                "it was OPEN, and is set to metrics only until somebody removes the override",
                "it is CLOSED, and would be forced open until somebody removes the override",
                "it was CLOSED, and is CLOSED now",
                "its override is removed: it was CLOSED, and is CLOSED now",
                "it is CLOSED, and would be CLOSED",
            ]
        );
        let rehearsed = make(&source, &dry(hour(Action::ForceOpen))).await.unwrap();
        assert!(rehearsed.expires_at.is_some(), "{rehearsed:?}");
        assert_eq!(breaker.snapshot().overridden, None);
    }

    #[tokio::test]
    async fn what_cannot_be_done_is_refused_with_what_is_in_the_way() {
        let source = source();
        let change = async |action| make(&source, &ChangeRequest::new(action)).await;
        let refused = change(Action::Enable).await.unwrap_err();
        assert!(matches!(refused, ChangeError::NotOverridden), "{refused}");
        change(Action::ForceOpen).await.unwrap();
        let refused = change(Action::Reset).await.unwrap_err();
        let in_the_way = OverrideKind::ForcedOpen;
        assert!(
            matches!(refused, ChangeError::Overridden(kind) if kind == in_the_way),
            "{refused}"
        );
        let moved = ChangeRequest {
            if_generation: Some(77),
            ..ChangeRequest::new(Action::Disable)
        };
        let refused = make(&source, &moved).await.unwrap_err();
        assert!(
            matches!(refused, ChangeError::Moved { expected: 77, .. }),
            "{refused}"
        );
        let off = BreakerOptions {
            enabled: false,
            ..BreakerOptions::default()
        };
        let breaker = source.registry.find("payment_api").unwrap();
        breaker.configure(BreakerConfig::try_from(off).unwrap());
        change(Action::Enable).await.unwrap();
        let refused = change(Action::Reset).await.unwrap_err();
        assert!(matches!(refused, ChangeError::Disabled), "{refused}");
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
