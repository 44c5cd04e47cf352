//! Claims of `issuers`: accepted bytes encode to the same bytes.
#![no_main]

use doorward_protocol::wire::{Issuers, Object, decode_exact, to_bytes};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(claims) = decode_exact::<Issuers>(bytes) {
        assert_eq!(to_bytes(&claims), bytes);
        let _ = claims.check();
    }
});
