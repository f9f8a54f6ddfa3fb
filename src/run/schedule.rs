//! Which fault comes when: drawn from the seed before the run, so that it can be printed, stored and repeated.

use std::time::Duration;

use kchaos_core::PlannedFault;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws faults for ever: each round takes every nemesis once, in an order of its own, so that none is starved.
#[derive(Debug)]
pub(crate) struct Schedule {
    random: ChaCha8Rng,
    nemeses: Vec<String>,
    round: Vec<String>,
    interval: Duration,
    duration: Duration,
}

impl Schedule {
    pub(crate) fn new(seed: u64, nemeses: Vec<String>, interval: Duration, duration: Duration) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), nemeses, round: Vec::new(), interval, duration }
    }

    /// As many faults as could begin within the time, and never more than `faults`.
    pub(crate) fn draw(mut self, time_limit: Duration, faults: Option<u32>) -> Vec<PlannedFault> {
        if self.nemeses.is_empty() {
            return Vec::new();
        }
        let shortest = self.interval.mul_f64(0.75) + self.duration;
        let fitting = time_limit.as_secs_f64() / shortest.as_secs_f64().max(0.1);
        let count = faults.unwrap_or((fitting.ceil() as u32).clamp(1, 10_000));
        (0..count).map(|_| self.next()).collect()
    }

    fn next(&mut self) -> PlannedFault {
        if self.round.is_empty() {
            self.round.clone_from(&self.nemeses);
            self.round.shuffle(&mut self.random);
        }
        let nemesis = self.round.pop().unwrap_or_default();
        let wait = self.interval.mul_f64(self.random.random_range(0.75..=1.25));
        PlannedFault { nemesis, wait_ms: millis(wait), duration_ms: millis(self.duration), seed: self.random.random() }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: u64, nemeses: &[&str], limit_s: u64, faults: Option<u32>) -> Vec<PlannedFault> {
        let nemeses = nemeses.iter().map(|name| (*name).to_owned()).collect();
        Schedule::new(seed, nemeses, Duration::from_secs(4), Duration::from_secs(7)).draw(Duration::from_secs(limit_s), faults)
    }

    #[test]
    fn one_seed_draws_one_schedule() {
        assert_eq!(draw(7, &["kill-leader", "pause-leader"], 100, None), draw(7, &["kill-leader", "pause-leader"], 100, None));
        assert_ne!(draw(7, &["kill-leader", "pause-leader"], 100, None), draw(8, &["kill-leader", "pause-leader"], 100, None));
    }

    #[test]
    fn every_round_takes_every_nemesis_once() {
        for round in draw(3, &["a", "b", "c"], 0, Some(30)).chunks(3) {
            let mut names: Vec<_> = round.iter().map(|fault| fault.nemesis.as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, ["a", "b", "c"]);
        }
    }

    #[test]
    fn the_quiet_time_varies_by_a_quarter_and_the_time_limit_bounds_the_count() {
        let faults = draw(1, &["a"], 100, None);
        assert_eq!(faults.len(), 10);
        assert!(faults.iter().all(|fault| (3_000..=5_000).contains(&fault.wait_ms)));
        assert!(draw(1, &[], 100, None).is_empty());
    }
}
