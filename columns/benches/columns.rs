//! How compact the compact history is and how fast it is read, beside yardsticks measured in the same run: `cargo bench -p kchaos-columns`.
//!
//! A send is its invocation, its acknowledgement and its record in one poll. Time is the thread's own on a processor, best of three. A figure alone
//! says more of the machine than of the code, so each is also given as a ratio to the time that zstd takes to unpack the same history as JSON lines.
//! Histories are built in memory from a fixed seed; times between ops vary as those of independent clients do. `KCHAOS_BENCH_SENDS` sets the size
//! (default 400,000 sends).

use std::collections::VecDeque;
use std::hint::black_box;

use kchaos_columns::{Ops, Reader, Writer};
use kchaos_core::{Body, Extra, Op, OpType, Polled, Process, Send};

const IN_FLIGHT: usize = 5;

struct Shape {
    name: &'static str,
    keys: usize,
    producers: usize,
    /// Sends between two polls.
    poll_every: usize,
    /// Values count up for each key, and the intended start and the node stand beside, as in a run of kchaos itself.
    is_own: bool,
}

const SHAPES: [Shape; 4] = [
    Shape { name: "4 keys, 8 producers, polls of 10", keys: 4, producers: 8, poll_every: 10, is_own: false },
    Shape { name: "16 keys, 64 producers, polls of 50", keys: 16, producers: 64, poll_every: 50, is_own: false },
    Shape { name: "64 keys, 256 producers, polls of 100", keys: 64, producers: 256, poll_every: 100, is_own: false },
    Shape { name: "as kchaos writes: 16 keys, 64 producers, polls of 50", keys: 16, producers: 64, poll_every: 50, is_own: true },
];

fn main() {
    let sends = std::env::var("KCHAOS_BENCH_SENDS").ok().and_then(|text| text.parse().ok()).unwrap_or(400_000);
    for shape in &SHAPES {
        measure(shape, sends);
    }
}

fn measure(shape: &Shape, sends: usize) {
    let ops = build(shape, sends);
    let mut lines = String::new();
    for op in &ops {
        op.write_json(&mut lines);
        lines.push('\n');
    }
    let compressed = zstd::bulk::compress(lines.as_bytes(), 3).expect("memory to compress in");
    let bytes = encoded(&ops);
    check(&bytes, &ops);
    let per_send = |bytes: usize| bytes as f64 / sends as f64;
    println!(
        "{}: {} ops; bytes a send: JSON lines {:.0}, with zstd {:.1}, compact {:.2}",
        shape.name,
        ops.len(),
        per_send(lines.len()),
        per_send(compressed.len()),
        per_send(bytes.len())
    );
    let unpack = best(|| zstd::bulk::decompress(black_box(&compressed), lines.len()).map_or(0, |bytes| bytes.len()));
    let parse = best(|| lines.lines().filter(|line| black_box(Op::read_json(line.as_bytes())).is_ok()).count());
    let write = best(|| encoded(&ops).len());
    let read = best(|| decode(&bytes, |ops| ops.len()));
    // What any checker does at least: it looks at the body of every op.
    let touch = best(|| decode(&bytes, |ops| ops.iter().map(touched).sum()));
    for (name, seconds) in
        [("zstd unpacks JSON", unpack), ("JSON lines read", parse), ("written", write), ("read", read), ("read and seen", touch)]
    {
        println!(
            "  {name:17} {:7.2} M sends/s  {:6.1} ns a send  {:6.2} x the unpacking of JSON",
            sends as f64 / seconds / 1e6,
            seconds / sends as f64 * 1e9,
            seconds / unpack
        );
    }
}

fn encoded(ops: &[Op]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).expect("memory to write to");
    ops.iter().for_each(|op| writer.write(op).expect("ops are dense"));
    writer.finish().expect("memory to write to")
}

fn decode(bytes: &[u8], mut each: impl FnMut(&[Op]) -> usize) -> usize {
    let mut reader = Reader::new(bytes).expect("a compact history");
    let (mut ops, mut all) = (Ops::new(), 0);
    while reader.next_block(&mut ops).expect("a whole history") {
        all += each(black_box(&ops));
    }
    all
}

fn touched(op: &Op) -> usize {
    match &op.body {
        Body::Send(sends) => sends.iter().map(|send| (send.value ^ send.offset.unwrap_or(send.key)) as usize & 1).sum(),
        Body::Poll(Some(polled)) => {
            polled.0.iter().map(|(_, records)| records.iter().map(|(offset, value)| (offset ^ value) as usize & 1).sum::<usize>()).sum()
        }
        _ => 0,
    }
}

fn check(bytes: &[u8], ops: &[Op]) {
    let mut at = 0;
    decode(bytes, |read| {
        assert!(read == &ops[at..at + read.len()], "what is read is what was written");
        at += read.len();
        0
    });
    assert_eq!(at, ops.len());
}

/// Seconds on the processor of the best of three: the machine is shared. Work is repeated until it takes long enough to be measured.
fn best(mut work: impl FnMut() -> usize) -> f64 {
    let mut once = || {
        let (start, mut times) = (cpu_seconds(), 0);
        while cpu_seconds() - start < 0.2 {
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

struct Flight {
    process: usize,
    key: usize,
    value: usize,
    offset: usize,
    intended_ns: u64,
}

struct History<'a> {
    shape: &'a Shape,
    ops: Vec<Op>,
    time_ns: u64,
    seed: u64,
}

fn build(shape: &Shape, sends: usize) -> Vec<Op> {
    let mut history = History { shape, ops: Vec::with_capacity(sends * 3), time_ns: 0, seed: 42 };
    let mut logs: Vec<Vec<usize>> = vec![Vec::new(); shape.keys];
    let (mut read, mut sent) = (vec![0; shape.keys], vec![0; shape.producers]);
    let mut flights: Vec<VecDeque<Flight>> = (0..shape.producers).map(|_| VecDeque::new()).collect();
    for number in 0..sends {
        let client = history.random(shape.producers);
        if flights[client].len() == IN_FLIGHT {
            let oldest = flights[client].pop_front();
            history.acknowledge(client, oldest.as_slice());
        }
        let (key, process) = (history.random(shape.keys), client * IN_FLIGHT + sent[client] % IN_FLIGHT);
        sent[client] += 1;
        let (value, offset) = (if shape.is_own { logs[key].len() + 1 } else { number }, logs[key].len());
        let flight = Flight { process, key, value, offset, intended_ns: number as u64 * 70_000 };
        history.send(client, &flight, OpType::Invoke);
        flights[client].push_back(flight);
        logs[key].push(value);
        if number % shape.poll_every == shape.poll_every - 1 {
            let key = (number / shape.poll_every) % shape.keys;
            history.poll(key, &logs[key], &mut read[key]);
        }
    }
    for (client, flights) in flights.iter_mut().enumerate() {
        history.acknowledge(client, flights.make_contiguous());
    }
    for key in 0..shape.keys {
        history.poll(key, &logs[key], &mut read[key]);
    }
    history.ops
}

impl History<'_> {
    fn random(&mut self, below: usize) -> usize {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) as usize % below
    }

    fn push(&mut self, process: usize, op_type: OpType, body: Body, client: Option<u32>) -> &mut Op {
        // As between the events of a Poisson process, 35 us on average.
        let uniform = (self.random(1 << 30) + 1) as f64 / f64::from(1 << 30);
        self.time_ns += (-uniform.ln() * 35_000.0) as u64 + 1;
        let (index, process) = (self.ops.len() as u64, Process::Client(process as u32));
        let op = Op { index, time_ns: self.time_ns, process, op_type, body, error: None, client, node: None, extra: Extra::default() };
        self.ops.push(op);
        let last = self.ops.len() - 1;
        &mut self.ops[last]
    }

    fn send(&mut self, client: usize, flight: &Flight, op_type: OpType) {
        let is_own = self.shape.is_own;
        let Flight { process, key, value, offset, intended_ns } = *flight;
        let done = op_type == OpType::Ok;
        let send = Send { key: key as i64, value: value as i64, offset: done.then_some(offset as i64) };
        let op = self.push(process, op_type, Body::Send(vec![send]), Some(client as u32));
        if is_own {
            op.extra.intended_ns = Some(intended_ns);
            op.node = done.then(|| format!("kafka:{}", key % 3 + 1));
        }
    }

    fn acknowledge(&mut self, client: usize, flights: &[Flight]) {
        for flight in flights {
            self.send(client, flight, OpType::Ok);
        }
    }

    fn poll(&mut self, key: usize, log: &[usize], read: &mut usize) {
        let records = (*read..log.len()).map(|offset| (offset as i64, log[offset] as i64)).collect();
        *read = log.len();
        let process = 10_000 + key;
        self.push(process, OpType::Invoke, Body::Poll(None), None);
        self.push(process, OpType::Ok, Body::Poll(Some(Polled(vec![(key as i64, records)]))), None);
    }
}
