//! Claims of `share`: whatever is accepted encodes to the same bytes, and its outline, which is read
//! of anything, says the same.
#![no_main]

use doorward::wire::{Object, Outline, Share, decode_exact, to_bytes};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let outline = Outline::read(bytes);
    if let Ok(claims) = decode_exact::<Share>(bytes) {
        assert_eq!(to_bytes(&claims), bytes);
        let _ = claims.check();
        let outline = outline.expect("a share has an outline");
        assert_eq!((outline.id, outline.holder), (claims.cti, claims.cnf.0));
        assert_eq!((outline.made, outline.end), (claims.iat, claims.exp));
        assert_eq!(outline.audience, claims.aud);
    }
});
