//! Claims of `share`: accepted bytes encode to the same bytes, and the header, which is read from
//! arbitrary bytes, has the same content.
#![no_main]

use doorward_protocol::wire::{Object, ShareHeader, Share, decode_exact, to_bytes};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let outline = ShareHeader::read(bytes);
    if let Ok(claims) = decode_exact::<Share>(bytes) {
        assert_eq!(to_bytes(&claims), bytes);
        let _ = claims.check();
        let outline = outline.expect("a share has a header");
        assert_eq!((outline.id, outline.holder), (claims.cti, claims.cnf.0));
        assert_eq!((outline.issued_at, outline.expires_at), (claims.iat, claims.exp));
        assert_eq!(outline.audience, claims.aud);
    }
});
