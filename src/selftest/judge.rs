//! What a run of a case came to, held against what was to come of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::case::Form;
use crate::exit;

/// The verdict on the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Came {
    AsExpected,
    /// What is bad was called valid, or not all of it was found.
    Missed,
    /// More was found than there is; of a twin, anything.
    Accused,
    /// The run proved nothing, so neither does this.
    Unproved,
}

impl Came {
    pub(super) fn exit_code(self) -> u8 {
        match self {
            Self::AsExpected => exit::VALID,
            Self::Missed | Self::Accused => exit::INVALID,
            Self::Unproved => exit::UNKNOWN,
        }
    }
}

/// What a run's verdict.json says.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) code: u8,
    /// By name, how many.
    pub(super) found: BTreeMap<String, u64>,
    pub(super) sentence: String,
}

impl Said {
    pub(super) fn of(code: u8, verdict: &Value) -> Self {
        let found = verdict["anomalies"].as_object().into_iter().flatten();
        let found = found.map(|(name, finding)| (name.clone(), finding["count"].as_u64().unwrap_or(0))).collect();
        Self { code, found, sentence: verdict["sentence"].as_str().unwrap_or_default().to_owned() }
    }
}

/// What came, and why it is called that.
pub(super) fn judge(form: &Form, said: &Said) -> (Came, String) {
    let (is_bad, ended) = (form.expect != exit::VALID, exit::name(said.code));
    if said.code != form.expect {
        let text = format!("{ended}, and {} was expected: {}", exit::name(form.expect), said.sentence);
        let came = match said.code {
            exit::VALID if is_bad => Came::Missed,
            exit::INVALID => Came::Accused,
            _ => Came::Unproved,
        };
        return (came, text);
    }
    for (name, bound) in &form.find {
        let count = said.found.get(name).copied().unwrap_or(0);
        if count < bound.at_least {
            return (Came::Missed, format!("{count} {name}, and {} or more were expected: {}", bound.at_least, said.sentence));
        }
        if let Some(most) = bound.at_most.filter(|most| count > *most) {
            return (Came::Accused, format!("{count} {name}, and {most} or fewer were expected: {}", said.sentence));
        }
    }
    if !form.find_any.is_empty() && !form.find_any.iter().any(|name| said.found.contains_key(name)) {
        return (Came::Missed, format!("none of {}: {}", form.find_any.join(", "), said.sentence));
    }
    (Came::AsExpected, if said.found.is_empty() { said.sentence.clone() } else { counted(&said.found) })
}

/// `5 lost-write, 2 duplicate`.
pub(super) fn counted(found: &BTreeMap<String, u64>) -> String {
    found.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::case::Bound;
    use super::*;

    fn check(expect: u8, find: &[(&str, u64, Option<u64>)], any: &[&str], code: u8, found: &[(&str, u64)], came: Came) {
        let form = Form {
            lab: Vec::new(),
            words: Vec::new(),
            plan: None,
            expect,
            find: find
                .iter()
                .map(|(name, at_least, at_most)| ((*name).to_owned(), Bound { at_least: *at_least, at_most: *at_most }))
                .collect(),
            find_any: any.iter().map(|name| (*name).to_owned()).collect(),
            attempts: 1,
        };
        let found = found.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let (is, why) = judge(&form, &Said { code, found, sentence: "It was so.".to_owned() });
        assert_eq!(is, came, "{why}");
    }

    #[test]
    fn what_is_bad_is_caught_by_name_and_within_bounds() {
        let one = [("lost-write", 1, Some(100))];
        check(exit::INVALID, &one, &[], exit::INVALID, &[("lost-write", 7)], Came::AsExpected);
        check(exit::INVALID, &one, &[], exit::VALID, &[], Came::Missed);
        check(exit::INVALID, &one, &[], exit::INVALID, &[("duplicate", 7)], Came::Missed);
        check(exit::INVALID, &one, &[], exit::INVALID, &[("lost-write", 101)], Came::Accused);
        check(exit::INVALID, &one, &[], exit::UNKNOWN, &[], Came::Unproved);
        check(exit::INVALID, &[], &["G1a", "lso-stall"], exit::INVALID, &[("G1a", 1)], Came::AsExpected);
        check(exit::INVALID, &[], &["G1a", "lso-stall"], exit::INVALID, &[("duplicate", 1)], Came::Missed);
        check(exit::THRESHOLD, &[], &[], exit::THRESHOLD, &[], Came::AsExpected);
        check(exit::THRESHOLD, &[], &[], exit::INVALID, &[("lost-write", 1)], Came::Accused);
    }

    #[test]
    fn a_twin_is_clean_or_accused_or_nothing_was_proved() {
        check(exit::VALID, &[], &[], exit::VALID, &[], Came::AsExpected);
        check(exit::VALID, &[], &[], exit::INVALID, &[("lost-write", 1)], Came::Accused);
        check(exit::VALID, &[], &[], exit::ENVIRONMENT, &[], Came::Unproved);
        check(exit::VALID, &[], &[], exit::THRESHOLD, &[], Came::Unproved);
    }
}
