//! `inconsistent-offsets`: one offset holds two values or more, by what was acknowledged there and what polls of every completion returned.

use kchaos_core::Verdict;

use crate::facts::Facts;
use crate::rule::{Findings, JudgeOptions, MAX_LISTED, Rule, Spec, cite, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "inconsistent-offsets",
    about: "an offset holds one value, whoever asks",
    anomalies: &["inconsistent-offsets"],
    stable: true,
    hears: hears::NOTHING,
    build: || Box::new(InconsistentOffsets),
};

struct InconsistentOffsets;

impl Rule for InconsistentOffsets {
    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for (key, log) in facts.logs() {
            for offset in log.contested() {
                let values = log.contestants(offset);
                findings.add("inconsistent-offsets", || {
                    let shown: Vec<_> = values.iter().map(|(id, op)| (log.of(*id).value, *op)).take(MAX_LISTED).collect();
                    let told = shown.iter().map(|(value, op)| format!("{value}{}", cite(*op))).collect::<Vec<_>>().join(", ");
                    let ops: Vec<_> = shown.iter().map(|(_, op)| *op).collect();
                    let disks = facts.hints.replica_logs.at(key, offset);
                    let explanation =
                        format!("offset {offset} of key {key} holds {} values: {told}; it should hold one{disks}", values.len());
                    example(key, shown.iter().map(|(value, _)| *value).collect(), vec![offset], &ops, explanation)
                });
            }
        }
        findings.verdict()
    }
}
