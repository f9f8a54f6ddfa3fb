//! What becomes of members while the run goes on, drawn from the seed: they crash, pause and leave.
//!
//! Each member has a schedule of its own. Of a group of n, each does a thing every n times the interval, in turn, with half of the interval left to
//! the seed; so the group as a whole does it about once in the interval.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::options::GroupOptions;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Gone without a word, with a batch in hand.
    Crash {
        /// Of the batch, nothing was processed; else all was, and nothing committed.
        is_before_processing: bool,
    },
    /// Away from the group for longer than it waits, and then going on as if nothing had been.
    Pause { beyond: Duration },
    /// Leaves as it should, and comes back.
    Leave,
}

/// One member's troubles to come, by the time since the run's start.
pub(crate) struct Troubles {
    random: ChaCha8Rng,
    members: f64,
    next: [Option<Next>; 3],
}

#[derive(Clone, Copy)]
struct Next {
    every_s: f64,
    at_s: f64,
}

impl Troubles {
    pub(crate) fn new(options: &GroupOptions, seed: u64, member: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ (0x6d65_6d62_6572 + member as u64));
        let mut first = |every_ms: u64| {
            let every_s = every_ms as f64 / 1_000.0;
            (every_ms > 0).then(|| Next { every_s, at_s: every_s * (member as f64 + random.random_range(0.5..1.0)) })
        };
        let next = [first(options.crash_every_ms), first(options.pause_every_ms), first(options.leave_every_ms)];
        Self { random, members: f64::from(options.members), next }
    }

    /// When something is due, since the run's start.
    pub(crate) fn due(&self) -> Option<Duration> {
        let earliest = self.next.iter().flatten().map(|next| next.at_s).reduce(f64::min);
        earliest.map(Duration::from_secs_f64)
    }

    /// Takes what is due by now. What came due beside it (while the member was away) waits for its next turn.
    pub(crate) fn take(&mut self, now: Duration) -> Option<Trouble> {
        let now_s = now.as_secs_f64();
        let mut taken = None;
        for kind in 0..self.next.len() {
            let Some(next) = self.next[kind].as_mut().filter(|next| next.at_s <= now_s) else { continue };
            next.at_s = now_s + next.every_s * (self.members - 0.5 + self.random.random_range(0.0..1.0));
            taken.get_or_insert(kind);
        }
        taken.map(|kind| match kind {
            0 => Trouble::Crash { is_before_processing: self.random.random() },
            1 => Trouble::Pause { beyond: Duration::from_millis(self.random.random_range(500..3_000)) },
            _ => Trouble::Leave,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(options: &GroupOptions, seed: u64, until_s: u64) -> Vec<(u64, usize, Trouble)> {
        let mut all = Vec::new();
        for member in 0..options.members as usize {
            let mut troubles = Troubles::new(options, seed, member);
            for second in 0..until_s {
                all.extend(troubles.take(Duration::from_secs(second)).map(|trouble| (second, member, trouble)));
            }
        }
        all.sort_by_key(|(second, ..)| *second);
        all
    }

    #[test]
    fn a_group_crashes_about_once_in_the_interval_and_each_member_takes_its_turn() {
        let options = GroupOptions { crash_every_ms: 10_000, pause_every_ms: 0, leave_every_ms: 0, ..Default::default() };
        let crashes = times(&options, 7, 300);
        assert!((20..=40).contains(&crashes.len()), "{crashes:?}");
        assert!(crashes.iter().take(3).map(|(_, member, _)| *member).eq(0..3), "{crashes:?}");
        assert!(crashes[0].0 >= 5, "{crashes:?}");
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_one_another() {
        let options = GroupOptions::default();
        assert_eq!(times(&options, 7, 200), times(&options, 7, 200));
        assert_ne!(times(&options, 7, 200), times(&options, 8, 200));
    }

    #[test]
    fn nothing_happens_where_nothing_is_asked_for() {
        let options = GroupOptions { crash_every_ms: 0, pause_every_ms: 0, leave_every_ms: 0, ..Default::default() };
        assert_eq!(Troubles::new(&options, 7, 0).due(), None);
        assert!(times(&options, 7, 1_000).is_empty());
    }
}
