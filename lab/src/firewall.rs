//! A firewall on each host, as administrators have one: what is not admitted is dropped.
//!
//! Why in a lab: rules of a run must work in front of rules that are there, and leave them as they were. The table is the host's own, loaded into its network
//! namespace, whoever boots in it, and goes with it.

use std::collections::BTreeSet;
use std::fs::File;

use crate::LabError;
use crate::commands;
use crate::layout::{HostPlan, Layout};
use crate::network;

const SSH: u16 = 22;

/// Admitted are SSH and the ports of the daemons of the lab; all hosts have the same rules, as people write them.
fn ruleset(layout: &Layout) -> String {
    let daemons = layout.hosts.iter().flat_map(|host| &host.daemons);
    let ports: BTreeSet<u16> = daemons.flat_map(|daemon| daemon.peer_ports().into_iter().chain([daemon.port()])).chain([SSH]).collect();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!(
        "table inet admit_only {{\n\
         \tchain input {{\n\
         \t\ttype filter hook input priority filter; policy drop;\n\
         \t\tct state established,related accept\n\
         \t\tiif lo accept\n\
         \t\tmeta l4proto {{ icmp, ipv6-icmp }} accept\n\
         \t\ttcp dport {{ {} }} accept\n\
         \t}}\n\
         }}\n",
        ports.join(", ")
    )
}

pub(crate) fn raise(layout: &Layout, held: &File) -> Result<(), LabError> {
    let ruleset = ruleset(layout);
    let raise_one = |host: &HostPlan| {
        let namespace = format!("--net={}", network::namespace_path(&host.namespace()).display());
        commands::run("nsenter", &[&namespace, "nft", "-f", "-"], &ruleset, held).map(drop)
    };
    layout.hosts.iter().try_for_each(raise_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_and_the_ports_of_the_daemons_are_admitted_and_nothing_else() {
        let text = ruleset(&Layout::new(3, 3, Some(3)));
        assert!(text.contains("policy drop;") && text.contains("tcp dport { 22, 2181, 2888, 3888, 9092 } accept"), "{text}");
    }
}
