//! A registered device with arbitrary messages: it starts and stores nothing unless a message has a
//! valid signature by a trusted key. The fuzzer has no key.
#![no_main]

use doorward_testkit::fuzz_device;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let effect = fuzz_device::handle(bytes);
    // The samples of tests/vectors are signed by the test keys; only these bytes may have an
    // effect.
    assert!(!effect.had_effect || fuzz_device::is_signed(bytes), "{effect:?}");
});
