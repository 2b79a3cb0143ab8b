//! The names of an answer's headers, which the answers of one service have in common.
//!
//! To put a header into a map is to hash its name, and for a handful of them that takes as
//! long as all the rest of a hit. A clone of a map hashes nothing: so the map is made once
//! for each set of names, and a hit puts its values into a clone of it.

use std::{
    collections::HashMap,
    sync::{LazyLock, OnceLock},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;

use super::field::KNOWN;

/// Of an answer that has none, and whose map is made name by name.
pub(super) const NO_SHAPE: u8 = 0;

/// An answer with more headers has none: what is kept for ever has to be small.
const MOST_NAMES: usize = 24;

/// And so do names that are longer, all together.
const MOST_BYTES: usize = 1_024;

/// All shapes of this process. What upstreams send decides how many there are: the first
/// 255 have a number, and stay.
static SHAPES: Shapes = Shapes {
    numbers: LazyLock::new(Mutex::default),
    maps: [const { OnceLock::new() }; u8::MAX as usize],
};

struct Shapes {
    /// By the names, one after another. Asked for each answer that is kept.
    numbers: LazyLock<Mutex<HashMap<Vec<u8>, u8>>>,
    /// By the number, from 1 on. Asked for each hit, so it is read without a lock.
    maps: [OnceLock<HeaderMap>; u8::MAX as usize],
}

/// The number of a shape.
pub(super) fn number<'a>(names: impl Iterator<Item = &'a HeaderName> + Clone) -> u8 {
    SHAPES.number(names)
}

/// Names with values to be filled in: those of the answer in their order, `Age` and
/// `Cache-Status`.
#[inline]
pub(super) fn map(number: u8) -> Option<&'static HeaderMap> {
    SHAPES.map(number)
}

impl Shapes {
    fn number<'a>(&self, names: impl Iterator<Item = &'a HeaderName> + Clone) -> u8 {
        let mut joined = Vec::new();
        for name in names.clone() {
            // No name has one.
            joined.push(b',');
            joined.extend_from_slice(name.as_str().as_bytes());
        }
        if joined.len() > MOST_BYTES {
            return NO_SHAPE;
        }
        let mut numbers = self.numbers.lock();
        if let Some(number) = numbers.get(&joined) {
            return *number;
        }
        // Looked at before a map is made: what one leaks must not be leaked for nothing.
        let Some(free) = self
            .maps
            .get(numbers.len())
            .filter(|_| is_shape(names.clone()))
        else {
            return NO_SHAPE;
        };
        free.get_or_init(|| shape(names));
        let number = u8::try_from(numbers.len() + 1).expect("as many as there are maps");
        numbers.insert(joined, number);
        number
    }

    fn map(&self, number: u8) -> Option<&HeaderMap> {
        let place = usize::from(number).checked_sub(1)?;
        self.maps[place].get()
    }
}

/// Not if a name is there twice: the values of a map are in the order of its names.
fn is_shape<'a>(names: impl Iterator<Item = &'a HeaderName> + Clone) -> bool {
    let count = names.clone().count();
    let is_single = |(at, name)| !names.clone().take(at).any(|before| before == name);
    count <= MOST_NAMES && with_ours(names.clone()).enumerate().all(is_single)
}

fn with_ours<'a>(
    names: impl Iterator<Item = &'a HeaderName>,
) -> impl Iterator<Item = &'a HeaderName> {
    names.chain([&header::AGE, &header::CACHE_STATUS])
}

fn shape<'a>(names: impl Iterator<Item = &'a HeaderName> + Clone) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(names.clone().count() + 2);
    for name in with_ours(names) {
        map.insert(for_ever(name), HeaderValue::from_static(""));
    }
    map
}

/// The same name without a count of its handles: threads that clone a map would meet at it.
///
/// A name that nobody knows is leaked, once for each shape that has it.
fn for_ever(name: &HeaderName) -> HeaderName {
    let known = KNOWN
        .iter()
        .chain([&header::AGE])
        .find(|known| *known == name);
    let leaked = || HeaderName::from_static(name.as_str().to_owned().leak());
    known.cloned().unwrap_or_else(leaked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Shapes {
        Shapes {
            numbers: LazyLock::new(Mutex::default),
            maps: [const { OnceLock::new() }; u8::MAX as usize],
        }
    }

    fn names(names: &[&str]) -> Vec<HeaderName> {
        let names = names.iter().map(|name| name.parse().unwrap());
        names.collect()
    }

    #[test]
    fn the_same_names_in_the_same_order_are_one_shape() {
        let shapes = shapes();
        let of = |these: &[&str]| shapes.number(names(these).iter());
        let table: [(&[&str], u8); 6] = [
            (&["etag", "x-a"], 1),
            (&["x-a", "etag"], 2),
            (&["etag", "x-a"], 1),
            (&[], 3),
            (&["x-a", "x-b"], 4),
            (&["x-a"], 5),
        ];
        for (these, number) in table {
            assert_eq!(of(these), number, "{these:?}");
        }
        let map = shapes.map(1).unwrap();
        let keys: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        assert_eq!(keys, ["etag", "x-a", "age", "cache-status"]);
        assert!(shapes.map(NO_SHAPE).is_none() && shapes.map(6).is_none());
    }

    #[test]
    fn names_that_are_there_twice_or_too_many_have_no_shape() {
        let shapes = shapes();
        let many: Vec<_> = (0..25).map(|n| format!("x-{n}").parse().unwrap()).collect();
        for these in [
            names(&["link", "etag", "link"]),
            names(&["cache-status"]),
            names(&[&"x".repeat(1_024)]),
            many.clone(),
        ] {
            assert_eq!(shapes.number(these.iter()), NO_SHAPE, "{these:?}");
        }
        assert_eq!(shapes.number(many[..24].iter()), 1);
    }

    #[test]
    fn there_are_no_more_than_have_a_number_and_those_stay() {
        let shapes = shapes();
        for n in 1..=300_u16 {
            let these = names(&[&format!("x-{n}")]);
            let expected = u8::try_from(n).unwrap_or(NO_SHAPE);
            assert_eq!(shapes.number(these.iter()), expected);
        }
        assert_eq!(shapes.number(names(&["x-7"]).iter()), 7);
        assert!(shapes.map(255).is_some());
    }
}
