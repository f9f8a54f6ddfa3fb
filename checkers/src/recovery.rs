//! How long a cluster took to come back after each fault, and where the time went.
//!
//! Why: "the failover took 17 s" helps nobody. Was it the session that had to run out, the controller, the metadata, or the client? So
//! for every fault that took a leader away, and for every partition it led, the moments stand here as [`Interval`]s on the run's one
//! clock:
//!
//! fault in effect → ZooKeeper session gone → new controller (only if the controller was hit) → new leader elected → metadata at the
//! first and at the last surviving broker → first acknowledged write → first read of it → (after the mend) ISR whole → preferred leader
//! back.
//!
//! The sources are independent of one another: the fault's own proof, the observer's timeline, and the clients' acks.
//!
//! **What each moment is, exactly.** `start` is the fault's `in-effect` interval. A *base* is the last state seen not later than its
//! lower end.
//! - *session gone*: the first `broker-gone` of the daemon that was hit, after `start`'s lower end.
//! - *elected*: the first partition state with a leader and a `leader_epoch` above the base's.
//! - *metadata*: the first answer of each broker that was not hit, with that epoch or a later one.
//! - *first ack*: if a leader was elected in `(a, b]`, between the first ack that came after `a` (the old leader could still have sent
//!   it) and the first that came at or after `b` (it could not); usually they are one and the interval has no width. Sends that were
//!   invoked before the fault count: a client that retries is a client that waits. If no leader was elected: the first ack of a send that
//!   was *invoked* after the fault was in effect for certain, since an earlier send's ack may have been on its way.
//! - *first read*: the first poll that reached the offset of the first such ack that carried an offset.
//! - *ISR whole*: the first state after the mend with as many replicas in sync as the most that were seen before the fault.
//!
//! **An orderly stop** moves its leaders before the daemon is gone: the new leader is seen inside the `in-effect` interval. Then there is
//! no detection, and election and recovery count from when the stop was sent. How long writes truly waited is in the unavailable windows.
//!
//! A moment that was not seen stays missing and says why: *unseen* if it was owed, *not applicable* if it was not. It is never zero.
//!
//! An ack that the client says came from the broker that led before (`node`) is never the new leader's: with acks=1 a deposed leader goes
//! on acknowledging. Where the client does not say, the two cannot be told apart.
//!
//! Limits: faults that overlap and hit the same partition are cut at the later one's beginning.
//!
//! Everything may be fed while the run goes on (each event no later than the ops that follow it), or all at once afterwards: faults and
//! observations first, then the ops. Memory is bounded by the number of faults and changes, not by the number of ops.

use std::collections::BTreeMap;

use kchaos_core::{FaultEvent, Interval, Key, Observation, Observed, Op, OpType, Verdict};
use serde::{Deserialize, Serialize};

use crate::latency::Distribution;
use crate::recovery_acks::Acks;
pub use crate::recovery_brief::Brief;
use crate::recovery_brief::What;
use crate::recovery_due::Due;
use crate::recovery_moments::{FaultLife, fault_recovery};
use crate::recovery_summary::{PhaseSummary, summarise};
use crate::recovery_windows::{Reassigned, Unavailability, Windows, never_recovered, quiet_periods};

/// What is known of something that may or may not have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Found<T> {
    Seen(T),
    /// It was owed and nobody saw it: why.
    Unseen {
        unseen: String,
    },
    /// Nothing was owed: why.
    NotApplicable {
        not_applicable: String,
    },
}

/// A moment in the recovery from a fault.
pub type Moment = Found<Interval>;

/// How long something took, from one interval to another: not less than the one, not more than the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub at_least_ns: u64,
    pub at_most_ns: u64,
}

/// The parts of a recovery, in the order in which reports show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// In effect → session gone.
    Detection,
    /// Session gone → new controller; only if the controller was hit.
    Controller,
    /// Session gone (or, of an orderly stop: stop sent) → new leader.
    Election,
    /// New leader → the first surviving broker answers with it: from here a client can know.
    Propagation,
    /// New leader → the last surviving broker answers with it.
    PropagationAll,
    /// First broker answers with it → first ack.
    Client,
    /// In effect (or: stop sent) → first ack.
    Recovery,
    /// First ack → first read of it.
    Read,
    /// Mend begun → ISR whole. A daemon that was killed has to start first: that is part of it.
    Isr,
    /// Mend begun → the leader that was moved leads again.
    PreferredLeader,
    /// ZooKeeper leader gone → new ZooKeeper leader.
    ZookeeperElection,
}

/// Recovery from one fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultRecovery {
    pub fault_id: u32,
    pub nemesis: String,
    /// `kafka:2 on b2`.
    pub daemons: Vec<String>,
    /// The probe said that the fault was in force. What was not proved is not measured.
    pub proved: bool,
    pub in_effect: Moment,
    pub mended: Moment,
    pub session_gone: Moment,
    pub controller: Moment,
    pub zookeeper_leader_gone: Moment,
    pub zookeeper_leader: Moment,
    /// Phases of the fault as a whole: controller, ZooKeeper election, and detection where no partition lost its leader.
    pub phases: BTreeMap<Phase, Found<Span>>,
    pub keys: Vec<KeyRecovery>,
}

/// Recovery of one partition from one fault that took its leader away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRecovery {
    pub key: Key,
    /// From when its recovery counts: the fault's `in_effect`, or, of an orderly stop, when the command was sent.
    pub start: Moment,
    pub old_leader: Option<i32>,
    pub new_leader: Option<i32>,
    pub leader_epoch: Option<i32>,
    pub elected: Moment,
    pub metadata_first: Moment,
    pub metadata_last: Moment,
    pub acked: Moment,
    /// The index of the op that was acknowledged first.
    pub acked_op: Option<u64>,
    pub read: Moment,
    pub isr_whole: Moment,
    pub preferred_leader: Moment,
    pub phases: BTreeMap<Phase, Found<Span>>,
}

/// Limits and thresholds of the analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryLimits {
    /// Shorter waits for an ack are latency, not unavailability.
    pub unavailable_min_ns: u64,
    /// All mended and not back after this: `never-recovered`.
    pub never_recovered_ns: u64,
}

/// What [`Recovery::finish`] found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecoveryReport {
    pub faults: Vec<FaultRecovery>,
    /// Over all fault cycles and partitions.
    pub phases: BTreeMap<Phase, PhaseSummary>,
    pub unavailable: Unavailability,
    /// How long acknowledged writes took, from when they were due, by the phase of their partition's recovery in which that was.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub writes_due: BTreeMap<Phase, Distribution>,
    /// Writes that `writes_due` had no room for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub writes_due_omitted: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The analysis, fed piece by piece.
pub struct Recovery {
    limits: RecoveryLimits,
    faults: BTreeMap<u32, FaultLife>,
    timeline: Vec<Observation>,
    /// Who led last, by partition.
    leaders: BTreeMap<Key, i32>,
    acks: Acks,
    windows: Windows,
    due: Due,
    /// By time.
    reassigned: Vec<Reassigned>,
    time_ns_max: u64,
}

impl Default for RecoveryLimits {
    fn default() -> Self {
        Self { unavailable_min_ns: 500_000_000, never_recovered_ns: 300_000_000_000 }
    }
}

impl<T> Found<T> {
    pub fn unseen(why: impl Into<String>) -> Self {
        Found::Unseen { unseen: why.into() }
    }

    pub fn not_applicable(why: impl Into<String>) -> Self {
        Found::NotApplicable { not_applicable: why.into() }
    }

    pub fn seen(&self) -> Option<&T> {
        match self {
            Found::Seen(value) => Some(value),
            Found::Unseen { .. } | Found::NotApplicable { .. } => None,
        }
    }

    /// Why it is missing.
    pub fn why(&self) -> Option<&str> {
        match self {
            Found::Seen(_) => None,
            Found::Unseen { unseen: why } | Found::NotApplicable { not_applicable: why } => Some(why),
        }
    }
}

impl Span {
    pub fn between(from: Interval, to: Interval) -> Self {
        Self { at_least_ns: to.after_ns.saturating_sub(from.before_ns), at_most_ns: to.before_ns.saturating_sub(from.after_ns) }
    }

    pub fn middle_ns(self) -> u64 {
        self.at_least_ns + self.width_ns() / 2
    }

    pub fn width_ns(self) -> u64 {
        self.at_most_ns.saturating_sub(self.at_least_ns)
    }
}

impl Phase {
    pub const ALL: &[Phase] = &[
        Phase::Detection,
        Phase::Controller,
        Phase::Election,
        Phase::Propagation,
        Phase::PropagationAll,
        Phase::Client,
        Phase::Recovery,
        Phase::Read,
        Phase::Isr,
        Phase::PreferredLeader,
        Phase::ZookeeperElection,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Phase::Detection => "detection",
            Phase::Controller => "controller",
            Phase::Election => "election",
            Phase::Propagation => "propagation",
            Phase::PropagationAll => "propagation-all",
            Phase::Client => "client",
            Phase::Recovery => "recovery",
            Phase::Read => "read",
            Phase::Isr => "isr",
            Phase::PreferredLeader => "preferred-leader",
            Phase::ZookeeperElection => "zookeeper-election",
        }
    }

    /// From which moment to which, for people.
    pub fn about(self) -> &'static str {
        match self {
            Phase::Detection => "fault in effect → session gone, or fenced",
            Phase::Controller => "session gone → new controller",
            Phase::Election => "session gone → new leader elected",
            Phase::Propagation => "leader elected → first broker answers with it",
            Phase::PropagationAll => "leader elected → every surviving broker answers with it",
            Phase::Client => "first broker answers → first acknowledged write",
            Phase::Recovery => "fault in effect → first acknowledged write",
            Phase::Read => "first acknowledged write → first read of it",
            Phase::Isr => "mend begun → ISR whole again",
            Phase::PreferredLeader => "mend begun → old leader leads again",
            Phase::ZookeeperElection => "ZooKeeper leader gone → new ZooKeeper leader",
        }
    }
}

impl Recovery {
    pub fn new(limits: RecoveryLimits) -> Self {
        Self {
            limits,
            faults: BTreeMap::new(),
            timeline: Vec::new(),
            leaders: BTreeMap::new(),
            acks: Acks::default(),
            windows: Windows::new(limits.unavailable_min_ns),
            due: Due::default(),
            reassigned: Vec::new(),
            time_ns_max: 0,
        }
    }

    /// A line of `faults.jsonl`.
    pub fn fault(&mut self, event: &FaultEvent) {
        self.time_ns_max = self.time_ns_max.max(event.when.before_ns);
        // A note of the run's own, and no fault.
        if event.fault_id == 0 {
            return;
        }
        let life = self.faults.entry(event.fault_id).or_insert_with(|| FaultLife::new(event));
        life.update(event);
        self.due.asked(event.fault_id, life.asked_ns, life.keys_led());
        if let Some(in_effect) = life.in_effect {
            self.acks.in_effect(event.fault_id, in_effect);
        }
    }

    /// A line of `timeline.jsonl`.
    pub fn observation(&mut self, observation: &Observation) {
        self.time_ns_max = self.time_ns_max.max(observation.when.before_ns);
        if let Observed::PartitionState { key, leader: Some(leader), leader_epoch, .. } = observation.what {
            self.due.led(key, observation.when, leader_epoch);
            let before = self.leaders.insert(key, leader).filter(|before| *before != leader);
            self.acks.elected(key, observation.when, before);
        }
        self.timeline.push(observation.clone());
    }

    /// An op of the history, in its order.
    pub fn op(&mut self, op: &Op) {
        self.reaches(op.time_ns);
        if let Some(brief) = Brief::of(op) {
            self.brief(&brief);
        }
    }

    /// The same in two parts: that the run has come so far, and later what the op says.
    pub fn reaches(&mut self, time_ns: u64) {
        self.time_ns_max = self.time_ns_max.max(time_ns);
    }

    pub fn brief(&mut self, brief: &Brief) {
        if let What::Reassigns(key, replicas) = brief.what {
            self.reassigned.push(Reassigned { time_ns: brief.time_ns, key, replicas });
            return;
        }
        let attempt = self.windows.brief(brief);
        self.acks.brief(brief, attempt);
        if let (Some(attempt), Some(wrote), OpType::Ok) = (attempt, brief.wrote(), brief.op_type) {
            wrote.keys.each(|key, _| self.due.acked(key, attempt.start_ns, brief.time_ns));
        }
    }

    /// Ends the analysis: what was measured, and which partitions never came back although all was mended (ANOMALIES.md, liveness).
    /// The run ended with the last thing that was fed.
    pub fn finish(mut self) -> (RecoveryReport, Verdict) {
        self.timeline.sort_by_key(|observation| observation.when.before_ns);
        let lives: Vec<&FaultLife> = self.faults.values().collect();
        let faults: Vec<FaultRecovery> = lives
            .iter()
            .filter(|life| life.in_effect.is_some())
            .map(|life| fault_recovery(life, &lives, &self.timeline, &self.acks))
            .collect();
        let unavailable = self.windows.finish(self.time_ns_max);
        let quiet = quiet_periods(&lives, self.time_ns_max);
        let verdict = never_recovered(&unavailable.windows, (&self.timeline, &self.reassigned), &quiet, self.limits.never_recovered_ns);
        let (writes_due, writes_due_omitted) = self.due.finish(&faults);
        let report = RecoveryReport { phases: summarise(&faults), faults, unavailable, writes_due, writes_due_omitted };
        (report, verdict)
    }
}
