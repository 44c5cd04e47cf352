//! Envelopes: an accepted one does not exceed the size of its kind, and decodes as no other kind.
#![no_main]

use doorward_protocol::wire::{Command, Envelope, Kind, PublicKey, Share};

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
