//! Bundles: limited in size, and their parts are slices of the received bytes.
#![no_main]

use doorward_protocol::wire::{Bundle, MAX_ITEMS};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(bundle) = Bundle::parse(bytes) else {
        return;
    };
    let sound = bundle.statements.iter().flatten();
    let parts = sound.chain(&bundle.approvals).chain(&bundle.command);
    let total: usize = parts.map(|envelope| envelope.bytes().len()).sum();
    assert!(total <= bytes.len());
    assert!(bundle.statements.len() + bundle.approvals.len() <= MAX_ITEMS);
});
