//! `kchaos inventory check`: every host reached, and everything that is wrong said at once.

use std::sync::Arc;

use anyhow::Context;
use kchaos_cluster::cluster::Cluster;

use crate::cli::{Format, InventoryArg};
use crate::exit::{self, Failure};

pub(super) fn check(arg: &InventoryArg, format: Format) -> Result<u8, Failure> {
    let inventory = super::require_inventory(arg)?;
    let hosts = super::within_network(&inventory, async {
        let cluster = Cluster::new(Arc::clone(&inventory)).context("use the inventory")?;
        Ok::<_, Failure>(cluster.check_hosts().await)
    })??;
    match format {
        Format::Json => crate::say!("{}", serde_json::to_string_pretty(&hosts).map_err(anyhow::Error::from)?),
        Format::Text => {
            for host in &hosts {
                crate::say!("{}: {}", host.host, if host.problems.is_empty() { "good" } else { "NOT READY" });
                host.problems.iter().for_each(|problem| crate::say!("    {problem}"));
            }
        }
    }
    let is_good = hosts.iter().all(|host| host.problems.is_empty());
    Ok(if is_good { exit::VALID } else { exit::ENVIRONMENT })
}
