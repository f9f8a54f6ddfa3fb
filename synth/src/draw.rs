//! Random choices, cheap ones: a step of the simulation draws once or twice.

use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use crate::options::Options;

/// Below `bound`, from 32 random bits.
#[inline]
pub(crate) fn below(bits: u32, bound: usize) -> usize {
    ((u64::from(bits) * bound as u64) >> 32) as usize
}

pub(crate) fn draw(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    below(rng.next_u32(), bound)
}

/// A fraction, as a bound for 32 random bits.
#[derive(Clone, Copy)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(fraction: f64) -> Self {
        Self((fraction.clamp(0.0, 1.0) * 4_294_967_296.0) as u64)
    }

    #[inline]
    pub(crate) fn happens(self, rng: &mut ChaCha8Rng) -> bool {
        self.0 > 0 && u64::from(rng.next_u32()) < self.0
    }
}

/// How a send ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Ok,
    /// Acknowledged without an offset.
    OkUntold,
    /// Nobody knows, and it took effect.
    InfoDone,
    InfoLost,
    Fail,
}

impl Fate {
    pub(crate) fn takes_effect(self) -> bool {
        matches!(self, Self::Ok | Self::OkUntold | Self::InfoDone)
    }
}

/// Draws fates.
#[derive(Clone, Copy)]
pub(crate) struct Fates {
    /// Ascending bounds for 32 random bits.
    info: u64,
    fail: u64,
    untold: u64,
}

impl Fates {
    pub(crate) fn new(options: &Options) -> Self {
        let info = Chance::new(options.info).0;
        let fail = info + Chance::new(options.fail).0;
        Self { info, fail, untold: fail + Chance::new(options.no_offset).0 }
    }

    #[inline]
    pub(crate) fn draw(self, rng: &mut ChaCha8Rng) -> Fate {
        let bits = u64::from(rng.next_u32());
        if bits >= self.untold {
            Fate::Ok
        } else if bits >= self.fail {
            Fate::OkUntold
        } else if bits >= self.info {
            Fate::Fail
        } else if bits.is_multiple_of(2) {
            Fate::InfoDone
        } else {
            Fate::InfoLost
        }
    }
}
