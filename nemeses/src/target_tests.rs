use std::collections::BTreeMap;
use std::path::PathBuf;

use kchaos_cluster::inventory::{
    ClusterSection, Environment, Find, Firewall, KafkaSection, Limits, ManagerKind, SshOverride, SshSection, ZooKeeperSection,
};
use kchaos_cluster::view::{BrokerView, ZooKeeperView};
use proptest::prelude::*;

use super::*;

/// Hosts `h1`… with a broker and a ZooKeeper each; ZooKeeper 1 leads; broker 2 is the controller.
pub(crate) fn inventory(hosts: i32, hosts_down_max: usize) -> Inventory {
    let daemon = |kind, id| DaemonEntry {
        kind,
        id,
        port: 1,
        peer_ports: Vec::new(),
        controller_port: None,
        manager: ManagerKind::Scripts,
        unit: None,
        container: None,
        start: String::new(),
        stop: String::new(),
        find: Find::Port(1),
        log_dir: PathBuf::new(),
        disk: None,
        clock: None,
    };
    Inventory {
        cluster: ClusterSection {
            name: "t".into(),
            environment: Environment::Lab,
            expect_cluster_id: "t".into(),
            firewall: Firewall::Auto,
            network_namespace: None,
            notes: Vec::new(),
        },
        limits: Limits { hosts_down_max, ..Limits::default() },
        ssh: SshSection {
            user: "root".into(),
            port: 22,
            key_file: PathBuf::new(),
            key_passphrase: None,
            known_hosts_file: PathBuf::new(),
            connect_timeout_ms: 1,
            command_timeout_ms: 1,
            channels_max: 1,
            sudo: false,
            privilege: None,
        },
        kafka: KafkaSection { bootstrap: Vec::new(), properties: BTreeMap::new(), replace_version: None },
        zookeeper: ZooKeeperSection {
            connect: Vec::new(),
            chroot: String::new(),
            session_timeout_ms: 1,
            user: None,
            password: None,
            tls: None,
        },
        hosts: (1..=hosts)
            .map(|id| Host {
                name: format!("h{id}"),
                address: format!("192.0.2.{id}"),
                ssh: SshOverride::default(),
                rack: None,
                opt_in_file: PathBuf::new(),
                docker_host: None,
                clock: None,
                daemons: vec![daemon(DaemonKind::Zookeeper, id), daemon(DaemonKind::Kafka, id)],
            })
            .collect(),
    }
}

/// Partitions of topic `t` as (leader, ISR); replicas 1 to 3.
pub(crate) fn view(hosts: i32, partitions: &[(i32, &[i32])]) -> View {
    View {
        controller: Some(2),
        brokers: (1..=hosts).map(|id| (id, BrokerView::default())).collect(),
        zookeepers: (1..=hosts)
            .map(|id| {
                let mode = if id == 1 { "leader" } else { "follower" };
                (format!("h{id}"), ZooKeeperView { id, mode: mode.into(), ..ZooKeeperView::default() })
            })
            .collect(),
        partitions: partitions
            .iter()
            .zip(0..)
            .map(|((leader, isr), partition)| PartitionView {
                topic: "t".into(),
                partition,
                leader: Some(*leader),
                leader_epoch: 0,
                replicas: vec![1, 2, 3],
                isr: isr.to_vec(),
            })
            .collect(),
        ..View::default()
    }
}

fn keys(count: i32) -> Vec<KeyEntry> {
    (0..count).map(|partition| KeyEntry { key: 10 + i64::from(partition), topic: "t".into(), partition }).collect()
}

fn taken(host: &str, daemon: &str, scope: Scope) -> Taken {
    Taken { host: host.into(), daemon: daemon.into(), scope }
}

pub(crate) const WHOLE: &[i32] = &[1, 2, 3];

fn check(target: &str, seed: u64, expect: Result<(&str, &str, &[Key]), &str>) {
    let (inventory, view, topics) = (inventory(3, 1), view(3, &[(3, WHOLE), (3, WHOLE), (1, WHOLE)]), keys(3));
    let scene = Scene { inventory: &inventory, view: &view, topics: &topics, taken: &[], coordinator: None };
    match (choose_one(&scene, &target.parse().unwrap(), seed), expect) {
        (Ok(chosen), Ok((host, daemon, keys))) => {
            assert_eq!((chosen.host.as_str(), chosen.daemon.as_str(), chosen.keys_led.as_slice()), (host, daemon, keys), "{target}");
            assert!(!chosen.evidence.is_empty());
        }
        (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{target}: {reason}"),
        (found, _) => panic!("{target}: {found:?}"),
    }
}

#[test]
fn each_target_is_found_in_the_view() {
    check("leader", 1, Ok(("h3", "kafka:3", &[10, 11])));
    check("controller", 1, Ok(("h2", "kafka:2", &[])));
    check("follower", 1, Ok(("h2", "kafka:2", &[])));
    check("zk-leader", 1, Ok(("h1", "zookeeper:1", &[])));
    check("host:h1", 1, Ok(("h1", "kafka:1", &[12])));
    check("host:h9", 1, Err("the inventory has no host h9; it has h1, h2, h3"));
}

#[test]
fn partitions_of_others_do_not_count_unless_the_run_has_none() {
    let (inventory, mut view) = (inventory(3, 1), view(3, &[(3, WHOLE), (3, WHOLE), (1, WHOLE)]));
    view.partitions[0].topic = "theirs".into();
    view.partitions[1].topic = "theirs".into();
    let topics = keys(3);
    let own = Scene { inventory: &inventory, view: &view, topics: &topics, taken: &[], coordinator: None };
    assert_eq!(choose_one(&own, &Target::Leader, 1).unwrap().daemon, "kafka:1");
    let all = Scene { topics: &[], ..own };
    let chosen = choose_one(&all, &Target::Leader, 1).unwrap();
    assert_eq!((chosen.daemon.as_str(), chosen.keys_led.len()), ("kafka:3", 0));
}

#[test]
fn without_a_leader_or_a_controller_nobody_is_chosen() {
    let (inventory, mut view, topics) = (inventory(3, 1), view(3, &[(1, WHOLE)]), keys(1));
    view.partitions[0].leader = None;
    view.controller = None;
    view.zookeepers.clear();
    let scene = Scene { inventory: &inventory, view: &view, topics: &topics, taken: &[], coordinator: None };
    for target in [Target::Leader, Target::Controller, Target::ZooKeeperLeader, Target::ZooKeeperFollower] {
        assert!(choose_one(&scene, &target, 1).is_err(), "{target}");
    }
}

#[test]
fn among_equals_the_seed_decides_and_decides_alike() {
    let (inventory, view, topics) = (inventory(3, 1), view(3, &[(1, WHOLE), (2, WHOLE), (3, WHOLE)]), keys(3));
    let scene = Scene { inventory: &inventory, view: &view, topics: &topics, taken: &[], coordinator: None };
    let draw = |seed| choose_one(&scene, &Target::Leader, seed).unwrap().daemon;
    let drawn: BTreeSet<String> = (0..64).map(draw).collect();
    assert_eq!(drawn.len(), 3);
    assert!((0..64).all(|seed| draw(seed) == draw(seed)));
}

fn refused(down_max: usize, hosts: i32, partitions: &[(i32, &[i32])], before: &[Taken], next: &Taken, expect: Option<&str>) {
    let (inventory, view) = (inventory(hosts, down_max), view(hosts, partitions));
    let scene = Scene { inventory: &inventory, view: &view, topics: &[], taken: before, coordinator: None };
    let said = guard(&scene, &Target::Random, std::slice::from_ref(next)).err();
    match expect {
        Some(expect) => assert!(said.as_ref().is_some_and(|said| said.contains(expect)), "{said:?}"),
        None => assert_eq!(said, None),
    }
}

#[test]
fn never_more_hosts_down_than_the_limit_and_one_host_counts_once() {
    let (one, two) = (taken("h1", "kafka:1", Scope::Daemon), taken("h2", "kafka:2", Scope::Daemon));
    refused(1, 3, &[(1, WHOLE)], &[], &one, None);
    refused(1, 3, &[(1, WHOLE)], std::slice::from_ref(&one), &two, Some("hosts_down_max is 1"));
    refused(2, 3, &[(1, WHOLE)], std::slice::from_ref(&one), &two, None);
    refused(1, 3, &[(1, WHOLE)], &[one], &taken("h1", "zookeeper:1", Scope::Daemon), None);
}

#[test]
fn zookeeper_keeps_its_quorum_and_a_cut_of_a_shared_host_counts_for_both() {
    let (zk1, cut2) = (taken("h1", "zookeeper:1", Scope::Daemon), taken("h2", "kafka:2", Scope::Host));
    refused(3, 3, &[], std::slice::from_ref(&zk1), &cut2, Some("1 of 3 servers would be left"));
    refused(3, 3, &[], &[zk1], &taken("h2", "kafka:2", Scope::Daemon), None);
    refused(3, 1, &[], &[], &taken("h1", "zookeeper:1", Scope::Daemon), Some("quorum"));
    refused(3, 5, &[], &[cut2], &taken("h1", "zookeeper:1", Scope::Daemon), None);
}

#[test]
fn the_last_in_sync_replica_is_left_alone() {
    let next = taken("h1", "kafka:1", Scope::Daemon);
    refused(3, 3, &[(1, &[1])], &[], &next, Some("t-0 would lose its last in-sync replica"));
    refused(3, 3, &[(1, &[1, 2])], &[], &next, None);
    refused(3, 3, &[(1, &[1, 2])], &[taken("h2", "kafka:2", Scope::Daemon)], &next, Some("last in-sync replica"));
    refused(3, 3, &[(2, &[2])], &[], &next, None);
}

/// The daemons that are chosen, or the reason.
fn several_of(hosts: i32, target: &Target, scope: Scope, taken: &[Taken], seed: u64) -> Result<Vec<String>, String> {
    let (inventory, view) = (inventory(hosts, 1), view(hosts, &[(1, WHOLE)]));
    let scene = Scene { inventory: &inventory, view: &view, topics: &[], taken, coordinator: None };
    let chosen = choose(&scene, target, scope, seed)?;
    assert!(chosen.iter().all(|one| !one.evidence.is_empty()));
    Ok(chosen.into_iter().map(|one| one.daemon).collect())
}

#[test]
fn a_minority_and_a_majority_are_counted_for_brokers_and_zookeepers_apart() {
    let of = |hosts, target| several_of(hosts, &target, Scope::Daemon, &[], 7).map(|all| all.len());
    for (hosts, minority, majority) in [(3, 1, 2), (4, 1, 3), (5, 2, 3), (7, 3, 4)] {
        assert_eq!(of(hosts, Target::Minority), Ok(minority));
        assert_eq!(of(hosts, Target::ZooKeeperMajority), Ok(majority));
        assert_eq!(of(hosts, Target::All), Ok(usize::try_from(hosts).unwrap()));
    }
    assert_eq!(of(1, Target::Minority), Err("a minority of 1 brokers is nobody".to_owned()));
    assert_eq!(several_of(3, &Target::ZooKeeperAll, Scope::Daemon, &[], 1).unwrap(), ["zookeeper:1", "zookeeper:2", "zookeeper:3"]);
    assert_eq!(several_of(3, &Target::Cluster, Scope::Cluster, &[], 1).unwrap(), ["kafka:2"]);
}

#[test]
fn who_is_in_the_hands_of_another_fault_is_not_drawn_and_all_are_not_all_without_it() {
    let held = [taken("h2", "kafka:2", Scope::Daemon)];
    assert_eq!(several_of(3, &Target::Majority, Scope::Daemon, &held, 1).unwrap(), ["kafka:1", "kafka:3"]);
    assert!(several_of(3, &Target::All, Scope::Daemon, &held, 1).unwrap_err().contains("2 are registered and free of faults"));
    assert_eq!(several_of(3, &Target::Rest, Scope::Daemon, &held, 1).unwrap(), ["kafka:1", "kafka:3"]);
    let all = ["1", "2", "3"].map(|id| taken(&format!("h{id}"), &format!("kafka:{id}"), Scope::Daemon));
    assert!(several_of(3, &Target::Rest, Scope::Daemon, &all, 1).unwrap_err().contains("no broker of 3"));
    let drawn: BTreeSet<_> = (0..64).map(|seed| several_of(3, &Target::Minority, Scope::Daemon, &[], seed).unwrap()).collect();
    assert_eq!(drawn.len(), 3, "the seed decides who");
}

#[test]
fn the_last_in_sync_replica_is_found_only_where_there_is_one() {
    let (inventory, topics) = (inventory(3, 1), keys(2));
    for (partitions, expect) in [(&[(1, WHOLE), (2, &[2_i32][..])][..], Ok("kafka:2")), (&[(1, WHOLE), (2, WHOLE)][..], Err("plan file"))] {
        let view = view(3, partitions);
        let scene = Scene { inventory: &inventory, view: &view, topics: &topics, taken: &[], coordinator: None };
        match (choose(&scene, &Target::LastIsr, Scope::Daemon, 1), expect) {
            (Ok(chosen), Ok(daemon)) => assert_eq!(chosen[0].daemon, daemon),
            (Err(reason), Err(words)) => assert!(reason.contains(words), "{reason}"),
            (found, _) => panic!("{found:?}"),
        }
    }
}

#[test]
fn a_name_that_says_how_many_go_is_taken_at_its_word_and_not_beyond_it_nor_in_production() {
    let all = |kind: &str| -> Vec<Taken> { (1..=3).map(|id| taken(&format!("h{id}"), &format!("{kind}:{id}"), Scope::Daemon)).collect() };
    let said = |inventory: &Inventory, before: &[Taken], target: Target, next: &[Taken]| {
        let view = view(3, &[(1, WHOLE)]);
        let scene = Scene { inventory, view: &view, topics: &[], taken: before, coordinator: None };
        guard(&scene, &target, next).err()
    };
    let mut inventory = inventory(3, 1);
    assert_eq!(said(&inventory, &[], Target::All, &all("kafka")), None);
    assert_eq!(said(&inventory, &[], Target::ZooKeeperAll, &all("zookeeper")), None);
    assert!(said(&inventory, &[], Target::Random, &all("kafka")).unwrap().contains("hosts_down_max is 1"));
    // Those of another fault count as before; so does a quorum that goes with the hosts of brokers.
    let before = [taken("h1", "kafka:1", Scope::Daemon)];
    assert_eq!(said(&inventory, &all("kafka")[..2], Target::Rest, &all("kafka")[2..]), None);
    assert!(said(&inventory, &all("kafka")[..2], Target::Random, &all("kafka")[2..]).is_some());
    inventory.limits.hosts_down_max = 0;
    assert!(said(&inventory, &before, Target::ZooKeeperMajority, &all("zookeeper")[1..]).unwrap().contains("hosts_down_max is 0"));
    let hosts: Vec<Taken> = all("kafka").into_iter().map(|one| Taken { scope: Scope::Host, ..one }).collect();
    assert!(said(&inventory, &[], Target::All, &hosts).unwrap().contains("quorum"));
    inventory.cluster.environment = Environment::Production;
    assert!(said(&inventory, &[], Target::All, &all("kafka")).unwrap().contains("production"));
}

#[test]
fn what_takes_nobody_away_is_not_counted() {
    let all: Vec<Taken> = (1..=3).map(|id| taken(&format!("h{id}"), &format!("kafka:{id}"), Scope::Link)).collect();
    let (inventory, view) = (inventory(3, 0), view(3, &[(1, &[1])]));
    let scene = Scene { inventory: &inventory, view: &view, topics: &[], taken: &all, coordinator: None };
    assert_eq!(guard(&scene, &Target::Cluster, &all), None.map_or(Ok(()), Err));
}

proptest! {
    /// Whatever the view, who is chosen is in the inventory and in nobody's hands.
    #[test]
    fn a_choice_is_in_the_inventory_and_free(
        leaders in proptest::collection::vec(0..6i32, 0..6), controller in proptest::option::of(0..6i32), held in 1..4i32, seed: u64,
    ) {
        let partitions: Vec<(i32, &[i32])> = leaders.iter().map(|leader| (*leader, WHOLE)).collect();
        let (inventory, mut view) = (inventory(3, 3), view(3, &partitions));
        view.controller = controller;
        let taken = [taken(&format!("h{held}"), &format!("kafka:{held}"), Scope::Host)];
        let scene = Scene { inventory: &inventory, view: &view, topics: &[], taken: &taken, coordinator: None };
        for target in Target::all() {
            for chosen in choose(&scene, &target, Scope::Daemon, seed).into_iter().flatten() {
                prop_assert!(inventory.hosts.iter().any(|host| host.name == chosen.host));
                prop_assert!(chosen.host != format!("h{held}"), "{target} {chosen:?}");
            }
        }
    }
}
