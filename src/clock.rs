//! The run's one clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kchaos_core::Clock;

/// Monotonic nanoseconds since the run's start, and the wall-clock moment of that start, for people and for daemon logs.
#[derive(Debug)]
pub(crate) struct RunClock {
    start: Instant,
    pub(crate) started_at_unix_ns: u64,
}

impl RunClock {
    pub(crate) fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), started_at_unix_ns: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX) }
    }
}

impl Clock for RunClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
