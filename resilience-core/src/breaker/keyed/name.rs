//! The name by which a member is shown.
//!
//! Keys come from outside, and names go into logs, answers and files: a name is
//! short and one line whatever the key is. The key itself stays what members
//! are told apart by.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash, Hasher},
};

/// The name of the breaker that keys without a place share.
pub(super) const OTHER: &str = "other";

/// Bytes of a key that is shown whole.
const LONGEST_SHOWN: usize = 128;

/// Stands before the hash of a key that is not shown whole.
const MARK: char = '~';

/// The key as it is shown: itself if it is short and one line, else what is
/// printable of its beginning, with a hash.
pub(super) fn shown(key: &str) -> Cow<'_, str> {
    if is_plain(key) {
        return Cow::Borrowed(key);
    }
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let hash = format!("{MARK}{:016x}", hasher.finish());
    let mut text = String::with_capacity(LONGEST_SHOWN);
    for char in key.chars() {
        let char = if is_printable(char) { char } else { '_' };
        if text.len() + char.len_utf8() + hash.len() > LONGEST_SHOWN {
            break;
        }
        text.push(char);
    }
    Cow::Owned(text + &hash)
}

/// Whether a key is its own name. One that looks like a hash is not, so that
/// no two keys are ever made to look alike; nor is the name that is taken.
pub(super) fn is_plain(key: &str) -> bool {
    key.len() <= LONGEST_SHOWN
        && key != OTHER
        && !key.contains(MARK)
        && key.chars().all(is_printable)
}

fn is_printable(char: char) -> bool {
    // Also what would break a line for those who are not terminals.
    !char.is_control() && !matches!(char, '\u{2028}' | '\u{2029}')
}

/// `payment_api:tenant-7`.
pub(super) fn full(family: &str, key: &str) -> String {
    format!("{family}:{}", shown(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_short_key_is_its_own_name() {
        assert_eq!(full("payment_api", "tenant-7"), "payment_api:tenant-7");
        assert_eq!(full("payment_api", ""), "payment_api:");
        assert_eq!(shown("größe/ё 7"), "größe/ё 7");
    }

    #[test]
    fn the_name_that_all_share_is_not_to_be_had_by_a_key() {
        assert_ne!(shown(OTHER), OTHER);
        assert!(shown(OTHER).starts_with("other~"));
    }

    #[test]
    fn long_keys_with_one_beginning_have_different_names() {
        let (a, b) = ("x".repeat(1 << 20), "x".repeat((1 << 20) + 1));
        assert_ne!(shown(&a), shown(&b));
        assert_eq!(shown(&a).len(), LONGEST_SHOWN);
    }

    proptest! {
        #[test]
        fn a_name_is_short_and_one_line_and_no_plain_key_has_it(key in any::<String>()) {
            let name = shown(&key);
            prop_assert!(name.len() <= LONGEST_SHOWN);
            prop_assert!(name.chars().all(is_printable));
            if name != key {
                prop_assert!(!is_plain(&name));
            }
        }
    }
}
