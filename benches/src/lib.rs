//! Benchmarks of `resilience-core`; see the files beside this folder.
