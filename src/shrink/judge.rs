//! What a try found, held against what the run that is shrunk had found.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::reduce::Came;
use crate::exit;
use crate::judged::RunVerdict;
use crate::slo::SloStatus;

/// How the run failed: what a smaller one must show as well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Symptoms {
    pub(super) exit_code: u8,
    /// Names of anomalies; any of them will do.
    pub(super) anomalies: BTreeSet<String>,
    /// Promises of time that were missed, of a run that failed by nothing else.
    pub(super) thresholds: BTreeSet<String>,
}

impl Symptoms {
    /// `None`: it did not fail.
    pub(super) fn of(verdict: &RunVerdict) -> Option<Self> {
        let symptoms = match () {
            () if holds(verdict, exit::INVALID) => {
                Self { exit_code: exit::INVALID, anomalies: found(verdict).into_keys().collect(), ..Self::default() }
            }
            () if holds(verdict, exit::THRESHOLD) => Self { exit_code: exit::THRESHOLD, thresholds: missed(verdict), ..Self::default() },
            () => return None,
        };
        (!symptoms.anomalies.is_empty() || !symptoms.thresholds.is_empty()).then_some(symptoms)
    }

    /// For people.
    pub(super) fn told(&self) -> String {
        self.anomalies.iter().chain(&self.thresholds).map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// What came of a try that ended with that code and verdict, and why it is called that.
    pub(super) fn judge(&self, code: u8, verdict: &RunVerdict) -> (Came, String) {
        let found = found(verdict);
        let counts = found.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ");
        let missed = missed(verdict);
        match code {
            exit::INVALID if found.keys().any(|name| self.anomalies.contains(name)) => (Came::Fails, counts),
            exit::INVALID => (Came::Otherwise, format!("another failure: {counts}")),
            exit::THRESHOLD if !missed.is_disjoint(&self.thresholds) => (Came::Fails, format!("missed {}", listed(&missed))),
            exit::THRESHOLD if !missed.is_empty() && self.exit_code == exit::THRESHOLD => {
                (Came::Otherwise, format!("another promise was missed: {}", listed(&missed)))
            }
            // Of a run that broke a promise of its own a missed time says nothing, and all checkers passed.
            exit::THRESHOLD if self.exit_code == exit::INVALID => (Came::Holds, verdict.sentence.clone()),
            exit::VALID => (Came::Holds, verdict.sentence.clone()),
            other => (Came::Unproved, format!("{}: {}", exit::name(other), verdict.sentence)),
        }
    }
}

fn holds(verdict: &RunVerdict, code: u8) -> bool {
    verdict.exit_code == code || verdict.exit_codes.iter().any(|reason| reason.code == code)
}

/// What proves something against the cluster.
pub(super) fn found(verdict: &RunVerdict) -> BTreeMap<String, u64> {
    let proved = verdict.anomalies.iter().filter(|(name, _)| !verdict.unproved.contains(*name));
    proved.map(|(name, finding)| (name.clone(), finding.count)).collect()
}

fn missed(verdict: &RunVerdict) -> BTreeSet<String> {
    let missed = verdict.thresholds.iter().filter(|outcome| outcome.status == SloStatus::Missed);
    missed.map(|outcome| outcome.slo.clone()).collect()
}

fn listed(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use kchaos_core::Finding;

    use super::*;
    use crate::judged::ExitReason;
    use crate::slo::SloOutcome;

    fn verdict(code: u8, anomalies: &[&str], slos: &[(&str, SloStatus)]) -> RunVerdict {
        let finding = |name: &&str| ((*name).to_owned(), Finding { count: 3, examples: Vec::new() });
        let outcome = |(slo, status): &(&str, SloStatus)| SloOutcome {
            slo: (*slo).to_owned(),
            status: *status,
            measured_ns: None,
            limit_ns: 0,
            n: 1,
            text: String::new(),
        };
        RunVerdict {
            exit_code: code,
            exit_codes: vec![ExitReason { code, name: exit::name(code).to_owned(), why: String::new() }],
            anomalies: anomalies.iter().map(finding).collect(),
            thresholds: slos.iter().map(outcome).collect(),
            ..RunVerdict::default()
        }
    }

    fn check(of: &RunVerdict, then: &RunVerdict, expect: Came) {
        let (came, why) = Symptoms::of(of).unwrap().judge(then.exit_code, then);
        assert_eq!(came, expect, "{why}");
    }

    #[test]
    fn the_same_failure_is_one_of_the_same_names_and_no_other() {
        let lost = verdict(exit::INVALID, &["lost-write", "unseen"], &[]);
        check(&lost, &verdict(exit::INVALID, &["unseen"], &[]), Came::Fails);
        check(&lost, &verdict(exit::INVALID, &["duplicate"], &[]), Came::Otherwise);
        check(&lost, &verdict(exit::VALID, &[], &[]), Came::Holds);
        check(&lost, &verdict(exit::THRESHOLD, &[], &[("send.p99 < 1 s", SloStatus::Missed)]), Came::Holds);
    }

    #[test]
    fn what_proves_nothing_is_never_a_failure() {
        let lost = verdict(exit::INVALID, &["unseen"], &[]);
        let mut unread = verdict(exit::UNKNOWN, &["unseen"], &[]);
        unread.unproved.insert("unseen".to_owned());
        check(&lost, &unread, Came::Unproved);
        for code in [exit::ENVIRONMENT, exit::UNHEALED, exit::ABORTED, exit::INTERNAL] {
            check(&lost, &verdict(code, &["unseen"], &[]), Came::Unproved);
        }
        assert_eq!(Symptoms::of(&unread), None);
    }

    #[test]
    fn a_promise_of_time_is_missed_again_or_it_is_not() {
        let slow = verdict(exit::THRESHOLD, &[], &[("send.p99 < 1 s", SloStatus::Missed), ("read.p99 < 1 s", SloStatus::Met)]);
        check(&slow, &verdict(exit::THRESHOLD, &[], &[("send.p99 < 1 s", SloStatus::Missed)]), Came::Fails);
        check(&slow, &verdict(exit::THRESHOLD, &[], &[("read.p99 < 1 s", SloStatus::Missed)]), Came::Otherwise);
        check(&slow, &verdict(exit::THRESHOLD, &[], &[("send.p99 < 1 s", SloStatus::Unmeasured)]), Came::Unproved);
        check(&slow, &verdict(exit::INVALID, &["lost-write"], &[]), Came::Otherwise);
    }
}
