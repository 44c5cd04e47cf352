//! Claims of `state`: accepted bytes encode to the same bytes.
#![no_main]

use doorward_protocol::wire::{Object, State, decode_exact, to_bytes};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(claims) = decode_exact::<State>(bytes) {
        assert_eq!(to_bytes(&claims), bytes);
        let _ = claims.check();
    }
});
