//! The run's one clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use kchaos_core::Clock;

/// Monotonic nanoseconds since the run's start, and the wall-clock moment of that start, for people and for daemon logs.
#[derive(Debug)]
pub(crate) struct RunClock {
    start: Instant,
    /// Of a run that was cut off and is taken up again: how long ago it had begun then.
    before_ns: u64,
    pub(crate) started_at_unix_ns: u64,
}

impl RunClock {
    pub(crate) fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), before_ns: 0, started_at_unix_ns: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// The clock of a run that began at that time, and whose last op is so old. By the wall clock, and never back behind what was recorded.
    pub(crate) fn take_up(started_at_unix_ns: u64, last_ns: u64) -> Self {
        let now = Self::start();
        let before_ns = now.started_at_unix_ns.saturating_sub(started_at_unix_ns).max(last_ns);
        Self { before_ns, started_at_unix_ns, ..now }
    }
}

impl Clock for RunClock {
    fn now_ns(&self) -> u64 {
        self.before_ns + u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The host's own monotonic clock, the same for all processes on it.
#[derive(Debug)]
pub(crate) struct HostClock;

impl Clock for HostClock {
    fn now_ns(&self) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes one timespec, which lives through the call. It fails for unknown clocks alone.
        let _ = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_taken_up_goes_on_with_its_own_time() {
        let long_ago = RunClock::start().started_at_unix_ns - 3_600_000_000_000;
        let clock = RunClock::take_up(long_ago, 5);
        assert!((3_600_000_000_000..3_660_000_000_000).contains(&clock.now_ns()));
        let last_ns = 7_200_000_000_000;
        assert!(RunClock::take_up(long_ago, last_ns).now_ns() >= last_ns, "the wall clock was set back in between");
    }
}
