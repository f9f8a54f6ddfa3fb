//! Least privilege: a login that is not root breaks daemons and lines by the helper's verbs, mends them, and can do nothing else.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kchaos_cluster::inventory::{DaemonKind, Inventory};
use kchaos_cluster::remote::quote;

use crate::lab::Lab;
use crate::run::{Answer, Scratch, a_run_with, kchaos};

const TROUBLE: &[&str] = &["--nemesis-interval", "1s", "--nemesis-duration", "2s"];
const NETWORK: &str = "--net=/run/netns/kchaos-net";
const HELPER: &str = "sudo -n /usr/local/lib/kchaos/kchaos-helper";
const REFUSED: i32 = 64;
const ENVIRONMENT: i32 = 3;

/// The lab's inventory with another login.
fn inventory_as(lab: &Lab, into: &Path, user: &str, privilege: &str) -> PathBuf {
    lab.inventory_where(into, "user = \"root\"", &format!("user = \"{user}\"\nprivilege = \"{privilege}\""))
}

/// What ssh itself is told by that login: none of our own code is between.
fn by_ssh(inventory: &Inventory, host: &str, command: &str) -> Output {
    let address = inventory.host(host).expect("the host").ssh_address().to_owned();
    let mut ssh = Command::new("nsenter");
    ssh.args([NETWORK, "ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-i"]).arg(&inventory.ssh.key_file).arg("-o");
    ssh.arg(format!("UserKnownHostsFile={}", inventory.ssh.known_hosts_file.display()));
    ssh.arg(format!("kchaos@{address}")).arg(command).output().expect("ssh")
}

fn refuses(inventory: &Inventory, host: &str, words: &str, why: &str) {
    let output = by_ssh(inventory, host, &format!("{HELPER} {words} </dev/null"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(REFUSED) && said.contains(why), "{words}: {output:?}");
}

/// On standard output or error.
fn tells(answer: &Answer, code: i32, phrases: &[&str]) {
    let said = format!("{}{}", answer.stdout, answer.stderr);
    assert_eq!(answer.code, code, "{said}");
    phrases.iter().for_each(|phrase| assert!(said.contains(phrase), "{phrase:?} is not in:\n{said}"));
}

fn says(inventory: &Inventory, host: &str, command: &str) -> String {
    let output = by_ssh(inventory, host, command);
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "needs root and the lab"]
fn a_login_that_is_not_root_breaks_and_mends_by_the_helper_and_can_do_nothing_else() {
    let lab = Lab::that_is_whole();
    let before = lab.footprint();
    let scratch = Scratch::new();
    let path = inventory_as(&lab, scratch.path(), "kchaos", "helper");
    let inventory = Inventory::load(&path).expect("the copy of the inventory");

    tells(&kchaos(&["inventory", "check"]).in_cluster(&path).run(), ENVIRONMENT, &["NOT READY", "kchaos inventory install-helper"]);
    let installed = kchaos(&["inventory", "install-helper"]).in_cluster(&path).run();
    tells(&installed, 0, &["kchaos-helper installed, mode 0755", "/etc/sudoers.d/kchaos installed, mode 0440", "by sudo's own word"]);
    tells(&kchaos(&["inventory", "install-helper"]).in_cluster(&path).run(), 0, &["kchaos-helper was there already"]);
    tells(&kchaos(&["inventory", "check"]).in_cluster(&path).run(), 0, &["good (helper "]);

    let run =
        a_run_with("kill-leader,pause-leader,isolate-leader", TROUBLE).and(&["--faults", "3"]).in_cluster(&path).finish().ends_with(0);
    let took = run.each_was_proved_and_mended();
    assert_eq!(took.len(), 3, "{took:?}");
    run.every_replica_was_in_sync_at_the_end();
    run.stands_offline();
    let report = std::fs::read_to_string(run.directory.join("report.html")).expect("the report");
    assert!(report.contains("by the helper alone"), "the report says how the hosts were reached");
    tells(&kchaos(&["heal"]).in_cluster(&path).run(), 0, &[]);
    assert_eq!(lab.footprint(), before, "the hosts are as before");

    a_run_with("power-loss-leader", TROUBLE)
        .in_cluster(&path)
        .run()
        .says(ENVIRONMENT, &["the helper has no verb for it", "nothing was touched"]);
    tells(&kchaos(&["list", "nemeses"]).in_cluster(&path).run(), 0, &["not power-loss: the helper has no verb for it"]);
    nothing_else_can_be_done(&lab, &inventory);

    tells(&kchaos(&["inventory", "install-helper", "--remove"]).in_cluster(&path).run(), 0, &["kchaos-helper removed"]);
    tells(&kchaos(&["inventory", "install-helper", "--remove"]).in_cluster(&path).run(), 0, &["kchaos-helper was not there"]);
    let (host, _) = inventory.broker(1).expect("broker 1");
    assert!(!by_ssh(&inventory, &host.name, &format!("{HELPER} version")).status.success(), "it is gone");
    assert_eq!(lab.footprint(), before, "the hosts are as before");
    println!("by the helper, from asked to mended in seconds: {took:?}; the run took {:.0} s", run.took.as_secs_f64());
}

fn nothing_else_can_be_done(lab: &Lab, inventory: &Inventory) {
    let (host, daemon) = inventory.daemons_of(DaemonKind::Kafka).next().expect("a broker");
    let (host, label) = (host.name.as_str(), daemon.label());
    assert_ne!(says(inventory, host, "id -u").trim(), "0");
    for command in [
        "sudo -n sh -c id",
        "sudo -n id",
        "sudo -n /bin/sh /usr/local/lib/kchaos/kchaos-helper version",
        "sudo -n -u nobody id",
        "su -c id",
    ] {
        let output = by_ssh(inventory, host, &format!("{command} </dev/null"));
        assert!(!output.status.success() && output.stdout.is_empty(), "{command}: {output:?}");
    }
    let writes =
        ["/usr/local/lib/kchaos/kchaos-helper", "/usr/local/lib/kchaos/daemons", "/etc/sudoers.d/kchaos", "/usr/local/lib/kchaos/another"];
    for file in writes {
        assert!(!by_ssh(inventory, host, &format!("echo id >>{file}")).status.success(), "{file} can be written");
    }
    // sshd of the host: a process, and not the daemon's.
    let stranger = lab.on(host, "pid=$(cat /run/sshd.pid); sed \"s/.*) //\" /proc/$pid/stat | { set -- $(cat); shift 19; echo $pid $1; }");
    let (pid, start) = stranger.trim().split_once(' ').expect("a pid and a start time");
    refuses(inventory, host, &format!("continue {label} {pid} {start}"), "not the daemon");
    refuses(inventory, host, &format!("armed r r-1 signal {label} {pid} {start} KILL"), "no undo script of that kind");
    let found = says(inventory, host, &format!("{HELPER} find {label}"));
    let found = found.lines().last().and_then(|line| line.split(' ').next()).expect("the broker's pid").to_owned();
    assert!(says(inventory, host, &format!("{HELPER} continue {label} {found} 17")).ends_with("gone\n"), "of another start time");
    refuses(inventory, host, "flap-proof nftables kchaos_0a_1 10.0.0.999 80", "above 255");
    refuses(inventory, host, "uncut r r-1 iptables INPUT", "not one of ours");
    let canary = "/tmp/kchaos-canary";
    for attempt in [format!("$(touch {canary})"), format!("; touch {canary}"), format!("`touch {canary}`"), format!("\ntouch {canary}\n")] {
        for verb in ["find", "start", "disarm r", "sweep -", "lock r 100"] {
            let output = by_ssh(inventory, host, &format!("{HELPER} {verb} {} </dev/null", quote(&format!("x{attempt}"))));
            assert!(!output.status.success() || verb == "lock r 100", "{verb} {attempt:?}: {output:?}");
        }
    }
    by_ssh(inventory, host, &format!("{HELPER} unlock r"));
    assert_eq!(lab.on(host, &format!("ls {canary} 2>/dev/null; true")), "", "nothing that was smuggled in ran");
}

#[test]
#[ignore = "needs root and the lab"]
fn a_shell_by_sudo_needs_a_flag_and_stands_in_the_report() {
    let lab = Lab::that_is_whole();
    let scratch = Scratch::new();
    let path = inventory_as(&lab, scratch.path(), "root", "sudo-sh");
    a_run_with("none", &["--time-limit", "1s"]).in_cluster(&path).run().says(ENVIRONMENT, &["--allow-sudo-sh", "install-helper"]);
    let run = a_run_with("none", &["--time-limit", "1s", "--allow-sudo-sh"]).in_cluster(&path).finish().ends_with(0);
    let report = std::fs::read_to_string(run.directory.join("report.html")).expect("the report");
    assert!(report.contains("by sudo sh, which may do anything"), "the report says so");
}
