//! Envelopes: what is accepted is not larger than its kind, and reads no other claims.
#![no_main]

use doorward::wire::{Command, Envelope, Kind, PublicKey, Share};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(envelope) = Envelope::parse(bytes) else {
        return;
    };
    assert!(bytes.len() <= envelope.kind.max_size());
    assert!(envelope.kind == Kind::Command || envelope.claims::<Command>().is_err());
    assert!(envelope.kind == Kind::Share || envelope.claims::<Share>().is_err());
    if let Ok(key) = PublicKey::new(&envelope.signer) {
        let _ = envelope.verify(&key);
    }
});
