//! The registry: every fault there is, in reading order, and the names of the product fault × target.

use std::fmt;

use kchaos_core::{NemesisName, Target};

use crate::fault::{Need, Plan, Scope};
use crate::faults;

/// One fault.
pub struct Spec {
    pub name: &'static str,
    pub about: &'static str,
    /// Targets that make sense; `host:NAME` does too, but for a partition, and a rack where [`Spec::takes_racks`] says so.
    pub targets: &'static [Target],
    pub needs: &'static [Need],
    pub scope: Scope,
    pub(crate) plan: Plan,
}

impl Spec {
    /// Everything in a rack at once: what can be done to any broker, and to several side by side.
    pub fn takes_racks(&self) -> bool {
        let of_any = self.targets.iter().any(|target| matches!(target, Target::Random | Target::ZooKeeperAll) || target.is_partition());
        of_any && !self.scope.is_change()
    }

    /// Brokers are not the only ones to whom it can be done.
    pub(crate) fn takes_voters(&self) -> bool {
        self.targets.iter().any(|target| target.is_zookeeper() || target.is_partition())
    }
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
    faults::io_error::SPEC,
    faults::slow_disk::SPEC,
    faults::fill::SPEC,
    faults::corrupt::SPEC,
    faults::truncate::SPEC,
    faults::bump::SPEC,
    faults::skew::SPEC,
    faults::strobe::SPEC,
    faults::move_leader::SPEC,
    faults::reassign::SPEC,
    faults::remove::SPEC,
    faults::change_config::SPEC,
    faults::delete_records::SPEC,
];

/// What somebody may look for here and is no nemesis: why, and what to do instead. Held against the documentation.
pub(crate) const ELSEWHERE: &[(&str, &str)] = &[
    ("crash", "is done to the run's own clients by their workload: --workload queue, --group-crash-every"),
    ("fence", "is done to the run's own clients by their workload: --workload transactions, --txn-zombies"),
    (
        "rebalance",
        "is what the run's own consumers bring about in their workload: --workload queue, --group-leave-every, --group-pause-every and --group-late",
    ),
    (
        "add",
        "is how remove is mended: the broker is started, registers, and is given its replicas again; a broker that has never been is its operator's to install",
    ),
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
        let faults: Vec<&str> = ALL.iter().map(|spec| spec.name).collect();
        write!(f, " There are {}, each with its targets, host:NAME or rack:NAME (kchaos list nemeses)", faults.join(", "))
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
    if let Some((fault, why)) = elsewhere(name) {
        return Err(unknown(format!("{fault} {why}")));
    }
    // What does not split at a target may still be misspelt by one letter: the list says more than the parser.
    let parsed: NemesisName = name.parse().map_err(|_| unknown("a nemesis is FAULT-TARGET".to_owned()))?;
    let spec = find(&parsed.fault).ok_or_else(|| unknown(format!("no fault is called \"{}\"", parsed.fault)))?;
    match &parsed.target {
        Target::Host(host) if host.is_empty() => Err(unknown("host: wants a name".to_owned())),
        Target::Host(_) if !spec.targets.iter().any(Target::is_partition) => Ok(parsed),
        Target::Rack(rack) if rack.is_empty() => Err(unknown("rack: wants a name".to_owned())),
        target if target.is_rack() && spec.takes_racks() => Ok(parsed),
        // Where it may be any one, it may be the one that others have left.
        Target::Rest if spec.targets.contains(&Target::All) || spec.targets.contains(&Target::Random) => Ok(parsed),
        target if spec.targets.contains(target) => Ok(parsed),
        Target::Cluster => Err(unknown(format!("{} wants a target: {}-TARGET", spec.name, spec.name))),
        target => {
            let targets: Vec<String> = spec.targets.iter().map(ToString::to_string).collect();
            Err(unknown(format!("{} makes no sense for {target}, but for {}", spec.name, targets.join(", "))))
        }
    }
}

/// `crash-leader` is one, `crash-loop-leader` is not.
fn elsewhere(name: &str) -> Option<&'static (&'static str, &'static str)> {
    let begins_with = |fault: &str| name.strip_prefix(fault).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let is_there = |fault: &str| ALL.iter().any(|spec| spec.name.len() > fault.len() && begins_with(spec.name));
    ELSEWHERE.iter().find(|(fault, _)| begins_with(fault) && !is_there(fault))
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
    fn a_rack_is_a_target_of_what_can_be_done_to_any_broker() {
        for name in [
            "kill-rack:a",
            "pause-random-rack",
            "isolate-rack:a",
            "partition-rack:a",
            "rolling-restart-rack:a",
            "latency-rack:a",
            "power-loss-rack:a",
        ] {
            assert_eq!(parse(name).map(|parsed| parsed.to_string()), Ok(name.to_owned()));
        }
        assert!(parse("depose-rack:a").unwrap_err().to_string().contains("depose makes no sense for rack:a"));
        for name in ["reassign-rack:a", "remove-random-rack", "kill-rack:"] {
            assert!(parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_wrong_name_gets_the_nearest_one_and_the_list() {
        for (wrong, nearest) in [("kill-leeder", "kill-leader"), ("isolat-leader", "isolate-leader"), ("pause-zkleader", "pause-zk-leader")]
        {
            let unknown = parse(wrong).unwrap_err();
            assert_eq!(unknown.nearest.as_deref(), Some(nearest));
            assert!(unknown.to_string().contains("There are kill, stop, "), "{unknown}");
        }
        assert!(parse("depose-follower").unwrap_err().to_string().contains("depose makes no sense for follower, but for "));
        assert_eq!(parse("xyzzy").unwrap_err().nearest, None);
        assert!(parse("crash-loop-leeder").unwrap_err().to_string().contains("did you mean crash-loop-leader?"));
        assert!(parse("kill").unwrap_err().to_string().contains("kill wants a target"));
    }

    #[test]
    fn what_is_no_nemesis_is_refused_with_what_to_do_instead_and_stands_in_the_documentation() {
        let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/faults.md")).expect("docs/faults.md");
        for (fault, why) in ELSEWHERE {
            for name in [(*fault).to_owned(), format!("{fault}-leader")] {
                let said = parse(&name).expect_err(&name).to_string();
                assert!(said.contains(&format!("\"{name}\": {fault} {why}")), "{said}");
            }
            assert!(docs.contains(&format!("| `{fault}` | ")), "{fault} is not in docs/faults.md");
        }
    }

    #[test]
    fn faults_are_named_once() {
        let mut names: Vec<&str> = ALL.iter().map(|spec| spec.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
