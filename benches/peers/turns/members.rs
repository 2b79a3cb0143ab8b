//! The pools that take turns.

use std::fmt;

use resilience_peers::pools::{Bb8, Deadpool, Ours, Sqlx, Subject};

use super::crowd::{Slice, crowd, full};

/// Pools of one set, which were made together.
pub(crate) struct Members {
    ours: Ours,
    floor: Deadpool,
    /// The floor's double.
    again: Deadpool,
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

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").finish_non_exhaustive()
    }
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
    pub(crate) async fn build(url: &str, set: usize) -> Self {
        let (mut ours, mut floor, mut again) = (None, None, None);
        for member in ORDERS[set % ORDERS.len()] {
            match member {
                0 => ours = Some(full(url).await),
                1 => floor = Some(full(url).await),
                _ => again = Some(full(url).await),
            }
        }
        let all = ours.zip(floor).zip(again);
        let ((ours, floor), again) = all.expect("an order has each of the three");
        Self { ours, floor, again }
    }

    pub(crate) async fn turn(&self, turn: usize) -> Turn {
        let (mut ours, mut floor, mut again) = (None, None, None);
        for member in ORDERS[turn % ORDERS.len()] {
            match member {
                0 => ours = Some(crowd(&self.ours).await),
                1 => floor = Some(crowd(&self.floor).await),
                _ => again = Some(crowd(&self.again).await),
            }
        }
        let all = ours.zip(floor).zip(again);
        let ((ours, floor), again) = all.expect("an order has each of the three");
        Turn { ours, floor, again }
    }
}

/// So many slices of each.
pub(crate) async fn others(url: &str, slices: usize) -> Others {
    Others {
        bb8: many::<Bb8>(url, slices).await,
        sqlx: many::<Sqlx>(url, slices).await,
    }
}

async fn many<S: Subject>(url: &str, slices: usize) -> Vec<Slice> {
    let pool = full::<S>(url).await;
    let mut many = Vec::new();
    for _ in 0..slices {
        many.push(crowd(&pool).await);
    }
    many
}
