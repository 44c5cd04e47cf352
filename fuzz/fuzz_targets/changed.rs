//! Changed commands: a valid command with any change starts no operation.
#![no_main]

use doorward_testkit::fuzz_device;

libfuzzer_sys::fuzz_target!(|changes: Vec<(u16, u8)>| {
    let good = fuzz_device::good_command();
    let mut bytes = good.clone();
    let length = bytes.len();
    for (at, value) in changes {
        bytes[usize::from(at) % length] = value;
    }
    assert_eq!(fuzz_device::handle(&bytes).started, bytes == good);
});
