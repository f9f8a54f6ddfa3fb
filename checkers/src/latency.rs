//! How long clients waited, from the moment they *meant* to start.
//!
//! Why the intended start: under a fault a client that waits for its turn stops asking, and a latency counted from when it asked hides
//! the very outage it was to measure. An open-model generator says when each op was due ([`kchaos_core::Extra::intended_ns`]); from there
//! it is counted, to the ack. An op without one counts from its invocation.
//!
//! Shapes: HDR histograms, in nanoseconds, 1 µs to 10 minutes, three digits; what lies above is counted (`above_max`) and recorded as 10
//! minutes. By op (`send`, `txn`, `read` …, and `read-lag`: from a value's intended start until a poll first returned it) and by phase of
//! the run (before, trouble, after: nemesis ops named `phase`). A latency belongs to the phase in which it was meant to start.
//!
//! Three outputs: quantiles and distributions ([`LatencyReport`]), a series per second for the report's timeline, and the standard HDR
//! interval log ([`Latency::take_log`]), one line a second for each op and phase, by the second of completion.
//!
//! Memory is bounded: histograms are of fixed size, the series halves its resolution when it grows past an hour, unread values are
//! remembered up to a limit (those beyond it are counted as `untracked`), and the log can be taken away while it grows.

use std::collections::{BTreeMap, VecDeque};

use hdrhistogram::Histogram;
use kchaos_core::{Body, Key, MicroOp, Op, OpType, Polled, Process, Value};
use serde::{Deserialize, Serialize};

use crate::by_id::ById;
use crate::hash::IntMap;
use crate::latency_log::IntervalLog;
use crate::latency_series::{Point, Series, SeriesBuilder};

pub(crate) const LATENCY_MIN_NS: u64 = 1_000;
pub(crate) const LATENCY_MAX_NS: u64 = 600_000_000_000;
/// Values sent and not read yet: 5,000 a second for 40 s.
const UNREAD_MAX: usize = 200_000;
/// Parts of a decade in the coarse distribution that reports draw.
const BUCKETS_PER_DECADE: f64 = 20.0;

/// The name under which the time from sending to reading stands beside the ops.
pub const READ_LAG: &str = "read-lag";

/// Where in a run something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunPhase {
    #[default]
    Before,
    Trouble,
    /// From the last mend on: recovery, the quiet time after it, and the finale.
    After,
}

/// What stands in `latency.json` of the clients' latencies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyReport {
    /// By op, then by phase.
    pub ops: BTreeMap<String, BTreeMap<RunPhase, Distribution>>,
    /// By op, the whole run.
    pub total: BTreeMap<String, Distribution>,
    /// When each phase began.
    pub phases: Vec<(RunPhase, u64)>,
    /// What completed in each phase.
    pub load: BTreeMap<RunPhase, Load>,
    pub series: Series,
    /// Latencies above 10 minutes, recorded as 10 minutes.
    pub above_max: u64,
    /// Values whose read lag is not known because too many were unread at once.
    pub untracked: u64,
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Writes, by what became of them.
    pub ok: u64,
    pub info: u64,
    pub fail: u64,
    /// Records that polls returned while the workload ran.
    pub read: u64,
    /// Records that the finale's polls returned, which reread everything.
    pub read_final: u64,
}

/// One histogram, small enough for a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    pub n: u64,
    pub min_ns: u64,
    pub mean_ns: u64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p95_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub max_ns: u64,
    /// Logarithmic buckets: upper end and count; empty ones are left out.
    pub buckets: Vec<(u64, u64)>,
    /// Percentile curve: quantile (0 to 1) and value.
    pub curve: Vec<(f64, u64)>,
}

/// A histogram in somebody's own bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// Of each bound what is no more than it and more than the one before; the last: what is above all.
    pub counts: Vec<u64>,
    pub sum_ns: f64,
    pub n: u64,
}

/// The measurement, fed op by op.
pub struct Latency {
    phase_starts: Vec<(RunPhase, u64)>,
    /// By process.
    open: ById<Option<Start>>,
    histograms: BTreeMap<(&'static str, RunPhase), Histogram<u64>>,
    unread: Unread,
    series: SeriesBuilder,
    log: IntervalLog,
    load: BTreeMap<RunPhase, Load>,
    above_max: u64,
    time_ns: u64,
}

#[derive(Clone, Copy)]
struct Start {
    intended_ns: u64,
}

/// Values sent and not read yet, oldest first.
#[derive(Default)]
struct Unread {
    sent: IntMap<(Key, Value), Sent>,
    order: VecDeque<(Key, Value)>,
    dropped: u64,
    /// Acknowledged, and still in `sent`: what Jepsen's plots call unseen.
    unseen: u64,
    /// In the order of their acknowledgements, with when that was; those that were read since are taken away when they come first.
    acknowledged: VecDeque<(Key, Value, u64)>,
}

#[derive(Clone, Copy)]
struct Sent {
    start_ns: u64,
    is_acknowledged: bool,
}

impl RunPhase {
    pub const ALL: &[RunPhase] = &[RunPhase::Before, RunPhase::Trouble, RunPhase::After];

    pub fn name(self) -> &'static str {
        match self {
            RunPhase::Before => "before",
            RunPhase::Trouble => "trouble",
            RunPhase::After => "after",
        }
    }

    /// The phase that a nemesis op named `phase` begins: its value is the name, or an object with the name under `phase`.
    pub fn of_op(op: &Op) -> Option<RunPhase> {
        let Body::Nemesis { f, value } = &op.body else { return None };
        if f != "phase" {
            return None;
        }
        let name = value.as_str().or_else(|| value.get("phase")?.as_str())?;
        Some(match name {
            "before" | "setup" | "warm-up" => RunPhase::Before,
            "trouble" => RunPhase::Trouble,
            _ => RunPhase::After,
        })
    }
}

impl Latency {
    /// `started_at_unix_ns` (of the plan) becomes the log's base time.
    pub fn new(started_at_unix_ns: u64) -> Self {
        Self {
            phase_starts: vec![(RunPhase::Before, 0)],
            open: ById::default(),
            histograms: BTreeMap::new(),
            unread: Unread::default(),
            series: SeriesBuilder::default(),
            log: IntervalLog::new(started_at_unix_ns),
            load: BTreeMap::new(),
            above_max: 0,
            time_ns: 0,
        }
    }

    /// An op of the history, in its order.
    pub fn op(&mut self, op: &Op) {
        self.advance(op.time_ns);
        if let Some(phase) = RunPhase::of_op(op) {
            self.begin(phase, op.time_ns);
            return;
        }
        let Process::Client(process) = op.process else { return };
        let process = u64::from(process);
        let Some(name) = timed(&op.body) else {
            if let (Body::Poll(Some(polled)), OpType::Ok) = (&op.body, op.op_type) {
                self.polled(op, polled);
            }
            return;
        };
        let start = if op.op_type == OpType::Invoke {
            let intended_ns = op.extra.intended_ns.unwrap_or(op.time_ns).min(op.time_ns);
            self.open.insert(process, Some(Start { intended_ns }));
            each_sent(&op.body, |key, value| self.unread.sent(key, value, intended_ns));
            return;
        } else {
            self.open.get_mut(process).and_then(Option::take)
        };
        let writes = writes(&op.body);
        self.series.completed(op.op_type, writes);
        self.load().completed(op.op_type, writes);
        match op.op_type {
            OpType::Ok => {
                each_sent(&op.body, |key, value| self.unread.acknowledged(key, value, op.time_ns));
                let start_ns = start.map(|start| start.intended_ns).or(op.extra.intended_ns);
                if let Some(start_ns) = start_ns {
                    self.record(name, start_ns, op.time_ns, writes > 0);
                }
            }
            // What certainly did not happen is never read.
            OpType::Fail => each_sent(&op.body, |key, value| self.unread.forget(key, value)),
            OpType::Info | OpType::Invoke => {}
        }
        if let (Body::Txn(micro_ops), OpType::Ok) = (&op.body, op.op_type) {
            for micro_op in micro_ops {
                if let MicroOp::Poll(Some(polled)) = micro_op {
                    self.polled(op, polled);
                }
            }
        }
    }

    /// The newest second that is over, for whoever looks while it runs; none before the first is.
    pub fn last_second(&self) -> Option<Point> {
        self.series.last_second()
    }

    /// The histograms so far, of all phases together, by op, in these bounds (ascending).
    pub fn counted(&self, bounds_ns: &[u64]) -> BTreeMap<&'static str, Counted> {
        let mut by_op: BTreeMap<&'static str, Counted> = BTreeMap::new();
        for ((name, _), histogram) in &self.histograms {
            let counted = by_op.entry(name).or_insert_with(|| Counted { counts: vec![0; bounds_ns.len() + 1], ..Counted::default() });
            for entry in histogram.iter_recorded() {
                let (value_ns, count) = (entry.value_iterated_to(), entry.count_since_last_iteration());
                counted.counts[bounds_ns.partition_point(|bound| *bound < value_ns)] += count;
                counted.sum_ns += value_ns as f64 * count as f64;
                counted.n += count;
            }
        }
        by_op
    }

    /// Takes away what the HDR interval log has grown by since the last call: to be appended to `latency.hlog`.
    pub fn take_log(&mut self) -> Vec<u8> {
        self.log.take()
    }

    /// Ends the measurement: the report, and the rest of the log.
    pub fn finish(mut self) -> (LatencyReport, Vec<u8>) {
        self.log.close();
        let unseen_since_ns = self.unread.unseen_since_ns();
        let mut report = LatencyReport {
            phases: self.phase_starts,
            load: self.load,
            series: self.series.finish(self.time_ns, (self.unread.unseen, unseen_since_ns)),
            above_max: self.above_max,
            untracked: self.unread.dropped,
            ..LatencyReport::default()
        };
        let mut totals: BTreeMap<&str, Histogram<u64>> = BTreeMap::new();
        for ((name, phase), histogram) in &self.histograms {
            report.ops.entry((*name).to_owned()).or_default().insert(*phase, Distribution::of(histogram));
            // All histograms have the same bounds, so adding cannot fail.
            let _ = totals.entry(name).or_insert_with(latency_histogram).add(histogram);
        }
        report.total = totals.into_iter().map(|(name, histogram)| (name.to_owned(), Distribution::of(&histogram))).collect();
        (report, self.log.take())
    }

    fn advance(&mut self, time_ns: u64) {
        self.time_ns = self.time_ns.max(time_ns);
        let unread = &mut self.unread;
        self.series.advance(time_ns, || (unread.unseen, unread.unseen_since_ns()));
        self.log.advance(time_ns);
    }

    fn begin(&mut self, phase: RunPhase, time_ns: u64) {
        // Recovery, quiet time and finale are all `after`; only a change begins something.
        if self.phase_starts.last().is_none_or(|(last, _)| *last != phase) {
            self.phase_starts.push((phase, time_ns));
        }
    }

    fn phase_at(&self, time_ns: u64) -> RunPhase {
        self.phase_starts.iter().rev().find(|(_, start_ns)| *start_ns <= time_ns).map_or(RunPhase::Before, |(phase, _)| *phase)
    }

    fn polled(&mut self, op: &Op, polled: &Polled) {
        let mut records = 0;
        for (key, values) in &polled.0 {
            records += values.len() as u64;
            for (_, value) in values {
                // What is first read in the finale waited for the finale.
                if let Some(start_ns) = self.unread.read(*key, *value)
                    && !op.extra.is_final
                {
                    self.record(READ_LAG, start_ns, op.time_ns, false);
                }
            }
        }
        if op.extra.is_final {
            self.load().read_final += records;
        } else {
            self.load().read += records;
            self.series.read(records);
        }
    }

    fn load(&mut self) -> &mut Load {
        let phase = self.phase_starts.last().map_or(RunPhase::Before, |(phase, _)| *phase);
        self.load.entry(phase).or_default()
    }

    fn record(&mut self, name: &'static str, start_ns: u64, end_ns: u64, is_write: bool) {
        let mut latency_ns = end_ns.saturating_sub(start_ns);
        if latency_ns > LATENCY_MAX_NS {
            self.above_max += 1;
            latency_ns = LATENCY_MAX_NS;
        }
        let phase = self.phase_at(start_ns);
        self.histograms.entry((name, phase)).or_insert_with(latency_histogram).saturating_record(latency_ns);
        self.log.record(name, phase, latency_ns);
        if is_write {
            self.series.write_latency(latency_ns);
        } else if name == READ_LAG {
            self.series.read_lag(latency_ns);
        }
    }
}

impl Load {
    fn completed(&mut self, op_type: OpType, writes: u64) {
        match op_type {
            OpType::Ok => self.ok += writes,
            OpType::Info => self.info += writes,
            OpType::Fail => self.fail += writes,
            OpType::Invoke => {}
        }
    }
}

impl Unread {
    fn sent(&mut self, key: Key, value: Value, start_ns: u64) {
        // Nobody sends a value twice, but a history may say so.
        self.take((key, value));
        self.sent.insert((key, value), Sent { start_ns, is_acknowledged: false });
        self.order.push_back((key, value));
        // Most of the oldest were read long ago, and only their place in the order is left.
        while let Some(oldest) = self.order.front().copied() {
            if self.order.len() > UNREAD_MAX && self.take(oldest).is_some() {
                self.dropped += 1;
            }
            if self.sent.contains_key(&oldest) {
                break;
            }
            self.order.pop_front();
        }
    }

    fn acknowledged(&mut self, key: Key, value: Value, time_ns: u64) {
        // A poll may return it before its ack does.
        let Some(sent) = self.sent.get_mut(&(key, value)).filter(|sent| !sent.is_acknowledged) else { return };
        sent.is_acknowledged = true;
        self.unseen += 1;
        self.acknowledged.push_back((key, value, time_ns));
        if self.acknowledged.len() > UNREAD_MAX {
            self.acknowledged.pop_front();
        }
    }

    fn read(&mut self, key: Key, value: Value) -> Option<u64> {
        self.take((key, value)).map(|sent| sent.start_ns)
    }

    fn forget(&mut self, key: Key, value: Value) {
        self.take((key, value));
    }

    fn take(&mut self, id: (Key, Value)) -> Option<Sent> {
        let sent = self.sent.remove(&id)?;
        self.unseen -= u64::from(sent.is_acknowledged);
        Some(sent)
    }

    /// Since when the oldest of the acknowledged values waits to be read.
    fn unseen_since_ns(&mut self) -> Option<u64> {
        while let Some((key, value, time_ns)) = self.acknowledged.front() {
            if self.sent.contains_key(&(*key, *value)) {
                return Some(*time_ns);
            }
            self.acknowledged.pop_front();
        }
        None
    }
}

impl Distribution {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let max_ns = histogram.max();
        let at = |quantile: f64| histogram.value_at_quantile(quantile).min(max_ns);
        Self {
            n: histogram.len(),
            min_ns: histogram.min(),
            mean_ns: histogram.mean() as u64,
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p95_ns: at(0.95),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns,
            buckets: buckets(histogram),
            curve: curve(histogram),
        }
    }
}

/// 1 µs to 10 minutes, three digits.
pub(crate) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, 3).expect("the bounds are constants that HDR accepts")
}

fn buckets(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    let mut buckets: BTreeMap<i32, u64> = BTreeMap::new();
    for entry in histogram.iter_recorded() {
        let position = (entry.value_iterated_to().max(1) as f64).log10() * BUCKETS_PER_DECADE;
        *buckets.entry(position.ceil() as i32).or_default() += entry.count_since_last_iteration();
    }
    buckets.into_iter().map(|(position, count)| (10f64.powf(f64::from(position) / BUCKETS_PER_DECADE) as u64, count)).collect()
}

/// Points ever closer to 1, as many as the number of values can tell apart.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    let max_ns = histogram.max();
    let mut points = vec![(0.0, histogram.min())];
    let mut rest = 1.0;
    while rest * histogram.len() as f64 >= 1.0 && points.len() < 100 {
        for part in [0.9, 0.75, 0.6, 0.5] {
            let quantile = 1.0 - rest * part;
            points.push((quantile, histogram.value_at_quantile(quantile).min(max_ns)));
        }
        rest /= 2.0;
    }
    points.push((1.0, max_ns));
    points
}

/// The name under which an op's latency is kept; a poll waits for records, so how long it took says nothing.
fn timed(body: &Body) -> Option<&'static str> {
    match body {
        Body::Send(_) => Some("send"),
        Body::Txn(_) => Some("txn"),
        Body::Commit(_) => Some("commit"),
        Body::Read { .. } => Some("read"),
        Body::Write { .. } => Some("write"),
        Body::Cas { .. } => Some("cas"),
        _ => None,
    }
}

/// How many writes an op carries.
fn writes(body: &Body) -> u64 {
    match body {
        Body::Send(sends) => sends.len() as u64,
        Body::Txn(micro_ops) => micro_ops.iter().filter(|micro_op| matches!(micro_op, MicroOp::Send(_))).count() as u64,
        Body::Write { .. } | Body::Cas { .. } => 1,
        _ => 0,
    }
}

fn each_sent(body: &Body, mut call: impl FnMut(Key, Value)) {
    match body {
        Body::Send(sends) => sends.iter().for_each(|send| call(send.key, send.value)),
        Body::Txn(micro_ops) => micro_ops.iter().for_each(|micro_op| {
            if let MicroOp::Send(send) = micro_op {
                call(send.key, send.value);
            }
        }),
        _ => {}
    }
}
