//! A first inventory, by asking: as good as the lab's own.

use kchaos_cluster::inventory::{DaemonEntry, Inventory};

use crate::lab::Lab;
use crate::run::{Scratch, a_run_with, kchaos};

/// What both must say of a daemon.
fn told(daemon: &DaemonEntry) -> (String, u16, Vec<u16>, String, String) {
    (daemon.label(), daemon.port, daemon.peer_ports.clone(), daemon.start.clone(), daemon.log_dir.display().to_string())
}

#[test]
#[ignore = "needs root and the lab"]
fn an_inventory_that_was_found_by_asking_names_every_daemon_and_a_leader_is_killed_by_it() {
    let lab = Lab::that_is_whole();
    let own = Inventory::load(&lab.inventory).expect("the lab's inventory");
    let scratch = Scratch::new();
    let path = scratch.path().join("found.toml");
    let (key, known_hosts) = (own.ssh.key_file.display().to_string(), own.ssh.known_hosts_file.display().to_string());
    let words = [
        "inventory",
        "discover",
        "--bootstrap",
        &own.kafka.bootstrap[1],
        "--name",
        "lab",
        "--ssh-key",
        &key,
        "--known-hosts",
        &known_hosts,
    ];
    let discover = || kchaos(&words).and(&["--network-namespace", "/run/netns/kchaos-net", "--output", &path.display().to_string()]).run();
    discover().says(0, &["found.toml has 6 hosts", "kchaos inventory check"]);
    discover().says(254, &["is not overwritten"]);

    let found = Inventory::load(&path).expect("what was found");
    assert_eq!(found.cluster.expect_cluster_id, own.cluster.expect_cluster_id);
    assert_eq!(found.zookeeper.connect, own.zookeeper.connect);
    for host in &own.hosts {
        let same = found.hosts.iter().find(|other| other.name == host.name).unwrap_or_else(|| panic!("{} was not found", host.name));
        assert_eq!(same.address, host.address);
        assert_eq!(same.daemons.iter().map(told).collect::<Vec<_>>(), host.daemons.iter().map(told).collect::<Vec<_>>());
        assert_eq!(same.daemons[0].find, host.daemons[0].find);
    }
    let checked = kchaos(&["inventory", "check"]).in_cluster(&path).run();
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);
    let run = a_run_with("kill-leader", &["--faults", "1", "--nemesis-interval", "1s"]).in_cluster(&path).finish().ends_with(0);
    run.each_was_proved_and_mended();
    println!("an inventory found by asking: 6 daemons as they are; a leader was killed by it, {} acknowledged", run.acknowledged());
}

#[test]
#[ignore = "needs root and the lab"]
fn who_cannot_be_asked_is_said_and_nothing_is_written() {
    let lab = Lab::that_is_whole();
    let own = Inventory::load(&lab.inventory).expect("the lab's inventory");
    let scratch = Scratch::new();
    let (network, none) = (["--network-namespace", "/run/netns/kchaos-net"], scratch.path().join("none.toml"));
    let at = |bootstrap: &str, more: &[&str]| {
        let words = ["inventory", "discover", "--bootstrap", bootstrap, "--output", &none.display().to_string()];
        kchaos(&words).and(&network).and(more).run()
    };
    at("10.99.0.250:9092", &[]).says(3, &["the brokers cannot be asked", "10.99.0.250:9092"]);
    let key = own.ssh.key_file.display().to_string();
    at(&own.kafka.bootstrap[0], &["--ssh-key", &key, "--known-hosts", "/nowhere/known_hosts"])
        .says(3, &["/nowhere/known_hosts", "ssh-keyscan"]);
    assert!(!none.exists());
}
