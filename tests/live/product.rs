//! The whole product fault × target, slice by slice: what has no record yet in docs/proved.jsonl is proved now, through the door that the lab has.
//!
//! `KCHAOS_PROVED` names the file of records, `KCHAOS_FAULTS_MAX` how many names at most, `KCHAOS_FAULTS_SECONDS` for how long new runs are begun, and
//! `KCHAOS_FAULTS_FIREWALL=iptables` asks for the faults that are made of rules, by iptables. Each fault's first target comes before any second one.
//! What is aimed at most of the daemons may lose what it wants: only proofs are asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kchaos_core::{FaultEvent, FaultMoment, NemesisName, Target};
use kchaos_nemeses::Need;
use kchaos_nemeses::proved::{By, Door, Record};
use kchaos_workloads::{Options, Workload};

use crate::run::{Finished, Scratch, a_run_with, kchaos};

/// Held for long enough to be proved, and no longer.
const TROUBLE: &[&str] = &["--nemesis-interval", "400ms", "--nemesis-duration", "1500ms"];
/// Of one run, about.
const RUN_S: u64 = 100;

/// What is wanted of a slice.
struct Slice {
    file: PathBuf,
    names_max: usize,
    begins_until: Duration,
    door: Door,
    by: Option<By>,
}

/// `false` if nobody asked for a slice.
pub(crate) fn prove(door: Door) -> bool {
    let Some(slice) = Slice::asked_for(door) else { return false };
    let began = Instant::now();
    let mut names = slice.names();
    println!("{} names have no record", names.len());
    names.truncate(slice.names_max);
    let scratch = Scratch::new();
    let inventory = slice.inventory(&scratch);
    let (mut again, mut proved) = (BTreeSet::new(), 0);
    while began.elapsed() <= slice.begins_until
        && let Some(some) = some_of(&mut names)
    {
        until_whole();
        let joined = some.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let flags = some.first().and_then(flags_for).unwrap_or_default();
        let call = a_run_with(&joined, TROUBLE).and(&["--faults", &some.len().to_string()]).and(&flags);
        let run = if let Some(inventory) = &inventory { call.in_cluster(inventory) } else { call }.finish();
        let (done, failed) = what_became_of(&run);
        proved += done.len();
        println!("{} of {} mended in {:.0} s, exit {}: {joined}", done.len(), some.len(), run.took.as_secs_f64(), run.answer.code);
        if run.answer.code != 0 {
            say_why(&run);
        }
        assert!(matches!(run.answer.code, 0..=3), "{}{}", run.answer.stdout, run.answer.stderr);
        // A run ends with its first error; what it did not come to is tried in another.
        let untried = some.into_iter().filter(|name| !done.contains(&name.to_string()) && !failed.contains(&name.to_string()));
        names.extend(untried.filter(|name| again.insert(name.to_string())));
    }
    println!("{proved} proved in {:.0} s, {} left of this slice", began.elapsed().as_secs_f64(), names.len());
    true
}

impl Slice {
    fn asked_for(door: Door) -> Option<Self> {
        let number = |name: &str, otherwise: usize| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise);
        let names_max = number("KCHAOS_FAULTS_MAX", 0);
        let file = std::env::var_os("KCHAOS_PROVED").filter(|_| names_max > 0)?;
        let by = std::env::var("KCHAOS_FAULTS_FIREWALL").is_ok_and(|by| by == "iptables").then_some(By::Iptables);
        let begins_until = Duration::from_secs(u64::try_from(number("KCHAOS_FAULTS_SECONDS", 100_000)).unwrap_or(u64::MAX));
        Some(Self { file: file.into(), names_max, begins_until, door, by })
    }

    /// Those without a record, in the order in which they are tried.
    fn names(&self) -> VecDeque<NemesisName> {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        let known: Vec<Record> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let here = |record: &&Record| record.door == self.door && (record.firewall == Some(By::Iptables)) == self.by.is_some();
        let is_proved = |name: &NemesisName| {
            let target = if name.target == Target::Cluster { String::new() } else { name.target.to_string() };
            known.iter().filter(here).any(|record| record.fault == name.fault && record.target == target)
        };
        let not = not_borne();
        let is_wanted = |name: &NemesisName| {
            let is_borne = !not.iter().any(|not| *not == name.fault || *not == name.to_string());
            is_borne && (self.by.is_none() || spec(name).needs.contains(&Need::Firewall)) && flags_for(name).is_some() && !is_proved(name)
        };
        let mut names: Vec<NemesisName> = kchaos_nemeses::names().filter(is_wanted).collect();
        names.sort_by_key(|name| spec(name).targets.iter().position(|target| *target == name.target));
        names.into()
    }

    fn inventory(&self, scratch: &Scratch) -> Option<PathBuf> {
        self.by?;
        let text = std::fs::read_to_string(kchaos_lab::inventory_path().expect("a lab is up")).expect("the lab's inventory");
        assert!(text.contains("firewall = \"auto\""), "the lab's inventory chooses a firewall");
        let copy = scratch.path().join("kchaos.toml");
        std::fs::write(&copy, text.replacen("firewall = \"auto\"", "firewall = \"iptables\"", 1)).expect("write a copy of the inventory");
        Some(copy)
    }
}

/// What a run needs to find that target; `None`: there is no workload that has such a one.
fn flags_for(name: &NemesisName) -> Option<Vec<&'static str>> {
    let workload = |has: fn(&dyn Workload) -> bool| {
        let spec =
            kchaos_workloads::ALL.iter().find(|spec| (spec.build)(&Options::default()).is_ok_and(|workload| has(workload.as_ref())))?;
        Some(vec!["--workload", spec.name])
    };
    match name.target {
        Target::GroupCoordinator => workload(|workload| !workload.groups("r").is_empty()),
        Target::TxnCoordinator => workload(|workload| !workload.transactional_ids("r").is_empty()),
        // Whoever leads it is alone in its in-sync set.
        Target::LastIsr => Some(vec!["--replication-factor", "1", "--min-insync-replicas", "1"]),
        _ => Some(Vec::new()),
    }
}

fn spec(name: &NemesisName) -> &'static kchaos_nemeses::Spec {
    kchaos_nemeses::ALL.iter().find(|spec| spec.name == name.fault).expect("a fault of the registry")
}

/// The next ones that one run may take: of those that need the same run as the first, as many as fit into its time.
fn some_of(names: &mut VecDeque<NemesisName>) -> Option<Vec<NemesisName>> {
    let flags = flags_for(names.front()?);
    let (mut some, mut others, mut seconds) = (Vec::new(), VecDeque::new(), 0);
    for name in names.drain(..) {
        if seconds < RUN_S && flags_for(&name) == flags {
            seconds += seconds_of(&name);
            some.push(name);
        } else {
            others.push_back(name);
        }
    }
    *names = others;
    Some(some)
}

/// Mending a daemon is waiting for its old registration, and for its start.
fn seconds_of(name: &NemesisName) -> u64 {
    match name.fault.as_str() {
        "rolling-restart" => 40,
        "kill" | "stop" | "restart" | "crash-loop" | "power-loss" | "dead-disk" | "io-error" | "fill" | "corrupt" | "truncate" => 14,
        _ => 5,
    }
}

/// By name: those that were mended, and those that failed, whose reasons are printed.
fn what_became_of(run: &Finished) -> (BTreeSet<String>, BTreeSet<String>) {
    let faults = run.faults();
    let done: BTreeSet<String> = faults.iter().filter(|one| one.moment == FaultMoment::Done).map(|one| one.nemesis.clone()).collect();
    let mut failed = BTreeSet::new();
    let is_doubtful = |one: &&FaultEvent| one.moment == FaultMoment::Failed || one.proof.as_ref().is_some_and(|proof| !proof.proved);
    let mut said = BTreeMap::new();
    for one in faults.iter().filter(is_doubtful) {
        let text = one.text.clone().or_else(|| one.proof.as_ref().map(|proof| proof.text.clone())).unwrap_or_default();
        said.insert((one.nemesis.clone(), format!("{:?}", one.moment)), text);
        if one.moment == FaultMoment::Failed && !done.contains(&one.nemesis) {
            failed.insert(one.nemesis.clone());
        }
    }
    said.iter().for_each(|((nemesis, moment), text)| println!("  {nemesis} {moment}: {text}"));
    (done, failed)
}

/// What is aimed at most of the daemons may lose what it wants, and what is not proved is no failure of a proof: but somebody should know.
fn say_why(run: &Finished) {
    let verdict = run.verdict();
    let found = verdict["anomalies"].as_object().into_iter().flatten();
    let found: Vec<String> = found.map(|(name, finding)| format!("{name} {}", finding["count"])).collect();
    println!("  {} anomalies: {}; reasons: {}", verdict["valid"], found.join(", "), verdict["reasons"]);
}

/// What `kchaos list` says that this lab cannot bear: faults, or single names.
pub(crate) fn not_borne() -> Vec<String> {
    let said = kchaos(&["list", "nemeses"]).run();
    assert_eq!(said.code, 0, "{}", said.stderr);
    said.stdout.lines().filter_map(|line| Some(line.trim().strip_prefix("not ")?.split(':').next()?.to_owned())).collect()
}

/// Waits until everybody is registered and in sync.
pub(crate) fn until_whole() {
    let began = Instant::now();
    while let Some(missing) = what_is_missing() {
        assert!(began.elapsed() < Duration::from_secs(180), "the cluster did not become whole: {missing}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn what_is_missing() -> Option<String> {
    let seen = kchaos(&["status", "--format", "json"]).run();
    if seen.code != 0 {
        return Some(seen.stderr);
    }
    let view = seen.json();
    let length = |list: &serde_json::Value| list.as_array().map_or(0, Vec::len);
    let shrunk = view["partitions"].as_array().into_iter().flatten().find(|one| length(&one["isr"]) < length(&one["replicas"]));
    let mute = view["zookeepers"].as_object().is_some_and(|servers| servers.values().any(|server| server["mode"] == "none"));
    match view["brokers"].as_object().map_or(0, serde_json::Map::len) {
        3 if shrunk.is_none() && !mute => None,
        brokers => Some(format!("{brokers} brokers, ZooKeepers {}, {}", view["zookeepers"], shrunk.unwrap_or(&serde_json::Value::Null))),
    }
}
