//! What listens to a run while it goes on: the checkers, the latencies, the recovery from faults. The same objects judge offline.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::Path;

use kchaos_checkers::latency::{Counted, Latency, LatencyReport};
use kchaos_checkers::latency_series::Point;
use kchaos_checkers::recovery::{Brief, Recovery, RecoveryLimits, RecoveryReport};
use kchaos_checkers::{CheckReport, Judge, JudgeOptions, Profile, Reading};
use kchaos_core::{FaultEvent, Observation, Op, Plan, Verdict};

use super::abort::{Abort, AbortReason};
use crate::exit::Failure;
use crate::store::Lines;

/// The recovery analysis must hear of a fault or an election no later than of the acks that follow it. Observations come over a network, so what
/// ops say of writes and reads is held back this long.
const HOLD_BACK_NS: u64 = 2_000_000_000;
/// Ops for which there is room at all times.
const KEPT_OPS: usize = 16_384;
/// How often the latencies of each second are written down: who looks on (`kchaos serve`) is that much behind.
const LOG_EVERY_NS: u64 = 2_000_000_000;
/// How often `--fail-fast` asks the checkers.
const SUSPECTS_EVERY_NS: u64 = 1_000_000_000;
/// A value that a reader passed may still come through another reader; one that stays unread this long is worth the finale's reread.
const UNREAD_PATIENCE_NS: u64 = 5_000_000_000;

pub(super) struct Analysis {
    judge: Option<Judge>,
    latency: Option<Latency>,
    recovery: Option<Recovery>,
    held: VecDeque<Brief>,
    fail_fast: Option<FailFast>,
    /// The HDR interval log, written down as it grows: some 5 kB a second in a mix of workloads.
    pub(super) latency_log: Lines,
    logged_ns: u64,
}

/// `--fail-fast`: ends the trouble when a violation is proved, or is likely enough that only the finale's reread can tell.
struct FailFast {
    abort: Abort,
    asked_ns: u64,
    unread_since_ns: Option<u64>,
}

/// What the listening came to.
#[derive(Default)]
pub(crate) struct Analysed {
    /// `None` before the end.
    pub(crate) check: Option<CheckReport>,
    pub(crate) latency: LatencyReport,
    pub(crate) recovery: RecoveryReport,
    /// `never-recovered`.
    pub(crate) liveness: Verdict,
    /// From the last op to here.
    pub(crate) check_ms: u64,
}

impl Analysis {
    /// `latency_log` is begun anew.
    pub(super) fn new(plan: &Plan, fail_fast: Option<Abort>, latency_log: &Path) -> Result<Self, Failure> {
        Ok(Self {
            latency_log: Lines::anew(latency_log)?,
            logged_ns: 0,
            judge: Some(Judge::new(judge_options(plan)?)),
            latency: Some(Latency::new(plan.started_at_unix_ns)),
            recovery: Some(Recovery::new(RecoveryLimits::default())),
            held: VecDeque::new(),
            fail_fast: fail_fast.map(|abort| FailFast { abort, asked_ns: 0, unread_since_ns: None }),
        })
    }

    pub(super) fn op(&mut self, op: &Op) {
        let (Some(judge), Some(latency), Some(recovery)) = (&mut self.judge, &mut self.latency, &mut self.recovery) else { return };
        judge.update(op);
        latency.op(op);
        if let Some(fail_fast) = &mut self.fail_fast {
            fail_fast.op(op.time_ns, judge);
        }
        let time_ns = op.time_ns;
        if time_ns >= self.logged_ns + LOG_EVERY_NS {
            self.logged_ns = time_ns;
            self.latency_log.append(latency.take_log());
        }
        recovery.reaches(time_ns);
        self.held.extend(Brief::of(op));
        while self.held.front().is_some_and(|brief| brief.time_ns() + HOLD_BACK_NS < time_ns) {
            if let Some(brief) = self.held.pop_front() {
                recovery.brief(&brief);
            }
        }
        // What a burst took is given back when it is over.
        if self.held.capacity() > KEPT_OPS.max(8 * self.held.len()) {
            self.held.shrink_to(self.held.capacity() / 2);
        }
    }

    pub(super) fn fault(&mut self, event: &FaultEvent) {
        if let Some(recovery) = &mut self.recovery {
            recovery.fault(event);
        }
    }

    pub(super) fn observation(&mut self, observation: &Observation) {
        if let Some(recovery) = &mut self.recovery {
            recovery.observation(observation);
        }
    }

    /// What completed in the second before this one; none if the ops that are heard are older, or it is over.
    pub(super) fn last_second(&self) -> Option<Point> {
        self.latency.as_ref()?.last_second()
    }

    /// The latencies so far, by op, in these bounds; none when it is over.
    pub(super) fn latencies(&self, bounds_ns: &[u64]) -> Option<BTreeMap<&'static str, Counted>> {
        Some(self.latency.as_ref()?.counted(bounds_ns))
    }

    /// Ends the listening; a second call finds nothing. `history` is whole by now, should the evidence need a second look at it.
    pub(super) fn finish(&mut self, history: &Path) -> Analysed {
        let began = std::time::Instant::now();
        let (latency, rest) = self.latency.take().map(Latency::finish).unwrap_or_default();
        self.latency_log.append(rest);
        let (recovery, liveness) = self
            .recovery
            .take()
            .map(|mut recovery| {
                for brief in self.held.drain(..) {
                    recovery.brief(&brief);
                }
                recovery.finish()
            })
            .unwrap_or_default();
        let name = history.display().to_string();
        let reading = Reading { name: &name, threads: 1 };
        let again = |judge: &mut Judge| {
            let input = File::open(history).map_err(anyhow::Error::from)?;
            kchaos_checkers::tell(judge, Box::new(input), reading).map_err(anyhow::Error::from)
        };
        let check = self.judge.take().map(|judge| {
            let mut report = judge.finish_reading_again(again);
            report.add_evidence(|each| -> anyhow::Result<()> {
                kchaos_checkers::read(Box::new(File::open(history)?), reading, each)?;
                Ok(())
            });
            report
        });
        let check_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Analysed { check, latency, recovery, liveness, check_ms }
    }
}

impl FailFast {
    fn op(&mut self, time_ns: u64, judge: &mut Judge) {
        if time_ns < self.asked_ns + SUSPECTS_EVERY_NS || self.abort.reason().is_some() {
            return;
        }
        self.asked_ns = time_ns;
        let suspects = judge.suspects();
        if let Some((name, example)) = suspects.proved.first() {
            self.abort.raise(AbortReason::Violation(format!("{name}: {}", example.explanation)));
        }
        let Some(unread) = suspects.unread.first() else {
            self.unread_since_ns = None;
            return;
        };
        if time_ns >= *self.unread_since_ns.get_or_insert(time_ns) + UNREAD_PATIENCE_NS {
            let text =
                format!("value {} of key {} at offset {} was passed by readers and not read", unread.value, unread.key, unread.offset);
            self.abort.raise(AbortReason::Violation(text));
        }
    }
}

/// The profile that was asked for, or that the plan's own settings make.
pub(crate) fn judge_options(plan: &Plan) -> Result<JudgeOptions, Failure> {
    let profile = Profile::derive(plan).map_err(Failure::usage)?;
    Ok(JudgeOptions { profile, ..JudgeOptions::default() })
}
