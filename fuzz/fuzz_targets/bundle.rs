//! Bundles: bounded, and their parts are the bytes that came.
#![no_main]

use doorward::wire::{Bundle, MAX_ITEMS};

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
