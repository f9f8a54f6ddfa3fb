//! netem, on a kernel that has it: `make test-netem` boots one and runs these inside. Times are an emulated machine's.

mod common;

use std::time::{Duration, Instant};

use common::Fake;
use common::net::{ADDRESSES, Net, inside, reaches};
use common::scene::Scene;
use kchaos_cluster::inventory::Firewall;
use kchaos_core::{FaultMoment as M, NemesisName, Target};
use kchaos_nemeses::{HealOptions, heal_cluster, unbearable};

/// An emulated machine takes its time, and more on a machine that has much to do.
const LEASE: Duration = Duration::from_secs(120);
const SHORT_LEASE: Duration = Duration::from_secs(30);

const LINK: [&str; 7] = ["latency", "jitter", "loss", "corrupt-packets", "reorder", "duplicate", "slow"];

async fn scene(name: &str, lease: Duration) -> Scene {
    let (scene, ()) = Scene::after(name, Firewall::Auto, lease, |_| ()).await;
    println!("{name}: {}", scene.proof(M::InEffect));
    let chosen = scene.fake.event(M::InEffect).unwrap().chosen;
    let place = scene.fake.inventory.hosts.iter().position(|host| host.name == chosen[0].host).unwrap();
    let queues = Net::run(&scene.net.hosts[place], "tc qdisc show dev eth0");
    let kind = if name.starts_with("slow-") { "tbf" } else { "netem" };
    assert!(queues.contains("htb 4b43: root") && queues.contains(&format!("{kind} 4b44: parent 4b43:1")), "{queues}");
    scene
}

/// How long a connection from there takes, at least, of five.
fn connection(from: &str, address: &'static str, port: u16) -> Duration {
    let one = move || {
        let began = Instant::now();
        std::net::TcpStream::connect((address, port)).map(|_| began.elapsed())
    };
    let all = move || (0..5).filter_map(|_| one().ok()).min();
    inside(from, all).join().unwrap().unwrap()
}

async fn bites_and_is_mended(name: &str) {
    let scene = scene(name, LEASE).await;
    println!("{name}: {}", scene.mended().await);
    for (moment, what) in [(M::InEffect, "injected"), (M::Healed, "mended")] {
        let when = scene.fake.event(moment).unwrap().when;
        println!("{name}: {what} within {:.2} s", (when.before_ns - when.after_ns) as f64 / 1e9);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with netem: make test-netem"]
async fn latency_delays_peers_and_clients_and_spares_ssh_and_the_other_hosts() {
    let scene = scene("latency-leader", LEASE).await;
    let client = scene.net.client.as_str();
    let least = |millis| Duration::from_millis(millis);
    assert!(connection(scene.host(1), ADDRESSES[1], 9092) >= least(95));
    assert!(connection(scene.host(1), "fd00:213::2", 9092) >= least(95), "IPv6 too");
    assert!(connection(client, ADDRESSES[0], 9092) >= least(95), "clients too");
    assert!(connection(client, ADDRESSES[0], 22) < least(90), "SSH of the machine that commands is spared");
    assert!(connection(scene.host(2), ADDRESSES[2], 9092) < least(90));
    scene.mended().await;
    assert!(connection(scene.host(1), ADDRESSES[1], 9092) < least(90));
}

/// On every target (`KCHAOS_FAULTS=all make test-netem`), or on the leader alone.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with netem: make test-netem"]
async fn every_fault_of_the_link_is_seen_and_mended() {
    let all = std::env::var("KCHAOS_FAULTS").is_ok_and(|wish| wish == "all");
    let is_wanted = |name: &NemesisName| LINK.contains(&name.fault.as_str()) && (all || name.target == Target::Leader);
    for name in kchaos_nemeses::names().filter(is_wanted) {
        bites_and_is_mended(&name.to_string()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with netem: make test-netem"]
async fn a_dead_run_leaves_no_queue_for_longer_than_its_lease() {
    let Scene { net, fake, engine, rules, .. } = scene("latency-leader", SHORT_LEASE).await;
    drop(engine);
    let deadline = Instant::now() + SHORT_LEASE + Duration::from_secs(30);
    while Net::rules(&net.hosts[0]) != rules[0] {
        assert!(Instant::now() < deadline, "{}", Net::rules(&net.hosts[0]));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let sweep = HealOptions { paths: Fake::paths(), run_id: Some("r".into()), ..HealOptions::default() };
    assert!(heal_cluster(fake.clone(), sweep).await.iter().all(kchaos_nemeses::HostReport::is_whole));
    assert!(reaches(&net.hosts[1], ADDRESSES[0], 9092));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a kernel with netem: make test-netem"]
async fn with_netem_nothing_of_the_link_is_ruled_out() {
    let net = Net::new();
    let fake = Fake::new("bears", Firewall::Auto, &ADDRESSES, Some(&net));
    let not: Vec<String> = unbearable(fake.as_ref()).await.iter().map(ToString::to_string).collect();
    // These hosts have neither disks nor clocks of their own, and are too few for a ring.
    assert!(!not.iter().any(|one| LINK.iter().any(|fault| one.starts_with(fault))), "{not:?}");
}
