//! What kchaos promises where a service manager stands between it and the daemons, seen in real runs against labs of such hosts.
//!
//! `scripts/test-doors.sh systemd` and `… docker` bring the lab up and run the tests of that name, one after another. ZooKeeper sessions are Kafka's
//! default of 18 s: a broker that is revived within one is the point.

#[allow(dead_code, reason = "shared with the other live tests; this one uses its part")]
#[path = "../live/run.rs"]
mod run;

#[path = "../live/product.rs"]
mod product;

use std::time::{Duration, Instant};

use kchaos_core::{FaultEvent, FaultMoment};
use kchaos_nemeses::proved::Door;

use crate::run::{Finished, a_run_with, kchaos};

const ONE_FAULT: &[&str] = &["--faults", "1", "--nemesis-interval", "1s"];
const UNIT: &str = "systemctl show -p Restart -p DropInPaths -p ActiveState kafka.service; ls -A /run/systemd/system";
const CONTAINER: &str = "docker inspect -f '{{.HostConfig.RestartPolicy}} {{.State.Status}}'";

/// What a command prints on a host of the lab.
fn on(host: &str, script: &str) -> String {
    let said = kchaos(&["lab", "shell", host, "--", "sh", "-c", script]).run();
    assert_eq!(said.code, 0, "on {host}: {script}: {}", said.stderr);
    said.stdout
}

/// Waits until this is so; how long it took.
fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
    began.elapsed()
}

/// One that failed may have left a killed run's lock, and a host that is still coming back.
fn after_the_others() {
    product::until_whole();
    let _ = kchaos(&["heal", "--break-locks"]).run();
}

fn nothing_is_left(host: &str) -> bool {
    on(host, "find /run/kchaos /var/lib/kchaos -type f ! -name 'audit.log*' 2>/dev/null; true").is_empty()
}

fn notes(run: &Finished) -> String {
    let texts = run.faults().into_iter().filter(|event| event.moment == FaultMoment::Note).filter_map(|event| event.text);
    texts.collect::<Vec<_>>().join("\n")
}

/// Every event of this kind, each proved.
fn proved(run: &Finished, moment: FaultMoment) -> Vec<FaultEvent> {
    let events: Vec<FaultEvent> = run.faults().into_iter().filter(|event| event.moment == moment).collect();
    assert!(!events.is_empty(), "nothing is {moment:?}: {:?}", run.faults());
    assert!(events.iter().all(|event| event.proof.as_ref().is_some_and(|proof| proof.proved)), "{events:?}");
    events
}

fn proof_of(event: &FaultEvent) -> &str {
    event.proof.as_ref().map_or("", |proof| &proof.text)
}

#[test]
#[ignore = "needs root and a lab of systemd hosts"]
fn systemd_a_crash_is_revived_dies_of_its_old_registration_and_is_mended() {
    after_the_others();
    let run = a_run_with("kill-leader", ONE_FAULT).and(&["--kill", "crash", "--nemesis-duration", "20s"]).finish().ends_with(0);
    let notes = notes(&run);
    for said in
        ["was revived as pid", "ms after it was killed", "NRestarts=", "died again", "exit code 1", "NodeExists", "does not start it again"]
    {
        assert!(notes.contains(said), "{said:?} is not in:\n{notes}");
    }
    let healed = proved(&run, FaultMoment::Healed);
    assert!(proof_of(&healed[0]).contains("managed as before") && proof_of(&healed[0]).contains("is registered"), "{healed:?}");
    println!("{notes}");
}

#[test]
#[ignore = "needs root and a lab of systemd hosts"]
fn systemd_a_killed_unit_is_held_down_and_given_back_as_it_was() {
    after_the_others();
    let hosts = ["kafka1", "kafka2", "kafka3"];
    let before = hosts.map(|host| on(host, UNIT));
    let mut going = a_run_with("kill-leader", ONE_FAULT).and(&["--nemesis-duration", "8s"]).start();
    let host = going.until_a_fault_is_in_force().chosen[0].host.clone();
    let held = on(&host, UNIT);
    assert!(held.contains("Restart=no\n") && held.contains("zz-kchaos.conf") && held.contains("ActiveState=failed"), "{held}");
    let run = going.finish().ends_with(0);
    let in_effect = proved(&run, FaultMoment::InEffect);
    assert!(proof_of(&in_effect[0]).contains("held down: Restart=no"), "{in_effect:?}");
    assert!(!notes(&run).contains("revived"), "{}", notes(&run));
    assert_eq!(hosts.map(|host| on(host, UNIT)), before, "each unit is as it was");
    assert!(hosts.iter().all(|host| nothing_is_left(host)));
}

#[test]
#[ignore = "needs root and a lab of systemd hosts"]
fn systemd_a_unit_held_down_is_given_back_by_its_host_when_kchaos_is_killed() {
    after_the_others();
    let mut going = a_run_with("kill-leader", ONE_FAULT).and(&["--nemesis-duration", "60s", "--lease", "10s"]).start();
    let host = going.until_a_fault_is_in_force().chosen[0].host.clone();
    let _ = going.killed();
    let freed = until("its hold is undone", Duration::from_secs(14), || !on(&host, UNIT).contains("zz-kchaos.conf"));
    let up = until("its unit stays up", Duration::from_secs(120), || {
        let healed = kchaos(&["heal", "--format", "json", "--break-locks"]).run();
        healed.code == 0 && on(&host, UNIT).contains("ActiveState=active")
    });
    assert!(on(&host, UNIT).contains("Restart=on-abnormal\n"));
    assert!(nothing_is_left(&host));
    product::until_whole();
    println!(
        "hold undone {:.1} s after kchaos was killed (lease 10 s), unit up and swept after {:.1} s",
        freed.as_secs_f64(),
        up.as_secs_f64()
    );
}

/// What lies in `/run` is gone with the boot, the watchdog too; the undo script stays, and the unit comes up by itself.
#[test]
#[ignore = "needs root and a lab of systemd hosts"]
fn systemd_a_host_that_is_rebooted_in_the_middle_of_a_fault_is_noticed_and_left_clean() {
    after_the_others();
    let hosts = ["kafka1", "kafka2", "kafka3"];
    let before = hosts.map(|host| on(host, UNIT) + &on(host, "nft list ruleset"));
    let mut going = a_run_with("kill-leader", ONE_FAULT).and(&["--nemesis-duration", "30s", "--lease", "20s"]).start();
    let host = going.until_a_fault_is_in_force().chosen[0].host.clone();
    // In order, as an administrator does it.
    let took = rebooted(&host, "");
    let run = going.finish();
    let lapsed = run.faults().into_iter().find(|event| event.moment == FaultMoment::LeaseLapsed);
    let why = lapsed.and_then(|event| event.text).unwrap_or_else(|| panic!("the reboot was not noticed: {:?}", run.faults()));
    assert!(why.contains("started anew"), "{why}");
    assert!(matches!(run.answer.code, 2 | 3), "{}{}", run.answer.stdout, run.answer.stderr);
    assert_eq!(run.verdict()["valid"], "unknown", "a fault that ended early proves nothing");
    product::until_whole();
    assert!(nothing_is_left(&host));
    println!("{host} was rebooted in {:.1} s in the middle of a kill: \"{why}\", unknown, nothing left", took.as_secs_f64());
    assert_eq!(hosts.map(|host| on(host, UNIT) + &on(host, "nft list ruleset")), before, "each host is as it was");
}

/// Neither kchaos nor the watchdog is there any more: the undo script is, and `kchaos heal` reads it.
#[test]
#[ignore = "needs root and a lab of systemd hosts"]
fn systemd_a_host_that_is_rebooted_after_kchaos_was_killed_is_swept_by_heal() {
    after_the_others();
    let before = on("kafka1", UNIT) + &on("kafka1", "nft list ruleset");
    let mut going = a_run_with("isolate-host:kafka1", ONE_FAULT).and(&["--nemesis-duration", "60s", "--lease", "60s"]).start();
    going.until_a_fault_is_in_force();
    let _ = going.killed();
    // A broker that is cut off would hold up a reboot in order: it waits for the controller's leave to stop, for as long as systemd lets it (90 s).
    rebooted("kafka1", "--force");
    assert!(!nothing_is_left("kafka1"), "the undo script survives the reboot");
    for expect in ["healed: isolate-host:kafka1", "clean"] {
        let healed = kchaos(&["heal", "--break-locks"]).run();
        let line = healed.stdout.lines().find(|line| line.starts_with("kafka1:")).unwrap_or_default().to_owned();
        assert!(healed.code == 0 && line.contains(expect), "{}{}", healed.stdout, healed.stderr);
    }
    product::until_whole();
    assert_eq!(on("kafka1", UNIT) + &on("kafka1", "nft list ruleset"), before);
    assert!(nothing_is_left("kafka1"));
}

/// Until its sshd and its broker are up again.
fn rebooted(host: &str, how: &str) -> Duration {
    // The shell that gives the order may go with the host.
    let order = format!("touch /run/before-the-reboot; systemctl --no-block reboot {how}");
    let _ = kchaos(&["lab", "shell", host, "--", "sh", "-c", &order]).run();
    until("the host is up again", Duration::from_secs(120), || {
        let look = "test ! -e /run/before-the-reboot && systemctl is-active ssh kafka";
        kchaos(&["lab", "shell", host, "--", "sh", "-c", look]).run().code == 0
    })
}

/// In slices; see `product`.
#[test]
#[ignore = "needs root, a lab of systemd hosts, and an hour"]
fn systemd_the_product_is_proved_where_it_has_no_record() {
    after_the_others();
    product::prove(Door::Systemd);
}

/// In slices; see `product`.
#[test]
#[ignore = "needs root, a lab of containers, and an hour"]
fn docker_the_product_is_proved_where_it_has_no_record() {
    after_the_others();
    product::prove(Door::Docker);
}

#[test]
#[ignore = "needs root and a lab of containers"]
fn docker_kill_of_the_leader_and_of_the_zookeeper_leader_and_their_elections() {
    after_the_others();
    let policies = |_| on("engine1", &format!("{CONTAINER} kafka1 kafka2 kafka3 zoo1 zoo2 zoo3"));
    let before = policies(());
    let run = a_run_with("kill-leader,kill-zk-leader", &["--faults", "2", "--nemesis-interval", "1s"]).finish().ends_with(0);
    let in_effect = proved(&run, FaultMoment::InEffect);
    assert!(in_effect.iter().all(|event| proof_of(event).contains("held down: restart=no")), "{in_effect:?}");
    assert!(proved(&run, FaultMoment::Healed).iter().all(|event| proof_of(event).contains("managed as before")));
    let phases = run.verdict()["recovery"]["phases"].clone();
    for phase in ["election", "zookeeper-election"] {
        assert!(phases[phase]["n"].as_u64().unwrap_or(0) >= 1, "no {phase} was measured: {phases}");
    }
    assert_eq!(policies(()), before, "policies are as they were");
    assert!(nothing_is_left("engine1"));
    for phase in ["detection", "election", "recovery", "zookeeper-election"] {
        let ms = phases[phase]["middle"]["p50_ns"].as_f64().unwrap_or(f64::NAN) / 1e6;
        println!("{phase}: {ms:.0} ms");
    }
}

#[test]
#[ignore = "needs root and a lab of containers"]
fn docker_a_container_is_cut_off_in_its_own_network_and_paused() {
    after_the_others();
    let rules = |_| on("engine1", "iptables-save | sed 's/\\[[0-9:]*\\]//; /^#/d'; nft list tables");
    let before = rules(());
    let more = ["--faults", "2", "--nemesis-interval", "1s", "--nemesis-duration", "5s"];
    let run = a_run_with("isolate-leader,pause-controller", &more).finish().ends_with(0);
    assert_eq!(proved(&run, FaultMoment::InEffect).len(), 2);
    assert_eq!(proved(&run, FaultMoment::Healed).len(), 2);
    assert_eq!(rules(()), before, "the engine's host is as it was");
    assert!(nothing_is_left("engine1"));
}

/// The same cluster as seen from the engine's host itself, where kchaos needs no SSH.
#[test]
#[ignore = "needs root and a lab of containers"]
fn docker_an_engine_on_the_same_machine_needs_no_ssh() {
    after_the_others();
    let lab = kchaos_lab::inventory_path().expect("a lab is up");
    // Seen on the host as /root.
    let home = lab.with_file_name("hosts").join("engine1/root");
    std::fs::copy(env!("CARGO_BIN_EXE_kchaos"), home.join("kchaos")).expect("kchaos on the engine's host");
    let mut inventory: toml::Table = std::fs::read_to_string(&lab).expect("the inventory").parse().expect("is TOML");
    inventory.remove("ssh");
    inventory["cluster"].as_table_mut().expect("a table").remove("network_namespace");
    for host in inventory["host"].as_array_mut().expect("hosts") {
        let host = host.as_table_mut().expect("a table");
        host.remove("ssh");
        host.insert("docker_host".to_owned(), "unix:///run/docker.sock".into());
    }
    std::fs::write(home.join("kchaos.toml"), inventory.to_string()).expect("write the inventory");
    let checked = on("engine1", "cd /root && ./kchaos inventory check --inventory kchaos.toml 2>&1");
    assert_eq!(checked.lines().filter(|line| line.ends_with(": good")).count(), 6, "{checked}");
    let run = "cd /root && ./kchaos test --inventory kchaos.toml --results results --progress none --nemesis pause-leader,kill-zk-follower \
               --faults 2 --nemesis-interval 1s --nemesis-duration 3s 2>&1; echo \"status $?\"";
    let said = on("engine1", run);
    assert!(said.contains("Faults: 2 of 2 in force, 2 mended") && said.ends_with("status 0\n"), "{said}");
    assert!(nothing_is_left("engine1"));
}
