//! One pass of a history past every checker: the same object online, while a run goes on, and offline.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kchaos_core::{
    Body, Checker, Example, Key, MicroOp, Offset, Op, OpSink, PlainPoll, PlainSend, PollBegin, Process, Reason, Validity, Value, Verdict,
    mutant,
};

use crate::ALL;
use crate::facts::{Facts, Wanted};
use crate::load::Load;
use crate::mutants;
use crate::recovery_windows::Windows;
use crate::report::{CheckReport, CheckerVerdict};
use crate::rule::{JudgeOptions, Rule, Spec, hears};
use crate::rules::lost_write;

/// Shorter times without an acknowledgement are not listed as unavailable.
const UNAVAILABLE_MIN_NS: u64 = 1_000_000_000;

/// How often a history is read again at most. Once is enough, unless what the second pass tells needs more.
const PASSES_MAX: usize = 3;

/// Judges a history op by op, in file order. [`Judge::suspects`] may be asked at any time, [`Judge::finish`] ends it.
///
/// What every reader has passed is packed, so memory is that of what goes on, and about one and a half bytes for each value. Should a finding
/// speak of a value that was packed, the ops to cite are found by a second pass: [`Judge::finish_reading_again`].
pub struct Judge {
    options: JudgeOptions,
    facts: Facts,
    pinned: Wanted,
    forgets_at_once: bool,
    seats: Vec<Seat>,
    /// Seats by kind of op.
    hearing: [Vec<usize>; KINDS],
    load: Load,
    windows: Windows,
    last_time_ns: u64,
    notes: Vec<String>,
}

/// A rule at work. One that panics is dismissed; the others go on.
struct Seat {
    spec: &'static Spec,
    /// Of [`Spec::hears`].
    hears: u16,
    rule: Option<Box<dyn Rule>>,
}

/// What would speak against a run if it ended now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suspects {
    /// Violations that no later op can undo, by anomaly.
    pub proved: Vec<(String, Example)>,
    /// Values that readers passed. Nothing is proved while readers go on: reread these at the current leader epoch with the ISR full,
    /// record that as ops, and ask again.
    pub unread: Vec<SuspectValue>,
}

/// A value that was written for certain, at or below an offset that was read, and that no ok op returned so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuspectValue {
    pub key: Key,
    pub value: Value,
    pub offset: Offset,
    /// The op that acknowledged it.
    pub op: Option<u64>,
}

/// Kinds of ops that [`hears`] tells apart, but for rebalances.
const KINDS: usize = 11;
const POLL: usize = 2;
const POLL_END: usize = 3;
const TXN: usize = 4;
const TXN_POLL_END: usize = 5;
const PLACES: usize = 6;
const REGISTER: usize = 8;
const NEMESIS: usize = 9;
const TXN_SEND_END: usize = 10;

fn kind(op: &Op) -> usize {
    let end = usize::from(op.op_type.is_completion());
    match &op.body {
        Body::Send(_) => end,
        Body::Poll(_) => POLL + end,
        Body::Txn(parts) if end == 1 && sends_only(op, parts) => TXN_SEND_END,
        Body::Txn(_) => TXN + end,
        Body::Assign { .. } | Body::Subscribe { .. } | Body::Crash => PLACES,
        Body::Commit(_) | Body::Committed { .. } => 7,
        Body::Read { .. } | Body::Write { .. } | Body::Cas { .. } => REGISTER,
        Body::Nemesis { .. } | Body::Unknown { .. } => NEMESIS,
    }
}

/// Who listens to what was polled has nothing to hear.
fn sends_only(op: &Op, parts: &[MicroOp]) -> bool {
    let extra = &op.extra;
    extra.rebalance_log.is_empty()
        && extra.corrupt.is_empty()
        && extra.reset.is_none()
        && parts.iter().all(|part| matches!(part, MicroOp::Send(_)))
}

impl Judge {
    pub fn new(options: JudgeOptions) -> Self {
        Self::pinning(options, Wanted::default())
    }

    /// A judge that packs nothing: for tests that hold packing against it.
    #[doc(hidden)]
    pub fn without_packing(options: JudgeOptions) -> Self {
        let mut judge = Self::new(options);
        judge.facts.never_pack();
        judge
    }

    /// A judge that forgets as soon as it may: for tests with small histories.
    #[doc(hidden)]
    pub fn forgetful(options: JudgeOptions) -> Self {
        let mut judge = Self::new(options);
        judge.forgets_at_once = true;
        judge.facts.judge_every(1);
        judge
    }

    fn pinning(options: JudgeOptions, pinned: Wanted) -> Self {
        let mut facts = Facts::new(options.profile.default_isolation, pinned.values.clone());
        if pinned.everything {
            facts.never_pack();
        }
        let seats: Vec<_> = ALL.iter().map(|spec| Seat { spec, hears: mutants::hears(spec), rule: Some((spec.build)()) }).collect();
        let hearing: [_; KINDS] =
            std::array::from_fn(|kind| (0..seats.len()).filter(|seat| seats[*seat].hears >> kind & 1 == 1).collect::<Vec<_>>());
        let windows = Windows::new(UNAVAILABLE_MIN_NS);
        Self {
            options,
            facts,
            pinned,
            forgets_at_once: false,
            seats,
            hearing,
            load: Load::new(),
            windows,
            last_time_ns: 0,
            notes: Vec::new(),
        }
    }

    pub fn update(&mut self, op: &Op) {
        if let Some(send) = PlainSend::of(op) {
            self.plain_send(&send);
        } else if let Some(poll) = PollBegin::of(op) {
            self.poll_begins(&poll);
        } else if !PlainPoll::of(op).is_some_and(|poll| self.takes_poll(&poll)) {
            self.whole(op);
        }
    }

    /// Takes in a plain send as [`Judge::update`] takes in its op.
    #[inline(always)]
    pub fn plain_send(&mut self, send: &PlainSend) {
        if self.facts.plain_send(send) {
            self.load.plain_send(send);
            self.windows.plain_send(send);
            self.last_time_ns = self.last_time_ns.max(send.time_ns);
        } else {
            self.not_so_plain(*send);
        }
    }

    #[cold]
    fn not_so_plain(&mut self, send: PlainSend) {
        self.whole(&send.to_op());
    }

    /// The invocation of a poll: nobody hears of it.
    #[inline]
    pub fn poll_begins(&mut self, poll: &PollBegin) {
        self.facts.poll_begins(poll);
        self.load.goes_on(poll.time_ns);
        self.last_time_ns = self.last_time_ns.max(poll.time_ns);
    }

    /// Takes in a plain poll as [`Judge::update`] takes in its op.
    #[inline]
    pub fn plain_poll(&mut self, poll: &PlainPoll<'_>) {
        if !self.takes_poll(poll) {
            self.whole(&poll.to_op());
        }
    }

    #[inline]
    fn takes_poll(&mut self, poll: &PlainPoll<'_>) -> bool {
        let takes = self.facts.plain_poll(poll);
        if takes {
            self.load.plain_poll(poll);
            self.last_time_ns = self.last_time_ns.max(poll.time_ns);
        }
        takes
    }

    fn whole(&mut self, op: &Op) {
        let kind = kind(op);
        if matches!(kind, POLL_END | TXN_POLL_END | PLACES) {
            self.facts.catch_up(op);
        }
        if let Process::Client(process) = op.process
            && let Some(is_open) = self.facts.take_attempt(process)
        {
            self.windows.set_open(process, is_open);
        }
        self.facts.update(op);
        let Self { seats, facts, .. } = self;
        let hearing = &self.hearing[kind];
        let mut next = 0;
        while catch_unwind(AssertUnwindSafe(|| tell(seats, hearing, &mut next, op, facts))).is_err() {
            seats[hearing[next - 1]].rule = None;
        }
        if !op.extra.rebalance_log.is_empty() {
            for seat in self.seats.iter_mut().filter(|seat| seat.hears & hears::REBALANCES != 0 && seat.hears >> kind & 1 == 0) {
                seat.update(op, &self.facts);
            }
        }
        self.load.update(op, &self.facts);
        self.windows.op(op);
        if op.process != Process::Nemesis {
            self.last_time_ns = self.last_time_ns.max(op.time_ns);
        }
    }

    /// Says that the history's end was cut off: the verdict is unknown unless a violation is proved.
    pub fn truncated(&mut self, text: impl Into<String>) {
        self.facts.truncated = Some(text.into());
    }

    /// Something worth knowing of how the history was read.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Every value so far is looked at: milliseconds for each 100,000, so ask once a second rather than at every op.
    pub fn suspects(&mut self) -> Suspects {
        self.facts.spell_out();
        let mut suspects = Suspects::default();
        for Seat { rule, spec, .. } in self.seats.iter().filter(|seat| seat.spec.stable) {
            let Some(rule) = rule else { continue };
            let verdict = verdict_of(rule.as_ref(), spec, &self.facts, &self.options);
            for (name, finding) in verdict.anomalies.into_iter().filter(|(name, _)| !verdict.unproved.contains(name)) {
                suspects.proved.extend(finding.examples.into_iter().map(|example| (name.clone(), example)));
            }
        }
        for (key, log) in self.facts.logs() {
            let lost = lost_write::lost(&self.facts, key, log).into_iter().map(|(id, _)| (log.of(id), log.last_offset(id)));
            let suspect = lost.map(|(written, offset)| SuspectValue { key, value: written.value, offset, op: written.completed.get() });
            suspects.unread.extend(suspect);
        }
        suspects
    }

    /// Ops taken in so far.
    pub fn ops(&self) -> u64 {
        self.facts.counts.ops
    }

    /// The verdict. Of values that were packed before a finding spoke of them, no ops are cited, and a disagreement of consumers may be told as a
    /// `nonmonotonic-poll` alone; where the log is such that forgotten transactions may be part of a cycle, the verdict is unknown.
    pub fn finish(self) -> CheckReport {
        let (mut report, wanted) = self.finish_wanting();
        if wanted.everything {
            doubt(&mut report);
        }
        report
    }

    /// The verdict, with all its evidence: if values were packed before a finding spoke of them, `again` is asked to tell the whole history
    /// to another judge. If it cannot, the verdict stands as it is, with a note.
    pub fn finish_reading_again<E: Display>(mut self, mut again: impl FnMut(&mut Judge) -> Result<(), E>) -> CheckReport {
        for _ in 1..PASSES_MAX {
            let (options, mut pinned) = (self.options.clone(), std::mem::take(&mut self.pinned));
            let forgets_at_once = self.forgets_at_once;
            let (mut report, wanted) = self.finish_wanting();
            if wanted.is_nothing() {
                return report;
            }
            for (key, values) in wanted.values {
                pinned.values.entry(key).or_default().extend(values);
            }
            pinned.everything |= wanted.everything;
            self = Judge::pinning(options, pinned);
            if forgets_at_once {
                self.forgets_at_once = true;
                self.facts.judge_every(1);
            }
            if let Err(error) = again(&mut self) {
                report.notes.push(format!("some ops are not cited, since the history could not be read a second time: {error}"));
                if wanted.everything {
                    doubt(&mut report);
                }
                return report;
            }
        }
        self.finish()
    }

    fn finish_wanting(mut self) -> (CheckReport, Wanted) {
        self.facts.spell_out();
        self.facts.settle();
        let mut joined = Verdict::default();
        let mut checkers = Vec::new();
        for seat in &self.seats {
            let verdict = match &seat.rule {
                Some(rule) => verdict_of(rule.as_ref(), seat.spec, &self.facts, &self.options),
                None => failed(seat.spec),
            };
            checkers.push(CheckerVerdict {
                name: seat.spec.name.to_owned(),
                about: seat.spec.about.to_owned(),
                valid: verdict.validity(),
                anomalies: verdict.anomalies.keys().cloned().collect(),
                reasons: verdict.reasons.iter().map(|reason| reason.name.clone()).collect(),
            });
            joined.merge(verdict);
        }
        let valid: Validity = joined.validity();
        let wanted = self.facts.wanted();
        let report = CheckReport {
            valid,
            ops: self.facts.counts.ops,
            profile: self.options.profile.name,
            anomalies: joined.anomalies,
            ignored: joined.ignored,
            reasons: joined.reasons,
            unproved: joined.unproved.into_iter().collect(),
            checkers,
            load: self.load.phases(),
            unavailable: self.windows.finish(self.last_time_ns),
            unknown_fs: self.facts.counts.unknown_fs,
            notes: self.notes,
        };
        (report, wanted)
    }
}

impl Seat {
    fn update(&mut self, op: &Op, facts: &Facts) {
        let Some(rule) = &mut self.rule else { return };
        if catch_unwind(AssertUnwindSafe(|| rule.update(op, facts))).is_err() {
            self.rule = None;
        }
    }
}

#[inline]
fn tell(seats: &mut [Seat], hearing: &[usize], next: &mut usize, op: &Op, facts: &Facts) {
    while let Some(at) = hearing.get(*next) {
        *next += 1;
        if let Some(rule) = &mut seats[*at].rule {
            rule.update(op, facts);
        }
    }
}

fn verdict_of(rule: &dyn Rule, spec: &Spec, facts: &Facts, options: &JudgeOptions) -> Verdict {
    let verdict = catch_unwind(AssertUnwindSafe(|| rule.verdict(facts, options))).unwrap_or_else(|_| failed(spec));
    mutants::wrong(spec, verdict)
}

/// A single pass forgot what would tell.
fn doubt(report: &mut CheckReport) {
    let name = "needs-second-pass";
    let text = "a transaction stands where readers had long passed: whether forgotten ones are part of a cycle, or were passed over, only a \
                second pass over the history can tell";
    if mutant::is("sure", &name) {
        return;
    }
    report.reasons.push(Reason { name: name.to_owned(), text: text.to_owned() });
    for checker in report.checkers.iter_mut().filter(|checker| checker.name == "cycles") {
        checker.reasons.push(name.to_owned());
        unknown(&mut checker.valid);
    }
    unknown(&mut report.valid);
}

fn unknown(valid: &mut Validity) {
    if *valid == Validity::Valid {
        *valid = Validity::Unknown;
    }
}

fn failed(spec: &Spec) -> Verdict {
    let text = format!("the checker {} failed on this history: a bug of kchaos; what the others found stands", spec.name);
    let mut verdict = Verdict::default();
    verdict.reason("checker-failed", text);
    verdict
}

impl OpSink for Judge {
    const TAKES_PLAIN: bool = true;

    fn op(&mut self, op: &Op) {
        self.update(op);
    }

    #[inline(always)]
    fn plain_send(&mut self, send: &PlainSend) {
        Judge::plain_send(self, send);
    }

    fn plain_poll(&mut self, poll: &PlainPoll<'_>) {
        Judge::plain_poll(self, poll);
    }

    fn poll_begins(&mut self, poll: &PollBegin) {
        Judge::poll_begins(self, poll);
    }
}

impl Checker for Judge {
    fn update(&mut self, op: &Op) {
        Judge::update(self, op);
    }

    fn finish(self: Box<Self>) -> Verdict {
        (*self).finish().verdict()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checker_that_failed_leaves_its_verdict_and_the_whole_unknown() {
        let mut judge = Judge::new(JudgeOptions::default());
        judge.seats[0].rule = None;
        let report = judge.finish();
        let failed = &report.checkers[0];
        assert_eq!((failed.valid, failed.reasons.as_slice()), (Validity::Unknown, &["checker-failed".to_owned()][..]));
        let text = format!("the checker {} failed", failed.name);
        assert!(report.reasons.iter().any(|reason| reason.name == "checker-failed" && reason.text.starts_with(&text)));
        assert_eq!(report.valid, Validity::Unknown);
    }
}
