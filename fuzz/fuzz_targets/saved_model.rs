//! See `saved_model` in `tests/fuzz/entry.rs`.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/fuzz/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::saved_model(bytes));
