//! What the brokers of a cluster without ZooKeeper know together: registrations and the states of partitions, from what each tells its clients.
//!
//! There is no one place to look at: each broker replays the metadata log by itself, some milliseconds behind it, or long behind it when it is cut
//! off. So a change counts from the first broker that tells of it, and whoever tells of it later is late, never news:
//! - a partition's state goes by its leader epoch, and within one epoch by the word of its leader alone, whose in-sync set it is;
//! - who is registered goes by how often each broker has seen that change: all replay the same changes in the same order, so the one who has seen
//!   the most is the newest.
//!
//! The interval of a change: after the last answer of whoever first told of it, or of any other who answered since and did not tell of it, whichever
//! is older; before the answer that told of it had come.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_core::{Interval, Key, Observed};

use crate::protocol::{Metadata, MetadataPartition};

/// An answer as old as this says nothing of when a change came: its broker is in trouble, or was stopped.
const ANSWER_AGE_MAX_NS: u64 = 500_000_000;

#[derive(Default)]
pub(super) struct Image {
    /// By broker, when the last question was asked that was answered.
    asked_ns: BTreeMap<i32, u64>,
    /// By broker whose registration it is.
    registrations: BTreeMap<i32, Registration>,
    states: BTreeMap<Key, State>,
}

#[derive(Default)]
struct Registration {
    /// Odd: registered.
    changes: u64,
    /// By who tells of it: how many of the changes it has told of.
    seen: BTreeMap<i32, u64>,
}

#[derive(Clone, PartialEq)]
struct State {
    leader: Option<i32>,
    leader_epoch: i32,
    isr: Vec<i32>,
}

impl Image {
    /// Takes what this broker answered to a question asked at `invoked_ns`. What is new, with its interval.
    pub(super) fn take(
        &mut self,
        broker: i32,
        known: &BTreeSet<i32>,
        metadata: &Metadata,
        key_of: impl Fn(&str, i32) -> Option<Key>,
        invoked_ns: u64,
        known_ns: u64,
    ) -> Vec<(Interval, Observed)> {
        let after_ns = self.after_ns(broker, invoked_ns);
        self.asked_ns.insert(broker, invoked_ns);
        let mut news = Vec::new();
        let told: BTreeSet<i32> = metadata.brokers.iter().map(|endpoint| endpoint.broker).collect();
        for whose in known {
            let registration = self.registrations.entry(*whose).or_default();
            let is_first = registration.changes == 0 && registration.seen.is_empty();
            if let Some(is_registered) = registration.take(broker, told.contains(whose)) {
                let when = Interval { after_ns: if is_first { 0 } else { after_ns }, before_ns: known_ns };
                let what =
                    if is_registered { Observed::BrokerRegistered { broker: *whose } } else { Observed::BrokerGone { broker: *whose } };
                news.push((when, what));
            }
        }
        for topic in &metadata.topics {
            for partition in &topic.partitions {
                let Some(key) = key_of(&topic.topic, partition.partition) else { continue };
                if let Some(is_first) = self.take_state(broker, key, partition) {
                    let state = &self.states[&key];
                    let what = Observed::PartitionState {
                        key,
                        leader: state.leader,
                        leader_epoch: state.leader_epoch,
                        isr: state.isr.clone(),
                        controller_epoch: -1,
                    };
                    news.push((Interval { after_ns: if is_first { 0 } else { after_ns }, before_ns: known_ns }, what));
                }
            }
        }
        news
    }

    /// A broker that was refused a connection is another process when it answers again, which begins with what is so now.
    pub(super) fn forget(&mut self, broker: i32) {
        self.asked_ns.remove(&broker);
        for registration in self.registrations.values_mut() {
            registration.seen.remove(&broker);
        }
    }

    fn after_ns(&self, broker: i32, invoked_ns: u64) -> u64 {
        let own = self.asked_ns.get(&broker).copied();
        let recent = self.asked_ns.values().copied().filter(|asked| *asked + ANSWER_AGE_MAX_NS >= invoked_ns);
        recent.chain(own).min().unwrap_or(0)
    }

    /// `Some` if it is news: whether it is the first look at this partition.
    fn take_state(&mut self, broker: i32, key: Key, partition: &MetadataPartition) -> Option<bool> {
        let told = State { leader: partition.leader, leader_epoch: partition.leader_epoch, isr: partition.isr.clone() };
        let is_news = match self.states.get(&key) {
            None => true,
            Some(state) if told.leader_epoch != state.leader_epoch => told.leader_epoch > state.leader_epoch,
            Some(state) => told.leader == Some(broker) && told != *state,
        };
        is_news.then(|| self.states.insert(key, told).is_none())
    }
}

impl Registration {
    /// What is so now, if this broker is the first to tell of it.
    fn take(&mut self, broker: i32, is_registered: bool) -> Option<bool> {
        let is_odd = |count: u64| count % 2 == 1;
        let seen = self.seen.get(&broker).copied();
        let now = match seen {
            // Who is asked for the first time has seen what is so, or is one change behind.
            None if is_odd(self.changes) == is_registered => self.changes,
            None if self.changes == 0 => 1,
            None => self.changes - 1,
            Some(seen) if is_odd(seen) == is_registered => seen,
            Some(seen) => seen + 1,
        };
        self.seen.insert(broker, now);
        (now > self.changes).then(|| {
            self.changes = now;
            is_registered
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{BrokerEndpoint, MetadataTopic};

    fn told(brokers: &[i32], leader: i32, leader_epoch: i32, isr: &[i32]) -> Metadata {
        let endpoint = |id: &i32| BrokerEndpoint { broker: *id, host: "b".to_owned(), port: 9092, rack: None };
        let partition = MetadataPartition { leader: Some(leader), leader_epoch, isr: isr.to_vec(), ..MetadataPartition::default() };
        let topics = vec![MetadataTopic { topic: "t".to_owned(), partitions: vec![partition], ..MetadataTopic::default() }];
        Metadata { brokers: brokers.iter().map(endpoint).collect(), topics, ..Metadata::default() }
    }

    struct Scene(Image);

    impl Scene {
        /// Asked at `at_ms`, answered a millisecond later; what is new, in words.
        fn answer(&mut self, broker: i32, at_ms: u64, metadata: &Metadata) -> Vec<String> {
            let known = BTreeSet::from([1, 2, 3]);
            let news = self.0.take(broker, &known, metadata, |_, _| Some(0), at_ms * 1_000_000, (at_ms + 1) * 1_000_000);
            let word = |(when, what): (Interval, Observed)| {
                let what = match what {
                    Observed::BrokerGone { broker } => format!("{broker} gone"),
                    Observed::BrokerRegistered { broker } => format!("{broker} registered"),
                    Observed::PartitionState { leader, leader_epoch, isr, .. } => format!("{leader:?} at {leader_epoch} with {isr:?}"),
                    other => format!("{other:?}"),
                };
                format!("{}..{} {what}", when.after_ns / 1_000_000, when.before_ns / 1_000_000)
            };
            news.into_iter().map(word).collect()
        }
    }

    fn begun() -> Scene {
        let mut scene = Scene(Image::default());
        let whole = told(&[1, 2, 3], 1, 4, &[1, 2, 3]);
        let expect = ["0..1 1 registered", "0..1 2 registered", "0..1 3 registered", "0..1 Some(1) at 4 with [1, 2, 3]"];
        assert_eq!(scene.answer(1, 0, &whole), expect);
        for broker in [2, 3] {
            assert!(scene.answer(broker, 20 * broker as u64, &whole).is_empty());
        }
        scene
    }

    #[test]
    fn the_first_to_tell_of_a_change_makes_it_news_and_the_late_do_not() {
        let mut scene = begun();
        let fenced = told(&[2, 3], 2, 5, &[2, 3]);
        assert_eq!(scene.answer(2, 90, &fenced), ["0..91 1 gone", "0..91 Some(2) at 5 with [2, 3]"]);
        assert!(scene.answer(3, 110, &fenced).is_empty());
        // Cut off, it tells what was for ever.
        assert!(scene.answer(1, 120, &told(&[1, 2, 3], 1, 4, &[1, 2, 3])).is_empty());
        let back = told(&[1, 2, 3], 2, 5, &[2, 3]);
        assert_eq!(scene.answer(3, 160, &back), ["90..161 1 registered"]);
        assert!(scene.answer(2, 170, &back).is_empty());
        // It catches up through all that it missed.
        assert!(scene.answer(1, 180, &fenced).is_empty());
        assert!(scene.answer(1, 230, &back).is_empty());
    }

    #[test]
    fn the_in_sync_set_is_the_leaders_own_word() {
        let mut scene = begun();
        assert!(scene.answer(2, 90, &told(&[1, 2, 3], 1, 4, &[1, 2])).is_empty());
        assert_eq!(scene.answer(1, 100, &told(&[1, 2, 3], 1, 4, &[1, 2])), ["0..101 Some(1) at 4 with [1, 2]"]);
    }

    #[test]
    fn a_broker_that_was_started_anew_begins_with_what_is_so() {
        let mut scene = begun();
        let fenced = told(&[2, 3], 2, 5, &[2, 3]);
        assert_eq!(scene.answer(2, 90, &fenced).len(), 2);
        scene.0.forget(1);
        assert!(scene.answer(1, 9_000, &fenced).is_empty());
        assert_eq!(scene.answer(1, 9_050, &told(&[1, 2, 3], 2, 5, &[2, 3])), ["9000..9051 1 registered"]);
        assert!(scene.answer(2, 9_060, &told(&[1, 2, 3], 2, 5, &[2, 3])).is_empty());
    }
}
