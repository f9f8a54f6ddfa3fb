//! FAULTS.md's acceptance: whatever becomes of kchaos, its machine and its network in the middle of a fault, the hosts are as before.
//!
//! `make test-safety` runs these, with kills, leftovers, refusals and interruptions; they take too long for every day.
//! `KCHAOS_SAFETY_STOP` says for how many seconds kchaos is stopped (60).

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kchaos_core::{FaultEvent, FaultMoment};

use crate::conditions::{Afterwards, ONE_FAULT};
use crate::inhabited::{Inhabited, until_as};
use crate::lab::Lab;
use crate::run::{Finished, Scratch, a_run_with, kchaos};

pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// What the hosts are given beyond the lease.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
#[ignore = "needs root and the lab"]
fn the_controller_s_machine_is_cut_off_in_the_middle_of_a_fault() {
    let inhabited = Inhabited::lab();
    let (state, before) = (inhabited.state(), inhabited.footprint());
    let mut run = a_run_with("isolate-leader", &leased()).start();
    run.until_a_fault_is_in_force();
    let cut = CutOff::begin();
    let took = until_as(&state, &inhabited, LEASE + GRACE, "while nobody can reach the hosts");
    std::thread::sleep(Duration::from_secs(5));
    drop(cut);
    let run = run.finish();
    lapsed_and_unknown(&run);
    Lab::that_is_whole();
    assert_eq!(inhabited.footprint(), before);
    println!("controller cut off: the hosts were as before {:.1} s later; exit {}", took.as_secs_f64(), run.answer.code);
}

#[test]
#[ignore = "needs root and the lab"]
fn kchaos_is_stopped_in_the_middle_of_a_fault_and_goes_on_later() {
    let inhabited = Inhabited::lab();
    let (state, before) = (inhabited.state(), inhabited.footprint());
    for nemesis in ["isolate-leader", "pause-leader"] {
        let mut run = a_run_with(nemesis, &leased()).start();
        run.until_a_fault_is_in_force();
        run.signal(libc::SIGSTOP);
        let took = until_as(&state, &inhabited, LEASE + GRACE, "while kchaos stands still");
        std::thread::sleep(Duration::from_secs(number("KCHAOS_SAFETY_STOP", 60)));
        assert_eq!(inhabited.state(), state, "something was put back");
        run.signal(libc::SIGCONT);
        let run = run.finish();
        lapsed_and_unknown(&run);
        Lab::that_is_whole();
        assert_eq!(inhabited.footprint(), before);
        println!("kchaos stopped in {nemesis}: as before {:.1} s later; exit {}", took.as_secs_f64(), run.answer.code);
    }
}

#[test]
#[ignore = "needs root and the lab"]
fn a_firewall_that_is_reloaded_in_the_middle_of_a_fault_is_noticed() {
    // As an administrator's script does it: what stands in its own file is put in place of what is there.
    let restored = "for t in iptables ip6tables; do $t-save | grep -v KCHAOS | $t-restore; done";
    for (firewall, reload) in [("nftables", "nft flush ruleset"), ("iptables", restored)] {
        let lab = Lab::that_is_whole();
        let scratch = Scratch::new();
        let inventory = lab.inventory_where(scratch.path(), "firewall = \"auto\"", &format!("firewall = \"{firewall}\""));
        let trouble = ["--lease", "5s", "--faults", "1", "--nemesis-duration", "12s"];
        let mut run = a_run_with("isolate-leader", &trouble).in_cluster(&inventory).start();
        let host = run.until_a_fault_is_in_force().chosen[0].host.clone();
        lab.on(&host, reload);
        let run = run.finish();
        let why = lapsed_and_unknown(&run).text.unwrap_or_default();
        assert!(why.contains("reloaded"), "{why}");
        println!("a firewall's reload ({firewall}) is noticed: \"{why}\"; exit {}", run.answer.code);
    }
}

#[test]
#[ignore = "needs root and the lab"]
fn what_is_half_mended_already_is_mended_whole_and_twice_is_once() {
    let inhabited = Inhabited::lab();
    let before = inhabited.footprint();
    let mut run = a_run_with("isolate-leader", &["--lease", "60s", "--faults", "1", "--nemesis-duration", "60s"]).start();
    let host = run.until_a_fault_is_in_force().chosen[0].host.clone();
    run.killed();
    // One of the table's chains and the watchdog's directory are gone already.
    inhabited.lab.on(
        &host,
        "t=$(nft list tables inet | grep -o 'kchaos_[0-9a-f_]*' | head -n 1); nft delete chain inet $t output; rm -rf /run/kchaos/lease",
    );
    for expect in ["healed", "clean"] {
        let healed = kchaos(&["heal", "--break-locks"]).run();
        let line = healed.stdout.lines().find(|line| line.starts_with(&format!("{host}:"))).unwrap_or_default().to_owned();
        assert!(healed.code == 0 && line.contains(expect), "{}{}", healed.stdout, healed.stderr);
    }
    Lab::that_is_whole();
    assert_eq!(inhabited.footprint(), before);
}

#[test]
#[ignore = "needs root and the lab"]
fn a_lock_of_another_run_and_a_host_without_consent_are_refused() {
    let lab = Lab::that_is_whole();
    let before = lab.footprint();
    let take = "read -r up rest </proc/uptime; mkdir -p /run/kchaos/lock; echo \"$(( ${up%.*}00 + 6000 )) other-run somebody@elsewhere, pid 9\" >/run/kchaos/lock/owner";
    lab.on("kafka2", take);
    let refused = a_run_with("none", &["--time-limit", "1s"]).run();
    lab.on("kafka2", "rm -rf /run/kchaos/lock");
    refused.says(3, &["kafka2", "other-run", "somebody@elsewhere"]);

    lab.on("zoo2", "mv /etc/kchaos/allow /etc/kchaos/allow.away");
    let refused = a_run_with("none", &["--time-limit", "1s"]).run();
    lab.on("zoo2", "mv /etc/kchaos/allow.away /etc/kchaos/allow");
    refused.says(3, &["zoo2", "opted in"]);
    assert_eq!(lab.footprint(), before, "something was written");
}

#[test]
#[ignore = "needs root and the lab"]
fn a_revoked_host_key_is_refused() {
    let lab = Lab::that_is_whole();
    let scratch = Scratch::new();
    let text = fs::read_to_string(&lab.inventory).expect("the lab's inventory");
    let line = text.lines().find(|line| line.starts_with("known_hosts_file")).expect("it names its known hosts").to_owned();
    let known = fs::read_to_string(line.split('"').nth(1).expect("a quoted path")).expect("known_hosts");
    let theirs = known.lines().find(|line| line.starts_with("10.99.0.11 ")).expect("kafka1's key").to_owned();
    let copy = scratch.path().join("known_hosts");
    fs::write(&copy, format!("{known}\n@revoked {theirs}\n")).expect("write known_hosts");
    let inventory = lab.inventory_where(scratch.path(), &line, &format!("known_hosts_file = \"{}\"", copy.display()));
    a_run_with("none", &["--time-limit", "1s"]).in_cluster(&inventory).run().says(3, &["kafka1", "revoked"]);
}

/// Planted by reference, by the environment, in a file, and typed: found in no file of the run, in no word of it, and on no host.
#[test]
#[ignore = "needs root and the lab"]
fn planted_secrets_are_found_nowhere() {
    let lab = Lab::that_is_whole();
    let scratch = Scratch::new();
    let file = scratch.path().join("secret");
    fs::write(&file, "canary-of-the-file\n").expect("write a secret");
    let text = fs::read_to_string(&lab.inventory).expect("the lab's inventory");
    let properties =
        format!("\n[kafka.properties]\n\"sasl.password\" = \"env:KCHAOS_CANARY\"\n\"ssl.key.password\" = \"file:{}\"\n", file.display());
    let inventory = scratch.path().join("kchaos.toml");
    let text = if text.contains("[kafka.properties]") {
        text.replacen("\n[kafka.properties]\n", &properties, 1)
    } else {
        text.replacen("\n[zookeeper]", &format!("{properties}\n[zookeeper]"), 1)
    };
    fs::write(&inventory, text).expect("write an inventory");
    let run = a_run_with("isolate-leader", &["--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "3s"])
        .in_cluster(&inventory)
        .and(&["-X", "sasl.username=canary-that-was-typed", "-X", "debug=security,conf"])
        .with_env("KCHAOS_CANARY", OsStr::new("canary-of-the-environment"))
        .finish();
    assert_eq!(run.answer.code, 0, "{}{}", run.answer.stdout, run.answer.stderr);
    let mut seen = 0;
    for (path, text) in texts_of(&run.directory) {
        assert!(!text.contains("canary-"), "a secret stands in {path}");
        seen += 1;
    }
    assert!(!run.answer.stdout.contains("canary-") && !run.answer.stderr.contains("canary-"), "a secret was said aloud");
    for host in &lab.hosts {
        let found = lab.on(host, "grep -rl canary- /run/kchaos /var/lib/kchaos /var/log /tmp 2>/dev/null; true");
        assert_eq!(found, "", "a secret lies on {host}");
    }
    println!("three planted secrets: in none of {seen} files, said nowhere, on no host");
}

fn texts_of(directory: &Path) -> Vec<(String, String)> {
    let (mut texts, mut open) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("the run's directory").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let mut bytes = fs::read(&path).expect("a file of the run");
            if path.extension().is_some_and(|extension| extension == "zst") {
                bytes = zstd::decode_all(bytes.as_slice()).expect("a compressed file");
            }
            texts.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    texts
}

/// Told before anything is begun, by the inventory's limit; and where that says nothing, the host's journal cannot be written: nothing is injected, and the
/// error says where and why.
#[test]
#[ignore = "needs root and the lab"]
fn a_host_whose_disk_is_nearly_full_is_refused_and_nothing_is_injected() {
    for (place, what) in [("/var/lib/kchaos/host", "undone"), ("/run/kchaos/lease", "undone")] {
        let inhabited = Inhabited::lab();
        let before = inhabited.footprint();
        let full = NearlyFull::on(&inhabited.lab, place);
        if place.starts_with("/var") {
            let refused = a_run_with("isolate-host:kafka2", &["--faults", "1"]).run();
            refused.says(3, &[place, "on kafka2 has less than 64 MiB free", "make room, or lower the limit"]);
        }
        let scratch = Scratch::new();
        let inventory = inhabited.lab.inventory_where(scratch.path(), "disk_free_min_mib = 64", "disk_free_min_mib = 0");
        for nemesis in ["isolate-host:kafka2", "kill-host:kafka2"] {
            let trouble = ["--lease", "5s", "--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "3s"];
            let run = a_run_with(nemesis, &trouble).in_cluster(&inventory).finish();
            run.answer.says(3, &["kafka2", "cannot write below", what, "No space left", "make room"]);
            let moments: Vec<_> = run.faults().into_iter().map(|event| event.moment).collect();
            assert!(moments.contains(&FaultMoment::Failed) && !moments.contains(&FaultMoment::InEffect), "{moments:?}");
            let foreign: Vec<_> = run.faults().into_iter().filter(|event| event.moment == FaultMoment::Note).collect();
            assert!(foreign.is_empty(), "{foreign:?}");
            assert_eq!(run.verdict()["valid"], "unknown", "no fault was in force");
            // What was done to a host stays written there, as far as there is room.
            let left = inhabited.lab.on("kafka2", &format!("find {place} -type f ! -name ballast ! -name 'audit.log*'"));
            assert_eq!(left, "", "half a journal was left");
        }
        drop(full);
        assert_eq!(inhabited.footprint(), before);
        println!("nearly full at {place}: refused, nothing injected, nothing left");
    }
}

/// A disk of 16 KiB with 4 KiB left, on one directory of kafka2. Unmounted however the test ends.
struct NearlyFull {
    place: &'static str,
}

impl NearlyFull {
    fn on(lab: &Lab, place: &'static str) -> Self {
        let mount = format!("mkdir -p {place} && mount -t tmpfs -o size=16k none {place} && head -c 12288 /dev/zero >{place}/ballast");
        let full = Self { place };
        lab.on("kafka2", &mount);
        full
    }
}

impl Drop for NearlyFull {
    fn drop(&mut self) {
        let unmount = format!("umount {}", self.place);
        let _ = kchaos(&["lab", "shell", "kafka2", "--", "sh", "-c", &unmount]).run();
    }
}

/// A root queue that somebody chose is not ours to replace.
#[test]
#[ignore = "needs root and the lab"]
fn a_line_with_somebody_s_queue_is_refused_and_the_queue_stays() {
    let inhabited = Inhabited::lab();
    let before = inhabited.footprint();
    let run = a_run_with("slow-zk-follower", &["--faults", "1", "--nemesis-interval", "1s"]).finish();
    run.answer.says(3, &["root queue of eth0 is tbf", "somebody has put there"]);
    assert_eq!(inhabited.footprint(), before);
}

/// Its way back is cut off in the middle of the fault, so that it can only mend itself.
#[test]
#[ignore = "needs root and the lab"]
fn one_host_that_cannot_be_healed_leaves_the_verdict_standing_and_the_others_healed() {
    let inhabited = Inhabited::lab();
    let (state, before) = (inhabited.state(), inhabited.footprint());
    let more = ["--lease", "40s", "--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "4s"];
    let mut run = a_run_with("pause-majority", &more).start();
    let chosen = run.until_a_fault_is_in_force().chosen;
    let (lost, other) = (chosen[0].host.clone(), chosen[1].host.clone());
    let closed = "table inet no_way_in { chain in { type filter hook input priority -300; tcp dport 22 reject with tcp reset; }; }";
    inhabited.lab.on(&lost, &format!("nft '{closed}'"));
    let run = run.finish();
    let still = inhabited.state();
    inhabited.lab.on(&lost, "nft delete table inet no_way_in");
    assert_eq!(run.answer.code, 5, "{}{}", run.answer.stdout, run.answer.stderr);
    let said = &run.answer.stdout;
    assert!(said.contains(&format!("UNHEALED {lost}")) && said.contains("mend it with: kchaos heal"), "{said}");
    assert_eq!(run.verdict()["valid"], true, "what the clients saw stands: {}", run.verdict());
    assert_eq!(still[&other], state[&other], "the other host was healed");
    let took = until_as(&state, &inhabited, Duration::from_secs(42), &format!("{lost} mends itself"));
    let healed = kchaos(&["heal", "--break-locks"]).run();
    assert_eq!(healed.code, 0, "{}", healed.stdout);
    Lab::that_is_whole();
    assert_eq!(inhabited.footprint(), before);
    println!(
        "{lost} could not be healed: exit 5, valid {}, {other} was healed; {lost} mended itself {:.1} s after the run",
        run.verdict()["valid"],
        took.as_secs_f64()
    );
}

/// No fault cuts SSH: a test does.
#[test]
#[ignore = "needs root and the lab"]
fn more_hosts_lost_than_the_limit_end_the_run_and_are_named() {
    let lab = Lab::that_is_whole();
    let scratch = Scratch::new();
    let inventory = lab.inventory_where(scratch.path(), "hosts_down_max = 2", "hosts_down_max = 1");
    let mut run = a_run_with("pause-follower", ONE_FAULT).in_cluster(&inventory).start();
    run.until_a_fault_is_in_force();
    let cut =
        "printf 'table inet somebody {\\n chain in {\\n type filter hook input priority -5\\n tcp dport 22 drop\\n }\\n}\\n' | nft -f -";
    let freed = "nft delete table inet somebody";
    let back = [Afterwards("zoo1", freed), Afterwards("zoo2", freed)];
    for host in ["zoo1", "zoo2"] {
        lab.on(host, cut);
    }
    let since = Instant::now();
    let run = run.finish();
    let took = since.elapsed();
    drop(back);
    assert!(run.answer.stderr.contains("zoo1, zoo2 did not answer by SSH for 30 s"), "{}", run.answer.stderr);
    assert!(took > Duration::from_secs(30) && took < Duration::from_secs(150), "{took:?}");
    // Nobody knows what is on a host that cannot be reached: that outranks the condition.
    let run = run.ends_with(5);
    assert!(run.answer.stdout.contains("still be on zoo1, zoo2"), "{}", run.answer.stdout);
    // Nor has a daemon ended because nobody could ask its host.
    assert_eq!(run.count_of("unexpected-exit"), 0, "{}", run.verdict()["anomalies"]);
    let healed = run.faults().into_iter().find(|event| event.moment == FaultMoment::Healed).and_then(|event| event.proof);
    assert!(healed.is_some_and(|proof| proof.proved), "{:?}", run.faults());
    println!("two hosts without SSH: the run ended {:.1} s later, its fault mended", took.as_secs_f64());
}

fn leased() -> [&'static str; 8] {
    ["--lease", "5s", "--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "25s"]
}

/// The fault ended with its lease, the run says so, and it proves nothing.
fn lapsed_and_unknown(run: &Finished) -> FaultEvent {
    let lapsed = run.faults().into_iter().find(|event| event.moment == FaultMoment::LeaseLapsed);
    let lapsed = lapsed.unwrap_or_else(|| panic!("its end was not noticed: {:?}\n{}", run.faults(), run.answer.stderr));
    assert!(matches!(run.answer.code, 2 | 3), "{}{}", run.answer.stdout, run.answer.stderr);
    assert_eq!(run.verdict()["valid"], "unknown");
    lapsed
}

/// While it lives, nothing of this machine's own reaches the lab's hosts; they reach one another.
struct CutOff;

impl CutOff {
    fn begin() -> Self {
        let table = "add table inet cut_off\ndelete table inet cut_off\ntable inet cut_off {\n chain in { type filter hook input priority 0; policy drop; }\n \
                     chain out { type filter hook output priority 0; policy drop; }\n}\n";
        Self::nft(&format!("printf '%s' '{table}' | nft -f -"));
        Self
    }

    fn nft(script: &str) {
        let net = format!("--net=/run/netns/{}", "kchaos-net");
        let status = Command::new("nsenter").args([&net, "sh", "-c", script]).status().expect("nsenter");
        assert!(status.success(), "{script}");
    }
}

impl Drop for CutOff {
    fn drop(&mut self) {
        Self::nft("nft delete table inet cut_off");
    }
}
