//! Records of the event log: accepted bytes encode to the same bytes.
#![no_main]

use doorward_protocol::event_log::record::Record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
});
