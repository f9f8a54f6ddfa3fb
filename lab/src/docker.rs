//! A host with a Docker engine of its own, and a container on it for each daemon.
//!
//! The engine (`dockerd` and all it starts) runs inside the host: with the host's PID 1 it ends, and its containers and mounts with it; its images
//! and volumes lie in the host's directory. Its control groups are the lab's own ([`crate::cgroups`]). No registry is asked: the image is a root
//! directory that is empty but for names, and each container shows the host's `/usr`, `/etc` and `/opt` in it, read-only.

use std::fmt::Write as _;

use kchaos_cluster::inventory::DaemonKind;

use crate::cgroups;
use crate::layout::{DaemonPlan, HostPlan, Layout};

/// Program and Debian package, beside what every lab needs.
pub(crate) const TOOLS: &[(&str, &str)] =
    &[("dockerd", "docker.io"), ("docker", "docker.io"), ("containerd", "containerd"), ("runc", "runc")];

/// What brings the engine and its containers up; among the host's scripts.
pub(crate) const BOOT: &str = "engine-up.sh";

const ENGINE: &str = include_str!("../files/engine-up.sh");

/// Listeners as in the Compose file: one inside, by name, and one for everybody else, on the engine's host.
pub(crate) fn broker_settings(layout: &Layout, host: &HostPlan, broker: &DaemonPlan) -> Vec<(&'static str, String)> {
    let outside = broker.port();
    let zookeepers: Vec<String> =
        layout.daemons(DaemonKind::Zookeeper).into_iter().map(|(_, zookeeper)| format!("{}:2181", zookeeper.container())).collect();
    vec![
        ("listeners", format!("INSIDE://0.0.0.0:9092,OUTSIDE://0.0.0.0:{outside}")),
        ("advertised.listeners", format!("INSIDE://{}:9092,OUTSIDE://{}:{outside}", broker.container(), host.address)),
        ("listener.security.protocol.map", "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT".to_owned()),
        ("inter.broker.listener.name", "INSIDE".to_owned()),
        ("zookeeper.connect", zookeepers.join(",")),
    ]
}

/// Starts the engine, and then each container, ZooKeepers first.
pub(crate) fn boot_script(lab_id: &str, host: &HostPlan) -> String {
    let mut text = ENGINE.replace("@CGROUP@", &cgroups::name(lab_id));
    let mut daemons: Vec<&DaemonPlan> = host.daemons.iter().collect();
    daemons.sort_by_key(|daemon| (daemon.kind != DaemonKind::Zookeeper, daemon.id));
    for daemon in daemons {
        let (name, published) = (daemon.container(), daemon.port());
        // A broker tells everybody its outside port, so it listens on it; a ZooKeeper is not asked for its own.
        let inside = if daemon.kind == DaemonKind::Kafka { published } else { 2181 };
        let [start, _, settings] = &daemon.start_command()[..] else { continue };
        let _ = writeln!(text, "start {name} {published}:{inside} {} {} {start} {settings}", daemon.data_dir(), daemon.log_dir());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_started_zookeepers_first_with_their_published_ports() {
        let layout = Layout::of_containers(2, 1);
        let text = boot_script("ab12", &layout.hosts[0]);
        let started: Vec<&str> = text.lines().filter(|line| line.starts_with("start ")).collect();
        assert_eq!(started[0].split(' ').nth(2), Some("2181:2181"), "{started:?}");
        assert!(started[2].starts_with("start kafka2 32002:32002 /var/lib/kafka-2 /var/log/kafka-2 "), "{started:?}");
        assert!(text.contains("kchaos-lab-ab12") && !text.contains("@CGROUP@"));
    }
}
