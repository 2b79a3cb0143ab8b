//! What is hoped of a row.

use std::fmt;

use super::measured::Measured;

/// One condition on our number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At most so many times the floor.
    OfFloor(f64),
    /// At most so much more than the floor.
    OverFloor(f64),
    /// At most so many times a peer's.
    OfMember(f64, &'static str),
    /// Less than a peer's, or than that of a layer for scale.
    LessThan(&'static str),
    /// From one thread to two at least so many times as well as the floor.
    Scaling(f64),
    /// At most this.
    AtMost(f64),
}

impl Target {
    /// Whether it is met; `None` if what it asks for was not measured.
    #[must_use]
    pub fn is_met(&self, measured: &Measured) -> Option<bool> {
        let ours = measured.ours;
        match *self {
            Self::OfFloor(times) => Some(measured.ours_of_floor()? <= times),
            Self::OverFloor(more) => Some(ours <= measured.floor? + more),
            Self::OfMember(times, name) => Some(ours <= times * measured.member(name)?),
            Self::LessThan(name) => Some(ours < measured.member(name)?),
            Self::Scaling(times) => {
                Some(measured.scaling("ours")? >= times * measured.scaling("floor")?)
            }
            Self::AtMost(most) => Some(ours <= most),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfFloor(times) => write!(f, "≤ {times} × floor"),
            Self::OverFloor(more) => write!(f, "≤ floor + {more}"),
            Self::OfMember(times, name) => write!(f, "≤ {times} × {name}"),
            Self::LessThan(name) => write!(f, "< {name}"),
            Self::Scaling(times) => write!(f, "scales ≥ {times} × as well as the floor"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::ROWS;

    fn measured() -> Measured {
        let members = [
            ("ours", 6.0),
            ("floor", 2.0),
            ("ours_1t", 3.0),
            ("floor_1t", 1.0),
            ("recloser", 6.0),
        ];
        let members = members.map(|(name, ns)| (name.to_owned(), ns)).into();
        let row = ROWS.iter().find(|row| row.name == "closed_time_2t");
        Measured::from_members(row.unwrap(), &members).unwrap()
    }

    #[test]
    fn a_bound_itself_is_met_and_a_tie_is_not_less() {
        assert_eq!(Target::OfFloor(3.0).is_met(&measured()), Some(true));
        assert_eq!(Target::OfFloor(2.9).is_met(&measured()), Some(false));
        assert_eq!(Target::OverFloor(4.0).is_met(&measured()), Some(true));
        assert_eq!(Target::OverFloor(3.9).is_met(&measured()), Some(false));
        assert_eq!(
            Target::OfMember(1.0, "recloser").is_met(&measured()),
            Some(true)
        );
        assert_eq!(
            Target::OfMember(0.9, "recloser").is_met(&measured()),
            Some(false)
        );
        assert_eq!(
            Target::LessThan("recloser").is_met(&measured()),
            Some(false)
        );
        assert_eq!(Target::AtMost(6.0).is_met(&measured()), Some(true));
        assert_eq!(Target::AtMost(5.0).is_met(&measured()), Some(false));
    }

    #[test]
    fn scaling_is_compared_with_that_of_the_floor() {
        // Both scale by 1.
        assert_eq!(Target::Scaling(1.0).is_met(&measured()), Some(true));
        assert_eq!(Target::Scaling(1.1).is_met(&measured()), Some(false));
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        assert_eq!(Target::LessThan("timeout").is_met(&measured()), None);
        assert_eq!(Target::OfFloor(1.0).is_met(&Measured::default()), None);
        assert_eq!(Target::OverFloor(1.0).is_met(&Measured::default()), None);
        assert_eq!(Target::Scaling(1.0).is_met(&Measured::default()), None);
    }
}
