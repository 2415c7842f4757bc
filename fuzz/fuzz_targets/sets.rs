//! See `sets` in `tests/fuzz/core.rs`.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/fuzz/core.rs"]
mod core;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| core::sets(bytes));

/// The checks run on threads. A thread counts as ended before glibc has freed its last memory, which sometimes looks
/// like a leak.
#[unsafe(no_mangle)]
extern "C" fn __lsan_is_turned_off() -> std::ffi::c_int {
    1
}
