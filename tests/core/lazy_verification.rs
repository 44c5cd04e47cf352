//! Cached shares are verified when they are first needed: only shares that the issuer has signed are
//! valid, whatever the cache contains.

use doorward_protocol::gate::{Code, MAX_SHARES};
use doorward_protocol::wire::{Role, sign};

use doorward_testkit::*;

/// A cache entry with a share that was signed by another key.
fn forged(person: &str) -> (String, Vec<u8>) {
    let share = share(person, &[STATUS]);
    let bytes = sign(&share, &key("mallory"));
    (format!("share/{}", share.cti.hex()), bytes)
}

#[test]
fn a_forged_share_in_the_cache_grants_nothing_and_takes_no_slot() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    // One for each slot, all older than anna's share.
    for person in ["f1", "f2", "f3", "f4", "f5"] {
        let mut older = share(person, &[STATUS]);
        older.iat.0 -= 100;
        let bytes = sign(&older, &key("mallory"));
        bench
            .disk
            .cache
            .insert(format!("share/{}", older.cti.hex()), bytes);
    }
    bench.restart();
    assert_eq!(bench.ask("f1", STATUS), "silence");
    assert_eq!(bench.counted(Code::NoGrant), 1);
    let f1 = key("f1").public();
    assert!(bench.core.statements().authority(&f1).is_none());
    assert_eq!(bench.ask("anna", STATUS), "done");
}

#[test]
fn a_cached_share_with_one_changed_bit_is_lost() {
    let anna = share("anna", &[STATUS]);
    for at in [0, 40, 150, 300] {
        let mut bench = Bench::with(std::slice::from_ref(&anna));
        let kept = bench.disk.cache.values_mut().next().unwrap();
        let at = at.min(kept.len() - 1);
        kept[at] ^= 1;
        bench.restart();
        assert_eq!(bench.ask("anna", STATUS), "silence", "byte {at}");
        // The same share is accepted again from any sender.
        bench.deliver(&signed(&anna));
        assert_eq!(bench.ask("anna", STATUS), "done", "byte {at}");
    }
}

#[test]
fn a_holder_of_a_forged_and_a_valid_share_has_the_valid_one() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(&[]);
    let (name, bytes) = forged("anna");
    bench.disk.cache.insert(name, bytes);
    bench.restart();
    assert_eq!(bench.ask("anna", STATUS), "silence");
    bench.deliver(&signed(&anna));
    assert_eq!(bench.ask("anna", STATUS), "done");
}

#[test]
fn cached_shares_end_with_the_keys_that_signed_them() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    bench.restart();
    // It was not used since the start, so it was not verified yet.
    let two = rotated(&issuers(), Role::Shares, &["shares-2"], 1);
    bench.deliver(&signed_by(&two, &["root"]));
    assert_eq!(bench.ask("anna", STATUS), "silence");
    assert!(
        bench
            .disk
            .cache
            .keys()
            .all(|name| !name.starts_with("share/"))
    );
}

#[test]
fn cached_shares_outlive_other_keys_of_their_role() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    bench.restart();
    let two = rotated(&issuers(), Role::Shares, &["shares", "shares-2"], 1);
    bench.deliver(&signed_by(&two, &["root"]));
    assert_eq!(bench.ask("anna", STATUS), "done");
}

#[test]
fn a_signature_over_another_share_proves_nothing_about_this_one() {
    let anna = share("anna", &[STATUS]);
    let mut bench = Bench::with(std::slice::from_ref(&anna));
    let (name, kept) = bench.disk.cache.pop_first().unwrap();
    let eve = sign(&share("eve", &[STATUS]), &key("mallory"));
    bench.disk.cache.insert(name, [eve, kept].concat());
    bench.restart();
    assert_eq!(bench.ask("eve", STATUS), "silence");
}

#[test]
fn a_full_cache_is_loaded_up_to_the_cap() {
    let mut bench = Bench::with(&[]);
    for at in 0..MAX_SHARES + 5 {
        let (name, bytes) = forged(&format!("p{at}"));
        bench.disk.cache.insert(name, bytes);
    }
    bench.restart();
    assert_eq!(bench.core.statements().share_count(), MAX_SHARES);
}
