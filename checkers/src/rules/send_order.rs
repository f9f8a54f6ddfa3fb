//! The order in which one process's sends land.
//!
//! `nonmonotonic-send`: of successive ok or info ops of a process that send to a key, the later landed at or before the earlier.
//! `int-nonmonotonic-send`: the same inside one op. `int-send-skip`: values of others between the sends of one op (never promised: ignored).
//!
//! An offset that the op does not tell (an info send, an idempotent retry's success) is looked up at the end, when the polls have told it;
//! what stays unknown proves nothing, nor does a value at several offsets that no acknowledgement places.
//!
//! After an info op, only idempotence promises order (a late retry may still land): `nonmonotonic-send/after-info`.

use kchaos_core::{Offset, Value, Verdict};

use crate::facts::Facts;
use crate::facts::senders::Pair;
use crate::log::Isolation;
use crate::rule::{Findings, JudgeOptions, MAX_LISTED, Rule, Spec, cite, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "send-order",
    about: "what a process sends one after the other lands one after the other",
    anomalies: &["nonmonotonic-send", "int-nonmonotonic-send", "int-send-skip"],
    stable: true,
    hears: hears::NOTHING,
    build: || Box::new(SendOrder),
};

struct SendOrder;

impl Rule for SendOrder {
    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for pair in facts.senders().pairs() {
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

impl Pair {
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
