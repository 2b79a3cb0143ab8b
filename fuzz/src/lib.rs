//! What must hold of whatever a file says.
//!
//! Each module's `check` takes the bytes that a fuzzer makes up and panics if
//! something does not hold. `fuzz_targets/` gives it to libFuzzer (`make fuzz`;
//! `make test` runs a short one), and the tests here try the seeds in `corpus/`
//! without a fuzzer, with those that once failed among them.
#![forbid(unsafe_code)]

pub mod black_box;
pub mod config;
pub mod record;

/// Tries the files that the command line names, such as one that a fuzzer has
/// found, in a program that a debugger can follow.
///
/// # Errors
///
/// What the system says of a file that cannot be read.
pub fn check_files(check: fn(&[u8])) -> std::io::Result<()> {
    for path in std::env::args_os().skip(1) {
        check(&std::fs::read(path)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target);
        let files = fs::read_dir(corpus).unwrap();
        let seeds: Vec<_> = files
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect();
        assert!(!seeds.is_empty(), "{target} has no seeds");
        seeds
    }

    #[test]
    fn every_seed_of_a_black_box_is_believed_or_refused_as_it_should() {
        seeds("black_box")
            .iter()
            .for_each(|seed| black_box::check(seed));
    }

    #[test]
    fn every_seed_of_a_configuration_is_taken_or_refused_as_it_should() {
        seeds("config").iter().for_each(|seed| config::check(seed));
    }

    #[test]
    fn every_seed_of_a_record_is_read_or_refused_as_it_should() {
        seeds("record").iter().for_each(|seed| record::check(seed));
    }
}
