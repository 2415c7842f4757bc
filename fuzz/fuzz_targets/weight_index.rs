//! An index file from untrusted bytes.
#![no_main]
use hfget::select::WeightIndex;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(index) = WeightIndex::parse(data) {
        assert!(index.shards().len() <= index.weight_map.len());
    }
});
