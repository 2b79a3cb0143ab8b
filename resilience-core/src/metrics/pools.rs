//! What connection pools count.

use prometheus::proto::MetricFamily;

use super::series::gauge;
use crate::snapshot::PoolSnapshot;

pub(super) fn pools(pools: &[PoolSnapshot]) -> Vec<MetricFamily> {
    let each = |value: fn(&PoolSnapshot) -> u32| {
        pools
            .iter()
            .map(move |p| (vec![("pool", p.name.as_str())], f64::from(value(p))))
    };
    vec![
        gauge(
            "db_connection_pool_size",
            "The limit now: pool_size + max_overflow",
            each(|pool| pool.size),
        ),
        gauge(
            "db_connection_pool_in_use",
            "Connections checked out",
            each(|pool| pool.in_use),
        ),
    ]
}
