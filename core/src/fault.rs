//! The record of what was done to a cluster (`faults.jsonl`).

use serde::{Deserialize, Serialize};

use crate::{Interval, Key};

/// One host and daemon that a fault chose, and from what evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    pub host: String,
    /// `kafka:1` or `zookeeper:2`.
    pub daemon: String,
    /// Why this one: "leads 2 of 3 partitions according to ZooKeeper", say.
    pub evidence: String,
    /// The keys that this daemon led when it was chosen; empty for ZooKeeper.
    pub keys_led: Vec<Key>,
}

/// What changed on a host. An empty effect is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Pids with their start time in clock ticks since boot, so that a reused pid is never taken for ours.
    pub pids: Vec<(i32, u64)>,
    /// Tables and chains of our own.
    pub rules: Vec<String>,
    pub files: Vec<String>,
    pub units: Vec<String>,
    /// What the cluster was asked to change, from what to what.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
}

/// How we know: the probe and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// `true`: proved. `false`: the probe answered otherwise. A probe that could not be made is not proved either.
    pub proved: bool,
    /// One sentence: what was looked at and what it said.
    pub text: String,
}

impl Proof {
    /// Proved is what both prove.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self { proved: self.proved && other.proved, text: format!("{}; {}", self.text, other.text) }
    }
}

/// The moments in the life of a fault, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultMoment {
    Asked,
    /// Intent and undo are on disk here and on the host.
    Journalled,
    /// The lease is armed on the host.
    Armed,
    /// Injected, and proved (or not: see `proof`) to be in force.
    InEffect,
    /// The lease ran out before we mended: the fault ended then.
    LeaseLapsed,
    /// Mending begins.
    Healing,
    /// Mended, and proved (or not) to be mended.
    Healed,
    /// Disarmed and the journal closed.
    Done,
    /// Could not be injected; the error says why.
    Failed,
    /// Something worth knowing that is no moment of its own ("broker 2 exited with NodeExists; started again").
    Note,
}

/// One line of `faults.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultEvent {
    /// Counts the faults of a run from 1.
    pub fault_id: u32,
    pub moment: FaultMoment,
    /// When it happened. For `InEffect` and `Healed` the interval runs from before the command was sent to after it answered.
    #[serde(flatten)]
    pub when: Interval,
    /// The nemesis' name, `kill-leader`.
    pub nemesis: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chosen: Vec<Chosen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// A note or an error, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}
