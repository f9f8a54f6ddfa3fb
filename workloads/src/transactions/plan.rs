//! What a transaction is meant to do, drawn from the seed: the same seed, the same transactions in the same order.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::options::Options;

/// Of four micro-ops one is a poll.
const POLLS: f64 = 0.25;
/// Of four aborts one takes back what may never have left the client. (The coordinator may know nothing of the transaction yet, and answers
/// INVALID_TXN_STATE, which librdkafka takes for fatal: the producer is replaced.)
const ABORTS_UNFLUSHED: f64 = 0.25;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To a key, by its position among the run's keys.
    Send(usize),
    Poll,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    /// With `flushed`, not before every send was acknowledged, so that there is something in the log to be hidden.
    Abort {
        flushed: bool,
    },
}

/// A second producer takes the transactional id over in mid-transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zombie {
    /// The first one goes on, and tries to commit while the second one's transaction is under way.
    GoesOn,
    /// The first one is never heard of again, as if it had crashed.
    Vanishes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TxnPlan {
    pub(crate) steps: Vec<Step>,
    pub(crate) ending: Ending,
    pub(crate) zombie: Option<Zombie>,
}

pub(crate) struct Generator {
    random: ChaCha8Rng,
    keys: usize,
    size: usize,
    aborts: f64,
    zombies: f64,
}

impl Generator {
    /// One for each client: `number` counts from 0.
    pub(crate) fn new(seed: u64, number: usize, keys: usize, options: &Options) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed ^ (number as u64 + 1)),
            keys: keys.max(1),
            size: options.txn_size.max(1) as usize,
            aborts: options.txn_aborts,
            zombies: options.txn_zombies,
        }
    }

    pub(crate) fn next(&mut self) -> TxnPlan {
        let random = &mut self.random;
        let count = random.random_range(1..=self.size);
        let steps = (0..count).map(|_| if random.random_bool(POLLS) { Step::Poll } else { Step::Send(random.random_range(0..self.keys)) });
        let steps = steps.collect();
        let ending = match random.random_bool(self.aborts) {
            true => Ending::Abort { flushed: !random.random_bool(ABORTS_UNFLUSHED) },
            false => Ending::Commit,
        };
        let zombie = match random.random_bool(self.zombies) {
            true => Some(if random.random_bool(0.5) { Zombie::GoesOn } else { Zombie::Vanishes }),
            false => None,
        };
        TxnPlan { steps, ending, zombie }
    }

    /// One without a zombie.
    pub(crate) fn next_plain(&mut self) -> TxnPlan {
        TxnPlan { zombie: None, ..self.next() }
    }

    /// Of the distinct record keys.
    pub(crate) fn record_key(&mut self, count: u32) -> u32 {
        self.random.random_range(0..count.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans(seed: u64, number: usize, options: &Options) -> Vec<TxnPlan> {
        let mut generator = Generator::new(seed, number, 3, options);
        (0..2_000).map(|_| generator.next()).collect()
    }

    #[test]
    fn the_same_seed_plans_the_same_and_every_client_its_own() {
        let options = Options::default();
        assert_eq!(plans(1, 0, &options), plans(1, 0, &options));
        assert_ne!(plans(1, 0, &options), plans(1, 1, &options));
        assert_ne!(plans(1, 0, &options), plans(2, 0, &options));
    }

    #[test]
    fn every_key_every_size_and_every_ending_is_drawn() {
        let plans = plans(7, 0, &Options { txn_zombies: 0.2, ..Options::default() });
        for size in 1..=6 {
            assert!(plans.iter().any(|plan| plan.steps.len() == size), "{size}");
        }
        for key in 0..3 {
            assert!(plans.iter().any(|plan| plan.steps.contains(&Step::Send(key))), "{key}");
        }
        let mixed = |plan: &&TxnPlan| plan.steps.contains(&Step::Poll) && plan.steps.iter().any(|step| *step != Step::Poll);
        assert!(plans.iter().any(|plan| mixed(&plan)));
        for ending in [Ending::Commit, Ending::Abort { flushed: true }, Ending::Abort { flushed: false }] {
            assert!(plans.iter().any(|plan| plan.ending == ending), "{ending:?}");
        }
        for zombie in [None, Some(Zombie::GoesOn), Some(Zombie::Vanishes)] {
            assert!(plans.iter().any(|plan| plan.zombie == zombie), "{zombie:?}");
        }
    }

    #[test]
    fn shares_of_nothing_and_of_all_are_kept() {
        let none = plans(3, 0, &Options { txn_aborts: 0.0, txn_zombies: 0.0, txn_size: 1, ..Options::default() });
        assert!(none.iter().all(|plan| plan.ending == Ending::Commit && plan.zombie.is_none() && plan.steps.len() == 1));
        let all = plans(3, 0, &Options { txn_aborts: 1.0, txn_zombies: 1.0, ..Options::default() });
        assert!(all.iter().all(|plan| plan.ending != Ending::Commit && plan.zombie.is_some()));
    }

    #[test]
    fn about_as_many_aborts_as_asked_for() {
        let aborts = plans(9, 0, &Options { txn_aborts: 0.2, ..Options::default() });
        let aborts = aborts.iter().filter(|plan| plan.ending != Ending::Commit).count();
        assert!((320..480).contains(&aborts), "{aborts} of 2000");
    }
}
