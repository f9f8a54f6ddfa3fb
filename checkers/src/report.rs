//! What a check says: the object of `kchaos check --format json` (FORMATS.md).

use std::collections::BTreeMap;
use std::fmt::Display;

use kchaos_core::{Finding, Op, Reason, Validity, Verdict};
use serde::{Deserialize, Serialize};

use crate::evidence::add_evidence;
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

    /// Fills in the evidence of what was found, if anything was: `tell` is asked to tell the whole history again, once or twice. If it cannot,
    /// the verdict stands as it is, with a note.
    pub fn add_evidence<E: Display>(&mut self, tell: impl FnMut(&mut dyn FnMut(&Op)) -> Result<(), E>) {
        if let Err(error) = add_evidence(&mut self.anomalies, tell) {
            self.notes.push(format!("the ops are not shown, since the history could not be read again: {error}"));
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
