//! The safetensors header, from a file's first byte.
#![no_main]
use std::io::Cursor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (table, findings) = hfget::verify::safetensors::read(Cursor::new(data), data.len() as u64, "m.safetensors");
    // Without a finding, every tensor lies in the file.
    if findings.is_empty() {
        for tensor in &table.tensors {
            assert!(tensor.bytes.as_ref().is_some_and(|b| b.end <= data.len() as u64));
        }
    }
});
