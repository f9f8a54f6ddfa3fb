//! What the inventory alone rules out: faults of disks and clocks for daemons that have none of their own, or whose owner did not allow them.
//! Told before a run, so that it is refused before anything is touched; the fault itself asks again, for the daemon that was chosen.

use kchaos_cluster::inventory::{ClockFault, DaemonEntry, DaemonKind, DiskFault, Host, Inventory, ManagerKind};
use kchaos_core::{NemesisName, Target};

use crate::fault::Need;
use crate::faults::clock;
use crate::helper;
use crate::registry;

/// Why no daemon that this nemesis could choose may be hit; `None` if one may.
pub fn refused_by_inventory(inventory: &Inventory, name: &NemesisName) -> Option<String> {
    Some(format!("{name}: {}", ruled_out(inventory, name)?))
}

/// The same, without the nemesis' name: the first daemon that comes into question, and why not.
pub(crate) fn ruled_out(inventory: &Inventory, name: &NemesisName) -> Option<String> {
    let spec = registry::find(&name.fault)?;
    if let Some(why) = of_another_kind(inventory, name) {
        return Some(why);
    }
    if let Some(why) = helper::refuses(spec.name).filter(|_| helper::is_used(inventory)) {
        return Some(format!("{name}: {why}"));
    }
    if !spec.needs.iter().any(|need| matches!(need, Need::Disk | Need::OwnDisk | Need::Clock)) {
        return None;
    }
    let is_meant = |daemon: &DaemonEntry| match &name.target {
        target if target.is_zookeeper() => daemon.kind == DaemonKind::Zookeeper,
        target if target.is_quorum() => daemon.as_controller().is_some(),
        Target::Controller if inventory.is_kraft() => daemon.as_controller().is_some(),
        _ => daemon.kind == DaemonKind::Kafka,
    };
    let hosts = inventory.hosts.iter().filter(|host| !matches!(&name.target, Target::Host(named) if *named != host.name));
    let could_be = |daemon: &&DaemonEntry| matches!(name.target, Target::Host(_)) || is_meant(daemon);
    let mut first = None;
    for (host, daemon) in hosts.flat_map(|host| host.daemons.iter().filter(could_be).map(move |daemon| (host, daemon))) {
        match allowed(spec.needs, &name.fault, host, daemon) {
            Ok(()) => return None,
            Err(why) => _ = first.get_or_insert_with(|| format!("{}: {why}", daemon.label())),
        }
    }
    first
}

/// Faults and targets of ZooKeeper in a cluster without one, and those of KRaft where there is ZooKeeper.
fn of_another_kind(inventory: &Inventory, name: &NemesisName) -> Option<String> {
    let target = &name.target;
    match inventory.is_kraft() {
        true if target.is_zookeeper() => Some(format!(
            "{target} is one of ZooKeeper's, and this cluster is KRaft's, without ZooKeeper: quorum-leader and quorum-follower are its controllers"
        )),
        true if spec_needs_zookeeper(&name.fault) => {
            Some(format!("{} is of ZooKeeper, and this cluster is KRaft's, without ZooKeeper", name.fault))
        }
        false if target.is_quorum() && inventory.controllers().next().is_none() => Some(format!(
            "{target} is one of KRaft's controllers, and this cluster has ZooKeeper: controller is its active controller, zk-leader its ZooKeepers' leader"
        )),
        _ => None,
    }
}

fn spec_needs_zookeeper(fault: &str) -> bool {
    ["cut-zookeeper", "expire-session"].contains(&fault)
}

fn allowed(needs: &[Need], fault: &str, host: &Host, daemon: &DaemonEntry) -> Result<(), String> {
    if needs.contains(&Need::Clock) {
        let known = [ClockFault::Bump, ClockFault::Skew, ClockFault::Strobe];
        let fault = known.into_iter().find(|known| known.name() == fault).ok_or("it is no fault of a clock")?;
        return match (&daemon.clock, &host.clock) {
            (Some(_), _) => Ok(()),
            (None, Some(clock)) => clock.allows(fault),
            (None, None) => Err(format!("it has no clock of its own; {}", clock::no_clock(fault))),
        };
    }
    let fault = DiskFault::ALL.into_iter().find(|known| known.name() == fault).ok_or("it is no fault of a disk")?;
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
    fn what_is_of_zookeeper_is_refused_without_it_and_what_is_of_kraft_with_it() {
        check("", "kill-quorum-leader", Some("this cluster has ZooKeeper"));
        let daemon = |kind: &str, id: i32, port: u16| {
            format!(
                "[[host.daemon]]\nkind = \"{kind}\"\nid = {id}\nport = {port}\nstart = \"a\"\nstop = \"b\"\nfind = {{ port = {port} }}\nlog_dir = \"/l\"\n"
            )
        };
        let head = HEAD.replace("[zookeeper]\nconnect = [\"b1:2181\"]\n", "");
        let text = format!("{head}{}{}", daemon("kafka", 1, 9092), daemon("controller", 101, 9093));
        let inventory = Inventory::parse(Path::new("kchaos.toml"), &text).unwrap();
        let refused = |name: &str| refused_by_inventory(&inventory, &parse(name).unwrap());
        for name in ["kill-zk-leader", "cut-zookeeper-leader", "expire-session-leader"] {
            assert!(refused(name).is_some_and(|why| why.contains("without ZooKeeper")), "{name}");
        }
        assert_eq!((refused("kill-quorum-leader"), refused("kill-controller"), refused("kill-leader")), (None, None, None));
    }

    #[test]
    fn behind_a_service_manager_the_hint_is_another() {
        let behind = "manager = \"systemd\"\nunit = \"kafka.service\"\n";
        check(behind, "bump-leader", Some("with --manager scripts"));
        check(behind, "power-loss-leader", Some("a service manager could start it"));
        check(behind, "kill-leader", None);
    }

    #[test]
    fn the_clock_of_a_host_is_set_where_the_inventory_says_so_and_in_no_lab() {
        let text = |environment: &str, of_host: &str| {
            let head = HEAD.replace("environment = \"lab\"", &format!("environment = \"{environment}\""));
            let daemon = |kind: &str, port: u16| {
                format!(
                    "[[host.daemon]]\nkind = \"{kind}\"\nid = 1\nport = {port}\nmanager = \"systemd\"\nunit = \"{kind}.service\"\nlog_dir = \"/l\"\n"
                )
            };
            format!("{head}{of_host}{}{}", daemon("kafka", 9092), daemon("zookeeper", 2181))
        };
        let clock = "[host.clock]\nallow = [\"bump\", \"skew\"]\n";
        let inventory = Inventory::parse(Path::new("kchaos.toml"), &text("staging", clock)).unwrap();
        let refused = |name: &str| refused_by_inventory(&inventory, &parse(name).unwrap());
        assert_eq!((refused("bump-leader"), refused("skew-zk-leader")), (None, None));
        assert!(refused("strobe-host:b1").is_some_and(|why| why.contains("allow = [\"strobe\"] under the host's [host.clock]")));
        let in_lab = Inventory::parse(Path::new("kchaos.toml"), &text("lab", clock)).unwrap_err().to_string();
        assert!(in_lab.contains("share this machine's clock"), "{in_lab}");
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
