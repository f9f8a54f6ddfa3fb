//! `kchaos heal`: each host is clean, healed or not; needs the inventory and SSH, no run's directory and no working Kafka.

use std::sync::Arc;

use anyhow::Context;
use kchaos_cluster::cluster::Cluster;
use kchaos_nemeses::{HealOptions, HostReport, HostState};

use crate::cli::{Format, HealArgs};
use crate::exit::{self, Failure};

pub(super) fn run(args: &HealArgs) -> Result<u8, Failure> {
    let inventory = super::require_inventory(&args.inventory)?;
    let options = HealOptions { break_locks: args.break_locks, holder: crate::run::holder(), ..HealOptions::default() };
    let hosts = super::within_network(&inventory, async {
        let cluster = Cluster::new(Arc::clone(&inventory)).context("use the inventory")?;
        Ok::<_, Failure>(kchaos_nemeses::heal_cluster(kchaos_nemeses::doors(Arc::new(cluster)), options).await)
    })??;
    match args.format {
        Format::Json => super::say_json(&hosts)?,
        Format::Text => hosts.iter().for_each(|host| crate::say!("{}", line(host))),
    }
    let is_mended = hosts.iter().all(HostReport::is_whole);
    if !is_mended {
        eprintln!("not every host is mended; when it can be reached again: kchaos heal");
    }
    Ok(if is_mended { exit::VALID } else { exit::UNHEALED })
}

pub(crate) fn line(host: &HostReport) -> String {
    match &host.state {
        HostState::Clean => format!("{}: clean", host.host),
        HostState::Healed(what) => format!("{}: healed: {}", host.host, what.join("; ")),
        HostState::Unreachable(why) => format!("{}: UNREACHABLE: {why}", host.host),
        HostState::Unhealed(what) => format!("{}: NOT HEALED: {}", host.host, what.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::conform::assert_conforms;

    #[test]
    fn what_was_mended_conforms_whatever_the_state() {
        let what = || vec!["kill of kafka:1 was open: started".to_owned()];
        let states =
            [HostState::Clean, HostState::Healed(what()), HostState::Unhealed(what()), HostState::Unreachable("it is down".to_owned())];
        let mut hosts = states.map(|state| HostReport { host: "b1".to_owned(), state, notes: Vec::new() });
        hosts[1].notes.push("run x holds its lock".to_owned());
        assert_conforms("heal", &serde_json::json!(hosts));
        assert_conforms("heal", &serde_json::json!([]));
    }
}
