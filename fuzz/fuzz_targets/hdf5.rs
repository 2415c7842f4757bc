//! See `hdf5` in `tests/fuzz/entry.rs`.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/fuzz/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::hdf5(bytes));
