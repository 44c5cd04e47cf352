//! The oracle: a registered device that hears anything at all starts nothing, and keeps
//! nothing, unless a signature of somebody it trusts holds. The fuzzer has no key.
#![no_main]

#[path = "../world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let heard = world::hear(bytes);
    // What the samples of tests/vectors hold was signed by the test keys; only these bytes
    // may have an effect.
    assert!(!heard.had_effect || world::is_signed(bytes), "{heard:?}");
});
