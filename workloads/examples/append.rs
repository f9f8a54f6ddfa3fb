//! Runs `append` by itself and judges it roughly: rate, latency from the intended start, CPU by thread, lost and doubled values.
//!
//!     cargo run -p kchaos-workloads --example append -- BOOTSTRAP SECONDS [OPTION=VALUE…] [-X key=value…]
//!
//! An option is a field of `Options` as JSON: `rate=5000 idempotence=false acks='"1"' replication_factor=1 min_insync_replicas=1`.
//! With `pause_pid=PID` the process PID is stopped for 4 s, a third into the run and again at two thirds: a leader that hangs.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kchaos_core::{Body, Clock, Draft, Key, Offset, OpType, Recorder, Stamp, Value};
use kchaos_workloads::{Context, FinalTarget, LogRing, Options, Running, create_topics, delete_topics, find};

struct RunClock(Instant);

impl Clock for RunClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Keeps what the summary needs, and not the ops.
#[derive(Default)]
struct Memory {
    clock: Option<Arc<dyn Clock>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    index: u64,
    completions: HashMap<u32, bool>,
    latencies_us: Vec<u32>,
    acked: HashMap<(Key, Value), Option<Offset>>,
    read: HashMap<(Key, Value), Vec<Offset>>,
    errors: BTreeMap<String, u64>,
    corrupt: Vec<String>,
    polls: u64,
}

impl Recorder for Memory {
    fn record(&self, draft: Draft) -> Stamp {
        let mut state = self.state.lock().expect("no recorder panicked");
        let time_ns = self.clock.as_ref().map_or(0, |clock| clock.now_ns());
        let stamp = Stamp { index: state.index, time_ns };
        state.index += 1;
        if let kchaos_core::Process::Client(process) = draft.process {
            let was_open = state.completions.insert(process, draft.op_type == OpType::Invoke);
            assert_eq!(was_open.unwrap_or(false), draft.op_type != OpType::Invoke, "process {process} does one thing at a time: {draft:?}");
        }
        if let Some(error) = &draft.error {
            *state.errors.entry(format!("{} {} {error}", draft.body.f(), draft.op_type.name())).or_default() += 1;
        }
        for (key, offset, wrong) in &draft.extra.corrupt {
            state.corrupt.push(format!("key {key} offset {offset}: {wrong}"));
        }
        match (&draft.body, draft.op_type) {
            (Body::Send(sends), OpType::Ok) => {
                let micros = (time_ns - draft.extra.intended_ns.unwrap_or(time_ns).min(time_ns)) / 1_000;
                state.latencies_us.push(u32::try_from(micros).unwrap_or(u32::MAX));
                for send in sends {
                    state.acked.insert((send.key, send.value), send.offset);
                }
            }
            (Body::Poll(Some(polled)), _) => {
                state.polls += 1;
                if draft.extra.is_final {
                    for (key, records) in &polled.0 {
                        for (offset, value) in records {
                            state.read.entry((*key, *value)).or_default().push(*offset);
                        }
                    }
                }
            }
            _ => (),
        }
        stamp
    }
}

struct Arguments {
    bootstrap: String,
    seconds: u64,
    options: Options,
    pause_pid: Option<String>,
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let bootstrap = words.next().ok_or("which bootstrap servers?")?;
    let seconds = words.next().ok_or("how many seconds?")?.parse()?;
    let mut options = serde_json::to_value(Options::default())?;
    let (mut properties, mut pause_pid) = (Vec::new(), None);
    while let Some(word) = words.next() {
        let word = if word == "-X" { format!("X:{}", words.next().ok_or("-X needs key=value")?) } else { word };
        let (name, value) = word.split_once('=').ok_or_else(|| format!("{word} is not name=value"))?;
        match (name.strip_prefix("X:"), name) {
            (Some(property), _) => properties.push((property.to_owned(), value.to_owned())),
            (None, "pause_pid") => pause_pid = Some(value.to_owned()),
            (None, option) => options[option] = serde_json::from_str(value)?,
        }
    }
    options["properties"] = serde_json::to_value(properties)?;
    Ok(Arguments { bootstrap, seconds, options: serde_json::from_value(options)?, pause_pid })
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { bootstrap, seconds, options, pause_pid } = arguments()?;
    let clock: Arc<dyn Clock> = Arc::new(RunClock(Instant::now()));
    let memory = Arc::new(Memory { clock: Some(Arc::clone(&clock)), state: Mutex::default() });
    let log = Arc::new(LogRing::new(200));
    let run_id = format!("example-{}", std::process::id());
    let recorder: Arc<dyn Recorder> = memory.clone();
    let context = Context {
        run_id: run_id.clone(),
        seed: 1,
        bootstrap,
        zookeeper: None,
        properties: BTreeMap::new(),
        recorder,
        clock,
        log: log.clone(),
        admin: None,
        cut_off: None,
        client_hosts: Vec::new(),
        java: None,
    };
    let workload = (find("append").ok_or("no append")?.build)(&options)?;
    let topics = workload.topics(&run_id);
    create_topics(&context, &topics, Duration::from_secs(20))?;
    let mut running = workload.start(context.clone())?;
    let cpu_start = cpu_by_thread();
    watch(running.as_ref(), seconds, pause_pid.as_deref());
    let cpu = cpu_difference(&cpu_start, &cpu_by_thread());

    let begin = Instant::now();
    println!("{:?} in {:?}", running.stop_writes(Duration::from_secs(65)), begin.elapsed());
    let targets: Vec<FinalTarget> = running
        .counts()
        .keys
        .iter()
        .map(|key| FinalTarget { key: key.key, start: 0, end: key.acked_offset_max.map_or(0, |offset| offset + 1), leader_epoch: i32::MAX })
        .collect();
    let begin = Instant::now();
    let outcome = running.finale(&targets, Duration::from_secs(20));
    println!("finale in {:?}: complete {}, {:?}", begin.elapsed(), outcome.is_complete(), outcome.errors);
    let counts = running.counts();
    let begin = Instant::now();
    println!("{:?} in {:?}", running.stop(Duration::from_secs(10)), begin.elapsed());
    println!("{counts:?}");
    summary(&memory, seconds, &cpu);
    let (lines, dropped) = log.take();
    println!("client log: {} lines kept, {dropped} dropped", lines.len());
    for line in lines.iter().rev().take(5).rev() {
        println!("  {:>8.3} s {} {} {}: {}", line.time_ns as f64 / 1e9, line.client, line.level, line.facility, line.text);
    }
    delete_topics(&context, &topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>(), Duration::from_secs(10))?;
    Ok(())
}

fn watch(running: &dyn Running, seconds: u64, pause_pid: Option<&str>) {
    let begin = Instant::now();
    for second in 1..=seconds {
        let stops = pause_pid.filter(|_| second == seconds / 3 || second == seconds * 2 / 3);
        if let Some(pid) = stops {
            signal("-STOP", pid);
            std::thread::sleep(Duration::from_secs(4));
            signal("-CONT", pid);
        }
        std::thread::sleep((begin + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        if second % 5 == 0 {
            let counts = running.counts();
            let (outstanding, lag) = (counts.outstanding(), counts.lag());
            println!(
                "{second:>4} s: invoked {} ok {} fail {} info {} open {outstanding} backlog {} shed {} read {} lag {lag} rss {} MiB",
                counts.invoked,
                counts.ok,
                counts.fail,
                counts.info,
                counts.backlog,
                counts.shed,
                counts.records_polled,
                resident_mib()
            );
        }
    }
}

fn signal(name: &str, pid: &str) {
    println!("kill {name} {pid}: {:?}", Command::new("kill").args([name, pid]).status().map(|status| status.success()));
}

fn summary(memory: &Memory, seconds: u64, cpu: &BTreeMap<String, f64>) {
    let mut state = memory.state.lock().expect("no recorder panicked");
    state.latencies_us.sort_unstable();
    let count = state.latencies_us.len();
    let at = |part: f64| {
        state.latencies_us.get(((count as f64 * part) as usize).min(count.saturating_sub(1))).map_or(0.0, |us| f64::from(*us) / 1e3)
    };
    println!("{count} acknowledged, {:.0}/s; {} lines of history, {} polls", count as f64 / seconds as f64, state.index, state.polls);
    println!("latency from the intended start, ms: p50 {:.1} p95 {:.1} p99 {:.1} max {:.1}", at(0.5), at(0.95), at(0.99), at(1.0));
    let lost: Vec<_> = state.acked.iter().filter(|(id, _)| !state.read.contains_key(*id)).collect();
    let doubled: Vec<_> = state.read.iter().filter(|(_, offsets)| offsets.len() > 1).collect();
    let moved =
        state.acked.iter().filter(|(id, offset)| offset.is_some_and(|offset| state.read.get(*id).is_some_and(|at| !at.contains(&offset))));
    println!("lost {} {:?}", lost.len(), lost.iter().take(3).collect::<Vec<_>>());
    println!("doubled {} {:?}", doubled.len(), doubled.iter().take(3).collect::<Vec<_>>());
    println!("read elsewhere than acknowledged: {}; corrupt {:?}", moved.count(), state.corrupt);
    println!("open at the end: {}", state.completions.values().filter(|is_open| **is_open).count());
    println!("errors: {:#?}", state.errors);
    println!("CPU {:.2} of a core: {cpu:.3?}", cpu.values().sum::<f64>() / seconds as f64);
}

/// Seconds of CPU by thread name (with numbers cut off), from `/proc`.
fn cpu_by_thread() -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return all };
    for task in tasks.flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
        let name = head.split_once('(').map_or("?", |(_, name)| name).trim_end_matches(|letter: char| letter.is_ascii_digit());
        let ticks: f64 = tail.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        *all.entry(name.to_owned()).or_insert(0.0) += ticks / 100.0;
    }
    all
}

fn cpu_difference(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    after
        .iter()
        .map(|(name, seconds)| (name.clone(), seconds - before.get(name).unwrap_or(&0.0)))
        .filter(|(_, seconds)| *seconds > 0.0)
        .collect()
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}
