//! The oracle from the other side: a good command with any change runs nothing.
#![no_main]

#[path = "../world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|changes: Vec<(u16, u8)>| {
    let good = world::good_command();
    let mut bytes = good.clone();
    let length = bytes.len();
    for (at, value) in changes {
        bytes[usize::from(at) % length] = value;
    }
    assert_eq!(world::hear(&bytes).started, bytes == good);
});
