//! Faults: their names, their targets, and the record of what was done (`faults.jsonl`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Interval, Key};

/// Whom a fault is aimed at. Found at the moment of the fault, from the cluster itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The leader of a partition of the run's topics: of the one with the most leaders among them.
    Leader,
    Controller,
    ZooKeeperLeader,
    ZooKeeperFollower,
    /// A broker in the ISR of a partition of ours that leads none, or the fewest.
    Follower,
    /// Any broker.
    Random,
    /// The cluster in two halves (a network fault: on several hosts at once, as are the next two).
    Halves,
    /// Every host sees a majority of the hosts, and no two see the same.
    Ring,
    /// Two halves, and between them those who see both.
    Bridge,
    Host(String),
}

/// A nemesis is the pair (fault, target); its name is `fault-target`. `deposed-leader` is the field's name for (depose, leader), and
/// `bridge` that for (partition, bridge).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NemesisName {
    pub fault: String,
    pub target: Target,
}

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
}

/// How we know: the probe and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// `true`: proved. `false`: the probe answered otherwise. A probe that could not be made is not proved either.
    pub proved: bool,
    /// One sentence: what was looked at and what it said.
    pub text: String,
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

const TARGETS: &[(&str, Target)] = &[
    ("zk-leader", Target::ZooKeeperLeader),
    ("zk-follower", Target::ZooKeeperFollower),
    ("leader", Target::Leader),
    ("controller", Target::Controller),
    ("follower", Target::Follower),
    ("random", Target::Random),
    ("halves", Target::Halves),
    ("ring", Target::Ring),
    ("bridge", Target::Bridge),
];

impl Target {
    /// Every target that needs no name, in the order in which lists show them.
    pub fn all() -> impl Iterator<Item = Target> {
        TARGETS.iter().map(|(_, target)| target.clone())
    }

    /// `true` if it means a part of the network between many hosts.
    pub fn is_partition(&self) -> bool {
        matches!(self, Target::Halves | Target::Ring | Target::Bridge)
    }

    /// `true` if the daemon aimed at is a ZooKeeper.
    pub fn is_zookeeper(&self) -> bool {
        matches!(self, Target::ZooKeeperLeader | Target::ZooKeeperFollower)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Target::Host(name) = self {
            return write!(f, "host:{name}");
        }
        let name = TARGETS.iter().find(|(_, target)| target == self).map_or("?", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("host:") {
            return Ok(Target::Host(name.to_owned()));
        }
        TARGETS
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, target)| target.clone())
            .ok_or_else(|| format!("unknown target \"{text}\": one of {}, host:NAME", TARGETS.map_names()))
    }
}

trait MapNames {
    fn map_names(&self) -> String;
}

impl MapNames for [(&str, Target)] {
    fn map_names(&self) -> String {
        self.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for NemesisName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.fault.as_str(), &self.target) {
            ("depose", Target::Leader) => f.write_str("deposed-leader"),
            ("partition", Target::Bridge) => f.write_str("bridge"),
            (fault, target) => write!(f, "{fault}-{target}"),
        }
    }
}

impl FromStr for NemesisName {
    type Err = String;

    /// Splits at the longest target that ends the name. Whether the fault exists is the registry's to say.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "deposed-leader" {
            return Ok(NemesisName { fault: "depose".to_owned(), target: Target::Leader });
        }
        if text == "bridge" {
            return Ok(NemesisName { fault: "partition".to_owned(), target: Target::Bridge });
        }
        if let Some((fault, host)) = text.split_once("-host:") {
            return Ok(NemesisName { fault: fault.to_owned(), target: Target::Host(host.to_owned()) });
        }
        for (name, target) in TARGETS {
            if let Some(fault) = text.strip_suffix(name).and_then(|rest| rest.strip_suffix('-')) {
                return Ok(NemesisName { fault: fault.to_owned(), target: target.clone() });
            }
        }
        Err(format!("\"{text}\" names no target: a nemesis is FAULT-TARGET, where TARGET is one of {}, host:NAME", TARGETS.map_names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nemesis_name_is_fault_and_target_and_prints_as_it_was_read() {
        for (text, fault, target) in [
            ("kill-leader", "kill", Target::Leader),
            ("pause-zk-leader", "pause", Target::ZooKeeperLeader),
            ("isolate-host:b1", "isolate", Target::Host("b1".into())),
            ("deposed-leader", "depose", Target::Leader),
            ("one-way-in-zk-leader", "one-way-in", Target::ZooKeeperLeader),
            ("partition-halves", "partition", Target::Halves),
            ("bridge", "partition", Target::Bridge),
        ] {
            let name: NemesisName = text.parse().unwrap();
            assert_eq!((name.fault.as_str(), &name.target), (fault, &target));
            assert_eq!(name.to_string(), text);
        }
        assert!("kill-everything".parse::<NemesisName>().unwrap_err().contains("zk-leader"));
    }
}
