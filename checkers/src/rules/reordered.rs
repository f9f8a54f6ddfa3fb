//! `reordered`: acknowledged values that did not land in the order in which they had to.
//!
//! Two promises, by two rules of the profile:
//!
//! - `reordered/in-real-time` (acks=all): what was known to stand at an offset before a send was invoked has the smaller offset. An append
//!   log is linearizable exactly if no pair breaks this, so one number for each key is enough: the greatest offset known when the send was
//!   invoked, its *floor*. An unacknowledged value counts as soon as a poll shows it: the poll completed after it existed.
//! - `reordered/by-client` (idempotent producers, or one request in flight): the acknowledged offsets of one client rise in the order of
//!   sending, pipelined sends included. Where ops name no client, the process stands for it. A restarted producer is a new client.
//!
//! A pair that breaks both is counted once, as the first. Equal offsets are another anomaly (`inconsistent-offsets`).
//!
//! Limits: of one client and key, at most 16,384 sends wait for an earlier one that never ends; that one is then left out. Ops without an
//! invocation in the history are placed by the order of completions, and only where no client is named.

use kchaos_core::{Example, Key, Verdict};

use crate::facts::Facts;
use crate::facts::senders::Inversion;
use crate::log::{Outcome, Written};
use crate::profile::Ruling;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "reordered",
    about: "acknowledged values land in the order of sending, and of real time",
    anomalies: &["reordered"],
    stable: true,
    hears: hears::NOTHING,
    build: || Box::new(Reordered),
};

const REAL_TIME: &str = "reordered/in-real-time";
const BY_CLIENT: &str = "reordered/by-client";

struct Reordered;

impl Rule for Reordered {
    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for (key, log) in facts.logs() {
            if log.below_floor() == 0 {
                continue;
            }
            for (_, written) in log.written(counts_in_real_time) {
                findings.add(REAL_TIME, || in_real_time(key, written, log.at(written.floor).as_ref()));
            }
        }
        let real_time_counts = options.profile.ruling(REAL_TIME) == Ruling::Violation;
        let open = facts.senders().unsettled();
        let mut inversions: Vec<&Inversion> = facts.senders().inversions().iter().chain(&open).collect();
        inversions.sort_unstable_by_key(|inversion| (inversion.later.op.get(), inversion.key, inversion.later.offset));
        for inversion in inversions {
            let written = facts.log(inversion.key).and_then(|log| log.find_live(inversion.later.value));
            if !(real_time_counts && written.is_some_and(counts_in_real_time)) {
                findings.add(BY_CLIENT, || inversion.example());
            }
        }
        findings.verdict()
    }
}

/// What failed (an aborted record that somebody polled uncommitted) was promised no place.
fn counts_in_real_time(written: &Written) -> bool {
    written.is_below_floor() && written.outcome != Outcome::Fail
}

fn in_real_time(key: Key, later: &Written, earlier: Option<&Written>) -> Example {
    let (mut values, mut ops) = (vec![later.value], vec![later.invoked, later.placed]);
    let known = match earlier {
        Some(earlier) => {
            values.insert(0, earlier.value);
            ops.insert(0, earlier.placed);
            format!("value {} of key {key} was known to stand at offset {}{}", earlier.value, later.floor, cite(earlier.placed))
        }
        None => format!("offset {} of key {key} was known to be taken", later.floor),
    };
    let explanation = format!(
        "{known} before the send of value {} was invoked{}, which landed at {}{}: it should have landed after {}",
        later.value,
        cite(later.invoked),
        later.offset,
        cite(later.placed),
        later.floor,
    );
    example(key, values, vec![later.floor, later.offset], &ops, explanation)
}

impl Inversion {
    fn example(&self) -> Example {
        let Inversion { key, earlier, later } = self;
        let explanation = format!(
            "one client sent value {} to key {key} before value {}, yet they landed at {}{} and {}{}: the first sent should have landed first",
            earlier.value,
            later.value,
            earlier.offset,
            cite(earlier.op),
            later.offset,
            cite(later.op),
        );
        example(*key, vec![earlier.value, later.value], vec![earlier.offset, later.offset], &[earlier.op, later.op], explanation)
    }
}
