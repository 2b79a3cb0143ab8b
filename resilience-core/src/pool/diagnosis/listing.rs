//! A bounded list of rows, and the bound.

use serde::{Deserialize, Serialize};

/// How many rows an answer may have: 1 to 500. Default: 50.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(u16);

/// A number of rows that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit is {given}, allowed: 1 to {}", Limit::MOST.get())]
pub struct LimitError {
    given: u32,
}

impl Limit {
    /// The most that can be asked for.
    pub const MOST: Self = Self(500);

    /// The number of rows.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl TryFrom<u32> for Limit {
    type Error = LimitError;

    fn try_from(given: u32) -> Result<Self, LimitError> {
        match u16::try_from(given) {
            Ok(rows) if (1..=Self::MOST.0).contains(&rows) => Ok(Self(rows)),
            _ => Err(LimitError { given }),
        }
    }
}

/// Rows of one kind, the worst first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listing<T> {
    /// The database they are about.
    pub database: String,
    /// At most as many as the limit.
    pub rows: Vec<T>,
    /// There are more than these.
    pub truncated: bool,
    /// Why something may be missing, and how to see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl<T> Listing<T> {
    /// The same list with something added to each row.
    pub(super) fn each(mut self, mut change: impl FnMut(&mut T)) -> Self {
        self.rows.iter_mut().for_each(&mut change);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_1_to_500_and_50_by_default() {
        assert_eq!(Limit::default().get(), 50);
        for good in [1, 500] {
            assert_eq!(
                Limit::try_from(good).map(|limit| u32::from(limit.get())),
                Ok(good)
            );
        }
        for bad in [0, 501, 65_586, u32::MAX] {
            let error = Limit::try_from(bad).unwrap_err().to_string();
            assert_eq!(error, format!("the limit is {bad}, allowed: 1 to 500"));
        }
    }
}
