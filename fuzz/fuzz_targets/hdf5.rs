//! See `hdf5` in `tests/fuzz/formats.rs`.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/fuzz/formats.rs"]
mod formats;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| formats::hdf5(bytes));
