//! The order in which one process's sends land.
//!
//! `nonmonotonic-send`: of successive ok or info ops of a process that send to a key, the later landed at or before the earlier.
//! `int-nonmonotonic-send`: the same inside one op. `int-send-skip`: values of others between the sends of one op (never promised: ignored).
//!
//! An offset that the op does not tell (an info send, an idempotent retry's success) is looked up at the end, when the polls have told it;
//! what stays unknown proves nothing, nor does a value at several offsets that no acknowledgement places.
//!
//! After an info op, only idempotence promises order (a late retry may still land): `nonmonotonic-send/after-info`.

use kchaos_core::{Key, Offset, Op, OpType, PlainSend, Process, Send, Value, Verdict};

use crate::by_id::{ById, ByKey};
use crate::facts::Facts;
use crate::log::{Isolation, KeyLog, OpRef};
use crate::rule::{Findings, JudgeOptions, MAX_LISTED, Rule, Spec, cite, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "send-order",
    about: "what a process sends one after the other lands one after the other",
    anomalies: &["nonmonotonic-send", "int-nonmonotonic-send", "int-send-skip"],
    stable: true,
    hears: hears::ENDS_OF_SENDS,
    build: || Box::new(SendOrder::default()),
};

#[derive(Default)]
struct SendOrder {
    last: ById<ByKey<Option<Sent>>>,
    /// Pairs that are wrong, or that cannot be judged before the end.
    suspects: Vec<Pair>,
}

/// A send and the op that ended it.
#[derive(Clone, Copy)]
struct Sent {
    value: Value,
    offset: Option<Offset>,
    op: OpRef,
    info: bool,
}

impl Sent {
    fn new(value: Value, offset: Option<Offset>, op: u64, op_type: OpType) -> Self {
        Self { value, offset: offset.filter(|offset| *offset >= 0), op: OpRef::new(op), info: op_type == OpType::Info }
    }
}

struct Pair {
    process: u32,
    key: Key,
    earlier: Sent,
    later: Sent,
    inside: bool,
    /// What else the op sent to the key, if it lies in between.
    own: Box<[Value]>,
}

impl Rule for SendOrder {
    fn update(&mut self, op: &Op, facts: &Facts) {
        let Process::Client(process) = op.process else { return };
        let took_effect = matches!(op.op_type, OpType::Ok | OpType::Info);
        if !took_effect || facts.sends().is_empty() {
            return;
        }
        let last = self.last.or_default(u64::from(process));
        for Send { key, value, offset } in facts.sends() {
            let later = Sent::new(*value, *offset, op.index, op.op_type);
            if let Some(earlier) = last.or_default(*key as u64).replace(later) {
                let inside = earlier.op == later.op;
                let mut pair = Pair { process, key: *key, earlier, later, inside, own: Box::default() };
                if pair.must_be_kept() {
                    if inside {
                        pair.own = pair.own_between(facts.sends());
                    }
                    self.suspects.push(pair);
                }
            }
        }
    }

    fn plain_sends(&mut self, sends: &[PlainSend]) {
        sends.iter().for_each(|send| self.plain_send(send));
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for pair in &self.suspects {
            let Some(log) = facts.log(pair.key) else { continue };
            let (Some(earlier), Some(later)) = (pair.earlier.place(log), pair.later.place(log)) else { continue };
            if later <= earlier {
                let rule = match (pair.inside, pair.earlier.info) {
                    (true, _) => "int-nonmonotonic-send",
                    (false, true) => "nonmonotonic-send/after-info",
                    (false, false) => "nonmonotonic-send",
                };
                findings.add(rule, || pair.went_back(earlier, later));
            } else if pair.inside {
                let between = log.visible_between(earlier, later, Isolation::Committed).map(|(_, slot)| log.value(slot));
                let foreign: Vec<_> = between.filter(|value| !pair.own.contains(value)).take(MAX_LISTED).collect();
                if !foreign.is_empty() {
                    findings.add("int-send-skip", || pair.skipped(foreign, earlier, later));
                }
            }
        }
        findings.verdict()
    }
}

impl SendOrder {
    #[inline(always)]
    fn plain_send(&mut self, plain: &PlainSend) {
        if !matches!(plain.op_type, OpType::Ok | OpType::Info) {
            return;
        }
        let Send { key, value, offset } = plain.send;
        let later = Sent::new(value, offset, plain.index, plain.op_type);
        let last = self.last.or_default(u64::from(plain.process)).or_default(key as u64);
        if let Some(earlier) = last.replace(later) {
            let pair = Pair { process: plain.process, key, earlier, later, inside: false, own: Box::default() };
            if pair.must_be_kept() {
                self.suspects.push(pair);
            }
        }
    }
}

impl Sent {
    fn place(&self, log: &KeyLog) -> Option<Offset> {
        self.offset.or_else(|| log.only_offset(self.value)).filter(|offset| *offset >= 0)
    }
}

impl Pair {
    fn must_be_kept(&self) -> bool {
        match (self.earlier.offset, self.later.offset) {
            (Some(earlier), Some(later)) => later <= earlier || (self.inside && later > earlier + 1),
            _ => true,
        }
    }

    /// What stands beside them in one op, and may stand between them in the log.
    fn own_between(&self, sends: &[Send]) -> Box<[Value]> {
        let (Some(earlier), Some(later)) = (self.earlier.offset, self.later.offset) else {
            return sends.iter().filter(|send| send.key == self.key).map(|send| send.value).collect();
        };
        let between = |send: &&Send| send.key == self.key && send.offset.is_none_or(|offset| earlier < offset && offset < later);
        sends.iter().filter(between).map(|send| send.value).collect()
    }

    fn went_back(&self, earlier: Offset, later: Offset) -> kchaos_core::Example {
        let explanation = format!(
            "process {} sent value {} to key {}{}, which landed at {earlier}, and then value {}{}, which landed at {later}: it should have \
             landed after {earlier}",
            self.process,
            self.earlier.value,
            self.key,
            cite(self.earlier.op),
            self.later.value,
            cite(self.later.op),
        );
        let values = vec![self.earlier.value, self.later.value];
        example(self.key, values, vec![earlier, later], &[self.earlier.op, self.later.op], explanation)
    }

    fn skipped(&self, values: Vec<Value>, earlier: Offset, later: Offset) -> kchaos_core::Example {
        let explanation = format!(
            "values of others stand between offsets {earlier} and {later} of key {}, where one op{} sent values {} and {}: Kafka promises no \
             adjacency",
            self.key,
            cite(self.later.op),
            self.earlier.value,
            self.later.value,
        );
        example(self.key, values, vec![earlier, later], &[self.later.op], explanation)
    }
}
