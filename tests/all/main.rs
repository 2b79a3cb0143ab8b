//! Tests of behaviour across crates, one module each.

mod faults;
