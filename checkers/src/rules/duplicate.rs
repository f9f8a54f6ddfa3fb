//! `duplicate`: one value at two or more offsets of its key.
//!
//! Reading one offset again is not this. The log knows every offset of a value, from acknowledgements and from polls of every completion.

use kchaos_core::Verdict;

use crate::facts::Facts;
use crate::rule::{Findings, JudgeOptions, MAX_LISTED, Rule, Spec, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "duplicate",
    about: "a value stands at one offset only",
    anomalies: &["duplicate"],
    stable: true,
    hears: hears::NOTHING,
    build: || Box::new(Duplicate),
};

struct Duplicate;

impl Rule for Duplicate {
    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for (key, log) in facts.logs() {
            for (id, places) in log.moved() {
                let written = log.of(id);
                findings.add("duplicate", || {
                    let offsets: Vec<_> = places.keys().copied().take(MAX_LISTED).collect();
                    let shown = places.values().copied().take(MAX_LISTED);
                    let ops: Vec<_> = [written.invoked].into_iter().chain(shown).collect();
                    let sent = if written.is_sent_twice() { ", and was sent by several ops" } else { "" };
                    let explanation = format!(
                        "value {} of key {key} stands at {} offsets ({}){sent}: it should stand at one",
                        written.value,
                        places.len(),
                        offsets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                    );
                    example(key, vec![written.value], offsets, &ops, explanation)
                });
            }
        }
        findings.verdict()
    }
}
