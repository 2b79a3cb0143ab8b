//! Callers that wait for an inner service to become ready, to be woken when the
//! circuit opens: a service that hangs would keep them for ever, and an open
//! circuit answers without it.

use std::{
    sync::atomic::{
        AtomicU64,
        Ordering::{Relaxed, SeqCst},
        fence,
    },
    task::Waker,
};

use parking_lot::Mutex;

use super::cell::Cell;

/// Who waits. As many as there are services that wait, each once.
#[derive(Debug, Default)]
pub(super) struct Parking {
    waiting: Mutex<Vec<(u64, Waker)>>,
    /// How many they are, so that a circuit for which nobody waits takes no lock.
    count: AtomicU64,
    next: AtomicU64,
}

impl Parking {
    pub(super) const fn new() -> Self {
        Self {
            waiting: Mutex::new(Vec::new()),
            count: AtomicU64::new(0),
            next: AtomicU64::new(0),
        }
    }

    fn enter(&self, number: u64, waker: &Waker) {
        let mut waiting = self.waiting.lock();
        match waiting.iter_mut().find(|(known, _)| *known == number) {
            Some((_, known)) => known.clone_from(waker),
            None => waiting.push((number, waker.clone())),
        }
        self.count.store(waiting.len() as u64, Relaxed);
        // ordering: SeqCst fence, here and in `wake_all`. Either the caller, who
        // looks at the state word next, finds it open, or whoever has opened it
        // finds the caller.
        fence(SeqCst);
    }

    fn leave(&self, number: u64) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|(known, _)| *known != number);
        self.count.store(waiting.len() as u64, Relaxed);
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Wakes all of them, outside of the lock.
    pub(super) fn wake_all(&self) {
        fence(SeqCst);
        if self.count.load(Relaxed) == 0 {
            return;
        }
        let woken = {
            let mut waiting = self.waiting.lock();
            self.count.store(0, Relaxed);
            std::mem::take(&mut *waiting)
        };
        for (_, waker) in woken {
            waker.wake();
        }
    }
}

/// A service's place among those who wait; left when dropped.
#[derive(Debug)]
pub(super) struct Place {
    cell: &'static Cell,
    number: u64,
}

impl Place {
    pub(super) fn new(cell: &'static Cell) -> Self {
        let number = cell.parking.next.fetch_add(1, Relaxed);
        Self { cell, number }
    }

    /// Waits, or goes on waiting with another waker. The state is to be asked
    /// again afterwards.
    pub(super) fn wait(&self, waker: &Waker) {
        self.cell.parking.enter(self.number, waker);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.cell.parking.leave(self.number);
    }
}
