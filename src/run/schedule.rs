//! Which fault comes when: drawn from the seed before the run, so that it can be printed, stored and repeated.

use std::collections::BTreeMap;
use std::time::Duration;

use kchaos_core::PlannedFault;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws faults for ever: each round takes every nemesis once, in an order of its own, so that none is starved. Up to `at_once` of them, a
/// number that is drawn as well, begin together.
#[derive(Debug)]
pub(crate) struct Schedule {
    random: ChaCha8Rng,
    nemeses: Vec<String>,
    round: Vec<String>,
    interval: Duration,
    duration: Duration,
    at_once: u32,
    guide: Option<Guide>,
    /// How many are still to begin together with the last one.
    more: u32,
}

/// What earlier runs exercised, by nemesis.
#[derive(Debug, Default)]
pub(crate) struct Guide {
    /// How often it was in force.
    pub(crate) in_force: BTreeMap<String, u64>,
    /// How often it met a cluster that had not come to rest: an ISR that was shrunk, an election.
    pub(crate) unsettled: BTreeMap<String, u64>,
}

/// Of a fault's duration: when another one joins it, if the schedule is guided.
const JOINS_AT: std::ops::Range<f64> = 0.05..0.95;

impl Schedule {
    pub(crate) fn new(seed: u64, nemeses: Vec<String>, interval: Duration, duration: Duration, at_once: u32) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { random, nemeses, round: Vec::new(), interval, duration, at_once, guide: None, more: 0 }
    }

    /// What was exercised least comes first; and what met an unsettled cluster least joins a fault that is in force already.
    pub(crate) fn guided_by(self, guide: Guide) -> Self {
        Self { guide: Some(guide), ..self }
    }

    /// As many faults as could begin within the time, were they one after another, and never more than `faults`.
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
            if let Some(Guide { in_force, .. }) = &self.guide {
                // Taken from the end. Among those that were exercised as often the seed decides.
                self.round.sort_by_key(|name| std::cmp::Reverse(in_force.get(name).copied().unwrap_or(0)));
            }
        }
        // A nemesis is never beside itself: those that begin together are of one round.
        let beside = self.more > 0 && self.round.len() < self.nemeses.len();
        let nemesis = if beside { self.take_beside() } else { self.round.pop().unwrap_or_default() };
        let wait = self.interval.mul_f64(self.random.random_range(0.75..=1.25));
        let (wait_ms, duration_ms, seed) = (millis(wait), millis(self.duration), self.random.random());
        if beside {
            self.more -= 1;
        } else if self.at_once > 1 {
            self.more = self.random.random_range(1..=self.at_once) - 1;
        }
        let wait_ms = match beside {
            false => wait_ms,
            true if self.guide.is_some() => millis(self.duration.mul_f64(self.random.random_range(JOINS_AT))),
            true => 0,
        };
        PlannedFault { nemesis, wait_ms, duration_ms, seed, beside, at_ms: None }
    }

    fn take_beside(&mut self) -> String {
        let met = |name: &String| self.guide.as_ref().and_then(|guide| guide.unsettled.get(name)).copied().unwrap_or(0);
        // Of those that met it as seldom, the last, which is next.
        let place = (0..self.round.len()).rev().min_by_key(|place| met(&self.round[*place]));
        place.map(|place| self.round.remove(place)).unwrap_or_default()
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(seed: u64, nemeses: &[&str], limit_s: u64, faults: Option<u32>) -> Vec<PlannedFault> {
        draw_at_once(1, seed, nemeses, limit_s, faults)
    }

    fn draw_at_once(at_once: u32, seed: u64, nemeses: &[&str], limit_s: u64, faults: Option<u32>) -> Vec<PlannedFault> {
        let nemeses = nemeses.iter().map(|name| (*name).to_owned()).collect();
        Schedule::new(seed, nemeses, Duration::from_secs(4), Duration::from_secs(7), at_once).draw(Duration::from_secs(limit_s), faults)
    }

    #[test]
    fn subsets_of_several_begin_together_and_no_nemesis_is_beside_itself() {
        for seed in 0..20 {
            let faults = draw_at_once(3, seed, &["a", "b", "c", "d"], 0, Some(40));
            let groups: Vec<_> = faults.chunk_by(|_, next| next.beside).collect();
            assert!(groups.len() < 40 && groups.iter().all(|group| (1..=3).contains(&group.len()) && !group[0].beside));
            for group in groups {
                let names: std::collections::BTreeSet<_> = group.iter().map(|fault| &fault.nemesis).collect();
                assert_eq!(names.len(), group.len(), "{group:?}");
                assert!(group[0].wait_ms >= 3_000 && group[1..].iter().all(|fault| fault.wait_ms == 0));
            }
        }
        assert!(draw_at_once(3, 1, &["a"], 0, Some(9)).iter().all(|fault| !fault.beside));
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
    fn what_was_exercised_least_comes_first_and_among_equals_the_seed_decides() {
        let guided = |seed| {
            let nemeses = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
            let in_force = BTreeMap::from([("a".to_owned(), 9), ("c".to_owned(), 2)]);
            let guide = Guide { in_force, ..Guide::default() };
            let schedule = Schedule::new(seed, nemeses, Duration::from_secs(4), Duration::from_secs(7), 1).guided_by(guide);
            schedule.draw(Duration::ZERO, Some(10)).into_iter().map(|fault| fault.nemesis).collect::<Vec<_>>()
        };
        for seed in 0..20 {
            let drawn = guided(seed);
            for round in drawn.chunks(5) {
                let mut first = round[..3].to_vec();
                first.sort_unstable();
                assert_eq!((first.join(""), &round[3..]), ("bde".to_owned(), &["c".to_owned(), "a".to_owned()][..]));
            }
            assert_eq!(drawn, guided(seed));
        }
        assert!((1..20).any(|seed| guided(seed) != guided(0)));
    }

    #[test]
    fn guided_what_met_an_unsettled_cluster_least_joins_a_fault_that_is_in_force() {
        let mut joined = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let nemeses = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
            let unsettled = ["a", "b", "d"].map(|name| (name.to_owned(), 5)).into();
            let guide = Guide { unsettled, ..Guide::default() };
            let schedule = Schedule::new(seed, nemeses, Duration::from_secs(4), Duration::from_secs(7), 2).guided_by(guide);
            let drawn = schedule.draw(Duration::ZERO, Some(4));
            assert!(drawn.iter().filter(|fault| fault.beside).all(|fault| (350..6_650).contains(&fault.wait_ms)), "{drawn:?}");
            if drawn[1].beside && drawn[0].nemesis != "c" {
                joined.insert(drawn[1].nemesis.clone());
            }
        }
        assert!(joined.iter().eq(["c"]), "{joined:?}");
    }

    #[test]
    fn the_quiet_time_varies_by_a_quarter_and_the_time_limit_bounds_the_count() {
        let faults = draw(1, &["a"], 100, None);
        assert_eq!(faults.len(), 10);
        assert!(faults.iter().all(|fault| (3_000..=5_000).contains(&fault.wait_ms)));
        assert!(draw(1, &[], 100, None).is_empty());
    }
}
