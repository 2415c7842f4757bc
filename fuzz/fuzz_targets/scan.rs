//! See `scan` in `tests/fuzz/entry.rs`.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/fuzz/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::scan(bytes));
