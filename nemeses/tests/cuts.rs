//! isolate and depose in namespaces of our own, by nftables and by iptables.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::net::{ADDRESSES, Net, connect, echoes, reaches};
use common::{Fake, nemesis, wait_until};
use kchaos_cluster::inventory::Firewall;
use kchaos_core::FaultMoment as M;
use kchaos_nemeses::{HealOptions, HostState, KillSemantics, heal_cluster};

const LEASE: Duration = Duration::from_secs(3);
const BOTH: [Firewall; 2] = [Firewall::Nftables, Firewall::Iptables];

/// What an administrator may have: a firewall of each kind, with state, and a set with a timeout of its own.
const USER_RULES: &str = "
iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT
iptables -A INPUT -p tcp --dport 4444 -j DROP
iptables -N MINE
iptables -A FORWARD -j MINE
printf 'table inet filter {\n set s {\n type ipv4_addr\n flags timeout\n elements = { 192.0.2.1 timeout 1h }\n }\n chain in {\n type filter hook input priority 0\n tcp dport 4445 counter drop\n }\n}\n' | nft -f -
tc qdisc add dev eth0 root tbf rate 900mbit burst 64kb latency 50ms";

fn skip() -> bool {
    // SAFETY: no arguments, no effects.
    let skip = unsafe { libc::geteuid() } != 0;
    if skip {
        eprintln!("skipped: namespaces need root");
    }
    skip
}

fn cluster(name: &str, firewall: Firewall, user_rules: bool) -> (Net, Arc<Fake>, String) {
    let net = Net::new();
    let fake = Fake::new(name, firewall, &ADDRESSES, Some(&net));
    if user_rules {
        Net::run(&net.hosts[0], USER_RULES);
    }
    let rules = Net::rules(&net.hosts[0]);
    (net, fake, rules)
}

fn sweep() -> HealOptions {
    HealOptions { paths: Fake::paths(), run_id: Some("r".into()), ..HealOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_host_is_cut_from_peers_and_clients_for_longer_than_the_lease_and_then_as_before() {
    for (firewall, user_rules) in BOTH.into_iter().flat_map(|firewall| [(firewall, false), (firewall, true)]) {
        if skip() {
            return;
        }
        let (net, fake, rules) = cluster("isolate", firewall, user_rules);
        let (host, peer, client) = (net.hosts[0].as_str(), net.hosts[1].as_str(), net.client.as_str());
        let (mut from_peer, mut from_client) = (connect(peer, ADDRESSES[0], 9092), connect(client, ADDRESSES[0], 9092));
        assert!(echoes(&mut from_peer) && echoes(&mut from_client));
        let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
        let id = engine.inject(&nemesis("isolate-leader"), 1).await.unwrap();
        tokio::time::sleep(LEASE * 2).await;
        // Connections that were there before are cut like new ones, IPv6 like IPv4.
        assert!(!echoes(&mut from_peer) && !echoes(&mut from_client), "{firewall:?}");
        assert!(!reaches(host, ADDRESSES[1], 9092) && !reaches(peer, ADDRESSES[0], 9092) && !reaches(client, ADDRESSES[0], 9092));
        assert!(!reaches(peer, "fd00:213::1", 9092) && !reaches(host, "fd00:213::2", 2181) && !reaches(client, "fd00:213::1", 2181));
        // Its own daemons reach one another, whatever the address; the others reach one another; a client reaches its SSH.
        assert!(reaches(host, "127.0.0.1", 2181) && reaches(host, ADDRESSES[0], 2181) && reaches(peer, ADDRESSES[2], 9092));
        assert!(reaches(client, ADDRESSES[0], 22) && !reaches(peer, ADDRESSES[0], 22));
        engine.heal(id).await.unwrap();
        assert!(reaches(peer, ADDRESSES[0], 9092) && reaches(client, ADDRESSES[0], 9092));
        assert_eq!(Net::rules(host), rules, "{firewall:?}");
        let proof = fake.event(M::InEffect).unwrap().proof.unwrap();
        assert!(proof.proved && proof.text.contains("4 of 4 connections to peers failed (4 of them answered before)"), "{}", proof.text);
        assert!(proof.text.contains("a client's connection failed"), "{}", proof.text);
        assert_eq!((fake.left("b1").len(), fake.notes().as_str()), (0, ""));
        assert!(engine.heal_all().await.iter().all(|report| report.state == HostState::Clean));
        assert_eq!(Net::rules(host), rules, "{firewall:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_is_cut_from_its_peers_while_clients_reach_it() {
    for firewall in BOTH {
        if skip() {
            return;
        }
        let (net, fake, rules) = cluster("depose", firewall, true);
        let mut from_client = connect(&net.client, ADDRESSES[0], 9092);
        let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
        let id = engine.inject(&nemesis("deposed-leader"), 1).await.unwrap();
        assert!(echoes(&mut from_client) && reaches(&net.client, ADDRESSES[0], 9092));
        let proof = fake.event(M::InEffect).unwrap().proof.unwrap();
        assert!(proof.proved && proof.text.contains("a client still reaches it"), "{}", proof.text);
        assert!(!reaches(&net.hosts[2], ADDRESSES[0], 9092) && !reaches(&net.hosts[0], ADDRESSES[2], 2181));
        engine.heal(id).await.unwrap();
        assert_eq!(Net::rules(&net.hosts[0]), rules);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_that_commands_keeps_its_ssh_even_if_it_is_a_peer() {
    for firewall in BOTH {
        if skip() {
            return;
        }
        let net = Net::new();
        let mut fake = Fake::new("ssh", firewall, &ADDRESSES, Some(&net));
        let local = Arc::get_mut(&mut fake).unwrap().hosts.get_mut("b1").unwrap();
        local.ssh_connection = format!("{} 40000 {} 22", ADDRESSES[1], ADDRESSES[0]);
        let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
        let id = engine.inject(&nemesis("isolate-leader"), 1).await.unwrap();
        assert!(reaches(&net.hosts[1], ADDRESSES[0], 22) && !reaches(&net.hosts[1], ADDRESSES[0], 9092));
        assert!(!reaches(&net.hosts[2], ADDRESSES[0], 22) && reaches(&net.client, ADDRESSES[0], 22));
        engine.heal(id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_controller_dies_the_cut_ends_within_its_lease_and_the_rules_are_as_before() {
    for (firewall, user_rules) in
        [(Firewall::Nftables, true), (Firewall::Nftables, false), (Firewall::Iptables, true), (Firewall::Iptables, false)]
    {
        if skip() {
            return;
        }
        let (net, fake, rules) = cluster("lapse", firewall, user_rules);
        let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
        engine.inject(&nemesis("isolate-leader"), 1).await.unwrap();
        drop(engine);
        let took = wait_until(LEASE + Duration::from_secs(2), || Net::rules(&net.hosts[0]) == rules).await;
        assert!(took.is_some(), "{firewall:?}: {}", Net::rules(&net.hosts[0]));
        assert!(reaches(&net.hosts[1], ADDRESSES[0], 9092));
        let reports = heal_cluster(fake.clone(), sweep()).await;
        assert!(matches!(&reports[0].state, HostState::Healed(what) if what[0].contains("by its own lease")), "{reports:?}");
        assert!(heal_cluster(fake.clone(), sweep()).await.iter().all(|report| report.state == HostState::Clean));
        assert_eq!(Net::rules(&net.hosts[0]), rules);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_ends_a_cut_even_where_no_process_is_left_and_a_late_renewal_does_not_put_it_back() {
    if skip() {
        return;
    }
    let (net, fake, rules) = cluster("kernel", Firewall::Nftables, false);
    let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
    let id = engine.inject(&nemesis("isolate-leader"), 1).await.unwrap();
    // The watchdog is dead too, and the host hears nothing for longer than the lease.
    let lease = fake.hosts["b1"].directory.join("run/lease/r-1");
    let watchdog = std::fs::read_to_string(lease.join("watchdog")).unwrap();
    Net::run(&net.hosts[0], &format!("kill -9 {}", watchdog.split(' ').next().unwrap()));
    *fake.hosts["b1"].unreachable.lock().unwrap() = true;
    assert!(wait_until(LEASE + Duration::from_secs(1), || reaches(&net.hosts[1], ADDRESSES[0], 9092)).await.is_some());
    *fake.hosts["b1"].unreachable.lock().unwrap() = false;
    assert!(wait_until(LEASE, || fake.event(M::LeaseLapsed).is_some()).await.is_some());
    tokio::time::sleep(LEASE).await;
    assert!(reaches(&net.hosts[1], ADDRESSES[0], 9092), "put back by a renewal");
    engine.heal(id).await.unwrap();
    assert_eq!(Net::rules(&net.hosts[0]), rules);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_reload_in_mid_fault_is_noticed() {
    for (firewall, reload) in [
        (Firewall::Nftables, "nft list tables | while read -r t f n; do case $n in kchaos_*) nft delete table $f $n ;; esac; done"),
        (Firewall::Iptables, "iptables -D INPUT 1"),
    ] {
        if skip() {
            return;
        }
        let (net, fake, rules) = cluster("reload", firewall, false);
        let engine = fake.engine("r", LEASE, KillSemantics::HeldDown).await;
        let id = engine.inject(&nemesis("isolate-leader"), 1).await.unwrap();
        Net::run(&net.hosts[0], reload);
        assert!(wait_until(LEASE, || fake.event(M::LeaseLapsed).is_some()).await.is_some());
        assert!(fake.event(M::LeaseLapsed).unwrap().text.unwrap().contains("reloaded"));
        engine.heal(id).await.unwrap();
        assert_eq!(Net::rules(&net.hosts[0]), rules);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heal_removes_what_is_half_there_and_touches_nothing_else() {
    if skip() {
        return;
    }
    let (net, fake, rules) = cluster("half", Firewall::Auto, true);
    assert!(heal_cluster(fake.clone(), sweep()).await.iter().all(|report| report.state == HostState::Clean), "nothing to heal");
    assert_eq!(Net::rules(&net.hosts[0]), rules);
    Net::run(
        &net.hosts[0],
        "nft add table inet kchaos_0badcafe_7; iptables -N KCHAOS-0badcafe_8-I; iptables -I INPUT 1 -j KCHAOS-0badcafe_8-I",
    );
    let reports = heal_cluster(fake.clone(), sweep()).await;
    assert!(matches!(&reports[0].state, HostState::Healed(what) if what.len() == 2), "{reports:?}");
    assert_eq!(Net::rules(&net.hosts[0]), rules);
    assert!(heal_cluster(fake.clone(), sweep()).await.iter().all(|report| report.state == HostState::Clean));
}
