//! Weekly windows: any zone and any time are evaluated without a panic.
#![no_main]

use doorward_protocol::wire::{Text, Timestamp, WeeklyWindow, WeeklyWindows};

libfuzzer_sys::fuzz_target!(|input: (String, u64, u8, u16, u16)| {
    let (zone, time, days, from, until) = input;
    let Ok(zone) = Text::new(&zone) else { return };
    let open = vec![WeeklyWindow { days, from, until }];
    let windows = WeeklyWindows { zone, open };
    let _ = windows.is_open(Timestamp(time));
});
