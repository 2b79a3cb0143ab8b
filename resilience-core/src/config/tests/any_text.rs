//! No text and no environment does worse than an error.

use proptest::prelude::*;
use std::time::Duration;

use super::{CONTRACT, Config};
use crate::config::value::{Readable, Size};

/// Pieces that YAML and our schema give a meaning to.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~\n\t\u{80}-\u{10ffff}]{0,6}",
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ":",
            ": ",
            "- ",
            "? ",
            ",",
            "&a ",
            "*a",
            "!x ",
            "!!int ",
            "|\n",
            ">\n",
            "'",
            "\"",
            "#",
            "---\n",
            "...\n",
            "%YAML 1.2\n",
            "<<: ",
            "\\",
            "\n",
            "\n  ",
            "\n    ",
            "\r\n",
            "\0",
            "\u{feff}",
            "\u{85}",
            "~",
            "null",
            "-1",
            "1e999",
            "0x1F",
            "99999999999999999999s",
            "1h 30m",
            "off",
            "database",
            "services",
            "pool_size",
            "resilience",
            "circuit_breaker",
            "window",
            "calls",
            "fallback",
            "answer",
            "64MiB",
            "redis",
            "url",
            "redis://a:b@c:1/2",
        ])
        .prop_map(str::to_owned),
    ]
}

fn check(text: &str, env: Vec<(String, String)>) {
    match Config::parse("config.yaml", text, env) {
        Ok(config) => {
            // What it accepts, it can show, and every breaker is valid.
            assert!(config.effective().len() >= 30);
            for name in config.services() {
                assert_eq!(config.breaker_settings(name).values.len(), 15);
            }
        }
        Err(errors) => {
            assert!((1..=20).contains(&errors.problems().len()));
            assert!(errors.total() >= errors.problems().len());
            let lines = errors.to_string().lines().count();
            assert!(lines <= 22, "{errors}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics(pieces in prop::collection::vec(piece(), 0..40)) {
        check(&pieces.concat(), Vec::new());
    }

    #[test]
    fn no_characters_panic(text in any::<String>()) {
        check(&text, Vec::new());
    }

    #[test]
    fn the_example_with_parts_cut_out_and_put_in_parses_or_is_an_error(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..20, piece()), 1..5),
    ) {
        let mut text: Vec<char> = CONTRACT.chars().collect();
        for (at, length, new) in edits {
            let start = at.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, new.chars());
        }
        check(&text.into_iter().collect::<String>(), Vec::new());
    }

    #[test]
    fn no_environment_panics(
        names in prop::collection::vec(("APP__[A-Za-z_]{0,20}|APP__SERVICES__[a-z_-]{1,8}__FALLBACK__TTL", any::<String>()), 0..6),
        text in prop::sample::select(vec![CONTRACT, "", "services: {A: , a: }", "database: 5"]),
    ) {
        check(text, names);
    }

    #[test]
    fn a_duration_is_read_as_it_is_shown(ms in 1u64..100 * 24 * 3600 * 1000) {
        let duration = Duration::from_millis(ms);
        prop_assert_eq!(Duration::read(&duration.show()).ok(), Some(duration));
    }

    #[test]
    fn a_size_is_read_as_it_is_shown(bytes in any::<u64>(), shift in 0..64) {
        let size = Size(bytes >> shift << (shift / 2));
        prop_assert_eq!(Size::read(&size.show()), Ok(size));
    }

    #[test]
    fn no_size_panics(text in "[0-9kmgtib. ]{0,60}") {
        let _ = Size::read(&text);
    }

    #[test]
    fn no_duration_panics(text in "[0-9a-zµ. ]{0,60}") {
        let _ = Duration::read(&text);
    }
}
