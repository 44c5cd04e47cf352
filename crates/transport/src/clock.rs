//! Access to the clocks. No other module reads a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorward_protocol::wire::Timestamp;

/// The system clock's time; 1970 if the clock is set to an earlier time.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is clock.rs")]
pub fn system() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    Timestamp(since.as_secs().min(doorward_protocol::wire::MAX_TIMESTAMP))
}

/// A stopwatch on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts a stopwatch.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is clock.rs")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The machine's clocks, for the gate.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    boot: doorward_protocol::wire::Bytes<16>,
    uptime_at_start: u64,
    watch: Stopwatch,
}
impl Clock {
    /// Reads the boot id and the uptime from the kernel.
    ///
    /// # Errors
    /// If `/proc` does not provide them.
    pub fn open() -> std::io::Result<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let boot = doorward_protocol::wire::Bytes::from_hex(&boot.trim().replace('-', ""))
            .ok_or_else(|| crate::files::invalid("the kernel's boot id is not a UUID"))?;
        let uptime = std::fs::read_to_string("/proc/uptime")?;
        let uptime_at_start = uptime
            .split('.')
            .next()
            .and_then(|seconds| seconds.parse().ok())
            .ok_or_else(|| crate::files::invalid("the kernel's uptime is not a number"))?;
        Ok(Self {
            boot,
            uptime_at_start,
            watch: Stopwatch::start(),
        })
    }

    /// Reads all clocks.
    #[must_use]
    pub fn read(&self) -> doorward_protocol::gate::ClockReading {
        doorward_protocol::gate::ClockReading {
            system: system(),
            uptime: self.uptime_at_start + self.watch.elapsed().as_secs(),
            boot: self.boot,
        }
    }
}
