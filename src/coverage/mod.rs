//! Which fault met which state of the cluster (docs/coverage.md).
//!
//! Why: a hundred clean runs whose faults all began while every replica was in sync say nothing of what happens when one was lagging. [`states`] tells what is known of
//! the cluster at the moment before a fault (from the observer's timeline) and of the clients (from the history), [`runs`] puts runs of a directory
//! together, [`table`] shows what was exercised and what never was.

mod runs;
mod states;
mod table;

use std::path::Path;

use anyhow::Context;
use kchaos_core::{FaultEvent, FaultMoment, NemesisName, Observation, Plan, Target};
use serde::{Deserialize, Serialize};

pub(crate) use runs::{Covered, below, guide};
pub(crate) use states::{STATES, Seen, States};
pub(crate) use table::{never, table};

/// One fault that was in force, and what it met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Exercised {
    pub(crate) fault_id: u32,
    pub(crate) nemesis: String,
    #[serde(flatten)]
    pub(crate) states: States,
}

/// Of a run, from its directory. What was not proved to be in force exercised nothing.
pub(crate) fn of_run(run: &Path, plan: &Plan) -> anyhow::Result<Vec<Exercised>> {
    let first = in_force(run)?;
    let timeline: Vec<Observation> = lines(&run.join("timeline.jsonl"))?;
    // Before the command was sent: what came of the fault itself is not what it met.
    let moments: Vec<u64> = first.iter().map(|event| event.when.after_ns).collect();
    let clients = if moments.is_empty() { Vec::new() } else { states::of_clients(run, plan, &moments)? };
    let exercised = first.iter().zip(clients).map(|(event, (transaction, rebalance))| {
        let at = event.when.after_ns;
        let states = States {
            isr_shrunk: states::isr_shrunk(plan, &timeline, at),
            election: states::election(plan, &timeline, at),
            transaction,
            rebalance,
        };
        Exercised { fault_id: event.fault_id, nemesis: event.nemesis.clone(), states }
    });
    Ok(exercised.collect())
}

/// The faults of a run that were proved to be in force, once each.
fn in_force(run: &Path) -> anyhow::Result<Vec<FaultEvent>> {
    let faults: Vec<FaultEvent> = lines(&run.join("faults.jsonl"))?;
    let is_in_force = |event: &FaultEvent| {
        event.moment == FaultMoment::InEffect && event.proof.as_ref().is_some_and(|proof| proof.proved) && event.fault_id > 0
    };
    // A rolling fault is in effect once for each leg; what it met is what its first leg met.
    let mut first: Vec<FaultEvent> = Vec::new();
    for event in faults.into_iter().filter(is_in_force) {
        if !first.iter().any(|one| one.fault_id == event.fault_id) {
            first.push(event);
        }
    }
    Ok(first)
}

/// A last line that was cut off tells nothing.
fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// `kill`, `leader`; `host` and `rack` whatever their names.
pub(crate) fn parts(nemesis: &str) -> (String, String) {
    match nemesis.parse::<NemesisName>() {
        Ok(name) => {
            let target = match &name.target {
                Target::Host(_) => "host".to_owned(),
                Target::Rack(_) => "rack".to_owned(),
                other => other.to_string(),
            };
            (name.fault, target)
        }
        // A step of a plan: `step restart`.
        Err(_) => (nemesis.to_owned(), "cluster".to_owned()),
    }
}
