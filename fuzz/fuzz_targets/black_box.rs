//! Fuzz target: see `resilience_fuzz::black_box`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| resilience_fuzz::black_box::check(input));

#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    resilience_fuzz::check_files(resilience_fuzz::black_box::check)
}
