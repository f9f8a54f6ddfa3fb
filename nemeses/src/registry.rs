//! The registry: every fault there is, in reading order, and the names of the product fault × target.

use std::fmt;

use kchaos_core::{NemesisName, Target};

use crate::fault::{Need, Plan, Scope};
use crate::faults;

/// One fault.
pub struct Spec {
    pub name: &'static str,
    pub about: &'static str,
    /// Targets that make sense; `host:NAME` does too, but for a partition.
    pub targets: &'static [Target],
    pub needs: &'static [Need],
    pub scope: Scope,
    pub(crate) plan: Plan,
}

/// In reading order.
pub const ALL: &[Spec] = &[
    faults::kill::SPEC,
    faults::stop::SPEC,
    faults::pause::SPEC,
    faults::restart::SPEC,
    faults::rolling_restart::SPEC,
    faults::crash_loop::SPEC,
    faults::isolate::SPEC,
    faults::depose::SPEC,
    faults::partition::SPEC,
    faults::one_way::IN,
    faults::one_way::OUT,
    faults::cut_zookeeper::SPEC,
    faults::expire_session::SPEC,
    faults::cut_peers::SPEC,
    faults::cut_clients::SPEC,
    faults::flap::SPEC,
    faults::delay_connection::SPEC,
    faults::link::LATENCY,
    faults::link::JITTER,
    faults::loss::SPEC,
    faults::link::CORRUPT,
    faults::link::REORDER,
    faults::link::DUPLICATE,
    faults::link::SLOW,
    faults::power_loss::SPEC,
    faults::dead_disk::SPEC,
    faults::fill::SPEC,
    faults::corrupt::SPEC,
    faults::truncate::SPEC,
    faults::bump::SPEC,
    faults::skew::SPEC,
    faults::strobe::SPEC,
    faults::move_leader::SPEC,
    faults::reassign::SPEC,
    faults::change_config::SPEC,
    faults::delete_records::SPEC,
];

/// Faults that are done to a client, not to the cluster, and what a workload must have for them.
const OF_CLIENTS: &[(&str, &str)] = &[
    ("crash", "a client that may be dropped by order (append replaces a producer that librdkafka declares dead, and no other)"),
    ("fence", "a transactional id yet"),
    ("rebalance", "a consumer group yet"),
];

/// No nemesis has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownNemesis {
    pub name: String,
    pub reason: String,
    pub nearest: Option<String>,
}

impl fmt::Display for UnknownNemesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown nemesis \"{}\": {}", self.name, self.reason)?;
        if let Some(nearest) = &self.nearest {
            write!(f, "; did you mean {nearest}?")?;
        }
        let known: Vec<String> = names().map(|name| name.to_string()).collect();
        write!(f, " Known: {}; and FAULT-host:NAME (kchaos list nemeses)", known.join(", "))
    }
}

impl std::error::Error for UnknownNemesis {}

pub(crate) fn find(fault: &str) -> Option<&'static Spec> {
    ALL.iter().find(|spec| spec.name == fault)
}

/// Every nemesis that needs no host's name.
pub fn names() -> impl Iterator<Item = NemesisName> {
    ALL.iter().flat_map(|spec| spec.targets.iter().map(|target| NemesisName { fault: spec.name.to_owned(), target: target.clone() }))
}

pub fn parse(name: &str) -> Result<NemesisName, UnknownNemesis> {
    let unknown = |reason: String| UnknownNemesis { name: name.to_owned(), reason, nearest: nearest(name) };
    // What does not split at a target may still be misspelt by one letter: the list says more than the parser.
    let parsed: NemesisName = name.parse().map_err(|_| unknown("a nemesis is FAULT-TARGET".to_owned()))?;
    let spec = find(&parsed.fault).ok_or_else(|| match OF_CLIENTS.iter().find(|(fault, _)| *fault == parsed.fault) {
        Some((fault, needs)) => unknown(format!("{fault} is done to the run's own clients, and no workload has {needs}")),
        None => unknown(format!("no fault is called \"{}\"", parsed.fault)),
    })?;
    match &parsed.target {
        Target::Host(host) if host.is_empty() => Err(unknown("host: wants a name".to_owned())),
        Target::Host(_) if !spec.targets.iter().any(Target::is_partition) => Ok(parsed),
        target if spec.targets.contains(target) => Ok(parsed),
        Target::Cluster => Err(unknown(format!("{} wants a target: {}-TARGET", spec.name, spec.name))),
        target => Err(unknown(format!("{} makes no sense for {target}", spec.name))),
    }
}

fn nearest(name: &str) -> Option<String> {
    names()
        .map(|known| known.to_string())
        .map(|known| (strsim::jaro_winkler(name, &known), known))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_product_parses_to_itself() {
        let all: Vec<NemesisName> = names().collect();
        assert!(all.len() >= 25);
        for name in all {
            assert_eq!(parse(&name.to_string()), Ok(name));
        }
    }

    #[test]
    fn a_host_by_name_is_a_target_of_every_fault_but_a_partition() {
        for spec in ALL {
            assert_eq!(parse(&format!("{}-host:b1", spec.name)).is_ok(), spec.name != "partition");
        }
    }

    #[test]
    fn a_wrong_name_gets_the_nearest_one_and_the_list() {
        for (wrong, nearest) in [("kill-leeder", "kill-leader"), ("isolat-leader", "isolate-leader"), ("pause-zkleader", "pause-zk-leader")]
        {
            let unknown = parse(wrong).unwrap_err();
            assert_eq!(unknown.nearest.as_deref(), Some(nearest));
            assert!(unknown.to_string().contains("deposed-leader"), "{unknown}");
        }
        assert!(parse("depose-follower").unwrap_err().to_string().contains("makes no sense"));
        assert_eq!(parse("xyzzy").unwrap_err().nearest, None);
        assert!(parse("fence").unwrap_err().to_string().contains("no workload has a transactional id yet"));
        assert!(parse("kill").unwrap_err().to_string().contains("kill wants a target"));
    }

    #[test]
    fn faults_are_named_once() {
        let mut names: Vec<&str> = ALL.iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
