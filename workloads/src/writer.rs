//! What one producer sends, and when: its part of the run's schedule, and where the next record comes from.

use std::time::Duration;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::properties::Role;
use crate::schedule::Schedule;
use crate::shared::Shared;

/// A record to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) record_key: u32,
    pub(crate) value_bytes: usize,
    /// Alone over its topic's limit: no broker takes it.
    pub(crate) is_oversize: bool,
}

/// Where a producer's records come from. Keys are positions in the run's keys.
pub(crate) trait Source: Send {
    /// The next one that the schedule asks for.
    fn next(&mut self, key: usize) -> Shape;

    /// What is to be sent now beside the schedule, if there is room for it.
    fn due(&mut self, _now_ns: u64, _has_room: &dyn Fn(usize) -> bool) -> Option<(usize, Shape)> {
        None
    }

    /// Why the client is to be replaced by a new one now.
    fn is_replaced(&mut self) -> Option<String> {
        None
    }
}

/// A producer before it is started.
pub(crate) struct Writer {
    pub(crate) name: String,
    /// Where its figures stand.
    pub(crate) number: usize,
    pub(crate) role: Role,
    pub(crate) schedule: Schedule,
    pub(crate) in_flight: usize,
    /// The greatest value it sends as a rule.
    pub(crate) value_bytes: usize,
    pub(crate) source: Box<dyn Source>,
    /// It is made so long after the others.
    pub(crate) starts_after: Duration,
}

impl Writer {
    /// One of those who write at the run's rate, values of one size, or of sizes that are drawn.
    pub(crate) fn plain(shared: &Shared, number: usize, start_ns: u64) -> Self {
        let options = &shared.options;
        let greatest = options.greatest_value_bytes() as usize;
        let source = Drawn::new(shared, number, greatest);
        Self {
            name: format!("producer-{}", number + 1),
            number,
            role: Role::Producer,
            schedule: schedule(shared, number, options.producers as usize, start_ns),
            in_flight: options.in_flight as usize,
            value_bytes: greatest,
            source: Box::new(source),
            starts_after: Duration::ZERO,
        }
    }
}

/// This producer's part of the run's schedule, a stream for each key that is written to at a time: all (producer, key) streams together are evenly spaced, in an order that the seed shuffles.
pub(crate) fn schedule(shared: &Shared, number: usize, producers: usize, start_ns: u64) -> Schedule {
    let keys = shared.written_at_a_time();
    let mut order: Vec<usize> = (0..producers * keys).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(shared.seed));
    let phases = order[number * keys..(number + 1) * keys].iter().map(|place| *place as f64 / order.len() as f64);
    let rate = shared.options.rate / producers as f64;
    let streams = phases.zip(shares(keys, shared.options.hot_share, shared.seed));
    Schedule::shared_out(start_ns, rate, streams, shared.options.backlog_ms.saturating_mul(1_000_000))
}

/// The part of all sends that each key gets: even, or one that the seed draws has `hot_share` of them.
fn shares(keys: usize, hot_share: Option<f64>, seed: u64) -> Vec<f64> {
    let Some(hot_share) = hot_share.filter(|_| keys > 1) else { return vec![1.0 / keys as f64; keys] };
    let mut shares = vec![(1.0 - hot_share) / (keys - 1) as f64; keys];
    shares[ChaCha8Rng::seed_from_u64(seed).random_range(0..keys)] = hot_share;
    shares
}

/// Records whose keys are drawn, and their sizes if they are of more than one.
pub(crate) struct Drawn {
    random: ChaCha8Rng,
    key_count: u32,
    least: usize,
    greatest: usize,
}

impl Drawn {
    /// Those of one producer, the same with the same seed.
    pub(crate) fn new(shared: &Shared, number: usize, greatest: usize) -> Self {
        let random = ChaCha8Rng::seed_from_u64(shared.seed ^ (number as u64 + 1));
        Self { random, key_count: shared.options.key_count, least: shared.options.value_bytes as usize, greatest }
    }
}

impl Source for Drawn {
    fn next(&mut self, _key: usize) -> Shape {
        let record_key = self.random.random_range(0..self.key_count);
        let value_bytes = if self.least == self.greatest { self.least } else { between(&mut self.random, self.least, self.greatest) };
        Shape { record_key, value_bytes, is_oversize: false }
    }
}

/// Drawn evenly by the logarithm.
pub(crate) fn between(random: &mut ChaCha8Rng, least: usize, greatest: usize) -> usize {
    let (low, high) = ((least.max(1) as f64).ln(), (greatest.max(1) as f64).ln());
    ((low + random.random::<f64>() * (high - low)).exp().round() as usize).clamp(least, greatest.max(least))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_is_hot_the_same_with_the_same_seed_and_all_shares_are_a_whole() {
        let shares_of = |seed| shares(4, Some(0.7), seed);
        assert_eq!(shares_of(1), shares_of(1));
        assert!((0..20).any(|seed| shares_of(seed) != shares_of(0)), "the seed draws it");
        assert_eq!(shares_of(1).iter().filter(|share| **share == 0.7).count(), 1);
        assert!((shares_of(1).iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert_eq!(shares(3, None, 1), [1.0 / 3.0; 3]);
        assert_eq!(shares(1, Some(0.7), 1), [1.0], "nobody else is there");
    }

    #[test]
    fn sizes_are_drawn_from_the_whole_range_and_small_ones_as_often_as_large_ones() {
        let mut source = Drawn { random: ChaCha8Rng::seed_from_u64(1), key_count: 3, least: 100, greatest: 1_000_000 };
        let sizes: Vec<usize> = (0..1_000).map(|_| source.next(0).value_bytes).collect();
        assert!(sizes.iter().all(|size| (100..=1_000_000).contains(size)));
        let small = sizes.iter().filter(|size| **size < 10_000).count();
        assert!((400..600).contains(&small), "{small} below the middle by the logarithm");
    }
}
