//! How fast a JSONL history is judged, beside yardsticks measured in the same run: `cargo bench -p kchaos-checkers`.
//!
//! Time is the thread's own on a processor, best of three. A figure alone says more of the machine than of the code, so each is also given as a ratio. The history is built in memory from a fixed
//! seed: 4 keys, 8 producers with up to 5 sends in flight each, 1 reader for each key with polls of about 10 records, all read at the end.
//! `KCHAOS_BENCH_SENDS` sets its size (default 400,000 sends, about 900,000 lines).

use std::collections::VecDeque;
use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use kchaos_checkers::{FinalRead, Input, JudgeOptions, Reading, check, read_ops};
use kchaos_core::Validity;

const KEYS: usize = 4;
const PRODUCERS: usize = 8;
const IN_FLIGHT: usize = 5;

fn main() {
    let sends = std::env::var("KCHAOS_BENCH_SENDS").ok().and_then(|text| text.parse().ok()).unwrap_or(400_000);
    let only = std::env::var("KCHAOS_BENCH_ONLY").unwrap_or_default();
    let history = build(sends);
    let lines = memchr::memchr_iter(b'\n', history.as_bytes()).count();
    println!("{sends} sends, {lines} lines, {:.0} MB, {:.0} B a line", history.len() as f64 / 1e6, history.len() as f64 / lines as f64);
    // First: what is freed later is used again, and would hide it.
    memory(&history, sends);
    let (edn, columns, transactions) = (in_edn(&history), in_columns(&history), transactions(sends / 2));
    let parse = |text: &str, name: &str| {
        let mut ops = 0;
        let read = read_ops(text.as_bytes(), name, |op| ops += usize::from(black_box(op).op_type.is_completion()));
        assert!(matches!(&read, Ok(read) if read.ops == lines as u64 && read.truncated.is_none()), "every line is an op: {read:?}");
        ops
    };
    // What is done, how much of it, in which unit.
    let stages: [(&str, usize, &str, &dyn Fn() -> usize); 7] = [
        ("newline scan", lines, "lines", &|| memchr::memchr_iter(b'\n', black_box(history.as_bytes())).count()),
        ("serde_json DOM", lines, "lines", &|| {
            history.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count()
        }),
        ("ops parsed", lines, "lines", &|| parse(&history, "bench")),
        ("ops from EDN", lines, "lines", &|| parse(&edn, "bench.edn")),
        ("check", lines, "lines", &|| judged(history.as_bytes(), 1)),
        ("check, compact", sends, "sends", &|| judged(&columns, 1)),
        ("check, txns", sends / 2, "txns", &|| judged(&transactions, 1)),
    ];
    let mut measured: Vec<(&str, f64)> = Vec::new();
    for (name, amount, unit, work) in stages.iter().filter(|(name, ..)| name.contains(&only)) {
        let seconds = best(work);
        measured.push((name, seconds));
        let beside = |yardstick: &str| measured.iter().find(|(name, _)| *name == yardstick).map_or(f64::NAN, |(_, other)| seconds / other);
        println!(
            "{name:15} {:7.2} M {unit}/s  {:6.3} x the DOM's time  {:7.1} x the scan's",
            *amount as f64 / seconds / 1e6,
            beside("serde_json DOM"),
            beside("newline scan"),
        );
    }
    let (one, two) = by_the_clock(history.as_bytes());
    println!("by the clock, two threads are {:.2} times as fast as one ({:.0} ms, {:.0} ms)", one / two, two * 1e3, one * 1e3);
}

fn judged(history: &[u8], threads: usize) -> usize {
    let open = || -> std::io::Result<Input<'_>> { Ok(Box::new(history)) };
    let options = JudgeOptions { final_read: FinalRead::Complete, ..JudgeOptions::default() };
    let report = check(open, Reading { name: "bench", threads }, options);
    assert!(matches!(&report, Ok(report) if report.valid == Validity::Valid), "the bench's histories are clean: {report:?}");
    report.map_or(0, |report| report.ops as usize)
}

/// Seconds by the clock that one thread and two take, each the best of fifteen, in turn: the machine's speed changes from second to second.
fn by_the_clock(history: &[u8]) -> (f64, f64) {
    let once = |threads| {
        let start = Instant::now();
        black_box(judged(history, threads));
        start.elapsed().as_secs_f64()
    };
    (0..15).map(|_| (once(1), once(2))).fold((f64::INFINITY, f64::INFINITY), |best, now| (best.0.min(now.0), best.1.min(now.1)))
}

/// How much resident memory a check takes at its peak, beyond what was there before it.
fn memory(history: &str, sends: usize) {
    // Forgets the peak so far.
    if std::fs::write("/proc/self/clear_refs", "5").is_err() {
        println!("peak memory: not measured, this kernel does not forget the peak");
        return;
    }
    let before = resident_kib();
    judged(history.as_bytes(), 1);
    let grown = (resident_kib().saturating_sub(before)) as f64 / 1024.0;
    println!("a check takes {grown:.1} MiB at its peak for {:.1} M sends", sends as f64 / 1e6);
}

fn in_columns(history: &str) -> Vec<u8> {
    let mut writer = kchaos_columns::Writer::new(Vec::new()).expect("memory can be written to");
    read_ops(history.as_bytes(), "bench", |op| writer.write(op).expect("memory can be written to")).expect("every line is an op");
    writer.finish().expect("memory can be written to")
}

/// Each transaction sends a value; consumers read committed.
fn transactions(count: usize) -> Vec<u8> {
    let workload = kchaos_synth::Workload::Transactions;
    let options = kchaos_synth::Options { workload, sends: count as u64, seed: 42, ..kchaos_synth::Options::default() };
    let mut text = Vec::new();
    kchaos_synth::Synth::new(options).expect("these options fit together").write(&mut text).expect("memory can be written to");
    text
}

/// Seconds on the processor of the best of three: the machine is shared. Work is repeated until it takes long enough to be measured.
fn best(work: &dyn Fn() -> usize) -> f64 {
    let once = || {
        let (start, mut times) = (cpu_seconds(), 0);
        while cpu_seconds() - start < 0.1 {
            black_box(work());
            times += 1;
        }
        (cpu_seconds() - start) / f64::from(times)
    };
    (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
}

/// How long this thread has run on a processor.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds: u64 = stat.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0);
    assert!(nanoseconds > 0, "this bench needs /proc/thread-self/schedstat");
    nanoseconds as f64 / 1e9
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// `{:index 3, :type :ok, …}`: a name becomes a keyword, a key an integer.
fn in_edn(jsonl: &str) -> String {
    let mut edn = String::with_capacity(jsonl.len());
    for (position, part) in jsonl.split('"').enumerate() {
        if position % 2 == 1 {
            edn.push_str(if part.parse::<i64>().is_ok() { "" } else { ":" });
            edn.push_str(part);
        } else {
            edn.push_str(&part.replacen(':', " ", usize::from(part.starts_with(':'))));
        }
    }
    edn
}

struct Flight {
    process: usize,
    key: usize,
    value: usize,
    offset: usize,
}

fn build(sends: usize) -> String {
    let mut history = History { text: String::with_capacity(sends * 260), index: 0 };
    let mut logs: Vec<Vec<usize>> = vec![Vec::new(); KEYS];
    let (mut read, mut sent) = ([0; KEYS], [0; PRODUCERS]);
    let mut flights: Vec<VecDeque<Flight>> = (0..PRODUCERS).map(|_| VecDeque::new()).collect();
    let mut seed = 42_u64;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for value in 0..sends {
        let client = random(PRODUCERS);
        if flights[client].len() == IN_FLIGHT {
            let oldest = flights[client].pop_front();
            history.acknowledge(client, oldest.as_slice());
        }
        // A lane of the client that is free: they are acknowledged in turn.
        let (key, process) = (random(KEYS), client * IN_FLIGHT + sent[client] % IN_FLIGHT);
        sent[client] += 1;
        history.line(process, "invoke", "send", &format!("[[\"send\",{key},{value}]],\"client\":{client}"));
        flights[client].push_back(Flight { process, key, value, offset: logs[key].len() });
        logs[key].push(value);
        if value % 10 == 9 {
            let key = (value / 10) % KEYS;
            history.poll(key, &logs[key], &mut read[key]);
        }
    }
    for (client, flights) in flights.iter_mut().enumerate() {
        history.acknowledge(client, flights.make_contiguous());
    }
    for key in 0..KEYS {
        history.poll(key, &logs[key], &mut read[key]);
    }
    history.text
}

struct History {
    text: String,
    index: usize,
}

impl History {
    fn line(&mut self, process: usize, op_type: &str, f: &str, value: &str) {
        let (index, time) = (self.index, self.index * 31_337);
        let line = format_args!(r#"{{"index":{index},"time":{time},"process":{process},"type":"{op_type}","f":"{f}","value":{value}}}"#);
        let _ = writeln!(self.text, "{line}");
        self.index += 1;
    }

    fn acknowledge(&mut self, client: usize, flights: &[Flight]) {
        for Flight { process, key, value, offset } in flights {
            self.line(*process, "ok", "send", &format!("[[\"send\",{key},[{offset},{value}]]],\"client\":{client}"));
        }
    }

    fn poll(&mut self, key: usize, log: &[usize], read: &mut usize) {
        let records: Vec<String> = (*read..log.len()).map(|offset| format!("[{offset},{}]", log[offset])).collect();
        *read = log.len();
        let process = 1000 + key;
        self.line(process, "invoke", "poll", "[[\"poll\"]]");
        self.line(process, "ok", "poll", &format!("[[\"poll\",{{\"{key}\":[{}]}}]]", records.join(",")));
    }
}
