//! Disks that forget everything that was not synced, fail by kind and are slow.
//!
//! These want a lab with FUSE disks (`kchaos lab up --disks fuse`), those of `flushing` one whose brokers sync each message as well: `scripts/test-fuse.sh`
//! brings both up. Not in `make test`: the disk itself is tested there.

use std::time::{Duration, Instant};

use crate::disks::{GONE, a_lab_with, loses_nothing, loses_nothing_that_was_synced, one};
use crate::lab::Lab;
use crate::run::a_run_with;

fn disk_of(lab: &Lab, host: &str) -> String {
    lab.on(host, "cat /var/lib/kafka/.kchaos-control")
}

#[test]
#[ignore = "needs root and a lab with FUSE disks"]
fn power_loss_of_all_brokers_loses_every_acknowledged_write_that_was_not_synced() {
    let lab = a_lab_with("kind = \"fuse\"");
    let before = lab.footprint();
    let run = one("power-loss-all").ends_with(1);
    let lost: u64 = GONE.iter().map(|name| run.count_of(name)).sum();
    assert!(lost > 0, "{}", run.verdict()["anomalies"]);
    run.stands_offline();
    run.each_was_proved_and_mended();
    assert_eq!(lab.footprint(), before, "the hosts are as before");
    println!("power loss of all brokers on FUSE: {lost} acknowledged values gone; {:.0} s", run.took.as_secs_f64());
}

#[test]
#[ignore = "needs root and a lab with FUSE disks"]
fn a_disk_that_is_slow_fails_or_forgets_under_one_daemon_loses_nothing() {
    let lab = a_lab_with("kind = \"fuse\"");
    let nemeses =
        ["slow-disk-leader", "io-error-leader", "power-loss-follower", "slow-disk-zk-leader", "io-error-zk-leader", "power-loss-zk-leader"];
    loses_nothing(&lab, &nemeses);
}

#[test]
#[ignore = "needs root and a lab with FUSE disks"]
fn a_disk_is_well_again_by_itself_when_kchaos_is_gone() {
    const LEASE: Duration = Duration::from_secs(5);
    let lab = a_lab_with("kind = \"fuse\"");
    let trouble = ["--lease", "5s", "--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "30s"];
    let mut run = a_run_with("slow-disk-leader", &trouble).start();
    let host = run.until_a_fault_is_in_force().chosen[0].host.clone();
    assert!(disk_of(&lab, &host).contains("\nfault "), "{}", disk_of(&lab, &host));
    let killed = Instant::now();
    drop(run.killed());
    while !disk_of(&lab, &host).contains("\nhealthy\n") {
        assert!(killed.elapsed() < LEASE + Duration::from_secs(2), "{}", disk_of(&lab, &host));
        std::thread::sleep(Duration::from_millis(100));
    }
    println!(
        "kchaos killed under a slow disk: it was well again {:.1} s later, lease {} s",
        killed.elapsed().as_secs_f64(),
        LEASE.as_secs()
    );
    Lab::that_is_whole();
}

mod flushing {
    use super::*;

    #[test]
    #[ignore = "needs root and the second lab"]
    fn power_loss_of_all_brokers_loses_nothing_that_was_synced() {
        a_lab_with("kind = \"fuse\"");
        loses_nothing_that_was_synced();
    }
}
