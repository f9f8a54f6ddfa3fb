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
    Schema {
        name: "verdict",
        of: "verdict.json of a run; kchaos conclude --format json",
        text: include_str!("../../schemas/verdict.json"),
    },
    Schema { name: "plan", of: "plan.json of a run", text: include_str!("../../schemas/plan.json") },
    Schema { name: "latency", of: "latency.json of a run", text: include_str!("../../schemas/latency.json") },
    Schema { name: "start", of: "start.json of a run", text: include_str!("../../schemas/start.json") },
    Schema { name: "fault", of: "a line of faults.jsonl", text: include_str!("../../schemas/fault.json") },
    Schema { name: "observation", of: "a line of timeline.jsonl", text: include_str!("../../schemas/observation.json") },
    Schema { name: "op", of: "a line of history.jsonl", text: include_str!("../../schemas/op.json") },
    Schema { name: "undo-journal", of: "a line of undo-journal.jsonl", text: include_str!("../../schemas/undo-journal.json") },
    Schema { name: "check", of: "kchaos check --format json", text: include_str!("../../schemas/check.json") },
    Schema { name: "suite", of: "suite.json, of steps or of a matrix", text: include_str!("../../schemas/suite.json") },
    Schema { name: "selftest", of: "selftest.json", text: include_str!("../../schemas/selftest.json") },
    Schema { name: "selftest-cases", of: "kchaos selftest --list --format json", text: include_str!("../../schemas/selftest-cases.json") },
    Schema {
        name: "selftest-record",
        of: "a line of the file of kchaos selftest --record",
        text: include_str!("../../schemas/selftest-record.json"),
    },
    Schema { name: "shrink", of: "shrink.json", text: include_str!("../../schemas/shrink.json") },
    Schema { name: "shrink-dry-run", of: "kchaos shrink --dry-run --format json", text: include_str!("../../schemas/shrink-dry-run.json") },
    Schema { name: "coverage", of: "kchaos coverage --format json", text: include_str!("../../schemas/coverage.json") },
    Schema { name: "doctor", of: "kchaos doctor --format json", text: include_str!("../../schemas/doctor.json") },
    Schema { name: "dry-run", of: "kchaos plan --format json", text: include_str!("../../schemas/dry-run.json") },
    Schema { name: "status", of: "kchaos status --format json", text: include_str!("../../schemas/status.json") },
    Schema { name: "peek", of: "kchaos peek --format json", text: include_str!("../../schemas/peek.json") },
    Schema { name: "heal", of: "kchaos heal --format json", text: include_str!("../../schemas/heal.json") },
    Schema { name: "halt", of: "kchaos halt --format json, and --release", text: include_str!("../../schemas/halt.json") },
    Schema {
        name: "inventory-check",
        of: "kchaos inventory check --format json",
        text: include_str!("../../schemas/inventory-check.json"),
    },
    Schema { name: "discover", of: "kchaos inventory discover --format json", text: include_str!("../../schemas/discover.json") },
    Schema { name: "lab-status", of: "kchaos lab status --format json", text: include_str!("../../schemas/lab-status.json") },
    Schema { name: "list", of: "kchaos list --format json", text: include_str!("../../schemas/list.json") },
    Schema { name: "config-show", of: "kchaos config show --format json", text: include_str!("../../schemas/config-show.json") },
    Schema { name: "config-check", of: "kchaos config check --format json", text: include_str!("../../schemas/config-check.json") },
    Schema { name: "config-list", of: "kchaos config list --format json", text: include_str!("../../schemas/config-list.json") },
    Schema {
        name: "runs-list",
        of: "kchaos runs list --format json; /api/runs of kchaos serve",
        text: include_str!("../../schemas/runs-list.json"),
    },
    Schema {
        name: "runs-info",
        of: "kchaos runs info --format json; /api/runs/ID of kchaos serve",
        text: include_str!("../../schemas/runs-info.json"),
    },
    Schema { name: "runs-prune", of: "kchaos runs prune --format json", text: include_str!("../../schemas/runs-prune.json") },
    Schema { name: "runs-export", of: "kchaos runs export --format json", text: include_str!("../../schemas/runs-export.json") },
    Schema {
        name: "compare",
        of: "kchaos compare --format json; /api/compare of kchaos serve",
        text: include_str!("../../schemas/compare.json"),
    },
    Schema { name: "error", of: "what kchaos serve says below /api/ instead of an answer", text: include_str!("../../schemas/error.json") },
    Schema { name: "progress", of: "a line of kchaos test --progress json", text: include_str!("../../schemas/progress.json") },
    Schema { name: "notify", of: "what the web hook of kchaos test --notify is told", text: include_str!("../../schemas/notify.json") },
    Schema { name: "notify-suite", of: "the same of kchaos suite --notify", text: include_str!("../../schemas/notify-suite.json") },
];

pub(crate) fn named(name: &str) -> Option<&'static Schema> {
    ALL.iter().find(|schema| schema.name == name)
}
