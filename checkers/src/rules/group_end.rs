//! Did the consumer groups of a run come to the end of their logs? What a group did not reach, it neither processed nor passed over: nothing is
//! proved of it, and the run is unknown (`group-behind`).
//!
//! - `final-groups` `{"group": "g", "committed": {"0": 124}, "behind": [1]}`: of each group, once it was given its time at the run's end, what its
//!   coordinator said, and the keys that are not committed to their end. The last word of each group counts.

use std::collections::BTreeMap;

use kchaos_core::{Key, Op, Verdict};
use serde_json::Value as Json;

use crate::facts::Facts;
use crate::rule::{Findings, JudgeOptions, MAX_LISTED, Rule, Spec, hears};
use crate::told::{text, told};

pub(crate) const SPEC: Spec = Spec {
    name: "group-end",
    about: "every consumer group of the run came to the end of its logs",
    anomalies: &[],
    stable: false,
    hears: hears::NEMESIS,
    build: || Box::new(GroupEnd::default()),
};

#[derive(Default)]
struct GroupEnd {
    behind: BTreeMap<String, Vec<Key>>,
}

impl Rule for GroupEnd {
    fn update(&mut self, op: &Op, _: &Facts) {
        let Some(value) = told(op, "final-groups") else { return };
        let (Some(group), Some(behind)) = (text(value, "group"), value.get("behind").and_then(Json::as_array)) else { return };
        self.behind.insert(group.to_owned(), behind.iter().filter_map(Json::as_i64).collect());
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for (group, keys) in self.behind.iter().filter(|(_, keys)| !keys.is_empty()) {
            let more = if keys.len() > MAX_LISTED { " and more" } else { "" };
            let listed: Vec<String> = keys.iter().take(MAX_LISTED).map(Key::to_string).collect();
            let text = format!("group \"{group}\" did not commit to the end of keys {}{more} in its time", listed.join(", "));
            findings.reason("group-behind", text);
        }
        findings.verdict()
    }
}
