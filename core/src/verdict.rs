//! Verdicts: what was found, and how sure we are.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Evidence, Key, Offset, Value, mutant};

/// Three-valued, ordered by how much it outranks: a proved violation wins over unknown, unknown over valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Validity {
    #[default]
    Valid,
    Unknown,
    Invalid,
}

/// What one checker, or all together, concluded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// By name (ANOMALIES.md). They make the verdict invalid, unless they are `unproved`.
    pub anomalies: BTreeMap<String, Finding>,
    /// Names in `anomalies` that are listed and prove nothing against the cluster: acknowledged values not read *yet*, impossible clocks.
    /// They make the verdict unknown.
    pub unproved: BTreeSet<String>,
    /// Found, but allowed by the profile.
    pub ignored: BTreeMap<String, Finding>,
    /// Why the verdict cannot be valid although nothing was proved against it. Kept when it is invalid.
    pub reasons: Vec<Reason>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Before truncation of the examples.
    pub count: u64,
    pub examples: Vec<Example>,
}

/// One counter-example. Every accusation cites its ops by index and says in one sentence what should have been seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Example {
    pub key: Option<Key>,
    pub values: Vec<Value>,
    pub offsets: Vec<Offset>,
    pub ops: Vec<u64>,
    pub explanation: String,
    /// What a person looks at; `None` where the history was not read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<Evidence>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub name: String,
    pub text: String,
}

/// Every reason why a verdict is not valid although nothing was proved: what is missing here is no reason's name.
pub const REASONS: &[&str] = &[
    "checker-failed",
    "group-behind",
    "history-truncated",
    "needs-second-pass",
    "no-effect",
    "no-final-read",
    "not-looked-at",
    "not-recovered-yet",
    "nothing-acknowledged",
    "nothing-compacted",
    "orderer-behind",
    "read-before-send",
    "search-exhausted",
    "step-not-done",
    "unknown-beginning",
    "unknown-outputs",
    "values-not-unique",
];

impl Verdict {
    pub fn validity(&self) -> Validity {
        if self.anomalies.keys().any(|name| !self.unproved.contains(name)) {
            Validity::Invalid
        } else if !self.reasons.is_empty() || !self.anomalies.is_empty() {
            Validity::Unknown
        } else {
            Validity::Valid
        }
    }

    /// Joins another checker's findings; examples of one name are appended, counts added. What one of them proved is proved.
    pub fn merge(&mut self, other: Verdict) {
        let proved_here: Vec<String> = self.anomalies.keys().filter(|name| !self.unproved.contains(*name)).cloned().collect();
        let proved_there: Vec<String> = other.anomalies.keys().filter(|name| !other.unproved.contains(*name)).cloned().collect();
        self.unproved.extend(other.unproved);
        self.unproved.retain(|name| !proved_here.contains(name) && !proved_there.contains(name));
        for (mine, theirs) in [(&mut self.anomalies, other.anomalies), (&mut self.ignored, other.ignored)] {
            for (name, finding) in theirs {
                let entry = mine.entry(name).or_default();
                entry.count += finding.count;
                entry.examples.extend(finding.examples);
            }
        }
        for reason in other.reasons {
            if !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
    }

    /// A violation that the run itself found, beside the checkers. Nothing is found where there is nothing to count.
    pub fn accuse(&mut self, name: &str, finding: Finding) {
        if finding.count > 0 && !mutant::is("blind", &name) {
            self.anomalies.insert(name.to_owned(), finding);
        }
    }

    pub fn reason(&mut self, name: &str, text: impl Into<String>) {
        debug_assert!(REASONS.contains(&name), "{name} is missing in REASONS");
        if mutant::is("sure", &name) {
            return;
        }
        self.reasons.push(Reason { name: name.to_owned(), text: text.into() });
    }
}

impl Serialize for Validity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Validity::Valid => serializer.serialize_bool(true),
            Validity::Invalid => serializer.serialize_bool(false),
            Validity::Unknown => serializer.serialize_str("unknown"),
        }
    }
}

impl<'de> Deserialize<'de> for Validity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Bool(true) => Ok(Validity::Valid),
            serde_json::Value::Bool(false) => Ok(Validity::Invalid),
            serde_json::Value::String(text) if text == "unknown" => Ok(Validity::Unknown),
            other => Err(serde::de::Error::custom(format!("expected true, false or \"unknown\", found {other}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(name: &str, proved: bool) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.anomalies.insert(name.to_owned(), Finding { count: 1, examples: vec![] });
        if !proved {
            verdict.unproved.insert(name.to_owned());
        }
        verdict
    }

    #[test]
    fn what_is_listed_but_unproved_is_unknown_and_a_proof_outranks_it() {
        assert_eq!(Verdict::default().validity(), Validity::Valid);
        for (first, second, expected) in
            [(false, false, Validity::Unknown), (false, true, Validity::Invalid), (true, false, Validity::Invalid)]
        {
            let mut joined = verdict("unseen", first);
            joined.merge(verdict("unseen", second));
            assert_eq!((joined.validity(), joined.anomalies["unseen"].count), (expected, 2));
        }
        let mut joined = verdict("unseen", false);
        joined.merge(verdict("lost-write", true));
        assert_eq!((joined.validity(), joined.unproved.len()), (Validity::Invalid, 1));
    }
}
