//! Reading a black box: bytes that another process left behind.

use resilience_core::{
    BreakerConfig, CircuitBreaker, KeyedBreakers, KeyedConfig, blackbox, metrics,
    snapshot::{FORMAT, Snapshot},
};
use std::time::Duration;

/// Most bytes of the sentence in which a file is refused, which goes into a log
/// line: 300 characters, each of which may have to be escaped.
const LONGEST_REFUSAL: usize = 3_500;

/// `input` as a file, and as the body of a file with the header that is right
/// for it: no fuzzer guesses a checksum.
///
/// # Panics
///
/// If what was believed is not read again as the same, if what reads a
/// snapshot cannot take it, or if a refusal is not one short line.
pub fn check(input: &[u8]) {
    read(input);
    read(&file_of(input));
}

fn file_of(json: &[u8]) -> Vec<u8> {
    let length = json.len();
    let crc = crc32fast::hash(json);
    let header = format!("resilience-black-box {FORMAT} {length} {crc:08x}\n");
    [header.as_bytes(), json].concat()
}

fn read(file: &[u8]) {
    match blackbox::decode(file) {
        Ok(snapshot) => use_it(&snapshot),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(text.len() <= LONGEST_REFUSAL, "{text}");
        }
    }
}

/// As the sidecar does with a dead service's, and a new process with its
/// predecessor's.
fn use_it(snapshot: &Snapshot) {
    let written = blackbox::encode(snapshot).expect("a snapshot is JSON");
    assert_eq!(blackbox::decode(&written).as_ref(), Ok(snapshot));

    assert!(metrics::render(snapshot).contains("build_info"));
    for left in snapshot.breakers.iter().take(4) {
        let breaker = CircuitBreaker::new("restored", Default::default());
        let day = Duration::from_secs(24 * 3600);
        breaker.restore(left, snapshot.taken_at, snapshot.taken_at, day);
        let _ = (breaker.state(), breaker.snapshot());
    }
    for left in snapshot.keyed.iter().take(4) {
        let config = BreakerConfig::default();
        let family = KeyedBreakers::new(&left.name, &config, KeyedConfig::default());
        family.restore(left, snapshot.taken_at, Duration::from_secs(24 * 3600));
        let _ = family.snapshot();
    }
}
