//! A PyTorch file: sniffing, zip directory, pickle, storages.
#![no_main]
use std::io::Cursor;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (table, findings) = hfget::verify::torch::read(Cursor::new(data), data.len() as u64, "m.bin");
    if findings.is_empty() {
        for tensor in &table.tensors {
            assert!(tensor.bytes.as_ref().is_none_or(|b| b.end <= data.len() as u64));
        }
    }
});
