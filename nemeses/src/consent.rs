//! What the inventory alone rules out: faults of disks and clocks for daemons that have none of their own, or whose owner did not allow them.
//! Told before a run, so that it is refused before anything is touched; the fault itself asks again, for the daemon that was chosen.

use kchaos_cluster::inventory::{DaemonEntry, DaemonKind, DiskFault, Inventory, ManagerKind};
use kchaos_core::{NemesisName, Target};

use crate::fault::Need;
use crate::helper;
use crate::registry;

/// Why no daemon that this nemesis could choose may be hit; `None` if one may.
pub fn refused_by_inventory(inventory: &Inventory, name: &NemesisName) -> Option<String> {
    Some(format!("{name}: {}", ruled_out(inventory, name)?))
}

/// The same, without the nemesis' name: the first daemon that comes into question, and why not.
pub(crate) fn ruled_out(inventory: &Inventory, name: &NemesisName) -> Option<String> {
    let spec = registry::find(&name.fault)?;
    if let Some(why) = helper::refuses(spec.name).filter(|_| helper::is_used(inventory)) {
        return Some(format!("{name}: {why}"));
    }
    if !spec.needs.iter().any(|need| matches!(need, Need::Disk | Need::LoopDisk | Need::Clock)) {
        return None;
    }
    let wants = if name.target.is_zookeeper() { DaemonKind::Zookeeper } else { DaemonKind::Kafka };
    let hosts = inventory.hosts.iter().filter(|host| !matches!(&name.target, Target::Host(named) if *named != host.name));
    let could_be = |daemon: &&DaemonEntry| matches!(name.target, Target::Host(_)) || daemon.kind == wants;
    let mut first = None;
    for daemon in hosts.flat_map(|host| host.daemons.iter().filter(could_be)) {
        match allowed(spec.needs, &name.fault, daemon) {
            Ok(()) => return None,
            Err(why) => _ = first.get_or_insert_with(|| format!("{}: {why}", daemon.label())),
        }
    }
    first
}

fn allowed(needs: &[Need], fault: &str, daemon: &DaemonEntry) -> Result<(), String> {
    if needs.contains(&Need::Clock) {
        let how = match daemon.manager {
            ManagerKind::Scripts => "`kchaos lab up --clock faketime` gives daemons one, and clocks of other hosts are not set",
            ManagerKind::Systemd | ManagerKind::Docker => {
                "only a lab whose daemons are run by scripts gives them one (`kchaos lab up --manager scripts --clock faketime`)"
            }
        };
        return daemon.clock.as_ref().map(|_| ()).ok_or_else(|| format!("it has no clock of its own; {how}"));
    }
    let known = [DiskFault::PowerLoss, DiskFault::DeadDisk, DiskFault::Fill, DiskFault::Corrupt, DiskFault::Truncate];
    let fault = known.into_iter().find(|known| known.name() == fault).ok_or("it is no fault of a disk")?;
    // A service manager could start it while its disk is changed.
    if fault != DiskFault::Fill && daemon.manager != ManagerKind::Scripts {
        return Err(format!(
            "{} is for daemons with manager = \"scripts\": a service manager could start it while its disk is changed",
            fault.name()
        ));
    }
    let disk = daemon.disk.as_ref().ok_or("the inventory has no [host.daemon.disk] for it, with kind, data_dir and allow")?;
    disk.allows(fault)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::registry::parse;

    const HEAD: &str = "[cluster]\nname = \"a\"\nenvironment = \"lab\"\nexpect_cluster_id = \"x\"\n[ssh]\nuser = \"root\"\nkey_file = \"k\"\n\
                        known_hosts_file = \"h\"\n[kafka]\nbootstrap = [\"b1:9092\"]\n[zookeeper]\nconnect = [\"b1:2181\"]\n[[host]]\nname = \"b1\"\n\
                        address = \"b1\"\n";

    fn check(of_broker: &str, nemesis: &str, expect: Option<&str>) {
        let daemon = |kind: &str, port: u16, more: &str| {
            let commands = if more.contains("manager") { "" } else { "start = \"a\"\nstop = \"b\"\n" };
            format!(
                "[[host.daemon]]\nkind = \"{kind}\"\nid = 1\nport = {port}\n{commands}find = {{ port = {port} }}\nlog_dir = \"/l\"\n{more}"
            )
        };
        let text = format!("{HEAD}{}{}", daemon("kafka", 9092, of_broker), daemon("zookeeper", 2181, ""));
        let inventory = Inventory::parse(Path::new("kchaos.toml"), &text).unwrap();
        let refused = refused_by_inventory(&inventory, &parse(nemesis).unwrap());
        match expect {
            None => assert_eq!(refused, None, "{nemesis}"),
            Some(part) => assert!(refused.as_ref().is_some_and(|why| why.contains(part)), "{nemesis}: {refused:?}"),
        }
    }

    #[test]
    fn behind_a_service_manager_the_hint_is_another() {
        let behind = "manager = \"systemd\"\nunit = \"kafka.service\"\n";
        check(behind, "bump-leader", Some("--manager scripts --clock faketime"));
        check(behind, "power-loss-leader", Some("a service manager could start it"));
        check(behind, "kill-leader", None);
    }

    #[test]
    fn what_no_daemon_allows_is_refused_and_the_rest_is_not() {
        let directory = "[host.daemon.disk]\nkind = \"directory\"\ndata_dir = \"/d\"\nallow = [\"corrupt\"]\n";
        check("", "kill-leader", None);
        check("", "power-loss-all", Some("no [host.daemon.disk]"));
        check("", "bump-leader", Some("--clock faketime"));
        check(directory, "power-loss-host:b1", Some("--disks loop"));
        check(directory, "fill-leader", Some("allow = [\"fill\"]"));
        check(directory, "corrupt-leader", None);
        check(directory, "fill-zk-leader", Some("zookeeper:1"));
    }
}
