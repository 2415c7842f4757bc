//! See `select` in `tests/fuzz/core.rs`.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/fuzz/core.rs"]
mod core_targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| core_targets::select(bytes));
