//! Fuzz target: see `resilience_fuzz::record`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| resilience_fuzz::record::check(input));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    resilience_fuzz::check_files(resilience_fuzz::record::check)
}
