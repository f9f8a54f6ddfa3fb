//! When a partition took no writes although somebody tried: unavailable windows, and partitions that never came back.
//!
//! A window opens at the earliest moment since the last ack at which an attempt was open (its intended start, where there is one), and
//! closes with the next ack. An attempt that failed leaves it open: nothing has shown the partition to be back. A window that is open at
//! the end of the run counts, up to the end of the last attempt; so does one that was open since the first attempt. A quiet partition, to
//! which nobody wrote, has none. An ack is an ok, or an offset inside an info.
//!
//! Limits: an attempt refused for its own fault (a record too large) counts as an attempt like any other.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use kchaos_core::{Body, Example, Finding, Key, MicroOp, Observation, Observed, Offset, Op, OpType, PlainSend, Process, Verdict};
use serde::{Deserialize, Serialize};

use crate::by_id::ById;
use crate::recovery_brief::Brief;
use crate::recovery_moments::FaultLife;
use crate::recovery_summary::{PhaseSummary, duration_histogram, record};

/// Windows kept one by one; the summary counts them all.
const WINDOWS_MAX: usize = 10_000;

/// A stretch of time in which a partition acknowledged nothing although an attempt was open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnavailableWindow {
    pub key: Key,
    pub from_ns: u64,
    /// The ack that ended it; without one, the end of the run, or of the last attempt if none was left open.
    pub to_ns: u64,
    /// Nothing had been acknowledged before it.
    pub open_at_start: bool,
    /// Nothing was acknowledged after it.
    pub open_at_end: bool,
    /// The acknowledgement before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ack_ns: Option<u64>,
    /// Attempts that ended in it without an ack: failed for certain, and unknown.
    pub failed: u64,
    pub unknown: u64,
}

/// All windows of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unavailability {
    /// By time.
    pub windows: Vec<UnavailableWindow>,
    /// Windows beyond the number that is kept; the summary has them all the same.
    pub omitted: u64,
    pub summary: PhaseSummary,
    /// Sum of all windows by partition.
    pub total_ns: BTreeMap<Key, u64>,
    /// Acks seen: without any, no window proves nothing.
    pub acks: u64,
}

/// What a completion says of its invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// When it was due.
    pub(crate) start_ns: u64,
    /// When it was handed to the client.
    pub(crate) invoked_ns: u64,
}

pub(crate) struct Windows {
    min_ns: u64,
    /// By process.
    open: ById<Option<Attempt>>,
    keys: ById<KeyState>,
    found: Unavailability,
    lengths: Histogram<u64>,
}

#[derive(Default)]
struct KeyState {
    attempts_open: u64,
    /// Since when somebody waits for an ack.
    waiting_since_ns: Option<u64>,
    last_ack_ns: Option<u64>,
    last_end_ns: u64,
    failed: u64,
    unknown: u64,
}

impl Windows {
    pub(crate) fn new(min_ns: u64) -> Self {
        Self { min_ns, open: ById::default(), keys: ById::default(), found: Unavailability::default(), lengths: duration_histogram() }
    }

    /// Follows one op.
    pub(crate) fn op(&mut self, op: &Op) {
        let Process::Client(process) = op.process else { return };
        if matches!(op.body, Body::Send(_) | Body::Txn(_) | Body::Write { .. } | Body::Cas { .. }) {
            let each = |call: &mut dyn FnMut(Key, Option<Offset>)| each_key(&op.body, call);
            self.wrote((process, op.op_type), op.time_ns, op.extra.intended_ns, each);
        }
    }

    /// The same; for a write's completion, gives back when it was invoked.
    pub(crate) fn brief(&mut self, brief: &Brief) -> Option<Attempt> {
        let wrote = brief.wrote()?;
        self.wrote((wrote.process?, brief.op_type), brief.time_ns, wrote.intended_ns, |call| wrote.keys.each(call))
    }

    fn wrote(
        &mut self,
        (process, op_type): (u32, OpType),
        time_ns: u64,
        intended_ns: Option<u64>,
        each_key: impl Fn(&mut dyn FnMut(Key, Option<Offset>)),
    ) -> Option<Attempt> {
        let process = u64::from(process);
        if op_type == OpType::Invoke {
            let start_ns = intended_ns.unwrap_or(time_ns).min(time_ns);
            self.open.insert(process, Some(Attempt { start_ns, invoked_ns: time_ns }));
            each_key(&mut |key, _| self.keys.or_default(key as u64).invoked(start_ns));
            return None;
        }
        let attempt = self.open.get_mut(process).and_then(Option::take);
        each_key(&mut |key, offset| self.ended(key, offset, op_type, time_ns, attempt.is_some()));
        attempt
    }

    /// The same for a plain send. Whether it ends what was begun, the caller knows, and says so before the process does anything that is not plain.
    #[inline(always)]
    pub(crate) fn plain_send(&mut self, plain: &PlainSend) {
        let PlainSend { time_ns, start_ns, send, op_type, .. } = *plain;
        let state = self.keys.or_default(send.key as u64);
        if op_type == OpType::Invoke {
            state.invoked(start_ns.min(time_ns));
        } else if op_type == OpType::Ok && state.goes_on(time_ns, self.min_ns, true) {
            self.found.acks += 1;
        } else {
            self.ended(send.key, send.offset, op_type, time_ns, true);
        }
    }

    /// Whether an attempt of a process is open, after plain sends.
    pub(crate) fn set_open(&mut self, process: u32, is_open: bool) {
        self.open.insert(u64::from(process), is_open.then_some(Attempt { start_ns: 0, invoked_ns: 0 }));
    }

    #[cold]
    fn ended(&mut self, key: Key, offset: Option<Offset>, op_type: OpType, time_ns: u64, was_invoked: bool) {
        let state = self.keys.or_default(key as u64);
        state.last_end_ns = time_ns;
        if was_invoked {
            state.attempts_open = state.attempts_open.saturating_sub(1);
        }
        if is_ack(op_type, offset) {
            self.found.acks += 1;
            if let Some(window) = state.acked(key, time_ns, self.min_ns) {
                keep(&mut self.found, &mut self.lengths, window);
            }
        } else {
            state.failed += u64::from(op_type == OpType::Fail);
            state.unknown += u64::from(op_type == OpType::Info);
        }
    }

    pub(crate) fn finish(mut self, end_ns: u64) -> Unavailability {
        for (key, state) in self.keys.iter() {
            let to_ns = if state.attempts_open > 0 { end_ns } else { state.last_end_ns };
            if let Some(window) = state.window(key as Key, to_ns, true, self.min_ns) {
                keep(&mut self.found, &mut self.lengths, window);
            }
        }
        self.found.windows.sort_by_key(|window| (window.from_ns, window.key));
        self.found.summary = PhaseSummary::of_exact(&self.lengths);
        self.found
    }
}

impl KeyState {
    #[inline(always)]
    fn invoked(&mut self, start_ns: u64) {
        self.attempts_open += 1;
        if self.waiting_since_ns.is_none() {
            self.waiting_since_ns = Some(start_ns.max(self.last_ack_ns.unwrap_or(0)));
        }
    }

    /// An acknowledgement that ends no window worth telling; else nothing is done.
    #[inline(always)]
    fn goes_on(&mut self, time_ns: u64, min_ns: u64, was_invoked: bool) -> bool {
        if self.waiting_since_ns.is_some_and(|since_ns| time_ns.saturating_sub(since_ns) >= min_ns) {
            return false;
        }
        self.last_end_ns = time_ns;
        self.attempts_open = self.attempts_open.saturating_sub(u64::from(was_invoked));
        self.last_ack_ns = Some(time_ns);
        self.waiting_since_ns = (self.attempts_open > 0).then_some(time_ns);
        (self.failed, self.unknown) = (0, 0);
        true
    }

    fn acked(&mut self, key: Key, time_ns: u64, min_ns: u64) -> Option<UnavailableWindow> {
        let window = self.window(key, time_ns, false, min_ns);
        self.last_ack_ns = Some(time_ns);
        // Those that are still open go on waiting, from here.
        self.waiting_since_ns = (self.attempts_open > 0).then_some(time_ns);
        (self.failed, self.unknown) = (0, 0);
        window
    }

    fn window(&self, key: Key, to_ns: u64, open_at_end: bool, min_ns: u64) -> Option<UnavailableWindow> {
        let from_ns = self.waiting_since_ns?;
        (to_ns.saturating_sub(from_ns) >= min_ns).then_some(UnavailableWindow {
            key,
            from_ns,
            to_ns,
            open_at_start: self.last_ack_ns.is_none(),
            open_at_end,
            last_ack_ns: self.last_ack_ns,
            failed: self.failed,
            unknown: self.unknown,
        })
    }
}

fn keep(found: &mut Unavailability, lengths: &mut Histogram<u64>, window: UnavailableWindow) {
    let length_ns = window.to_ns - window.from_ns;
    record(lengths, length_ns);
    let total_ns = found.total_ns.entry(window.key).or_default();
    // Where time goes back windows may overlap, and their sum is any.
    *total_ns = total_ns.saturating_add(length_ns);
    if found.windows.len() < WINDOWS_MAX {
        found.windows.push(window);
    } else {
        found.omitted += 1;
    }
}

/// An ok acknowledges; so does an offset inside an info (ANOMALIES.md, what an op proves).
pub(crate) fn is_ack(op_type: OpType, offset: Option<Offset>) -> bool {
    op_type == OpType::Ok || (op_type == OpType::Info && offset.is_some())
}

/// Calls once for each key that an op writes, with the offset of its first write there that has one.
pub(crate) fn each_key(body: &Body, mut call: impl FnMut(Key, Option<Offset>)) {
    match body {
        Body::Send(sends) => match sends.as_slice() {
            [send] => call(send.key, send.offset),
            sends => merged(sends.iter().map(|send| (send.key, send.offset)), call),
        },
        Body::Txn(micro_ops) => merged(
            micro_ops.iter().filter_map(|micro_op| match micro_op {
                MicroOp::Send(send) => Some((send.key, send.offset)),
                MicroOp::Poll(_) => None,
            }),
            call,
        ),
        Body::Write { key, .. } | Body::Cas { key, .. } => call(*key, None),
        _ => {}
    }
}

fn merged(mut writes: impl Iterator<Item = (Key, Option<Offset>)>, mut call: impl FnMut(Key, Option<Offset>)) {
    let Some(first) = writes.next() else { return };
    let Some(second) = writes.next() else { return call(first.0, first.1) };
    let mut keys: BTreeMap<Key, Option<Offset>> = BTreeMap::new();
    for (key, offset) in [first, second].into_iter().chain(writes) {
        let first = keys.entry(key).or_default();
        *first = first.or(offset);
    }
    keys.into_iter().for_each(|(key, offset)| call(key, offset));
}

/// The stretches after a fault in which all was mended: from the last mend to the next fault, or to the end.
pub(crate) fn quiet_periods(lives: &[&FaultLife], end_ns: u64) -> Vec<(u64, u64)> {
    let mut spans: Vec<(u64, u64)> = lives
        .iter()
        .filter_map(|life| Some((life.in_effect?.after_ns, life.mended().map_or(u64::MAX, |mended| mended.before_ns))))
        .collect();
    spans.sort_unstable();
    let mut quiet = Vec::new();
    let mut mended_ns = 0;
    for (index, (_, to_ns)) in spans.iter().enumerate() {
        mended_ns = mended_ns.max(*to_ns);
        let next_ns = spans.get(index + 1).map_or(end_ns, |(from_ns, _)| *from_ns);
        if mended_ns < next_ns {
            quiet.push((mended_ns, next_ns));
        }
    }
    quiet
}

/// `never-recovered`: all was mended for at least `limit_ns`, and for as long a partition acknowledged nothing it was asked for, or its ISR
/// was not whole. A run that ends sooner while something is not back proves nothing either way: a reason, not an anomaly. A partition that
/// acknowledged something after the last mend is back, whatever was still open at the end.
pub(crate) fn never_recovered(
    windows: &[UnavailableWindow],
    (timeline, reassigned): (&[Observation], &[Reassigned]),
    quiet: &[(u64, u64)],
    limit_ns: u64,
) -> Verdict {
    let mut verdict = Verdict::default();
    let mut finding = Finding::default();
    let states = isr_deficits(timeline, reassigned);
    for (index, (from_ns, to_ns)) in quiet.iter().enumerate() {
        let is_last = index + 1 == quiet.len();
        let stuck = windows
            .iter()
            .map(|window| {
                let is_missing = window.open_at_end && window.last_ack_ns.is_none_or(|ack_ns| ack_ns <= *from_ns);
                (window.key, window.from_ns, window.to_ns, is_missing, "acknowledged nothing although it was asked")
            })
            .chain(
                states
                    .iter()
                    .map(|(key, from_ns, to)| (*key, *from_ns, to.unwrap_or(u64::MAX), to.is_none(), "had an ISR that was not whole")),
            );
        for (key, stuck_from_ns, stuck_to_ns, is_missing_at_end, what) in stuck {
            let overlap_ns = stuck_to_ns.min(*to_ns).saturating_sub(stuck_from_ns.max(*from_ns));
            if overlap_ns >= limit_ns {
                finding.count += 1;
                finding.examples.push(Example {
                    key: Some(key),
                    explanation: format!(
                        "all was mended at {:.1} s, and for {:.1} s after that partition {key} {what}; it was owed to be back within {:.0} s",
                        seconds(*from_ns),
                        seconds(overlap_ns),
                        seconds(limit_ns),
                    ),
                    ..Example::default()
                });
            } else if is_last && is_missing_at_end && overlap_ns > 0 {
                verdict.reason(
                    "not-recovered-yet",
                    format!("the run ended {:.1} s after the last mend, and to its end partition {key} {what}", seconds(overlap_ns)),
                );
            }
        }
    }
    verdict.accuse("never-recovered", finding);
    verdict
}

/// That a partition was to have so many replicas from this time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reassigned {
    pub(crate) time_ns: u64,
    pub(crate) key: Key,
    pub(crate) replicas: usize,
}

/// Stretches in which a partition's ISR was smaller than the largest seen before, unless somebody asked for fewer replicas since: key, from, to
/// (`None`: to the end).
fn isr_deficits(timeline: &[Observation], reassigned: &[Reassigned]) -> Vec<(Key, u64, Option<u64>)> {
    let mut reassigned = reassigned.iter().peekable();
    let mut largest: BTreeMap<Key, usize> = BTreeMap::new();
    let mut since: BTreeMap<Key, u64> = BTreeMap::new();
    let mut deficits = Vec::new();
    for observation in timeline {
        let Observed::PartitionState { key, isr, .. } = &observation.what else { continue };
        while let Some(Reassigned { key, replicas, .. }) = reassigned.next_if(|asked| asked.time_ns <= observation.when.before_ns) {
            largest.entry(*key).and_modify(|most| *most = (*most).min(*replicas));
        }
        let most = largest.entry(*key).or_default();
        *most = (*most).max(isr.len());
        if isr.len() < *most {
            since.entry(*key).or_insert(observation.when.before_ns);
        } else if let Some(from_ns) = since.remove(key) {
            deficits.push((*key, from_ns, Some(observation.when.before_ns)));
        }
    }
    deficits.extend(since.into_iter().map(|(key, from_ns)| (key, from_ns, None)));
    deficits
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
