//! What can be said of a statement by its text alone: how it is shown, whether
//! it is the same as another, and whether the session is the same after it.
//!
//! No parser of SQL: the tokens of PostgreSQL's scanner are enough for all
//! three, and any text has tokens.

mod normalise;
mod token;
mod traces;

use std::{collections::hash_map::DefaultHasher, hash::Hasher};

pub(crate) use normalise::normalise;
use traces::may_leave_traces;

/// What a statement may leave in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaves {
    Nothing,
    /// What a cleaning removes.
    Traces,
    /// A name that the next user would find taken, and that cannot be dropped alone: it
    /// goes with the session.
    AName,
}

impl Leaves {
    pub(crate) fn of(sql: &str) -> Self {
        if !may_leave_traces(sql) {
            Self::Nothing
        } else if may_make_a_name(sql) {
            Self::AName
        } else {
            Self::Traces
        }
    }
}

/// Whether a statement that leaves traces may have made a prepared statement by
/// a name of its own (`PREPARE`). Any text with that word may.
fn may_make_a_name(sql: &str) -> bool {
    let word = b"prepare";
    sql.as_bytes()
        .windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}

/// A number that is the same for the same text, within one process.
///
/// Of the raw text: statements with parameters are the same to the letter, and
/// to take literals out first would cost more than all that it is used for.
/// About 35 ns for 100 bytes.
pub(crate) fn fingerprint(sql: &str) -> u64 {
    // Two texts of one number would be counted as one statement. Nobody gains
    // by making such texts, so the keys need not be secret.
    let mut hasher = DefaultHasher::new();
    hasher.write(sql.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text that is close to SQL: that is where a scanner goes wrong.
    fn nearly_sql() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            any::<String>(),
            "['\"$/*\\-;(),eEuU&xXbB\\\\ \n0-9.a?_é]{0,12}",
            Just("SELECT ".to_owned()),
            Just("$a$".to_owned()),
            Just("/*".to_owned()),
            Just("--".to_owned()),
            Just("; SET x TO 1".to_owned()),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_text_has_a_normal_form_on_one_line_that_is_short(sql in nearly_sql()) {
            let shown = normalise(&sql);
            prop_assert!(shown.chars().count() <= normalise::MOST);
            prop_assert!(!shown.contains(char::is_control), "{shown:?}");
            let _ = (may_leave_traces(&sql), fingerprint(&sql));
        }

        #[test]
        fn tokens_are_the_whole_text_in_order(sql in nearly_sql()) {
            let mut tokens = token::Tokens::of(&sql);
            let mut read = String::new();
            while tokens.next().is_some() {
                prop_assert!(!tokens.text().is_empty());
                read += tokens.text();
            }
            prop_assert_eq!(read, sql);
        }
    }

    #[test]
    fn the_same_text_has_the_same_fingerprint_and_another_another() {
        let statement = |id| format!("SELECT name FROM users WHERE id = {id}");
        assert_eq!(fingerprint(&statement("$1")), fingerprint(&statement("$1")));
        assert_ne!(fingerprint(&statement("$1")), fingerprint(&statement("$2")));
    }
}
