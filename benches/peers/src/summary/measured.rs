//! What was measured of one row.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::rows::{Row, SCALE, Unit};

/// Numbers of members, by name.
pub(super) type Members = BTreeMap<String, f64>;

/// The numbers of one row, in the unit of the row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Ours.
    pub ours: f64,
    /// The least that a call can cost.
    pub floor: Option<f64>,
    /// The others of the same kind.
    pub peers: Members,
    /// Other layers, for scale.
    pub scale: Members,
    /// A service without a layer, which has been taken off the others.
    pub bare: Option<f64>,
    /// All members on one thread, where the row is of two.
    pub one_thread: Members,
    /// Ours over the floor, where the two took turns: truer than the ratio of their
    /// times.
    pub of_floor: Option<Ratio>,
    /// The floor's double over the floor, the same way: how far from one it is, the row
    /// cannot tell.
    pub floor_of_floor: Option<Ratio>,
    /// Processor time of the process with ours over that with the floor, the same way.
    pub processor_of_floor: Option<Ratio>,
}

/// A ratio in the rounds of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The middle of all rounds.
    pub median: f64,
    /// That of the round with the smallest.
    pub least: f64,
    /// That of the round with the largest.
    pub most: f64,
}

/// The end of a member's name that says it was measured on one thread.
const ONE_THREAD: &str = "_1t";

impl Measured {
    /// From all members of this row; `None` without ours.
    #[must_use]
    pub fn from_members(row: &Row, members: &Members) -> Option<Self> {
        let bare = members.get("bare").copied();
        let added = |name: &str| members.get(name).map(|all| all - bare.unwrap_or(0.0));
        let named = |names: &[&str]| {
            names
                .iter()
                .filter_map(|&name| Some((name.to_owned(), added(name)?)))
                .collect()
        };
        Some(Self {
            ours: added("ours")?,
            // Made without a service, so there is none to be taken off.
            floor: members.get("floor").copied(),
            peers: named(row.peers),
            scale: named(&SCALE),
            bare,
            one_thread: members
                .iter()
                .filter_map(|(name, &ns)| Some((name.strip_suffix(ONE_THREAD)?.to_owned(), ns)))
                .collect(),
            ..Self::default()
        })
    }

    /// From the allocation report, which has the shape of the summary.
    #[must_use]
    pub fn plain(report: &Value) -> Option<Self> {
        let peers = report.get("peers").and_then(Value::as_object);
        Some(Self {
            ours: report.get("ours")?.as_f64()?,
            peers: peers
                .into_iter()
                .flatten()
                .filter_map(|(name, number)| Some((name.clone(), number.as_f64()?)))
                .collect(),
            ..Self::default()
        })
    }

    /// The peer with the smallest number.
    #[must_use]
    pub fn best_peer(&self) -> Option<(&str, f64)> {
        self.peers
            .iter()
            .map(|(name, &number)| (name.as_str(), number))
            .min_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    /// A peer's number, or that of a layer for scale.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<f64> {
        self.peers
            .get(name)
            .or_else(|| self.scale.get(name))
            .copied()
    }

    /// Ours over the floor.
    #[must_use]
    pub fn ours_of_floor(&self) -> Option<f64> {
        match self.of_floor {
            Some(ratio) => Some(ratio.median),
            None => Some(self.ours / self.floor.filter(|floor| *floor > 0.0)?),
        }
    }

    /// Throughput of two threads over that of one.
    #[must_use]
    pub fn scaling(&self, name: &str) -> Option<f64> {
        let two = match name {
            "ours" => Some(self.ours),
            "floor" => self.floor,
            peer => self.member(peer),
        }?;
        Some(2.0 * self.one_thread.get(name)? / two)
    }

    /// Its object in the summary.
    #[must_use]
    pub fn json(&self, row: &Row) -> Value {
        let mut object = Map::new();
        match row.unit {
            Unit::Ns => {
                object.insert("ours_ns".to_owned(), json!(self.ours));
                object.insert("floor_ns".to_owned(), json!(self.floor));
            }
            Unit::Allocations | Unit::Bytes | Unit::Ratio | Unit::Calls => {
                object.insert("ours".to_owned(), json!(self.ours));
            }
        }
        object.insert("peers".to_owned(), json!(self.peers));
        if !self.scale.is_empty() {
            object.insert("scale".to_owned(), json!(self.scale));
        }
        if let Some(bare) = self.bare {
            object.insert("bare_ns".to_owned(), json!(bare));
        }
        if !self.one_thread.is_empty() {
            let mut peers = self.one_thread.clone();
            object.insert("ours_1t_ns".to_owned(), json!(peers.remove("ours")));
            object.insert("floor_1t_ns".to_owned(), json!(peers.remove("floor")));
            object.insert("peers_1t".to_owned(), json!(peers));
        }
        for (name, ratio) in [
            ("ours_of_floor", self.of_floor),
            ("floor_of_floor", self.floor_of_floor),
            ("processor_of_floor", self.processor_of_floor),
        ] {
            if let Some(ratio) = ratio {
                object.insert(name.to_owned(), json!(ratio));
            }
        }
        let targets: Map<_, _> = row
            .targets
            .iter()
            .map(|target| (target.to_string(), json!(target.is_met(self))))
            .collect();
        object.insert("targets".to_owned(), Value::Object(targets));
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::ROWS;

    fn members<const N: usize>(members: [(&str, f64); N]) -> Members {
        members.map(|(name, ns)| (name.to_owned(), ns)).into()
    }

    fn row(name: &str) -> &'static Row {
        ROWS.iter().find(|row| row.name == name).unwrap()
    }

    fn of<const N: usize>(name: &str, numbers: [(&str, f64); N]) -> Measured {
        Measured::from_members(row(name), &members(numbers)).unwrap()
    }

    #[test]
    fn the_bare_service_is_taken_off_every_layer_but_not_off_the_floor() {
        let measured = of(
            "tower_closed_1t",
            [
                ("ours", 7.0),
                ("floor", 2.5),
                ("bare", 1.0),
                ("seatbelt", 121.0),
                ("timeout", 41.0),
            ],
        );
        assert_eq!((measured.ours, measured.floor), (6.0, Some(2.5)));
        assert_eq!(measured.peers, members([("seatbelt", 120.0)]));
        assert_eq!(measured.scale, members([("timeout", 40.0)]));
    }

    #[test]
    fn a_layer_for_scale_is_no_peer() {
        let measured = of(
            "tower_closed_1t",
            [("ours", 7.0), ("timeout", 1.0), ("failsafe", 9.0)],
        );
        assert_eq!(measured.best_peer(), Some(("failsafe", 9.0)));
    }

    #[test]
    fn a_pool_stands_beside_pools_only() {
        let measured = of(
            "pool_checkout_1t",
            [("ours", 300.0), ("bb8", 9_000.0), ("failsafe", 9.0)],
        );
        assert_eq!(measured.best_peer(), Some(("bb8", 9_000.0)));
    }

    #[test]
    fn scaling_is_the_throughput_of_two_threads_over_that_of_one() {
        let measured = of(
            "closed_count_1t",
            [
                ("ours", 20.0),
                ("ours_1t", 10.0),
                ("failsafe", 100.0),
                ("failsafe_1t", 50.0),
                ("floor", 10.0),
                ("floor_1t", 10.0),
            ],
        );
        assert_eq!(measured.scaling("ours"), Some(1.0));
        assert_eq!(measured.scaling("failsafe"), Some(1.0));
        assert_eq!(measured.scaling("floor"), Some(2.0));
        assert_eq!(measured.scaling("recloser"), None);
    }

    #[test]
    fn a_timed_row_has_the_keys_that_readers_of_the_summary_know() {
        let measured = of(
            "closed_time_2t",
            [
                ("ours", 20.0),
                ("ours_1t", 10.0),
                ("floor", 12.0),
                ("floor_1t", 6.0),
                ("failsafe", 100.0),
                ("failsafe_1t", 50.0),
            ],
        );
        assert_eq!(
            measured.json(row("closed_time_2t")),
            json!({
                "ours_ns": 20.0, "floor_ns": 12.0, "peers": {"failsafe": 100.0},
                "ours_1t_ns": 10.0, "floor_1t_ns": 6.0, "peers_1t": {"failsafe": 50.0},
                "targets": {"scales ≥ 0.9 × as well as the floor": true},
            })
        );
    }

    #[test]
    fn a_counted_row_carries_plain_numbers() {
        let report = json!({"ours": 0, "peers": {"seatbelt": 1.0}});
        let measured = Measured::plain(&report).unwrap();
        assert_eq!(
            measured.json(row("allocs_closed")),
            json!({"ours": 0.0, "peers": {"seatbelt": 1.0}, "targets": {"≤ 0": true}})
        );
    }
}
