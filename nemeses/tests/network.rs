//! Partitions, one-way cuts, cuts of one relation, flapping, one connection delayed, loss and a slow line: in namespaces of our own, by nftables and
//! by iptables.

mod common;

use std::time::{Duration, Instant};

use common::net::{ADDRESSES, CLIENT, Net, connect, echoes, inside, reaches};
use common::scene::{LEASE, Scene};
use common::{Fake, nemesis, wait_until};
use kchaos_cluster::inventory::{DaemonKind, Firewall, Inventory, ManagerKind};
use kchaos_core::FaultMoment as M;
use kchaos_nemeses::{FaultError, HealOptions, HostState, KillSemantics, heal_cluster};

const BOTH: [Firewall; 2] = [Firewall::Nftables, Firewall::Iptables];

fn skip() -> bool {
    // SAFETY: no arguments, no effects.
    let skip = unsafe { libc::geteuid() } != 0;
    if skip {
        eprintln!("skipped: namespaces need root");
    }
    skip
}

#[tokio::test(flavor = "multi_thread")]
async fn halves_of_three_hosts_are_one_and_two_and_clients_reach_all() {
    for firewall in BOTH {
        if skip() {
            return;
        }
        let scene = Scene::with("partition-halves", firewall).await;
        let cut: Vec<usize> = (1..=3).filter(|host| (1..=3).all(|other| other == *host || !scene.see(*host, other))).collect();
        assert_eq!(cut.len(), 1, "{firewall:?}");
        let others: Vec<usize> = (1..=3).filter(|host| *host != cut[0]).collect();
        assert!(scene.see(others[0], others[1]) && scene.see(others[1], others[0]));
        assert!(ADDRESSES.iter().all(|address| reaches(&scene.net.client, address, 9092)));
        assert!(scene.proof(M::InEffect).contains("a client still reaches it"));
        scene.mended().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_bridge_both_halves_are_seen_and_do_not_see_each_other() {
    for firewall in BOTH {
        if skip() {
            return;
        }
        let scene = Scene::with("bridge", firewall).await;
        let seen = |host: usize| (1..=3).filter(|other| *other != host && scene.see(host, *other)).count();
        let mut seen: Vec<usize> = (1..=3).map(seen).collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 1, 2], "{firewall:?}");
        scene.mended().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_three_is_refused_with_the_reason() {
    if skip() {
        return;
    }
    let net = Net::new();
    let fake = Fake::new("ring", Firewall::Auto, &ADDRESSES, Some(&net));
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let error = engine.inject(&nemesis("partition-ring"), 1).await.unwrap_err();
    assert!(matches!(&error, FaultError::Refused { reason, .. } if reason.contains("needs four hosts")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_deaf_say_is_heard_and_what_is_said_to_the_mute_arrives() {
    for (firewall, name, is_in) in
        BOTH.into_iter().flat_map(|firewall| [(firewall, "one-way-in-leader", true), (firewall, "one-way-out-leader", false)])
    {
        if skip() {
            return;
        }
        let net_says = |scene: &Scene, from: usize, to: usize| {
            // A datagram to a port where nobody is: the peer counts it.
            let count = |scene: &Scene| Net::run(scene.host(to), "sed -n '/^Udp: [0-9]/p' /proc/net/snmp | cut -d' ' -f3");
            let before = count(scene);
            Net::run(scene.host(from), &format!("bash -c 'echo x >/dev/udp/{}/9' || true", ADDRESSES[to - 1]));
            std::thread::sleep(Duration::from_millis(200));
            count(scene) != before
        };
        let scene = Scene::with(name, firewall).await;
        assert!(!scene.see(1, 2) && !scene.see(2, 1) && scene.see(2, 3), "{name} {firewall:?}");
        assert_eq!((net_says(&scene, 1, 2), net_says(&scene, 2, 1)), (is_in, !is_in), "{name} {firewall:?}");
        assert!(reaches(&scene.net.client, ADDRESSES[0], 22) && !reaches(&scene.net.client, ADDRESSES[0], 9092));
        let proof = scene.proof(M::InEffect);
        assert!(proof.contains("the other way") && !proof.contains("the other way 0 "), "{proof}");
        scene.mended().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_cut_from_zookeeper_reaches_brokers_and_is_reached() {
    for firewall in BOTH {
        if skip() {
            return;
        }
        let scene = Scene::with("cut-zookeeper-leader", firewall).await;
        let b1 = scene.host(1);
        assert!(!reaches(b1, ADDRESSES[1], 2181) && !reaches(b1, ADDRESSES[2], 2181), "{firewall:?}");
        assert!(!reaches(b1, "127.0.0.1", 2181) && !reaches(b1, ADDRESSES[0], 2181), "nor the one on its own host");
        assert!(scene.see(1, 2) && scene.see(2, 1) && reaches(&scene.net.client, ADDRESSES[0], 9092));
        assert!(reaches(scene.host(2), ADDRESSES[0], 2181), "the ZooKeeper on its host serves others");
        assert!(scene.proof(M::InEffect).contains("2 of 2 others still answer it"));
        scene.mended().await;
    }
}

/// Brokers beside it ask a container by its own port, whatever it is published as.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_cut_by_its_own_port_and_by_the_published_one() {
    fn in_containers(inventory: &mut Inventory, published: u16, own: u16) {
        for daemon in inventory.hosts.iter_mut().flat_map(|host| &mut host.daemons).filter(|daemon| daemon.kind == DaemonKind::Zookeeper) {
            (daemon.manager, daemon.port, daemon.peer_ports) = (ManagerKind::Docker, published, vec![own]);
        }
    }
    for firewall in BOTH {
        if skip() {
            return;
        }
        let scene = Scene::where_("cut-zookeeper-leader", firewall, |inventory| in_containers(inventory, 22, 2181)).await;
        for port in [22, 2181] {
            assert!(!reaches(scene.host(1), ADDRESSES[1], port) && !reaches(scene.host(1), ADDRESSES[2], port), "{firewall:?} {port}");
        }
        assert!(scene.see(1, 2) && scene.see(2, 1));
        scene.mended().await;
        let scene = Scene::where_("cut-clients-zk-leader", firewall, |inventory| in_containers(inventory, 2181, 9092)).await;
        assert!([2181, 9092].iter().all(|port| !reaches(&scene.net.client, ADDRESSES[1], *port)), "{firewall:?}");
        assert!(reaches(scene.host(1), ADDRESSES[1], 2181), "a ZooKeeper's host is a peer");
        scene.mended().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_cut_from_its_own_kind_reaches_the_other_kind() {
    for firewall in BOTH {
        if skip() {
            return;
        }
        let scene = Scene::with("cut-peers-leader", firewall).await;
        assert!(!scene.see(1, 2) && !scene.see(2, 1) && scene.see(2, 3), "{firewall:?}");
        assert!(reaches(scene.host(1), ADDRESSES[1], 2181) && reaches(&scene.net.client, ADDRESSES[0], 9092));
        scene.mended().await;
        let scene = Scene::with("cut-peers-zk-leader", firewall).await;
        assert!(!reaches(scene.host(2), ADDRESSES[0], 3888) && reaches(scene.host(2), ADDRESSES[0], 2181) && scene.see(2, 1));
        scene.mended().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_cut_off_and_peers_of_its_own_kind_are_not() {
    for firewall in BOTH {
        if skip() {
            return;
        }
        let scene = Scene::with("cut-clients-leader", firewall).await;
        assert!(!reaches(&scene.net.client, ADDRESSES[0], 9092) && reaches(&scene.net.client, ADDRESSES[0], 2181), "{firewall:?}");
        assert!(scene.see(2, 1) && scene.see(1, 2));
        scene.mended().await;
        let scene = Scene::with("cut-clients-zk-leader", firewall).await;
        assert!(!reaches(&scene.net.client, ADDRESSES[1], 2181) && !reaches(scene.host(1), ADDRESSES[1], 2181), "brokers are its clients");
        assert!(scene.see(1, 2) && reaches(&scene.net.client, ADDRESSES[1], 9092));
        scene.mended().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flapping_host_is_cut_and_healed_again_and_again_and_no_longer_than_its_lease() {
    for firewall in BOTH {
        if skip() {
            return;
        }
        let scene = Scene::with("flap-leader", firewall).await;
        let (began, mut seen) = (Instant::now(), Vec::new());
        while began.elapsed() < Duration::from_secs(9) {
            seen.push(scene.see(2, 1));
            std::thread::sleep(Duration::from_millis(100));
        }
        seen.dedup();
        assert!(seen.len() >= 4, "{firewall:?}: {seen:?}");
        assert!(scene.proof(M::InEffect).contains("came about"));
        let Scene { net, fake, engine, rules, .. } = scene;
        drop(engine);
        if firewall == Firewall::Nftables {
            // Nor is the watchdog there: the kernel alone.
            let watchdog = std::fs::read_to_string(fake.hosts["b1"].directory.join("run/lease/r-1/watchdog")).unwrap();
            Net::run(&net.hosts[0], &format!("kill -9 {}", watchdog.split(' ').next().unwrap()));
        }
        std::thread::sleep(LEASE + Duration::from_secs(1));
        for _ in 0..30 {
            assert!(reaches(&net.hosts[1], ADDRESSES[0], 9092), "{firewall:?}: it flaps on");
            std::thread::sleep(Duration::from_millis(100));
        }
        let sweep = HealOptions { paths: Fake::paths(), run_id: Some("r".into()), ..HealOptions::default() };
        assert!(heal_cluster(fake.clone(), sweep).await.iter().all(kchaos_nemeses::HostReport::is_whole));
        assert_eq!(Net::rules(&net.hosts[0]), rules[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_is_held_up_and_what_was_said_on_it_comes_after_the_heal() {
    for firewall in BOTH {
        if skip() {
            return;
        }
        let (scene, (busy, mut idle)) = Scene::after("delay-connection-leader", firewall, LEASE, |net| {
            let busy = connect(&net.client, ADDRESSES[0], 9092);
            let mut writer = busy.try_clone().unwrap();
            // Says something all the time, and hears its echo.
            std::thread::spawn(move || {
                while std::io::Write::write_all(&mut writer, b"word").is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            (busy, connect(&net.client, ADDRESSES[0], 9092))
        })
        .await;
        let port = busy.local_addr().unwrap().port();
        let proof = scene.proof(M::InEffect);
        assert!(proof.contains(&format!("{CLIENT} port {port} to port 9092")), "the busy one: {proof}");
        assert!(echoes(&mut idle) && reaches(&scene.net.client, ADDRESSES[0], 9092), "all others go on");
        tokio::time::sleep(LEASE).await;
        let mended = scene.mended().await;
        assert!(mended.contains("lives: ") && mended.contains("bytes came late"), "{mended}");
        drop(inside(&scene.net.client, move || busy.shutdown(std::net::Shutdown::Both)).join());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_client_that_says_something_there_is_no_connection_to_delay() {
    if skip() {
        return;
    }
    let net = Net::new();
    let _silent = connect(&net.client, ADDRESSES[0], 9092);
    let fake = Fake::new("idle", Firewall::Auto, &ADDRESSES, Some(&net));
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let error = engine.inject(&nemesis("delay-connection-leader"), 1).await.unwrap_err();
    assert!(matches!(&error, FaultError::Refused { reason, .. } if reason.contains("no client")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_is_a_share_of_the_packets_with_or_without_netem() {
    for firewall in BOTH {
        if skip() {
            return;
        }
        let scene = Scene::with("loss-leader", firewall).await;
        println!("{}", scene.proof(M::InEffect));
        scene.mended().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_line_passes_what_its_bucket_holds_and_a_queue_of_somebody_else_is_left_alone() {
    if skip() {
        return;
    }
    let scene = Scene::with("slow-leader", Firewall::Auto).await;
    println!("{}", scene.proof(M::InEffect));
    tokio::time::sleep(LEASE * 2).await;
    assert!(Net::run(scene.host(1), "tc qdisc show dev eth0").contains("4b43:"));
    assert!(scene.fake.event(M::LeaseLapsed).is_none(), "it is renewed");
    scene.mended().await;

    let net = Net::new();
    Net::run(&net.hosts[0], "tc qdisc add dev eth0 root tbf rate 900mbit burst 64kb latency 50ms");
    let fake = Fake::new("foreign", Firewall::Auto, &ADDRESSES, Some(&net));
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let error = engine.inject(&nemesis("slow-leader"), 1).await.unwrap_err();
    assert!(matches!(&error, FaultError::Refused { reason, .. } if reason.contains("somebody has put there")), "{error}");
    assert!(Net::run(&net.hosts[0], "tc qdisc show dev eth0").contains("900Mbit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_outlives_its_run_by_no_more_than_the_lease_and_heal_finds_one_that_nobody_owns() {
    if skip() {
        return;
    }
    let scene = Scene::with("slow-leader", Firewall::Auto).await;
    let Scene { net, fake, engine, rules, .. } = scene;
    drop(engine);
    assert!(wait_until(LEASE + Duration::from_secs(2), || Net::rules(&net.hosts[0]) == rules[0]).await.is_some());
    Net::run(&net.hosts[1], "tc qdisc add dev eth0 root handle 4b43: htb default 0");
    let sweep = || HealOptions { paths: Fake::paths(), run_id: Some("r".into()), ..HealOptions::default() };
    let reports = heal_cluster(fake.clone(), sweep()).await;
    assert!(matches!(&reports[1].state, HostState::Healed(what) if what[0].contains("a queue without a fault")), "{reports:?}");
    assert_eq!(Net::rules(&net.hosts[1]), rules[1]);
}
