//! What the slices say.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    crowd::Slice,
    members::{Others, Turn},
};

pub(crate) const NAMES: [&str; 2] = ["pool_checkout_64_on_8", "pool_longest_wait_64_on_8"];

/// Numbers of slices, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    ours: Member,
    floor: Member,
    again: Member,
    bb8: Member,
    sqlx: Member,
    /// Ours over the floor, and the floor's double over it, of each turn.
    ratios: Vec<f64>,
    double_ratios: Vec<f64>,
    processor_ratios: Vec<f64>,
}

#[derive(Debug, Default)]
struct Member {
    each_ns: Vec<f64>,
    /// Of one set of pools so far.
    waits: Vec<Duration>,
    /// Of each set of pools.
    longest_ns: Vec<f64>,
    /// The wait that one in a hundred exceeds.
    p99_ns: Vec<f64>,
}

impl Rows {
    pub(crate) fn add_turn(&mut self, turn: Turn) {
        let Turn { ours, floor, again } = turn;
        // Both floors are the floor: their mean is nearer to it than one.
        let both = |a: f64, b: f64| (a * b).sqrt();
        self.ratios
            .push(ours.each_ns / both(floor.each_ns, again.each_ns));
        self.double_ratios.push(again.each_ns / floor.each_ns);
        self.processor_ratios
            .push(ours.processor_ns / both(floor.processor_ns, again.processor_ns));
        self.ours.add(ours);
        self.floor.add(floor);
        self.again.add(again);
    }

    /// The pools are made anew.
    pub(crate) fn end_set(&mut self) {
        self.ours.end_set();
        self.floor.end_set();
        self.again.end_set();
    }

    pub(crate) fn add_others(&mut self, others: Others) {
        for (member, slices) in [(&mut self.bb8, others.bb8), (&mut self.sqlx, others.sqlx)] {
            slices.into_iter().for_each(|slice| member.add(slice));
            member.end_set();
        }
    }

    /// Wall time of one operation. Its inverse is the throughput.
    pub(crate) fn throughput(&self) -> Value {
        json!({
            "ours": median(&self.ours.each_ns),
            "floor": median(&self.floor.each_ns),
            "peers": {
                "deadpool-postgres": median(&self.again.each_ns),
                "bb8": median(&self.bb8.each_ns),
                "sqlx": median(&self.sqlx.each_ns),
            },
            "ratios": {
                "ours": median(&self.ratios),
                "floor": median(&self.double_ratios),
                "processor": median(&self.processor_ratios),
            },
        })
    }

    /// The longest wait for a connection of those with one set of pools; as the floor,
    /// the wait that one in a hundred of deadpool's exceeds.
    pub(crate) fn longest_wait(&self) -> Value {
        json!({
            "ours": median(&self.ours.longest_ns),
            "floor": median(&self.floor.p99_ns),
            "peers": {
                "deadpool-postgres": median(&self.floor.longest_ns),
                "bb8": median(&self.bb8.longest_ns),
                "sqlx": median(&self.sqlx.longest_ns),
            },
        })
    }
}

impl Member {
    fn add(&mut self, slice: Slice) {
        self.each_ns.push(slice.each_ns);
        self.waits.extend(slice.waits);
    }

    fn end_set(&mut self) {
        let mut waits = std::mem::take(&mut self.waits);
        waits.sort_unstable();
        let at = |percent: usize| {
            let place = (waits.len() * percent).div_ceil(100);
            let wait = waits.get(place.saturating_sub(1)).copied();
            wait.unwrap_or_default().as_secs_f64() * 1e9
        };
        self.longest_ns.push(at(100));
        self.p99_ns.push(at(99));
    }
}

/// The middle, or the mean of the two middles; `None` of none.
fn median(numbers: &[f64]) -> Option<f64> {
    let mut numbers = numbers.to_vec();
    numbers.sort_by(f64::total_cmp);
    let upper = *numbers.get(numbers.len() / 2)?;
    let lower = *numbers.get((numbers.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}
