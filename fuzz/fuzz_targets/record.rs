//! Records of the event log: whatever is accepted encodes to the same bytes.
#![no_main]

use doorward::store::record::Record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
});
