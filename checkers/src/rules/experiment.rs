//! The experiment itself: was there anything to judge?
//!
//! These are reasons, never anomalies: `nothing-acknowledged`, `history-truncated`, `values-not-unique`. (`no-final-read` is
//! [`super::unseen`]'s to say.)

use kchaos_core::Verdict;

use crate::facts::Facts;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "experiment",
    about: "something was acknowledged, and the history is whole",
    anomalies: &[],
    stable: false,
    hears: hears::NOTHING,
    build: || Box::new(Experiment),
};

struct Experiment;

impl Rule for Experiment {
    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        let counts = &facts.counts;
        if counts.ok_sends + counts.ok_txns + counts.ok_registers + counts.acknowledged_values == 0 {
            findings.reason("nothing-acknowledged", "no send, transaction, read, write or compare-and-set was ok");
        }
        if let Some(text) = &facts.truncated {
            findings.reason("history-truncated", text);
        }
        let reused: usize = facts.logs().iter().map(|(_, log)| log.all().filter(|written| written.is_sent_twice()).count()).sum();
        if reused > 0 {
            let text = format!("{reused} values were sent by more than one op: values must be unique for their key to be told apart");
            findings.reason("values-not-unique", text);
        }
        findings.verdict()
    }
}
