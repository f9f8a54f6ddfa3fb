//! Nemeses by name: the pair of a fault and whom it is aimed at.

use std::fmt;
use std::str::FromStr;

/// Whom a fault is aimed at. Found at the moment of the fault, from the cluster itself.
///
/// How many are a minority or a majority is counted for brokers and ZooKeepers apart; without `zk-` brokers are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The leader of a partition of the run's topics: of the one with the most leaders among them.
    Leader,
    /// The active controller: of ZooKeeper's clusters a broker, of KRaft the leader of the quorum.
    Controller,
    /// The leader of KRaft's quorum of controllers.
    QuorumLeader,
    /// A controller of KRaft that follows.
    QuorumFollower,
    ZooKeeperLeader,
    ZooKeeperFollower,
    /// So many ZooKeeper servers that the rest is still a quorum.
    ZooKeeperMinority,
    /// So many that the rest is none.
    ZooKeeperMajority,
    ZooKeeperAll,
    /// A broker in the ISR of a partition of ours that leads none, or the fewest.
    Follower,
    /// The broker that is alone in the ISR of a partition of ours.
    LastIsr,
    /// The broker that coordinates the run's consumer group.
    GroupCoordinator,
    /// The broker that coordinates the run's transactional id.
    TxnCoordinator,
    /// Any broker.
    Random,
    Minority,
    Majority,
    All,
    /// Every broker that no other fault holds at that moment: in a plan, what is left after the one before it.
    Rest,
    /// The cluster in two halves (a network fault: on several hosts at once, as are the next two).
    Halves,
    /// Every host sees a majority of the hosts, and no two see the same.
    Ring,
    /// Two halves, and between them those who see both.
    Bridge,
    Host(String),
    /// Every daemon in this rack, at once.
    Rack(String),
    /// The same of a rack that the seed draws.
    RandomRack,
    /// Nobody by name: the fault is one of the cluster, and its name stands alone (`reassign`).
    Cluster,
}

/// A nemesis is the pair (fault, target); its name is `fault-target`. `deposed-leader` is the field's name for (depose, leader), and
/// `bridge` that for (partition, bridge).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NemesisName {
    pub fault: String,
    pub target: Target,
}

/// Not among [`TARGETS`]: few clusters have racks, and `all` there is means what every cluster has.
const RANDOM_RACK: &str = "random-rack";
/// Not among [`TARGETS`] either: alone it is `all`, and beside others it is for plans.
const REST: &str = "rest";

/// A name that ends another one stands behind it.
const TARGETS: &[(&str, Target)] = &[
    ("zk-leader", Target::ZooKeeperLeader),
    ("zk-follower", Target::ZooKeeperFollower),
    ("zk-minority", Target::ZooKeeperMinority),
    ("zk-majority", Target::ZooKeeperMajority),
    ("zk-all", Target::ZooKeeperAll),
    ("quorum-leader", Target::QuorumLeader),
    ("quorum-follower", Target::QuorumFollower),
    ("leader", Target::Leader),
    ("controller", Target::Controller),
    ("follower", Target::Follower),
    ("last-isr", Target::LastIsr),
    ("group-coordinator", Target::GroupCoordinator),
    ("txn-coordinator", Target::TxnCoordinator),
    ("random", Target::Random),
    ("minority", Target::Minority),
    ("majority", Target::Majority),
    ("all", Target::All),
    ("halves", Target::Halves),
    ("ring", Target::Ring),
    ("bridge", Target::Bridge),
];

impl Target {
    /// Every target that has a name of its own, in the order in which lists show them.
    pub fn all() -> impl Iterator<Item = Target> {
        TARGETS.iter().map(|(_, target)| target.clone())
    }

    /// `true` if it means a part of the network between many hosts.
    pub fn is_partition(&self) -> bool {
        matches!(self, Target::Halves | Target::Ring | Target::Bridge)
    }

    /// `true` if the daemons aimed at are ZooKeepers.
    pub fn is_zookeeper(&self) -> bool {
        matches!(
            self,
            Target::ZooKeeperLeader
                | Target::ZooKeeperFollower
                | Target::ZooKeeperMinority
                | Target::ZooKeeperMajority
                | Target::ZooKeeperAll
        )
    }

    /// `true` if the daemons aimed at are voters of KRaft's quorum.
    pub fn is_quorum(&self) -> bool {
        matches!(self, Target::QuorumLeader | Target::QuorumFollower)
    }

    /// `true` if all that stands in one rack is meant.
    pub fn is_rack(&self) -> bool {
        matches!(self, Target::Rack(_) | Target::RandomRack)
    }

    /// `true` if its name alone says that more daemons go than a cluster keeps its promises without.
    pub fn takes_most(&self) -> bool {
        matches!(self, Target::Majority | Target::All | Target::Rest | Target::ZooKeeperMajority | Target::ZooKeeperAll)
    }

    fn name(&self) -> &'static str {
        TARGETS.iter().find(|(_, target)| target == self).map_or("cluster", |(name, _)| name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Host(name) => write!(f, "host:{name}"),
            Target::Rack(name) => write!(f, "rack:{name}"),
            Target::RandomRack => f.write_str(RANDOM_RACK),
            Target::Rest => f.write_str(REST),
            other => f.write_str(other.name()),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("host:") {
            return Ok(Target::Host(name.to_owned()));
        }
        if let Some(name) = text.strip_prefix("rack:") {
            return Ok(Target::Rack(name.to_owned()));
        }
        if text == RANDOM_RACK {
            return Ok(Target::RandomRack);
        }
        if text == REST {
            return Ok(Target::Rest);
        }
        let known = TARGETS.iter().find(|(name, _)| *name == text).map(|(_, target)| target.clone());
        known.ok_or_else(|| {
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            format!("unknown target \"{text}\": one of {}, {REST}, host:NAME, rack:NAME, {RANDOM_RACK}", names.join(", "))
        })
    }
}

impl fmt::Display for NemesisName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.fault.as_str(), &self.target) {
            ("depose", Target::Leader) => f.write_str("deposed-leader"),
            ("partition", Target::Bridge) => f.write_str("bridge"),
            (fault, Target::Cluster) => f.write_str(fault),
            (fault, target) => write!(f, "{fault}-{target}"),
        }
    }
}

impl FromStr for NemesisName {
    type Err = String;

    /// Splits at the longest target that ends the name; a name without one is a fault of the cluster. Whether the fault exists, and goes
    /// with the target, is the registry's to say.
    fn from_str(text: &str) -> Result<Self, String> {
        let pair = |fault: &str, target| Ok(NemesisName { fault: fault.to_owned(), target });
        if text == "deposed-leader" {
            return pair("depose", Target::Leader);
        }
        if text == "bridge" {
            return pair("partition", Target::Bridge);
        }
        // A name may hold anything, the words of the other one too: the first one counts.
        match (text.split_once("-host:"), text.split_once("-rack:")) {
            (Some((fault, host)), rack) if rack.is_none_or(|(other, _)| fault.len() < other.len()) => {
                return pair(fault, Target::Host(host.to_owned()));
            }
            (_, Some((fault, rack))) => return pair(fault, Target::Rack(rack.to_owned())),
            _ => {}
        }
        if let Some(fault) = text.strip_suffix(RANDOM_RACK).and_then(|rest| rest.strip_suffix('-')) {
            return pair(fault, Target::RandomRack);
        }
        if let Some(fault) = text.strip_suffix(REST).and_then(|rest| rest.strip_suffix('-')) {
            return pair(fault, Target::Rest);
        }
        for (name, target) in TARGETS {
            if let Some(fault) = text.strip_suffix(name).and_then(|rest| rest.strip_suffix('-')) {
                return pair(fault, target.clone());
            }
        }
        if text.is_empty() {
            return Err("a nemesis is FAULT-TARGET, and this is nothing".to_owned());
        }
        pair(text, Target::Cluster)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_nemesis_name_is_fault_and_target_and_prints_as_it_was_read() {
        for (text, fault, target) in [
            ("kill-leader", "kill", Target::Leader),
            ("pause-zk-leader", "pause", Target::ZooKeeperLeader),
            ("kill-quorum-leader", "kill", Target::QuorumLeader),
            ("kill-all", "kill", Target::All),
            ("kill-zk-all", "kill", Target::ZooKeeperAll),
            ("kill-rest", "kill", Target::Rest),
            ("stop-zk-minority", "stop", Target::ZooKeeperMinority),
            ("kill-group-coordinator", "kill", Target::GroupCoordinator),
            ("rolling-restart-all", "rolling-restart", Target::All),
            ("isolate-host:b1", "isolate", Target::Host("b1".into())),
            ("kill-rack:eu-1a", "kill", Target::Rack("eu-1a".into())),
            ("kill-rack:a-host:b", "kill", Target::Rack("a-host:b".into())),
            ("kill-host:a-rack:b", "kill", Target::Host("a-rack:b".into())),
            ("partition-random-rack", "partition", Target::RandomRack),
            ("deposed-leader", "depose", Target::Leader),
            ("one-way-in-zk-leader", "one-way-in", Target::ZooKeeperLeader),
            ("partition-halves", "partition", Target::Halves),
            ("bridge", "partition", Target::Bridge),
            ("reassign", "reassign", Target::Cluster),
        ] {
            let name: NemesisName = text.parse().unwrap();
            assert_eq!((name.fault.as_str(), &name.target), (fault, &target));
            assert_eq!(name.to_string(), text);
        }
        assert!("".parse::<NemesisName>().is_err());
        assert!("everybody".parse::<Target>().unwrap_err().contains("zk-leader"));
    }

    #[test]
    fn a_target_that_ends_another_ones_name_is_not_taken_for_it() {
        for target in Target::all() {
            assert_eq!(target.to_string().parse(), Ok(target.clone()));
            assert_eq!(format!("kill-{target}").parse::<NemesisName>().unwrap().target, target);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_typed_is_read_or_refused(text in "\\PC{0,30}") {
            if let Ok(name) = text.parse::<NemesisName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
