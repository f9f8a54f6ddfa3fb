//! Time, as a thing that is handed in.

use serde::{Deserialize, Serialize};

/// The run's one monotonic clock: nanoseconds since the run's start.
///
/// Every stamp in a run's directory comes from one such clock on the controller machine, so stamps can be compared without knowing any host's clock.
pub trait Clock: Send + Sync {
    /// Nanoseconds since the run's start.
    fn now_ns(&self) -> u64;
}

/// Something happened after `after_ns` and not later than `before_ns`.
///
/// An observer that polls, or hears of a thing over a network, never knows the instant; it knows the last moment at which the thing had not
/// yet happened and the first at which it had. Honest latencies are differences of such intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    pub after_ns: u64,
    pub before_ns: u64,
}

impl Interval {
    /// An interval of no width: the stamp was taken where the thing happened.
    pub fn at(time_ns: u64) -> Self {
        Self { after_ns: time_ns, before_ns: time_ns }
    }

    pub fn width_ns(self) -> u64 {
        self.before_ns.saturating_sub(self.after_ns)
    }

    pub fn middle_ns(self) -> u64 {
        self.after_ns + self.width_ns() / 2
    }
}
