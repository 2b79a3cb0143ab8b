//! payment_stub
fn main() {}
