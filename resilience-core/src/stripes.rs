//! Counters in stripes, so that threads that count do not meet.
//!
//! The first few threads of the process have a stripe of their own wherever there
//! are stripes and write it with plain stores: no other thread ever does, and a
//! locked add costs three times as much. Later threads share what is left and
//! pay for the locked add. A thread that ends leaves its stripe to the next.
//! What a pool counts is counted so as well.

use std::cell::Cell;

use crate::line::Lined;
use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// One stripe for each thread that has one, and the shared ones behind them.
#[derive(Debug)]
pub(crate) struct Stripes<T>(Box<[Lined<T>]>);

/// How the calling thread may write to its stripe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pen {
    alone: bool,
}

impl<T: Default> Stripes<T> {
    pub(crate) fn new() -> Self {
        let count = Layout::get().stripes();
        Self((0..count).map(|_| Lined::default()).collect())
    }

    /// The calling thread's own stripe, and nobody else's; `None` if it has
    /// none, or has not counted anything yet.
    #[inline]
    pub(crate) fn own(&self) -> Option<(&T, Pen)> {
        // `SHARED` and `NOT_YET` are far outside.
        let stripe = self.0.get(known_place() as usize)?;
        Some((&stripe.0, Pen { alone: true }))
    }

    /// The calling thread's stripe.
    #[inline]
    pub(crate) fn here(&self) -> (&T, Pen) {
        let place = place_of_this_thread();
        let index = (place & !SHARED) as usize;
        let alone = place & SHARED == 0;
        // Always inside: there is one layout for all.
        (&self.0[index].0, Pen { alone })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|stripe| &stripe.0)
    }
}

impl<T: Default> Default for Stripes<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl Pen {
    /// For what several threads write.
    pub(crate) const fn shared() -> Self {
        Self { alone: false }
    }

    /// Whether no other thread writes to the stripe.
    #[inline]
    pub(crate) const fn is_alone(self) -> bool {
        self.alone
    }

    /// Adds to a count of the stripe that this pen came with.
    #[inline]
    pub(crate) fn add(self, count: &AtomicU64, addend: u64) {
        // ordering: Release. Pairs with the Acquire of whoever reads two counts
        // of which one is never to be seen without the other.
        if self.alone {
            count.store(count.load(Relaxed).wrapping_add(addend), Release);
        } else {
            count.fetch_add(addend, Release);
        }
    }

    /// Changes a word of the stripe from `seen` to `next`; what is there if
    /// another thread was faster.
    #[inline]
    pub(crate) fn replace(self, word: &AtomicU64, seen: u64, next: u64) -> Result<(), u64> {
        // ordering: Release. Pairs with the Acquire of whoever reads two words
        // of a stripe that belong together.
        if self.alone {
            word.store(next, Release);
            Ok(())
        } else {
            word.compare_exchange(seen, next, Release, Acquire)
                .map(|_| ())
        }
    }
}

/// Marks a place that several threads have.
const SHARED: u32 = 1 << 31;
const NOT_YET: u32 = u32::MAX;

/// How many threads get a stripe of their own, and how many stripes the rest share.
#[derive(Clone, Copy)]
struct Layout {
    alone: u32,
    shared: u32,
}

impl Layout {
    const fn stripes(self) -> u32 {
        self.alone + self.shared
    }
}

thread_local! {
    // Without a destructor, so that reading it is one load.
    static PLACE: Cell<u32> = const { Cell::new(NOT_YET) };
}

#[cfg(not(loom))]
#[inline]
fn known_place() -> u32 {
    PLACE.with(Cell::get)
}

/// loom's threads all run on one thread of the system: `PLACE` says nothing.
#[cfg(loom)]
fn known_place() -> u32 {
    places::assign()
}

#[inline]
fn place_of_this_thread() -> u32 {
    let place = known_place();
    if place == NOT_YET {
        places::assign()
    } else {
        place
    }
}

#[cfg(not(loom))]
mod places {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    };

    use parking_lot::Mutex;

    use super::{Layout, PLACE, SHARED};

    impl Layout {
        pub(crate) fn get() -> Self {
            static LAYOUT: OnceLock<Layout> = OnceLock::new();
            *LAYOUT.get_or_init(|| {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                // The workers of a runtime are as many as there are cores, and one
                // thread started them. Sixteen at most: memory.
                let alone = u32::try_from(cores + 1).unwrap_or(16).min(16);
                let shared = alone.div_ceil(4);
                Self { alone, shared }
            })
        }
    }

    /// Places of threads that have ended.
    static FREE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

    /// Gives the thread's place back when it ends.
    struct Lease(u32);

    impl Drop for Lease {
        fn drop(&mut self) {
            // Destructors that run later may still count.
            PLACE.set(SHARED | Layout::get().alone);
            FREE.lock().push(self.0);
        }
    }

    thread_local! {
        static LEASE: std::cell::OnceCell<Lease> = const { std::cell::OnceCell::new() };
    }

    #[cold]
    pub(crate) fn assign() -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static NEXT_SHARED: AtomicU32 = AtomicU32::new(0);
        let Layout { alone, shared } = Layout::get();
        let untaken = || {
            let take = |number| (number < alone).then_some(number + 1);
            NEXT.fetch_update(Relaxed, Relaxed, take).ok()
        };
        // The lock orders this thread after the place's last owner.
        let own = FREE.lock().pop().or_else(untaken);
        let leased = own.filter(|number| {
            let leased = LEASE.try_with(|lease| lease.set(Lease(*number)).is_ok());
            // A thread that is ending could not give it back later.
            let leased = leased.unwrap_or(false);
            if !leased {
                FREE.lock().push(*number);
            }
            leased
        });
        let place =
            leased.unwrap_or_else(|| SHARED | (alone + NEXT_SHARED.fetch_add(1, Relaxed) % shared));
        PLACE.set(place);
        place
    }
}

/// Two stripes of one thread each and a shared one.
#[cfg(loom)]
mod places {
    use super::{Layout, SHARED};

    impl Layout {
        pub(crate) fn get() -> Self {
            Self {
                alone: 2,
                shared: 1,
            }
        }
    }

    loom::lazy_static! {
        static ref NEXT: loom::sync::atomic::AtomicU32 = loom::sync::atomic::AtomicU32::new(0);
    }

    loom::thread_local! {
        static NUMBER: u32 = NEXT.fetch_add(1, loom::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn assign() -> u32 {
        NUMBER.with(|number| if *number < 2 { *number } else { SHARED | 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_lose_no_count_though_there_are_more_of_them_than_stripes() {
        let stripes: Stripes<AtomicU64> = Stripes::new();
        let threads = 3 * Layout::get().stripes();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let (count, pen) = stripes.here();
                        pen.add(count, 1);
                    }
                });
            }
        });
        let sum: u64 = stripes.iter().map(|count| count.load(Relaxed)).sum();
        assert_eq!(sum, u64::from(threads) * 10_000);
    }

    #[test]
    fn a_thread_that_ends_leaves_its_place_to_the_next() {
        let place = || std::thread::spawn(place_of_this_thread).join().unwrap();
        let first = place();
        // Others of the same process may have it for as long as they run.
        let begun = std::time::Instant::now();
        while place() != first {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60));
        }
    }
}
