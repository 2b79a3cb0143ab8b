//! The heap of this process, counted.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations so far, of all threads; one that moves or grows is one more.
pub(super) fn allocations() -> usize {
    let stats = HEAP.stats();
    stats.allocations + stats.reallocations
}

/// Bytes that are allocated and not given back. What the allocator itself adds to
/// them is not in it.
pub(super) fn bytes() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// A counter that counts nothing would say that all is well.
pub(super) fn check_that_it_counts() {
    let (before, held) = (allocations(), bytes());
    let mut grows = Vec::<u8>::with_capacity(100);
    grows.reserve_exact(200);
    assert_eq!(allocations() - before, 2, "an allocation and its growth");
    assert_eq!(bytes() - held, grows.capacity(), "what is held now");
    drop(grows);
    assert_eq!(bytes(), held, "and nothing after it is given back");
}
