//! What a check says: the object of `kchaos check --format json` (FORMATS.md).

use std::collections::BTreeMap;

use kchaos_core::{Finding, Reason, Validity, Verdict};
use serde::{Deserialize, Serialize};

use crate::load::PhaseLoad;
use crate::recovery_windows::Unavailability;

/// `valid`, `ops`, `profile`, `anomalies`, `ignored` and `reasons` are the contract; the fields after them are ours to add to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    pub valid: Validity,
    /// Lines read.
    pub ops: u64,
    pub profile: String,
    pub anomalies: BTreeMap<String, Finding>,
    pub ignored: BTreeMap<String, Finding>,
    pub reasons: Vec<Reason>,
    /// Names in `anomalies` that are listed and prove nothing by themselves.
    #[serde(default)]
    pub unproved: Vec<String>,
    /// Each checker's own verdict: a test case in JUnit.
    pub checkers: Vec<CheckerVerdict>,
    pub load: Vec<PhaseLoad>,
    pub unavailable: Unavailability,
    /// Ops with an `f` that is not known: skipped.
    pub unknown_fs: BTreeMap<String, u64>,
    /// What a reader of the history had to do to read it.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckerVerdict {
    pub name: String,
    pub about: String,
    pub valid: Validity,
    /// What it found that counts against the run.
    pub anomalies: Vec<String>,
    /// Why it is unknown.
    pub reasons: Vec<String>,
}

impl CheckReport {
    /// The same as one of core's verdicts, to be joined with others'.
    pub fn verdict(&self) -> Verdict {
        Verdict {
            anomalies: self.anomalies.clone(),
            unproved: self.unproved.iter().cloned().collect(),
            ignored: self.ignored.clone(),
            reasons: self.reasons.clone(),
        }
    }

    /// Joins what others found of the same run (recovery, daemon logs, the run itself).
    pub fn merge(&mut self, other: Verdict) {
        let mut verdict = self.verdict();
        verdict.merge(other);
        self.valid = verdict.validity();
        self.unproved = verdict.unproved.into_iter().collect();
        (self.anomalies, self.ignored, self.reasons) = (verdict.anomalies, verdict.ignored, verdict.reasons);
    }
}
