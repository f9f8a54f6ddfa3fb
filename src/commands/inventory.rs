//! `kchaos inventory check`: every host reached, and everything that is wrong said at once.

use std::sync::Arc;

use anyhow::Context;
use kchaos_cluster::cluster::{Cluster, HostCheck, Problem};

use crate::cli::{Format, InventoryArg};
use crate::exit::{self, Failure};

pub(super) fn check(arg: &InventoryArg, format: Format) -> Result<u8, Failure> {
    let inventory = super::require_inventory(arg)?;
    let hosts = super::within_network(&inventory, async {
        let cluster = Arc::new(Cluster::new(Arc::clone(&inventory)).context("use the inventory")?);
        let doors = kchaos_nemeses::doors(Arc::clone(&cluster));
        let (mut hosts, helpers) = tokio::join!(cluster.check_hosts(), kchaos_nemeses::helper::check(doors.as_ref()));
        for host in &mut hosts {
            add(host, helpers.get(&host.host));
        }
        Ok::<_, Failure>(hosts)
    })??;
    match format {
        Format::Json => super::say_json(&hosts)?,
        Format::Text => {
            for host in &hosts {
                let helper = host.helper.as_ref().map_or(String::new(), |helper| format!(" ({helper})"));
                crate::say!("{}: {}{helper}", host.host, if host.problems.is_empty() { "good" } else { "NOT READY" });
                host.problems.iter().for_each(|problem| crate::say!("    {problem}"));
            }
        }
    }
    let is_good = hosts.iter().all(|host| host.problems.is_empty());
    Ok(if is_good { exit::VALID } else { exit::ENVIRONMENT })
}

/// What its helper said, or why it did not; a host that was not reached has said enough.
fn add(host: &mut HostCheck, helper: Option<&Result<String, String>>) {
    match helper {
        Some(Ok(version)) => host.helper = Some(version.clone()),
        Some(Err(problem)) if host.host_key.is_some() => host.problems.push(Problem::new("helper", problem, "")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use kchaos_cluster::cluster::{DaemonCheck, OptIn};
    use kchaos_cluster::ssh::ProvenKey;
    use serde_json::json;

    use super::*;
    use crate::schema::conform::assert_conforms;

    #[test]
    fn what_was_found_on_a_host_conforms() {
        let mut hosts = vec![HostCheck::default()];
        for opt_in in [OptIn::Given, OptIn::NoFile, OptIn::NamesOthers(vec!["other".to_owned()])] {
            let word = |word: &str| word.to_owned();
            let daemon = |state, pid: Option<i32>| DaemonCheck { daemon: "kafka:1".to_owned(), state, pid, start_time: pid.map(|_| 99) };
            hosts.push(HostCheck {
                host: "b1".to_owned(),
                way: "root@10.99.0.11 port 22".to_owned(),
                host_key: Some(ProvenKey {
                    key_type: word("ssh-ed25519"),
                    fingerprint: word("SHA256:x"),
                    known_from: word("known_hosts:1"),
                }),
                is_root: true,
                opt_in,
                boot_id: "x".to_owned(),
                kernel: "6.1".to_owned(),
                tools: [("tc".to_owned(), true), ("nft".to_owned(), false)].into(),
                nftables_works: true,
                daemons: vec![daemon("running", Some(7)), daemon("stopped", Some(7)), daemon("gone", None), daemon("unknown", None)],
                ..HostCheck::default()
            });
        }
        add(&mut hosts[1], Some(&Ok("kchaos-helper 1".to_owned())));
        add(&mut hosts[2], Some(&Err("it is not there".to_owned())));
        assert!(hosts[1].helper.is_some() && !hosts[2].is_ready());
        assert_conforms("inventory-check", &json!(hosts));
    }
}
