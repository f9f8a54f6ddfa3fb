//! docs/nemeses.md: each fault with what is done, whom it may be aimed at, what the hosts need for it, and where it was proved.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use kchaos_core::Target;
use kchaos_nemeses::{Need, Scope, Spec};

use super::{cell, hold, read, root};

const HEAD: &str = "\
# Nemeses

A nemesis is a fault times a target: `kchaos test --nemesis kill-leader,pause-zk-follower`. This page lists what there is; [faults.md](faults.md) tells what each does, how it is proved in force and mended, how long that takes, and what
its limits are. `kchaos list nemeses` prints the same, and with an inventory what that cluster cannot bear.

One's own: [how to write a nemesis](write-a-nemesis.md).

**Targets** are found at the moment of the fault, by asking the cluster ([who is who](faults.md#targets)). Beside those that are listed, `host:NAME` goes with every fault but `partition`; `rack:NAME` and `random-rack` where it says *racks*;
`rest`, who is left, where it says *random* or *all*.

**Counts as** is what the guards reckon with: a fault is refused if more hosts would be down than the inventory allows, or a quorum or the last in-sync replica would go ([faults.md](faults.md#whom-and-how-many)).

**Proved** is on how many of its targets it was seen in force and seen mended on a real cluster, behind any door ([where, and how long it took](faults.md#fault--target-where-it-was-proved)).

";

fn page() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| fault | what is done | targets | the hosts need | counts as | proved |\n|---|---|---|---|---|---|\n");
    for spec in kchaos_nemeses::ALL {
        let needs: Vec<_> = spec.needs.iter().map(|need| of_need(*need)).collect();
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} of {} |",
            spec.name,
            cell(spec.about),
            targets(spec),
            if needs.is_empty() { "nothing".to_owned() } else { needs.join(", ") },
            of_scope(spec.scope),
            proved(spec.name).len(),
            spec.targets.len()
        );
    }
    let _ =
        writeln!(text, "\n{} faults, {} nemeses that need no host's name.\n", kchaos_nemeses::ALL.len(), kchaos_nemeses::names().count());
    text.push_str(
        "## Commands\n\n\
         ```sh\n\
         kchaos list nemeses                                   # all of them, and what this cluster cannot bear\n\
         kchaos plan --nemesis kill-leader                     # host by host, what would be done, and how it would be undone\n\
         kchaos test --nemesis kill-leader,isolate-leader      # rounds in which each comes once\n\
         kchaos test --nemesis all --at-once 2                 # everything that this workload and this cluster can bear\n\
         kchaos test --nemesis guided                          # the same, and first what was in force least often\n\
         kchaos test --plan FILE                               # exact times: plans.md\n\
         kchaos heal                                           # whatever was left, from any machine that has the inventory\n\
         ```\n\n\
         ## All names\n\n",
    );
    for spec in kchaos_nemeses::ALL {
        let names: Vec<_> = kchaos_nemeses::names().filter(|name| name.fault == spec.name).map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "- {}", names.join(", "));
    }
    text
}

fn targets(spec: &Spec) -> String {
    let mut names: Vec<String> =
        spec.targets.iter().map(|target| if *target == Target::Cluster { "none".to_owned() } else { target.to_string() }).collect();
    if spec.takes_racks() {
        names.push("*racks*".to_owned());
    }
    names.join(", ")
}

fn of_need(need: Need) -> &'static str {
    match need {
        Need::Signals => "signals to its process",
        Need::Manager => "a way to start it",
        Need::Firewall => "nftables or iptables",
        Need::Netem => "`tc` with netem",
        Need::Rate => "`tc` with tbf",
        Need::Sockets => "`ss`",
        Need::Disk => "a data directory in the inventory, with consent",
        Need::OwnDisk => "a disk of its own (`lab up --disks`)",
        Need::Clock => "a clock of its own (`lab up --clock`), or consent",
    }
}

fn of_scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Daemon => "a daemon that is down",
        Scope::Host => "a host that is down",
        Scope::OneByOne => "one daemon at a time",
        Scope::Removed => "a daemon that is down, and a change of the cluster",
        Scope::Link => "nobody; no other fault on its hosts",
        Scope::Cluster => "nobody; one change of the cluster at a time",
    }
}

/// The targets on which it was seen in force and mended.
fn proved(fault: &str) -> BTreeSet<String> {
    let text = read(&root().join("docs/proved.jsonl"));
    let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("docs/proved.jsonl"));
    records.filter(|record| record["fault"] == fault).map(|record| record["target"].to_string()).collect()
}

#[test]
fn the_page_of_the_nemeses_is_what_the_registry_says() {
    hold("nemeses.md", &page(), "the_page_of_the_nemeses");
}
