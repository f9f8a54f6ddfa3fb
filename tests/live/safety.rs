//! FAULTS.md's acceptance: whatever becomes of kchaos, its machine and its network in the middle of a fault, the hosts are as before.
//!
//! `make test-safety` runs these, with leftovers, refusals and interruptions; they take too long for every day.
//! `KCHAOS_SAFETY_KILLS` says how often kchaos is killed (50), `KCHAOS_SAFETY_STOP` for how many seconds it is stopped (60).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kchaos_core::{FaultEvent, FaultMoment};
use rand::prelude::*;

use crate::lab::Lab;
use crate::run::{Finished, Scratch, a_run_with, kchaos};

const LEASE: Duration = Duration::from_secs(5);
/// What the hosts are given beyond the lease.
const GRACE: Duration = Duration::from_secs(2);
/// From every family that acts on hosts or asks the cluster, on one daemon and on several.
const FAMILIES: &[&str] = &[
    "kill-leader",
    "stop-follower",
    "pause-controller",
    "restart-random",
    "crash-loop-leader",
    "rolling-restart",
    "kill-all",
    "kill-zk-leader",
    "pause-zk-all",
    "isolate-leader",
    "isolate-zk-follower",
    "deposed-leader",
    "move-leader",
    "reassign",
    "change-config",
    "change-config-random",
];

/// What an administrator may have: a firewall of each kind, a set with a timeout of its own, chains that are called almost like ours.
const USER_RULES: &str = "
nft -f - <<'END'
table inet filter_of_others {
 set s { type ipv4_addr; flags timeout; elements = { 192.0.2.1 timeout 1d } }
 chain in { type filter hook input priority 0; policy accept; tcp dport 4445 counter drop; }
}
table inet kchaosx { chain c { counter accept; } }
END
iptables -N KCHAOSX && iptables -A INPUT -p tcp --dport 4444 -j KCHAOSX && iptables -A KCHAOSX -j DROP
tc qdisc replace dev eth0 root tbf rate 900mbit burst 64kb latency 50ms 2>/dev/null; true";
const NO_USER_RULES: &str = "
nft delete table inet filter_of_others; nft delete table inet kchaosx
iptables -D INPUT -p tcp --dport 4444 -j KCHAOSX; iptables -F KCHAOSX; iptables -X KCHAOSX
for f in ip ip6; do for c in INPUT OUTPUT FORWARD; do nft delete chain $f filter $c 2>/dev/null; done; nft delete table $f filter 2>/dev/null; done
tc qdisc del dev eth0 root 2>/dev/null; true";

/// The lab with somebody's rules on every host, which are taken away however a test ends.
struct Inhabited {
    lab: Lab,
}

impl Inhabited {
    fn lab() -> Self {
        let lab = Lab::that_is_whole();
        for host in &lab.hosts {
            lab.on(host, USER_RULES);
        }
        Self { lab }
    }

    /// Files of ours, rules, chains, qdiscs.
    fn footprint(&self) -> BTreeMap<String, String> {
        let queues = |host: &String| self.lab.on(host, "tc qdisc show dev eth0 | sed 's/ [0-9a-f]*: / /'");
        self.lab.footprint().into_iter().map(|(host, text)| (host.clone(), without_expiries(&text) + &queues(&host))).collect()
    }

    /// Rules and queues alone: files of ours stay until they are swept.
    fn rules(&self) -> BTreeMap<String, String> {
        self.lab.hosts.iter().map(|host| (host.clone(), without_expiries(&self.lab.rules(host)))).collect()
    }

    fn stopped_processes(&self) -> Vec<String> {
        let script = "for f in /proc/[0-9]*/stat; do sed -n 's/.*) T .*/T/p' $f; done 2>/dev/null; true";
        self.lab.hosts.iter().filter(|host| self.lab.on(host, script).contains('T')).cloned().collect()
    }
}

impl Drop for Inhabited {
    fn drop(&mut self) {
        for host in &self.lab.hosts {
            let _ = kchaos(&["lab", "shell", host, "--", "sh", "-c", NO_USER_RULES]).run();
        }
    }
}

fn without_expiries(rules: &str) -> String {
    let words = |line: &str| {
        let mut words: Vec<&str> = line.split(' ').collect();
        while let Some(place) = words.iter().position(|word| *word == "expires") {
            words.drain(place..(place + 2).min(words.len()));
        }
        words.join(" ")
    };
    rules.lines().map(words).collect::<Vec<_>>().join("\n")
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
#[ignore = "needs root, the lab and half an hour"]
fn kchaos_is_killed_at_random_moments_over_all_families() {
    let inhabited = Inhabited::lab();
    let before = inhabited.footprint();
    let rules = inhabited.rules();
    let seed = number("KCHAOS_SAFETY_SEED", rand::rng().random());
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let (mut mended, mut slowest) = (0, Duration::ZERO);
    let kills = number("KCHAOS_SAFETY_KILLS", 50);
    println!("{kills} kills, KCHAOS_SAFETY_SEED={seed}");
    for n in 0..kills {
        let nemesis = FAMILIES[usize::try_from(n).unwrap_or(0) % FAMILIES.len()];
        let trouble = ["--lease", "5s", "--faults", "3", "--nemesis-interval", "500ms", "--nemesis-duration", "8s", "--time-limit", "5m"];
        let run = a_run_with(nemesis, &trouble).start();
        // Preflight and the quiet time take some seconds: most kills come later.
        let moment = Duration::from_millis(random.random_range(3_000..25_000));
        std::thread::sleep(moment);
        run.killed();
        let took = until(LEASE + GRACE, &format!("{nemesis} killed after {moment:?}: rules as before and nobody stopped"), || {
            inhabited.rules() == rules && inhabited.stopped_processes().is_empty()
        });
        slowest = slowest.max(took);
        let healed = kchaos(&["heal"]).run();
        assert_eq!(healed.code, 0, "{nemesis} killed after {moment:?}: {}{}", healed.stdout, healed.stderr);
        mended += u32::from(healed.stdout.contains(": healed"));
        let again = kchaos(&["heal"]).run();
        assert_eq!(again.stdout.matches(": clean").count(), inhabited.lab.hosts.len(), "{}", again.stdout);
        kchaos(&["heal", "--break-locks"]).run();
        Lab::that_is_whole();
        assert_eq!(inhabited.footprint(), before, "{nemesis} killed after {moment:?}");
        println!("  {n:>2} {nemesis:<20} killed after {:>4.1} s: as before {:.1} s later", moment.as_secs_f64(), took.as_secs_f64());
    }
    println!(
        "{kills} kills: {mended} found something to mend; hosts as before {:.1} s after the kill at the latest",
        slowest.as_secs_f64()
    );
}

#[test]
#[ignore = "needs root and the lab"]
fn the_controller_s_machine_is_cut_off_in_the_middle_of_a_fault() {
    let inhabited = Inhabited::lab();
    let (rules, before) = (inhabited.rules(), inhabited.footprint());
    let mut run = a_run_with("isolate-leader", &leased()).start();
    run.until_a_fault_is_in_force();
    let cut = CutOff::begin();
    let took = until(LEASE + GRACE, "the hosts are as before while nobody can reach them", || inhabited.rules() == rules);
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
    let (rules, before) = (inhabited.rules(), inhabited.footprint());
    for nemesis in ["isolate-leader", "pause-leader"] {
        let mut run = a_run_with(nemesis, &leased()).start();
        run.until_a_fault_is_in_force();
        run.signal(libc::SIGSTOP);
        let took = until(LEASE + GRACE, "the hosts are as before while kchaos stands still", || {
            inhabited.rules() == rules && inhabited.stopped_processes().is_empty()
        });
        std::thread::sleep(Duration::from_secs(number("KCHAOS_SAFETY_STOP", 60)));
        assert!(inhabited.rules() == rules && inhabited.stopped_processes().is_empty(), "nothing was put back");
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
    let lab = Lab::that_is_whole();
    let mut run = a_run_with("isolate-leader", &["--lease", "5s", "--faults", "1", "--nemesis-duration", "12s"]).start();
    let host = run.until_a_fault_is_in_force().chosen[0].host.clone();
    // As an administrator's script does it.
    lab.on(&host, "nft flush ruleset");
    let run = run.finish();
    let lapsed = lapsed_and_unknown(&run);
    let why = lapsed.text.unwrap_or_default();
    assert!(why.contains("reloaded"), "{why}");
    println!("a firewall's reload is noticed: \"{why}\"; exit {}", run.answer.code);
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

/// How long after now it became so; later than this is a failure.
fn until(limit: Duration, what: &str, is_so: impl Fn() -> bool) -> Duration {
    let since = Instant::now();
    loop {
        // A look takes a moment itself: what counts is when it began.
        let looked = since.elapsed();
        if is_so() {
            return looked;
        }
        assert!(looked < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
