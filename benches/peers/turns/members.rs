//! The pools that take turns.

use resilience_peers::pools::{Bb8, Deadpool, Ours, Sqlx, Subject};

use super::crowd::{Slice, Stand};

/// Pools of one set, which were made together.
#[derive(Debug)]
pub(crate) struct Members {
    ours: Stand<Ours>,
    floor: Stand<Deadpool>,
    /// The floor's double.
    again: Stand<Deadpool>,
}

/// A slice of each.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) ours: Slice,
    pub(crate) floor: Slice,
    pub(crate) again: Slice,
}

/// Slices of the slower pools.
#[derive(Debug)]
pub(crate) struct Others {
    pub(crate) bb8: Vec<Slice>,
    pub(crate) sqlx: Vec<Slice>,
}

/// In which order three are served, or made. None is more often first, or behind
/// another, than the others.
const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [1, 0, 2],
    [2, 0, 1],
    [2, 1, 0],
    [1, 2, 0],
    [0, 2, 1],
];

impl Members {
    pub(crate) fn build(url: &str, set: usize) -> Self {
        let (mut ours, mut floor, mut again) = (None, None, None);
        for member in ORDERS[set % ORDERS.len()] {
            match member {
                0 => ours = Some(Stand::build(url)),
                1 => floor = Some(Stand::build(url)),
                _ => again = Some(Stand::build(url)),
            }
        }
        let all = ours.zip(floor).zip(again);
        let ((ours, floor), again) = all.expect("an order has each of the three");
        Self { ours, floor, again }
    }

    pub(crate) fn turn(&self, turn: usize) -> Turn {
        let (mut ours, mut floor, mut again) = (None, None, None);
        for member in ORDERS[turn % ORDERS.len()] {
            match member {
                0 => ours = Some(self.ours.slice()),
                1 => floor = Some(self.floor.slice()),
                _ => again = Some(self.again.slice()),
            }
        }
        let all = ours.zip(floor).zip(again);
        let ((ours, floor), again) = all.expect("an order has each of the three");
        Turn { ours, floor, again }
    }
}

/// So many slices of each.
pub(crate) fn others(url: &str, slices: usize) -> Others {
    Others {
        bb8: many::<Bb8>(url, slices),
        sqlx: many::<Sqlx>(url, slices),
    }
}

fn many<S: Subject>(url: &str, slices: usize) -> Vec<Slice> {
    let stand = Stand::<S>::build(url);
    (0..slices).map(|_| stand.slice()).collect()
}
