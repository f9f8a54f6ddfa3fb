//! The shape of every JSON that is written for programs, as JSON Schemas (draft 2020-12): `schemas/*.json`, told by `kchaos schema`.
//!
//! Written by hand, since each property has a word for people that no derive knows; that what is written conforms is a test of each writer
//! ([`conform`]), which is stricter than the schemas: a property that no schema names is an error there.

#[cfg(test)]
pub(crate) mod conform;

/// One of them.
pub(crate) struct Schema {
    pub(crate) name: &'static str,
    /// Where such a thing is found.
    pub(crate) of: &'static str,
    pub(crate) text: &'static str,
}

pub(crate) const ALL: &[Schema] = &[
    Schema { name: "verdict", of: "verdict.json of a run", text: include_str!("../../schemas/verdict.json") },
    Schema { name: "plan", of: "plan.json of a run", text: include_str!("../../schemas/plan.json") },
    Schema { name: "latency", of: "latency.json of a run", text: include_str!("../../schemas/latency.json") },
    Schema { name: "fault", of: "a line of faults.jsonl", text: include_str!("../../schemas/fault.json") },
    Schema { name: "observation", of: "a line of timeline.jsonl", text: include_str!("../../schemas/observation.json") },
    Schema { name: "op", of: "a line of history.jsonl", text: include_str!("../../schemas/op.json") },
    Schema { name: "check", of: "kchaos check --format json", text: include_str!("../../schemas/check.json") },
    Schema { name: "suite", of: "suite.json, of steps or of a matrix", text: include_str!("../../schemas/suite.json") },
    Schema { name: "coverage", of: "kchaos coverage --format json", text: include_str!("../../schemas/coverage.json") },
    Schema { name: "doctor", of: "kchaos doctor --format json", text: include_str!("../../schemas/doctor.json") },
    Schema { name: "progress", of: "a line of kchaos test --progress json", text: include_str!("../../schemas/progress.json") },
    Schema { name: "notify", of: "what the web hook of kchaos test --notify is told", text: include_str!("../../schemas/notify.json") },
    Schema { name: "notify-suite", of: "the same of kchaos suite --notify", text: include_str!("../../schemas/notify-suite.json") },
];

pub(crate) fn named(name: &str) -> Option<&'static Schema> {
    ALL.iter().find(|schema| schema.name == name)
}
