//! The summary of a run: one table for people, one JSON file for programs.
//!
//! Reads what the benches have left in a directory and judges it against the
//! targets. A target that is missed is printed and is no failure: wall time is
//! noisy, and a figure of it is never a test.

mod estimates;
mod measured;
mod rows;
mod table;
mod targets;
mod turns;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

pub use estimates::rounds;
pub use measured::{Measured, Ratio};
pub use rows::{ROWS, Row, Unit};
pub use table::table;
pub use targets::Target;

/// What could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SummaryError {
    /// A file or directory cannot be read or written.
    #[error("{}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what a bench writes.
    #[error("{} is not what a bench writes", path.display())]
    Json {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There is nothing to sum up.
    #[error("{} holds no round of the benches: run `make bench`", path.display())]
    Nothing {
        /// Where they should be.
        path: PathBuf,
    },
}

/// All rows that were measured, in the order of [`ROWS`].
///
/// # Errors
///
/// [`SummaryError`] if there is nothing, or something that no bench has written. A
/// row that is missing is none: a run may be of some rows only.
pub fn read(directory: &Path) -> Result<Vec<(&'static Row, Measured)>, SummaryError> {
    let rounds = rounds(directory)?;
    let allocations = allocations(&directory.join("allocations.json"))?;
    let turns = turns::reports(&rounds)?;
    let mut rows = Vec::new();
    for row in ROWS {
        let measured = match row.unit {
            Unit::Ns => match estimates::measured(&rounds, row)? {
                Some(measured) => Some(measured),
                None => turns::measured(&turns, row),
            },
            Unit::Allocations | Unit::Bytes | Unit::Ratio | Unit::Calls => {
                allocations.get(row.name).and_then(Measured::plain)
            }
        };
        if let Some(measured) = measured {
            rows.push((row, measured));
        }
    }
    if rows.is_empty() {
        return Err(SummaryError::Nothing {
            path: directory.to_owned(),
        });
    }
    Ok(rows)
}

/// The summary as JSON: an object a row.
#[must_use]
pub fn json(rows: &[(&Row, Measured)]) -> Value {
    let object = rows
        .iter()
        .map(|(row, measured)| (row.name.to_owned(), measured.json(row)))
        .collect::<Map<_, _>>();
    Value::Object(object)
}

/// The report of the allocations; empty if there is none.
fn allocations(path: &Path) -> Result<Map<String, Value>, SummaryError> {
    if path.exists() {
        read_json(path)
    } else {
        Ok(Map::new())
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, SummaryError> {
    let text = fs::read_to_string(path).map_err(|source| SummaryError::Io {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|source| SummaryError::Json {
        path: path.to_owned(),
        source,
    })
}
