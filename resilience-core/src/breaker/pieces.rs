//! Time in equal pieces, numbered from the clock's origin.

use std::time::Duration;

use crate::clock::saturating_ns;

/// Tells which piece an instant lies in: a multiplication by the reciprocal of
/// the length, because a division is most of what a call may cost.
///
/// Rounded up, so a boundary comes early by the time since the clock's origin
/// squared over 2⁶⁴ ns: a twentieth of a millisecond after a year. It is the
/// same for all who ask, which is what counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pieces(u64);

impl Pieces {
    /// Pieces of a length of at least two nanoseconds.
    pub(super) fn of(length: Duration) -> Self {
        Self(u64::MAX / saturating_ns(length).max(2) + 1)
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) const fn number(self, now_ns: u64) -> u64 {
        ((now_ns as u128 * self.0 as u128) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_divides(length_ms in 1u64..3_600_000, pieces in 0u64..1_000_000, inside: f64) {
            let length = length_ms * 1_000_000;
            // What a clock reaches in a year.
            let start = length * pieces % (1 << 55) / length * length;
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let offset = (length as f64 * inside.fract().abs() * 0.9) as u64;
            let number = Pieces::of(Duration::from_nanos(length)).number(start + offset);
            prop_assert_eq!(number, start / length);
        }
    }
}
