//! The rows of `make bench`: one criterion group a row, one function a member.
//!
//! Wall time is noisy, so a round is short and the members of a row are measured
//! one after the other; `scripts/bench.sh` makes several rounds, and the summary
//! takes the median of each member over them. Rows that this does not decide are in
//! `turns/`.
//!
//! Each number is nanoseconds a call and thread (in `pool_*` and `fallback_*` what each row says). In all of them, ours, peers and
//! floors alike, is criterion's loop: an increment, a compare and an opaque use of
//! the result, less than a nanosecond.

mod fallback;
mod layers;
mod pool;
mod sync;

use std::time::Duration;

use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};

/// A row of the summary.
type Row<'a> = BenchmarkGroup<'a, WallTime>;

/// About a second a member and round. The resamples are for confidence intervals,
/// which nobody reads here, and cost more than the measurement.
fn short_rounds() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20)
        .nresamples(500)
}

criterion_group! {
    name = rows;
    config = short_rounds();
    targets =
        sync::closed_count_1t, sync::closed_count_2t,
        sync::closed_time_1t, sync::closed_time_2t,
        sync::slow_call_1t, sync::open_1t,
        layers::tower_closed_1t, layers::tower_closed_mt, layers::tower_closed_mt_time,
        layers::tower_open_1t,
        pool::rows, fallback::rows
}
criterion_main!(rows);
