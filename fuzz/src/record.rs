//! Reading a record: bytes that another process, or another version, has stored.

use bytes::Bytes;
use resilience_core::fallback::Record;

/// What a record of this version begins with.
const HEADER: &[u8] = b"RFB\x01";

/// `input` as a record, and behind the header and the checksum that are right for
/// it: no fuzzer guesses a checksum.
///
/// # Panics
///
/// If what was read is not written again as the same bytes.
pub fn check(input: &[u8]) {
    read(&Bytes::copy_from_slice(input));
    let crc = crc32fast::hash(input).to_le_bytes();
    read(&[HEADER, &crc, input].concat().into());
}

fn read(bytes: &Bytes) {
    match Record::decode(bytes) {
        Ok(record) => assert_eq!(record.encode(), bytes),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}
