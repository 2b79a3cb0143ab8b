//! payments_api
fn main() {}
