//! Counts since the breaker was made, for metrics. They never go back, and a
//! successful call of a healthy count window adds to none of them: its count
//! is the window's cursor. What is counted often is counted in stripes.

use super::{
    easy::Easy,
    outcome::ErrorClass,
    running::Running,
    window::{Calls, Good},
    word::is_newer,
};
use crate::{
    snapshot::{ClassCount, DurationHistogram},
    stripes::{Pen, Stripes},
    sync::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

// ordering: Relaxed throughout. Statistics publish nothing.
#[derive(Debug)]
pub(super) struct Totals {
    /// Failures that went into a closed window.
    pub(super) window_failures: AtomicU64,
    /// Failures and successes of probes and of stale calls.
    pub(super) other_failures: AtomicU64,
    pub(super) other_successes: AtomicU64,
    pub(super) ignored: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) slow: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) open_ms: AtomicU64,
    /// When it last opened, in milliseconds of the clock.
    pub(super) opened_at_ms: AtomicU64,
    /// The most successes ever told, because the parts of the sum are read one
    /// after the other and a counter must not be seen to go back.
    told_successes: AtomicU64,
    /// Calls that the windows had seen before this breaker got them.
    inherited_calls: AtomicU64,
    /// The same for the time spent open.
    told_open_ms: AtomicU64,
    pub(super) stripes: Stripes<Stripe>,
    classes: Classes,
}

/// What a thread counts without meeting another.
#[derive(Debug, Default)]
pub(super) struct Stripe {
    pub(super) easy: Easy,
    pub(super) good: Good,
    pub(super) calls: Calls,
    pub(super) running: Running,
    rejected: AtomicU64,
    durations: Durations,
}

impl Stripe {
    /// Notes how long a call took.
    #[inline]
    pub(super) fn time(&self, pen: Pen, elapsed_ns: u64) {
        let Durations { counts, sum_ns } = &self.durations;
        pen.add(&counts[bucket(elapsed_ns)], 1);
        pen.add(sum_ns, elapsed_ns);
    }
}

impl Totals {
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            window_failures: zero(),
            other_failures: zero(),
            other_successes: zero(),
            ignored: zero(),
            cancelled: zero(),
            slow: zero(),
            stale: zero(),
            open_ms: zero(),
            opened_at_ms: zero(),
            told_successes: zero(),
            inherited_calls: zero(),
            told_open_ms: zero(),
            stripes: Stripes::new(),
            classes: Classes(std::array::from_fn(|_| zero())),
        }
    }

    /// Starts anew for another breaker, whose windows have seen `window_calls`.
    pub(super) fn restart(&self, window_calls: u64) {
        self.inherited_calls.store(window_calls, Relaxed);
        let plain = [
            &self.window_failures,
            &self.other_failures,
            &self.other_successes,
            &self.ignored,
            &self.cancelled,
            &self.slow,
            &self.stale,
            &self.open_ms,
            &self.told_successes,
            &self.told_open_ms,
        ];
        let striped = self.stripes.iter().flat_map(|stripe| {
            let Durations { counts, sum_ns } = &stripe.durations;
            counts.iter().chain([sum_ns, &stripe.rejected])
        });
        for count in plain.into_iter().chain(striped) {
            count.store(0, Relaxed);
        }
    }

    pub(super) fn reject(&self) {
        let (stripe, pen) = self.stripes.here();
        pen.add(&stripe.rejected, 1);
    }

    /// The same, if the thread has a stripe of its own.
    #[inline]
    pub(super) fn reject_alone(&self) -> bool {
        let own = self.stripes.own();
        if let Some((stripe, pen)) = own {
            pen.add(&stripe.rejected, 1);
        }
        own.is_some()
    }

    pub(super) fn rejected(&self) -> u64 {
        self.stripes
            .iter()
            .map(|stripe| stripe.rejected.load(Relaxed))
            .sum()
    }

    /// Successes, given how many calls the windows have seen.
    pub(super) fn successes(&self, window_calls: u64) -> u64 {
        // Failures are added before their call is, so this errs low.
        let good = window_calls
            .saturating_sub(self.inherited_calls.load(Acquire))
            .saturating_sub(self.window_failures.load(Acquire));
        let now = good + self.other_successes.load(Relaxed);
        self.told_successes.fetch_max(now, Relaxed).max(now)
    }

    /// Milliseconds spent open, given those of the present opening.
    pub(super) fn open_ms_total(&self, open_now_ms: u64) -> u64 {
        let now = self.open_ms.load(Relaxed) + open_now_ms;
        self.told_open_ms.fetch_max(now, Relaxed).max(now)
    }

    pub(super) fn failures(&self) -> u64 {
        self.window_failures.load(Relaxed) + self.other_failures.load(Relaxed)
    }

    pub(super) fn durations(&self) -> DurationHistogram {
        let sum = |of: &dyn Fn(&Durations) -> u64| -> u64 {
            self.stripes
                .iter()
                .map(|stripe| of(&stripe.durations))
                .sum()
        };
        let sum_ns = sum(&|durations| durations.sum_ns.load(Relaxed));
        DurationHistogram {
            counts: (0..=BOUNDS_NS.len())
                .map(|bucket| sum(&|durations| durations.counts[bucket].load(Relaxed)))
                .collect(),
            sum_seconds: std::time::Duration::from_nanos(sum_ns).as_secs_f64(),
        }
    }

    pub(super) fn note_class(&self, generation: u32, class: ErrorClass) {
        self.classes.note(generation, class);
    }

    pub(super) fn classes(&self, generation: u32) -> Vec<ClassCount> {
        self.classes.of(generation)
    }
}

#[derive(Debug, Default)]
struct Durations {
    counts: [AtomicU64; DurationHistogram::BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

#[inline]
fn bucket(elapsed_ns: u64) -> usize {
    // Most calls, and all that finish within a tick of the coarse clock.
    if elapsed_ns <= BOUNDS_NS[0] {
        0
    } else {
        BOUNDS_NS.partition_point(|&bound| bound < elapsed_ns)
    }
}

/// [`DurationHistogram::BOUNDS`] in nanoseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "constants from 5 ms to 10 s"
)]
const BOUNDS_NS: [u64; DurationHistogram::BOUNDS.len()] = {
    let mut bounds = [0; DurationHistogram::BOUNDS.len()];
    let mut i = 0;
    while i < bounds.len() {
        bounds[i] = (DurationHistogram::BOUNDS[i] * 1e9) as u64;
        i += 1;
    }
    bounds
};

/// The first few error classes of a generation: `generation << 42 | class <<
/// 26 | count` each. A class that finds no slot is not told apart.
#[derive(Debug)]
struct Classes([AtomicU64; 4]);

const CLASS_SHIFT: u32 = 26;
const CLASS_COUNT_MASK: u64 = (1 << CLASS_SHIFT) - 1;
const CLASS_GENERATION_SHIFT: u32 = 42;

fn generation_of(slot: u64) -> u32 {
    u32::try_from(slot >> CLASS_GENERATION_SHIFT).unwrap_or(0)
}

impl Classes {
    fn note(&self, generation: u32, class: ErrorClass) {
        let key = u64::from(generation) << 16 | u64::from(class.code());
        for slot in &self.0 {
            let update = |seen: u64| {
                if seen >> CLASS_SHIFT == key && seen & CLASS_COUNT_MASK != 0 {
                    Some(if seen & CLASS_COUNT_MASK == CLASS_COUNT_MASK {
                        seen
                    } else {
                        seen + 1
                    })
                } else if seen & CLASS_COUNT_MASK == 0 || is_newer(generation, generation_of(seen))
                {
                    Some(key << CLASS_SHIFT | 1)
                } else {
                    None
                }
            };
            // ordering: AcqRel, so that whoever trips sees the classes of the
            // failures that it counted.
            if slot.fetch_update(AcqRel, Acquire, update).is_ok() {
                return;
            }
        }
    }

    fn of(&self, generation: u32) -> Vec<ClassCount> {
        let read = |slot: &AtomicU64| {
            let word = slot.load(Acquire);
            let count = u32::try_from(word & CLASS_COUNT_MASK).unwrap_or(u32::MAX);
            let class = u16::try_from(word >> CLASS_SHIFT & 0xFFFF).unwrap_or(0);
            (count > 0 && word >> CLASS_GENERATION_SHIFT == u64::from(generation)).then(|| {
                ClassCount {
                    class: ErrorClass::from_code(class).to_string(),
                    count,
                }
            })
        };
        self.0.iter().filter_map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_is_in_its_bucket() {
        let totals = Totals::new();
        let (stripe, pen) = totals.stripes.here();
        for elapsed_ns in [5_000_000, 5_000_001, u64::from(u32::MAX) * 100] {
            stripe.time(pen, elapsed_ns);
        }
        let durations = totals.durations();
        assert_eq!(durations.counts[0], 1);
        assert_eq!(durations.counts[1], 1);
        assert_eq!(durations.counts.last(), Some(&1));
    }

    #[test]
    fn classes_are_counted_by_generation_and_the_fifth_is_not_told_apart() {
        let totals = Totals::new();
        totals.note_class(3, ErrorClass::TIMEOUT);
        totals.note_class(4, ErrorClass::http(503));
        totals.note_class(4, ErrorClass::http(503));
        for class in [
            ErrorClass::TIMEOUT,
            ErrorClass::CONNECT,
            ErrorClass::OTHER,
            ErrorClass::http(500),
        ] {
            totals.note_class(4, class);
        }
        let named: Vec<_> = totals
            .classes(4)
            .into_iter()
            .map(|c| (c.class, c.count))
            .collect();
        assert_eq!(
            named,
            [
                ("http_503", 2),
                ("timeout", 1),
                ("connect", 1),
                ("error", 1)
            ]
            .map(|(c, n)| (c.to_owned(), n))
        );
        assert!(totals.classes(3).is_empty());
        totals.note_class(3, ErrorClass::TIMEOUT);
        assert_eq!(totals.classes(4).len(), 4);
    }

    #[test]
    fn successes_are_never_seen_to_go_back() {
        let totals = Totals::new();
        assert_eq!(totals.successes(10), 10);
        totals.window_failures.fetch_add(1, Relaxed);
        assert_eq!(totals.successes(10), 10);
        assert_eq!(totals.successes(12), 11);
    }

    #[test]
    fn nor_is_the_time_spent_open() {
        let totals = Totals::new();
        assert_eq!(totals.open_ms_total(10), 10);
        // It has closed, and whoever closed it has not yet added this opening.
        assert_eq!(totals.open_ms_total(0), 10);
        totals.open_ms.fetch_add(10, Relaxed);
        assert_eq!(totals.open_ms_total(1), 11);
    }
}
