//! What the observer saw, written into the history (docs/history.md), so that the checkers judge it, here and wherever the history is read again.
//!
//! - `leader-epochs`: each leader epoch that ZooKeeper showed for the first time. It had begun by then, so what is told is never too much.
//! - `controllers`: what each broker says of itself, by its own metadata; written when it changes, and once a second while two claim. A broker
//!   that does not answer is left out: nobody knows what it takes itself for. Of KRaft: what each controller says of itself, with `limit_ms`.
//!
//! **Nobody is accused of our own faults:** a controller that is cut off or stopped cannot know that it was replaced. So from the moment a fault
//! is asked for until its journal is closed, nobody is told of, and a claim that goes on after it counts from then. Neither is anything concluded
//! across a time at which this process itself stood still. A controller of KRaft that is cut off must know: it resigns when a majority has not fetched
//! from it for 1.5 times `controller.quorum.fetch.timeout.ms` (KAFKA-15489, from 3.7 on). So of these, all is told at all times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use kchaos_core::{Draft, FaultEvent, FaultMoment, Key, Observation, Observed, Recorder};
use serde_json::{Map, Value, json};

use super::lock;

/// A second between two ticks is meant; after a longer break nobody knows what lay between.
const BREAK_NS: u64 = 5_000_000_000;
/// How long two controllers of KRaft may claim: 3 s with the default timeout, and room for one that is set to a few times as much.
const KRAFT_HANDOVER_MS: u64 = 20_000;

pub(crate) struct Witness {
    recorder: Arc<dyn Recorder>,
    sight: Mutex<Sight>,
}

/// An op's `f` and value.
type Told = (&'static str, Value);

/// What is known, and what was told of it.
#[derive(Default)]
struct Sight {
    /// By broker: whether it takes itself for the controller.
    claims: BTreeMap<i32, bool>,
    /// Controllers of KRaft are told of, not brokers.
    is_quorum: bool,
    /// Brokers that do not answer.
    silent: BTreeSet<i32>,
    faults: BTreeSet<u32>,
    told: Value,
    /// By key: the greatest that was told.
    leader_epochs: BTreeMap<Key, i32>,
    ticked_ns: u64,
}

impl Witness {
    pub(super) fn new(recorder: Arc<dyn Recorder>) -> Self {
        Self { recorder, sight: Mutex::default() }
    }

    pub(super) fn observation(&self, observation: &Observation) {
        self.tell(|sight| {
            sight.is_quorum |= observation.source.starts_with("controller:");
            sight.observation(&observation.what)
        });
    }

    pub(super) fn fault(&self, event: &FaultEvent) {
        self.tell(|sight| sight.fault(event));
    }

    /// Once a second.
    pub(super) fn tick(&self, now_ns: u64) {
        self.tell(|sight| sight.tick(now_ns));
    }

    /// Recorded under the lock, so that the order in the history is the order of what was seen.
    fn tell(&self, see: impl FnOnce(&mut Sight) -> Option<Told>) {
        let mut sight = lock(&self.sight);
        if let Some((f, value)) = see(&mut sight) {
            self.recorder.record(Draft::told(f, value));
        }
    }
}

impl Sight {
    fn observation(&mut self, what: &Observed) -> Option<Told> {
        match *what {
            Observed::PartitionState { key, leader, leader_epoch, .. } => return self.leader_epoch(key, leader, leader_epoch),
            Observed::ControllerMetadata { broker, controller } => _ = self.claims.insert(broker, controller == Some(broker)),
            Observed::BrokerAnswers { broker, answers: false } => _ = self.silent.insert(broker),
            Observed::BrokerAnswers { broker, answers: true } => _ = self.silent.remove(&broker),
            _ => return None,
        }
        self.controllers()
    }

    fn leader_epoch(&mut self, key: Key, leader: Option<i32>, leader_epoch: i32) -> Option<Told> {
        if self.leader_epochs.get(&key).is_some_and(|told| leader_epoch <= *told) {
            return None;
        }
        self.leader_epochs.insert(key, leader_epoch);
        Some(("leader-epochs", json!({key.to_string(): {"leader": leader, "leader_epoch": leader_epoch}})))
    }

    fn fault(&mut self, event: &FaultEvent) -> Option<Told> {
        match event.moment {
            FaultMoment::Note => return None,
            FaultMoment::Done => _ = self.faults.remove(&event.fault_id),
            // Of one that failed, nobody knows how much was done; it is over when its journal is closed.
            _ => _ = self.faults.insert(event.fault_id),
        }
        self.controllers()
    }

    fn tick(&mut self, now_ns: u64) -> Option<Told> {
        let stood_still = now_ns.saturating_sub(std::mem::replace(&mut self.ticked_ns, now_ns)) > BREAK_NS;
        if stood_still && self.told != json!({}) {
            // The next tick begins anew.
            self.told = json!({});
            return Some(("controllers", json!({})));
        }
        if self.known().filter(|(_, claims)| **claims).count() > 1 {
            self.told = Value::Null;
        }
        self.controllers()
    }

    fn known(&self) -> impl Iterator<Item = (&i32, &bool)> {
        let is_known = |broker: &i32| self.is_quorum || (self.faults.is_empty() && !self.silent.contains(broker));
        self.claims.iter().filter(move |(broker, _)| is_known(broker))
    }

    /// What there is to tell of controllers, if it is not what was told last.
    fn controllers(&mut self) -> Option<Told> {
        let mut now: Map<_, _> = self.known().map(|(broker, claims)| (broker.to_string(), json!({"active": claims}))).collect();
        if self.is_quorum && !now.is_empty() {
            now.insert("limit_ms".to_owned(), json!(KRAFT_HANDOVER_MS));
        }
        let now = Value::Object(now);
        if self.told == now || (self.told.is_null() && now == json!({})) {
            return None;
        }
        self.told.clone_from(&now);
        Some(("controllers", now))
    }
}

#[cfg(test)]
mod tests {
    use kchaos_checkers::{Judge, JudgeOptions};
    use kchaos_core::{Body, Interval, Op};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A run of which only the witness tells.
    #[derive(Default)]
    struct Scene {
        sight: Sight,
        ops: Vec<Op>,
    }

    impl Scene {
        fn at(&mut self, second: u64, see: impl FnOnce(&mut Sight) -> Option<Told>) -> &mut Self {
            if let Some((f, value)) = see(&mut self.sight) {
                let body = Body::Nemesis { f: f.to_owned(), value };
                self.ops.push(Op { index: self.ops.len() as u64, time_ns: second * SECOND, body, ..Op::default() });
            }
            self
        }

        fn says(&mut self, second: u64, broker: i32, controller: i32) -> &mut Self {
            self.at(second, |sight| sight.observation(&Observed::ControllerMetadata { broker, controller: Some(controller) }))
        }

        fn sees(&mut self, second: u64, what: &Observed) -> &mut Self {
            self.at(second, |sight| sight.observation(what))
        }

        fn fault(&mut self, second: u64, moment: FaultMoment) -> &mut Self {
            let nemesis = "isolate-controller".to_owned();
            let event = FaultEvent {
                fault_id: 1,
                moment,
                when: Interval::at(second * SECOND),
                nemesis,
                chosen: Vec::new(),
                effect: None,
                proof: None,
                text: None,
            };
            self.at(second, |sight| sight.fault(&event))
        }

        fn ticks(&mut self, seconds: std::ops::Range<u64>) -> &mut Self {
            for second in seconds {
                self.at(second, |sight| sight.tick(second * SECOND));
            }
            self
        }

        fn found(&self) -> Vec<String> {
            let mut judge = Judge::new(JudgeOptions::default());
            self.ops.iter().for_each(|op| judge.update(op));
            judge.finish().anomalies.into_keys().collect()
        }
    }

    #[test]
    fn two_healthy_brokers_that_claim_for_longer_than_a_handover_are_accused() {
        let mut scene = Scene::default();
        scene.ticks(0..2).says(2, 1, 1).says(2, 2, 1).ticks(2..10).says(10, 2, 2).ticks(10..75);
        assert_eq!(scene.found(), ["two-controllers"]);
    }

    #[test]
    fn a_handover_is_legal() {
        let mut scene = Scene::default();
        scene.ticks(0..2).says(2, 1, 1).says(2, 2, 1).ticks(2..10).says(10, 2, 2).ticks(10..60).says(60, 1, 2).ticks(60..200);
        assert!(scene.found().is_empty());
    }

    #[test]
    fn nobody_is_told_of_while_a_fault_is_under_way_and_claims_count_from_its_end() {
        let mut scene = Scene::default();
        scene.ticks(0..2).says(2, 1, 1).fault(5, FaultMoment::Asked).fault(6, FaultMoment::InEffect);
        scene.says(20, 2, 2).ticks(6..150).fault(150, FaultMoment::Healed).fault(151, FaultMoment::Done).ticks(152..190).says(190, 1, 2);
        scene.ticks(190..200);
        assert!(scene.found().is_empty());
        assert_eq!(scene.ops[1].body, Body::Nemesis { f: "controllers".into(), value: json!({}) });

        let mut for_ever = Scene::default();
        for_ever.ticks(0..2).says(2, 1, 1).fault(5, FaultMoment::Asked).says(20, 2, 2).ticks(6..150).fault(151, FaultMoment::Done);
        for_ever.ticks(152..220);
        assert_eq!(for_ever.found(), ["two-controllers"]);
    }

    #[test]
    fn of_kraft_two_controllers_are_told_of_whatever_fault_is_under_way() {
        // The bad one goes on to lead for as long as it is cut off; the good one resigns after 3 s.
        for (resigns, found) in [(60, true), (9, false)] {
            let mut scene = Scene { sight: Sight { is_quorum: true, ..Sight::default() }, ..Scene::default() };
            scene.ticks(0..2).says(2, 101, 101).says(2, 102, 0).fault(5, FaultMoment::Asked).fault(6, FaultMoment::InEffect);
            scene.says(8, 102, 102).ticks(8..resigns).says(resigns, 101, 0).ticks(resigns..70);
            assert_eq!(!scene.found().is_empty(), found, "{resigns}");
        }
    }

    #[test]
    fn who_does_not_answer_claims_nothing() {
        let silent = Observed::BrokerAnswers { broker: 1, answers: false };
        let mut scene = Scene::default();
        let answers = Observed::BrokerAnswers { broker: 1, answers: true };
        scene.ticks(0..2).says(2, 1, 1).sees(9, &silent).says(10, 2, 2).ticks(2..200).sees(200, &answers).ticks(200..220);
        scene.says(220, 1, 2).ticks(220..300);
        assert!(scene.found().is_empty());
    }

    #[test]
    fn nothing_is_concluded_across_a_time_at_which_we_stood_still() {
        let mut scene = Scene::default();
        scene.ticks(0..2).says(2, 1, 1).says(2, 2, 2).ticks(2..20).ticks(300..310).says(310, 1, 2).ticks(310..400);
        assert!(scene.found().is_empty());
    }

    #[test]
    fn a_quiet_cluster_is_told_once() {
        let mut scene = Scene::default();
        scene.ticks(0..2).says(2, 1, 1).says(2, 2, 1).says(2, 3, 1).ticks(2..500);
        assert_eq!(scene.ops.len(), 3);
    }

    #[test]
    fn a_leader_epoch_is_told_when_it_is_first_seen() {
        let state = |leader_epoch, isr: &[i32]| {
            let (key, leader, isr) = (0, Some(2), isr.to_vec());
            Observed::PartitionState { key, leader, leader_epoch, isr, controller_epoch: 1 }
        };
        let mut scene = Scene::default();
        scene.sees(1, &state(4, &[1, 2, 3])).sees(2, &state(4, &[2, 3])).sees(3, &state(5, &[2, 3])).sees(4, &state(4, &[2, 3]));
        let told: Vec<_> = scene.ops.iter().map(|op| (op.time_ns / SECOND, op.body.clone())).collect();
        let epoch = |leader_epoch: i32| Body::Nemesis {
            f: "leader-epochs".into(),
            value: json!({"0": {"leader": 2, "leader_epoch": leader_epoch}}),
        };
        assert_eq!(told, [(1, epoch(4)), (3, epoch(5))]);
    }
}
