//! The shared memory of one breaker.
//!
//! `ask` is the start of a call and `tell` its end; `settle` is what counts and
//! time say of a state, `transition` how it changes, `by_hand` how people change
//! it; `picture` shows it, `life` hands it on.
//!
//! Cells live for ever and are used again: a permit can then hold a plain
//! reference, and a call touches no reference count. A shared count would cost
//! two contended adds a call and take the scaling over threads away. The
//! generation of a reused cell goes on, so a permit of its former life is
//! stale in the new one.

mod ask;
mod by_hand;
mod life;
mod picture;
mod settle;
mod tell;
mod transition;

pub(super) use life::Former;

#[cfg(feature = "tower")]
use super::parking::Parking;
use super::{
    config::BreakerConfig,
    journal::Journal,
    probes::Probes,
    settings::{Settings, Shape},
    totals::Totals,
    window::{CountWindow, Tally, TimeWindow},
    word::{Phase, Word},
};
use crate::{
    clock::Clock,
    line::Lined,
    sync::{AtomicU64, Mutex, Ordering::Acquire},
};
use transition::Change;

#[derive(Debug)]
pub(in crate::breaker) struct Cell {
    /// Read by every call: it must not share a line with what others write.
    word: Lined<AtomicU64>,
    settings: Lined<Settings>,
    count: Lined<CountWindow>,
    time: Lined<TimeWindow>,
    probes: Probes,
    totals: Totals,
    /// `generation << 32 | openings in a row`, of a circuit that is not closed.
    openings: AtomicU64,
    /// When an override ends, in milliseconds of the clock; all ones: never.
    override_ends_ms: AtomicU64,
    /// How many calls a closing circuit was asked for.
    ramp_asked: AtomicU64,
    /// The first generation of this life of the cell.
    born: AtomicU64,
    clock: Clock,
    pub(in crate::breaker) journal: Mutex<Journal>,
    #[cfg(feature = "tower")]
    pub(in crate::breaker) parking: Parking,
}

const NEVER: u64 = u64::MAX;

impl Cell {
    pub(in crate::breaker) fn new(name: &str, config: BreakerConfig, clock: Clock) -> Self {
        let settings = Settings::new(&config);
        let journal = Journal::new(name, config);
        let first = Word::first(journal.mode());
        Self {
            word: Lined(AtomicU64::new(first.0)),
            settings: Lined(settings),
            count: Lined(CountWindow::new()),
            time: Lined(TimeWindow::new()),
            probes: Probes::new(),
            totals: Totals::new(),
            openings: AtomicU64::new(0),
            override_ends_ms: AtomicU64::new(NEVER),
            ramp_asked: AtomicU64::new(0),
            born: AtomicU64::new(u64::from(first.generation())),
            clock,
            journal: Mutex::new(journal),
            #[cfg(feature = "tower")]
            parking: Parking::new(),
        }
    }

    #[inline]
    fn load(&self) -> Word {
        // ordering: Acquire. Pairs with `exchange`.
        Word(self.word.0.load(Acquire))
    }

    pub(in crate::breaker) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn window(&self, word: Word, now_ns: u64) -> Tally {
        let generation = word.generation();
        match (word.phase(), self.settings.0.shape()) {
            (Phase::Open, _) => Tally::default(),
            (Phase::HalfOpen, _) => self.probes.tally(generation),
            (_, Shape::Calls(size)) => self.count.0.tally(&self.totals.stripes, generation, size),
            (_, Shape::Buckets(pieces)) => {
                let stripes = &self.totals.stripes;
                self.time.0.tally(stripes, generation, pieces, now_ns)
            }
        }
    }

    fn window_calls(&self) -> u64 {
        let stripes = &self.totals.stripes;
        self.count.0.calls_ever(stripes) + self.time.0.calls_ever(stripes)
    }
}
