//! What a run intends: `plan.json`. Everything needed to repeat it and to judge it again from its directory alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Key;

/// `plan.json`. Secrets never stand in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    pub run_id: String,
    /// Wall clock at the run's start, RFC 3339, for people.
    pub started_at: String,
    /// The same in nanoseconds since the Unix epoch: `unix_ns = started_at_unix_ns + time_ns` maps the run's clock to daemon logs.
    pub started_at_unix_ns: u64,
    pub kchaos_version: String,
    /// The command that repeats it, as typed.
    pub command: Vec<String>,
    pub seed: u64,
    pub workload: String,
    /// The workload's options, resolved.
    pub options: BTreeMap<String, serde_json::Value>,
    /// Nemeses by name; empty for none.
    pub nemeses: Vec<String>,
    /// How many faults must have been in force for the run to count.
    pub faults_required: u32,
    pub schedule: Vec<PlannedFault>,
    /// What an operator does meanwhile, one after another (`kchaos test --plan`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<PlannedStep>,
    pub keys: Vec<KeyEntry>,
    /// What the profile is derived from.
    pub acks: String,
    pub idempotence: bool,
    pub isolation: String,
    /// `assign` or `subscribe`.
    pub consumers_via: String,
    /// Given by `--profile`; otherwise derived.
    pub profile: Option<String>,
    /// Effective broker and topic settings read back from the cluster.
    pub effective: BTreeMap<String, BTreeMap<String, String>>,
    /// The inventory without secrets.
    pub inventory: serde_json::Value,
    pub slo: Vec<String>,
    /// Anything else worth keeping (versions of libraries, the lab's settings).
    pub facts: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlannedFault {
    pub nemesis: String,
    /// Quiet time before it, after the cluster was whole again. Of one that is beside another: how long after that one it begins.
    pub wait_ms: u64,
    pub duration_ms: u64,
    /// Seed of this fault's own choices (which of several targets).
    pub seed: u64,
    /// It belongs to the one before it: it begins together with that, or joins it.
    #[serde(skip_serializing_if = "is_false")]
    pub beside: bool,
    /// Exactly when it begins, counted from the beginning of the trouble, whatever else goes on; then `wait_ms` means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
}

/// As it stands in the plan file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlannedStep {
    /// Its kind: `restart`.
    pub step: String,
    #[serde(flatten)]
    pub keys: BTreeMap<String, serde_json::Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEntry {
    pub key: Key,
    pub topic: String,
    pub partition: i32,
}
