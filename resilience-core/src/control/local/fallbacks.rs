//! Changes of a fallback by hand.

use crate::{
    control::{
        Action, ChangeError, ChangeOutcome, ChangeRequest, FallbackReceipt, FallbackSwitch,
        Subject, routes::nearest, words::by_whom,
    },
    service::Fallbacks,
    snapshot::FallbackSnapshot,
};

/// Makes a change, or says what it would do.
pub(super) fn change(
    fallbacks: &Fallbacks,
    name: &str,
    request: &ChangeRequest,
    replica: String,
) -> Result<FallbackReceipt, ChangeError> {
    let all = fallbacks.all();
    let Some(fallback) = all.iter().find(|fallback| fallback.name() == name) else {
        return Err(ChangeError::Unknown {
            subject: Subject::Fallback,
            name: name.to_owned(),
            nearest: nearest(name, all.iter().map(|fallback| fallback.name())),
        });
    };
    let now = fallback.snapshot();
    let dry_run = request.dry_run;
    let (after, purged, detail) = match request.action {
        Action::SwitchOn | Action::SwitchOff => {
            // Where the configuration says so as well there is nothing to set. To
            // be off is kept all the same: what an operator wants off must not come
            // back because a file is reloaded.
            let on = request.action == Action::SwitchOn;
            let by_hand = !(on && now.configured);
            let after = FallbackSwitch {
                enabled: on,
                by_hand,
            };
            if !dry_run {
                let (actor, reason) = (request.actor.clone(), request.reason.clone());
                fallback.switch(by_hand.then_some(on), actor, reason);
            }
            (after, None, switched(&now, after, dry_run))
        }
        _ => {
            let purged = match dry_run {
                true => now.cache.entries,
                false => fallback.purge(),
            };
            let after = FallbackSwitch::of(&now);
            (after, Some(purged), purge(&now, purged, dry_run))
        }
    };
    if !dry_run {
        let action = request.action.as_str();
        let by = by_whom(request.actor.as_deref(), request.reason.as_deref());
        tracing::info!(fallback = name, "{action}{by}: {detail}");
    }
    Ok(FallbackReceipt {
        service: name.to_owned(),
        replica,
        action: request.action,
        before: FallbackSwitch::of(&now),
        after,
        outcome: if dry_run {
            ChangeOutcome::DryRun
        } else {
            ChangeOutcome::Applied
        },
        purged,
        detail,
    })
}

/// What a switch does, in a sentence.
fn switched(now: &FallbackSnapshot, after: FallbackSwitch, dry_run: bool) -> String {
    let before = FallbackSwitch::of(now);
    let was = now.switched.as_ref().map_or_else(String::new, |set| {
        by_whom(set.actor.as_deref(), set.reason.as_deref())
    });
    if before == after && !after.by_hand {
        return format!(
            "it is {before}: there is nothing to change{}",
            nothing(now, after)
        );
    }
    let effect = match (after.enabled, after.by_hand) {
        (true, true) => ", until somebody switches it off, also after a restart",
        (true, false) => "; the switch is removed",
        (false, _) => {
            ", until somebody switches it on, also after a restart: failures reach the callers, \
             and good answers are still kept"
        }
    };
    let nothing = nothing(now, after);
    match dry_run {
        true => format!("it is {before}{was}, and would be {after}{effect}{nothing}"),
        false => format!("it was {before}{was}, and is {after}{effect}{nothing}"),
    }
}

/// What to say of one that is switched on and has nothing to give.
fn nothing(now: &FallbackSnapshot, after: FallbackSwitch) -> &'static str {
    if after.enabled && now.strategy == "none" {
        "; but its strategy is `none`: set another in the configuration, or nothing is served"
    } else {
        ""
    }
}

fn purge(now: &FallbackSnapshot, purged: u64, dry_run: bool) -> String {
    let store = match now.store.as_str() {
        "memory" => String::new(),
        store if dry_run => format!("; so would those of the {store} store"),
        store => format!("; those of the {store} store go as soon as it takes the change"),
    };
    match dry_run {
        true => format!("{purged} answers in memory would be forgotten{store}"),
        false => format!("{purged} answers in memory are forgotten{store}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        BreakerConfig, Registry,
        control::{AdminSource, LocalSource, Receipt},
        service::{ManagedFallback, testing::FakeFallback},
        snapshot::Snapshot,
    };

    fn source(fallback: &FakeFallback) -> LocalSource {
        let fallbacks = Fallbacks::default();
        fallbacks.add(Arc::new(fallback.clone()));
        let take = || Snapshot::of_nothing("payments-api");
        let registry = Registry::new();
        // Of the same name as a fallback, as it is with most services.
        let _ = registry.get_or_create("rates", &BreakerConfig::default());
        LocalSource::new(Arc::new(take), registry).with_fallbacks(fallbacks)
    }

    fn by(action: Action) -> ChangeRequest {
        ChangeRequest {
            actor: Some("on-call".into()),
            reason: Some("INC-7".into()),
            ..ChangeRequest::new(action)
        }
    }

    fn dry(action: Action) -> ChangeRequest {
        ChangeRequest {
            dry_run: true,
            ..by(action)
        }
    }

    async fn make(source: &LocalSource, request: ChangeRequest) -> FallbackReceipt {
        match source.change("rates", request).await.unwrap() {
            Receipt::Fallback(receipt) => receipt,
            other => panic!("{other:?}"),
        }
    }

    const fn switch(enabled: bool, by_hand: bool) -> FallbackSwitch {
        FallbackSwitch { enabled, by_hand }
    }

    #[tokio::test]
    async fn off_by_hand_is_kept_with_who_and_why_and_on_removes_it_where_the_configuration_agrees()
    {
        let fallback = FakeFallback::named("rates", true);
        let source = source(&fallback);
        let rehearsed = make(&source, dry(Action::SwitchOff)).await;
        assert_eq!(rehearsed.outcome, ChangeOutcome::DryRun);
        assert_eq!(rehearsed.after, switch(false, true));
        assert_eq!(
            rehearsed.detail,
            "it is on, as the configuration says, and would be switched off by hand, until \
             somebody switches it on, also after a restart: failures reach the callers, and good \
             answers are still kept"
        );
        assert_eq!(fallback.switches(), []);

        let receipt = make(&source, by(Action::SwitchOff)).await;
        assert_eq!(receipt.outcome, ChangeOutcome::Applied);
        assert_eq!(
            (receipt.before, receipt.after),
            (switch(true, false), switch(false, true))
        );
        assert!(
            receipt
                .detail
                .starts_with("it was on, as the configuration says, and is")
        );
        let set = fallback.snapshot().switched.unwrap();
        assert_eq!(
            (set.actor.as_deref(), set.reason.as_deref()),
            (Some("on-call"), Some("INC-7"))
        );

        let receipt = make(&source, by(Action::SwitchOn)).await;
        assert_eq!(
            receipt.detail,
            "it was switched off by hand by on-call because \"INC-7\", and is on, as the \
             configuration says; the switch is removed"
        );
        assert_eq!(receipt.after, switch(true, false));
        assert_eq!(fallback.snapshot().switched, None);
        let again = make(&source, by(Action::SwitchOn)).await;
        assert_eq!(
            again.detail,
            "it is on, as the configuration says: there is nothing to change"
        );
        assert_eq!(fallback.switches(), [Some(false), None, None]);
    }

    #[tokio::test]
    async fn on_by_hand_is_set_where_the_configuration_says_off() {
        let fallback = FakeFallback::named("rates", false);
        let source = source(&fallback);
        let receipt = make(&source, by(Action::SwitchOn)).await;
        assert_eq!(
            receipt.detail,
            "it was off, as the configuration says, and is switched on by hand, until somebody \
             switches it off, also after a restart"
        );
        assert_eq!(receipt.after, FallbackSwitch::of(&fallback.snapshot()));
        assert_eq!(receipt.after, switch(true, true));
        let receipt = make(&source, by(Action::SwitchOff)).await;
        assert_eq!(receipt.after, FallbackSwitch::of(&fallback.snapshot()));
        assert_eq!(receipt.after, switch(false, true));
    }

    #[tokio::test]
    async fn one_that_has_nothing_to_give_says_so_when_it_is_switched_on() {
        for configured in [true, false] {
            let fallback = FakeFallback::named("rates", configured);
            fallback.set(|shown| shown.strategy = "none".to_owned());
            let receipt = make(&source(&fallback), by(Action::SwitchOn)).await;
            let nothing = "; but its strategy is `none`: set another in the configuration, or \
                           nothing is served";
            assert!(receipt.detail.ends_with(nothing), "{}", receipt.detail);
        }
    }

    #[tokio::test]
    async fn a_purge_is_counted_and_a_rehearsed_one_forgets_nothing() {
        let fallback = FakeFallback::named("rates", true);
        fallback.set(|shown| shown.cache.entries = 7);
        let source = source(&fallback);
        let rehearsed = make(&source, dry(Action::Purge)).await;
        assert_eq!(rehearsed.detail, "7 answers in memory would be forgotten");
        assert_eq!((rehearsed.purged, fallback.purges()), (Some(7), 0));
        fallback.set(|shown| shown.store = "redis".to_owned());
        let receipt = make(&source, by(Action::Purge)).await;
        assert_eq!(
            receipt.detail,
            "7 answers in memory are forgotten; those of the redis store go as soon as it takes \
             the change"
        );
        assert_eq!((receipt.purged, fallback.purges()), (Some(7), 1));
        assert_eq!(receipt.before, receipt.after);
        assert_eq!(make(&source, by(Action::Purge)).await.purged, Some(0));
    }

    #[tokio::test]
    async fn the_same_key_purges_once_and_is_of_no_use_for_another_change() {
        let fallback = FakeFallback::named("rates", true);
        let source = source(&fallback);
        let keyed = |action| ChangeRequest {
            idempotency_key: Some("k".into()),
            ..by(action)
        };
        let first = make(&source, keyed(Action::Purge)).await;
        assert_eq!(make(&source, keyed(Action::Purge)).await, first);
        assert_eq!(fallback.purges(), 1);
        for other in [Action::SwitchOn, Action::SwitchOff] {
            let refused = source.change("rates", keyed(other)).await.unwrap_err();
            assert!(matches!(refused, ChangeError::KeyUsed(Action::Purge)));
        }
        // The breaker of that name is another thing, and so is its `disable`.
        let receipt = source
            .change("rates", keyed(Action::Disable))
            .await
            .unwrap();
        assert!(matches!(receipt, Receipt::Breaker(_)));
        assert!(fallback.snapshot().enabled);
    }

    #[tokio::test]
    async fn an_unknown_fallback_is_refused_with_the_nearest_and_none_is_made() {
        let fallback = FakeFallback::named("rates", true);
        let source = source(&fallback);
        for action in Action::OF_FALLBACKS {
            let refused = source.change("raets", by(action)).await.unwrap_err();
            assert_eq!(refused.to_string(), "there is no fallback `raets`");
            assert!(
                matches!(&refused, ChangeError::Unknown { nearest, .. } if nearest == &["rates"])
            );
        }
    }
}
