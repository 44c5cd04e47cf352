//! Claims of `revocations`: accepted bytes encode to the same bytes.
#![no_main]

use doorward_protocol::wire::{Object, Revocations, decode_exact, to_bytes};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(claims) = decode_exact::<Revocations>(bytes) {
        assert_eq!(to_bytes(&claims), bytes);
        let _ = claims.check();
    }
});
