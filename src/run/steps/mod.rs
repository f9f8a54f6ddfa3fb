//! Steps: what operators do to a cluster, one after another, while its clients go on (`[[step]]` of a plan file, docs/plans.md). One file and one line
//! of [`ALL`] for each kind.
//!
//! What touches a daemon goes through the nemeses' engine, with all that a fault has. A step that had no effect, or was not seen to have one, is never
//! valid; and what it changed stays, since it is what its operator wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use kchaos_cluster::inventory::{Inventory, is_secret_property};
use kchaos_core::{Plan, PlannedStep};
use serde::de::DeserializeOwned;

use crate::judged::StepOutcome;

mod replace_version;
mod restart;
mod rolling;
mod run;
mod set_config;
mod set_feature;
mod stage;
#[cfg(test)]
mod tests;
mod wait_isr;
mod wait_migration;
mod whom;

pub(super) use run::run;
use stage::Stage;

/// Every kind of step, in the order in which docs/plans.md has them.
pub(super) const ALL: &[Kind] =
    &[restart::KIND, wait_isr::KIND, set_config::KIND, replace_version::KIND, set_feature::KIND, wait_migration::KIND];

/// A kind of step, as a plan file names it.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Of its own keys.
    read: fn(toml::Table) -> Result<Box<dyn Step>, String>,
}

/// A step with its keys.
#[async_trait]
pub(super) trait Step: Send + Sync {
    /// What it does, in few words: `restart brokers`.
    fn words(&self) -> String;
    /// What of it this inventory cannot do.
    fn refuse(&self, _inventory: &Inventory) -> Result<(), String> {
        Ok(())
    }
    /// A daemon is touched, so something must have been in force.
    fn touches_daemons(&self) -> bool {
        true
    }
    /// Does it, to its end: how it is known to be done.
    async fn carry_out(&self, stage: &Stage<'_>) -> Result<String, NotDone>;
}

/// Why a step was not done; those behind it are not begun.
#[derive(Debug)]
pub(super) enum NotDone {
    /// A promise of time that stood in the plan.
    Missed(String),
    /// Done, and not seen to have had its effect.
    NotProved(String),
    /// Refused or failed: not Kafka's fault.
    Environment(String),
    /// The cluster did not come back.
    NeverRecovered(String),
    /// The run was to end.
    Aborted,
}

/// A step of a plan, read.
#[derive(Clone)]
pub(super) struct Planned {
    pub(super) as_written: PlannedStep,
    pub(super) step: Arc<dyn Step>,
}

/// What steps came to.
#[derive(Debug, Default)]
pub(super) struct Stepped {
    pub(super) outcomes: Vec<StepOutcome>,
    pub(super) tried: u32,
    pub(super) in_force: u32,
    pub(super) mended: u32,
    pub(super) not_proved: Vec<String>,
    pub(super) environment: Vec<String>,
    pub(super) never_recovered: Option<String>,
}

/// Reads the tables of a plan file.
pub(super) fn read(tables: Vec<toml::Table>) -> Result<Vec<Planned>, String> {
    let one = |(table, n): (toml::Table, usize)| read_one(table).map_err(|(name, why)| format!("step {n}{name}: {}", why.trim_end()));
    tables.into_iter().zip(1..).map(one).collect()
}

fn read_one(mut table: toml::Table) -> Result<Planned, (String, String)> {
    let written = serde_json::to_value(&table).and_then(serde_json::from_value::<PlannedStep>);
    let as_written = without_secret_values(written.map_err(|error| (String::new(), error.to_string()))?);
    let names = || ALL.iter().map(|kind| kind.name);
    let Some(toml::Value::String(name)) = table.remove("step") else {
        return Err((String::new(), format!("step = \"KIND\" is missing: one of {}", names().collect::<Vec<_>>().join(", "))));
    };
    let kind = ALL.iter().find(|kind| kind.name == name);
    let kind = kind.ok_or_else(|| (String::new(), format!("unknown step \"{name}\"{}", super::nearest(&name, names()))))?;
    let step = (kind.read)(table).map_err(|why| (format!(" ({name})"), why))?;
    Ok(Planned { as_written, step: step.into() })
}

/// For `plan.json`: which settings were to be set, and to what where that is no secret.
fn without_secret_values(mut step: PlannedStep) -> PlannedStep {
    let settings = step.keys.get_mut("settings").and_then(serde_json::Value::as_object_mut);
    for (_, value) in settings.into_iter().flatten().filter(|(name, value)| value.is_string() && is_secret_property(name)) {
        *value = "(hidden)".into();
    }
    step
}

/// What of it this inventory cannot do.
pub(super) fn refuse(steps: &[Planned], inventory: &Inventory) -> Result<(), String> {
    let one = |(planned, n): (&Planned, usize)| {
        planned.step.refuse(inventory).map_err(|why| format!("step {n} ({}): {why}", planned.as_written.step))
    };
    steps.iter().zip(1..).try_for_each(one)
}

/// A step whose keys are its fields.
fn own<T: Step + DeserializeOwned + 'static>(table: toml::Table) -> Result<Box<dyn Step>, String> {
    table.try_into::<T>().map(|step| Box::new(step) as Box<dyn Step>).map_err(|error| error.message().to_owned())
}

/// What a new version of a broker calls otherwise, or has another default of.
const CHANGED_BY_VERSIONS: &[&str] = &["inter.broker.protocol.version", "zookeeper.session.timeout.ms", "broker.session.timeout.ms"];

/// Settings that the steps of a plan change, so that they need not be at the end as they were at the start.
pub(super) fn changed_settings(plan: &Plan) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for step in &plan.steps {
        if let Some(settings) = step.keys.get("settings").and_then(serde_json::Value::as_object) {
            names.extend(settings.keys().cloned());
        }
        if step.step == "replace-version" {
            names.extend(CHANGED_BY_VERSIONS.iter().map(|name| (*name).to_owned()));
        }
    }
    names
}

/// Those settings are left out: the steps that change them have proofs of their own.
pub(super) fn without(names: &BTreeSet<String>, settings: &mut BTreeMap<String, BTreeMap<String, String>>) {
    for of_one in settings.values_mut() {
        of_one.retain(|name, _| !names.contains(name));
    }
}
