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
        Format::Json => crate::say!("{}", serde_json::to_string_pretty(&hosts).map_err(anyhow::Error::from)?),
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
