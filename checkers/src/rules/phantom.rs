//! `phantom`: a polled value that nobody sent, or that is not what was sent (checksum, key, partition, headers: the op's `corrupt`).
//! `read-before-send`: a poll that completed before its value's send was invoked. That cannot be the cluster's doing: the harness's ids or
//! order are wrong, and the run is unknown.
//!
//! Of a run whose recorder was cut off (the op `recorder-cut-off` `{"0": 812, …}`: of each key, the value up to which every send was recorded) greater
//! values may be those of sends that it had not written down yet: they are no phantoms. Values count up for each key.
//!
//! A value polled before it was sent is a phantom only while no send of it comes. Where a history holds no invocations, nothing is said of
//! when something was sent.

use std::collections::BTreeMap;

use kchaos_core::{Key, Offset, Op, Value, Verdict};

use crate::facts::Facts;
use crate::log::{OpRef, Written};
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};
use crate::told::{by_number, told};

pub(crate) const SPEC: Spec = Spec {
    name: "phantom",
    about: "what is polled was sent before, as it was sent",
    anomalies: &["phantom", "read-before-send"],
    stable: true,
    hears: hears::ENDS_OF_POLLS | hears::NEMESIS,
    build: || Box::new(Phantom::default()),
};

#[derive(Default)]
struct Phantom {
    /// Each place once, however many readers complain of it.
    corrupt: BTreeMap<(Key, Offset), (String, OpRef)>,
    /// By key, once the recorder was cut off.
    recorded: Option<BTreeMap<Key, Value>>,
}

impl Phantom {
    fn is_excused(&self, key: Key, value: Value) -> bool {
        self.recorded.as_ref().is_some_and(|recorded| recorded.get(&key).is_none_or(|greatest| value > *greatest))
    }
}

impl Rule for Phantom {
    fn update(&mut self, op: &Op, _: &Facts) {
        if let Some(recorded) = told(op, "recorder-cut-off") {
            self.recorded = Some(by_number(recorded).filter_map(|(key, value)| Some((key, value.as_i64()?))).collect());
        }
        if op.op_type.is_completion() {
            for (key, offset, text) in &op.extra.corrupt {
                self.corrupt.entry((*key, *offset)).or_insert_with(|| (text.clone(), OpRef::new(op.index)));
            }
        }
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for ((key, offset), (text, op)) in &self.corrupt {
            findings.add("phantom", || {
                let explanation = format!("the record at offset {offset} of key {key}{} is not what was sent: {text}", cite(*op));
                example(*key, Vec::new(), vec![*offset], &[*op], explanation)
            });
        }
        for (key, log) in facts.logs() {
            // What is in the log and was not sent was polled.
            for (_, written) in log.written(|written| !written.is_sent() && !self.is_excused(key, written.value)) {
                findings.add("phantom", || {
                    let op = if written.placed == OpRef::default() { written.read } else { written.placed };
                    let place = if written.offset >= 0 { format!(" at offset {}", written.offset) } else { String::new() };
                    let explanation = format!("value {} of key {key} was polled{place}{}, and nobody sent it", written.value, cite(op));
                    example(key, vec![written.value], offsets(written.offset), &[op], explanation)
                });
            }
            for (_, written) in log.written(Written::is_polled_early) {
                findings.add("read-before-send", || {
                    let explanation = format!(
                        "value {} of key {key} was polled{} before its send was invoked{}: the order or the ids of this history are wrong",
                        written.value,
                        cite(written.placed),
                        cite(written.invoked),
                    );
                    example(key, vec![written.value], offsets(written.offset), &[written.placed, written.invoked], explanation)
                });
            }
        }
        if findings.has("read-before-send") {
            let text = "a value was polled before it was sent: the order of events or the ids of values are wrong";
            findings.unproved("read-before-send", "read-before-send", text);
        }
        findings.verdict()
    }
}

fn offsets(offset: Offset) -> Vec<Offset> {
    if offset >= 0 { vec![offset] } else { Vec::new() }
}
