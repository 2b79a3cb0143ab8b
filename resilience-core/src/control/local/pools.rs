//! Changes of a pool by hand.

use crate::{
    control::{
        Action, ChangeError, ChangeOutcome, ChangeRequest, PoolLimits, PoolReceipt, Subject,
        routes::nearest, words::by_whom,
    },
    service::Pools,
};

/// Makes a change, or says what it would do.
pub(super) fn change(
    pools: &Pools,
    name: &str,
    request: &ChangeRequest,
    replica: String,
) -> Result<PoolReceipt, ChangeError> {
    let all = pools.all();
    let Some(pool) = all.iter().find(|pool| pool.name() == name) else {
        return Err(ChangeError::Unknown {
            subject: Subject::Pool,
            name: name.to_owned(),
            nearest: nearest(name, all.iter().map(|pool| pool.name())),
        });
    };
    let now = pool.snapshot();
    let before = PoolLimits::of(&now);
    let dry_run = request.dry_run;
    let (after, retired, detail) = if request.action == Action::Resize {
        let after = PoolLimits {
            pool_size: request.limits.pool_size.unwrap_or(before.pool_size),
            max_overflow: request.limits.max_overflow.unwrap_or(before.max_overflow),
        };
        if !dry_run {
            pool.resize(after.pool_size, after.max_overflow);
        }
        let limit = after.pool_size.saturating_add(after.max_overflow);
        let mut detail = match dry_run {
            true => format!("its limit is {before}, and would be {after}"),
            false => format!("its limit was {before}, and is {after}"),
        };
        if now.in_use > limit {
            let (in_use, over) = (now.in_use, now.in_use - limit);
            detail += &format!(
                "; {in_use} connections are in use, and the next {over} that are returned are closed"
            );
        }
        (after, None, detail)
    } else {
        let retired = if dry_run { now.open } else { pool.recycle() };
        let when = "the idle ones at once, the others when they are returned";
        let detail = match dry_run {
            true => format!("{retired} connections would be replaced: {when}"),
            false => format!("{retired} connections are replaced: {when}"),
        };
        (before, Some(retired), detail)
    };
    if !dry_run {
        let action = request.action.as_str();
        let by = by_whom(request.actor.as_deref(), request.reason.as_deref());
        tracing::info!(pool = name, "{action}{by}: {detail}");
    }
    Ok(PoolReceipt {
        pool: name.to_owned(),
        replica,
        action: request.action,
        before,
        after,
        outcome: if dry_run {
            ChangeOutcome::DryRun
        } else {
            ChangeOutcome::Applied
        },
        retired,
        detail,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        BreakerConfig, Registry,
        control::{AdminSource, LocalSource, NewLimits, Receipt},
        service::testing::FakePool,
        snapshot::Snapshot,
    };

    fn source(pool: &FakePool) -> LocalSource {
        let pools = Pools::default();
        pools.add(Arc::new(pool.clone()));
        let take = || Snapshot::of_nothing("payments-api");
        let registry = Registry::new();
        // Of the same name as a pool.
        let _ = registry.get_or_create("main", &BreakerConfig::default());
        LocalSource::new(Arc::new(take), registry).with_pools(pools)
    }

    fn resize(pool_size: u32, max_overflow: Option<u32>) -> ChangeRequest {
        ChangeRequest {
            limits: NewLimits {
                pool_size: Some(pool_size),
                max_overflow,
            },
            ..ChangeRequest::new(Action::Resize)
        }
    }

    async fn make(source: &LocalSource, request: ChangeRequest) -> PoolReceipt {
        match source.change("main", request).await.unwrap() {
            Receipt::Pool(receipt) => receipt,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_resize_gives_the_pool_what_was_asked_for_and_keeps_the_rest() {
        let pool = FakePool::named("main", 20, 10);
        let source = source(&pool);
        let dry = ChangeRequest {
            dry_run: true,
            ..resize(30, None)
        };
        let rehearsed = make(&source, dry).await;
        assert_eq!(rehearsed.outcome, ChangeOutcome::DryRun);
        assert_eq!(
            rehearsed.detail,
            "its limit is 20 + 10, and would be 30 + 10"
        );
        assert_eq!(pool.limits(), (20, 10));

        let receipt = make(&source, resize(30, None)).await;
        assert_eq!(receipt.outcome, ChangeOutcome::Applied);
        assert_eq!(receipt.detail, "its limit was 20 + 10, and is 30 + 10");
        assert_eq!(pool.limits(), (30, 10));
        pool.set(|pool| pool.in_use = 8);
        let receipt = make(&source, resize(5, Some(0))).await;
        assert_eq!(
            receipt.detail,
            "its limit was 30 + 10, and is 5 + 0; 8 connections are in use, and the next 3 that \
             are returned are closed"
        );
        assert_eq!(pool.limits(), (5, 0));
    }

    #[tokio::test]
    async fn a_recycling_is_counted_and_a_rehearsed_one_replaces_nothing() {
        let pool = FakePool::named("main", 20, 10);
        pool.set(|pool| pool.open = 7);
        let source = source(&pool);
        let dry = ChangeRequest {
            dry_run: true,
            ..ChangeRequest::new(Action::Recycle)
        };
        assert_eq!(make(&source, dry).await.retired, Some(7));
        assert_eq!(pool.recycled(), 0);
        let receipt = make(&source, ChangeRequest::new(Action::Recycle)).await;
        assert_eq!((receipt.retired, pool.recycled()), (Some(7), 1));
        assert_eq!(receipt.before, receipt.after);
    }

    #[tokio::test]
    async fn the_same_key_changes_a_pool_once_and_is_of_no_use_for_another_change() {
        let pool = FakePool::named("main", 20, 10);
        let source = source(&pool);
        let keyed = |request| ChangeRequest {
            idempotency_key: Some("k".into()),
            ..request
        };
        let first = make(&source, keyed(resize(30, None))).await;
        pool.set(|pool| pool.pool_size = 20);
        assert_eq!(make(&source, keyed(resize(30, None))).await, first);
        assert_eq!(pool.limits(), (20, 10));
        for other in [resize(31, None), ChangeRequest::new(Action::Recycle)] {
            let refused = source.change("main", keyed(other)).await.unwrap_err();
            assert!(matches!(refused, ChangeError::KeyUsed(Action::Resize)));
        }
        // A breaker is another thing.
        let reset = keyed(ChangeRequest::new(Action::Reset));
        let receipt = source.change("main", reset).await.unwrap();
        assert!(matches!(receipt, Receipt::Breaker(_)));
    }

    #[tokio::test]
    async fn an_unknown_pool_is_refused_with_the_nearest_and_called_a_pool() {
        let pool = FakePool::named("main", 20, 10);
        let source = source(&pool);
        for action in Action::OF_POOLS {
            let refused = source.change("mian", ChangeRequest::new(action)).await;
            let refused = refused.unwrap_err();
            assert_eq!(refused.to_string(), "there is no pool `mian`");
            assert!(
                matches!(&refused, ChangeError::Unknown { nearest, .. } if nearest == &["main"])
            );
        }
        let refused = source
            .change("mian", ChangeRequest::new(Action::Reset))
            .await;
        let refused = refused.unwrap_err().to_string();
        assert_eq!(refused, "there is no circuit breaker `mian`");
    }
}
