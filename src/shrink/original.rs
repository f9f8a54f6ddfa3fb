//! The run that failed: what it did, how it failed, and why it cannot be shrunk if it cannot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use kchaos_cluster::inventory::{Environment, Inventory, find_inventory};
use kchaos_core::Plan;
use serde_json::Value;

use super::candidate::{Candidate, RATE};
use super::judge::Symptoms;
use super::words::Options;
use crate::cli::{ShrinkArgs, TestArgs};
use crate::exit::Failure;
use crate::judged::RunVerdict;
use crate::run;

/// A chain of replays is followed so far.
const REPLAYS_MAX: usize = 16;

pub(crate) struct Original {
    pub(super) run: PathBuf,
    pub(super) symptoms: Symptoms,
    pub(super) whole: Candidate,
    pub(super) options: Options,
    pub(super) seed: u64,
    pub(super) inventory: PathBuf,
    /// How long it took, if it was told.
    pub(super) took_s: f64,
}

impl Original {
    /// Refuses what cannot be shrunk, before anything is touched.
    pub(crate) fn read(args: &ShrinkArgs) -> Result<Self, Failure> {
        let run = found(&args.run, &args.results);
        let told = |error: anyhow::Error| Failure::usage(error.context(run.display().to_string()));
        let plan: Plan = json(&run, "plan.json").map_err(told)?;
        if !plan.steps.is_empty() {
            return Err(told(anyhow!("it was a plan with steps, and what they changed is still so: a run with steps cannot be shrunk")));
        }
        let verdict: RunVerdict = json(&run, "verdict.json").context("a run that was cut off: kchaos conclude").map_err(told)?;
        let symptoms = symptoms(&verdict, &args.anomaly).map_err(told)?;
        let typed = run::as_typed(&plan, &args.properties).map_err(told)?.ok_or_else(|| told(anyhow!("it is no run of `kchaos test`")))?;
        let mut options = Options::of(&with_secrets(&plan.command, &typed)).map_err(|why| told(anyhow!("its command: {why}")))?;
        if let Some(replayed) = &typed.replay {
            options = options.with_load_of(&load_of(replayed, &args.properties, REPLAYS_MAX).map_err(told)?);
        }
        let inventory = inventory_of(args, &typed)?;
        let now = Inventory::load(&inventory).map(Arc::new).map_err(Failure::usage)?;
        same_cluster(&plan.inventory, &now).map_err(|why| {
            told(anyhow!("it was made on another cluster than that of {}: {why}; --inventory names the right one", inventory.display()))
        })?;
        let whole = whole(&run, &plan).map_err(told)?;
        let took_s = verdict.resources.wall_s;
        Ok(Self { run, symptoms, whole, options, seed: plan.seed, inventory, took_s })
    }
}

/// A path, or a name below the results.
fn found(named: &Path, results: &Path) -> PathBuf {
    let below = results.join(named);
    let run = if !named.exists() && below.exists() { below } else { named.to_owned() };
    // `latest` is another one as soon as the first try has begun.
    run.canonicalize().unwrap_or(run)
}

fn json<T: serde::de::DeserializeOwned>(run: &Path, name: &str) -> anyhow::Result<T> {
    let text = std::fs::read(run.join(name)).with_context(|| format!("cannot read {name}: is it a run's directory?"))?;
    serde_json::from_slice(&text).with_context(|| name.to_owned())
}

fn symptoms(verdict: &RunVerdict, only: &[String]) -> anyhow::Result<Symptoms> {
    let ended = crate::exit::name(verdict.exit_code);
    let mut symptoms = Symptoms::of(verdict)
        .ok_or_else(|| anyhow!("it did not fail (it ended {ended}): only what is invalid or missed a threshold can be shrunk"))?;
    if let Some(other) = only.iter().find(|name| !symptoms.anomalies.contains(*name)) {
        let known = if symptoms.anomalies.is_empty() { "no anomaly".to_owned() } else { symptoms.told() };
        anyhow::bail!("--anomaly {other}: the run was found to have {known}");
    }
    if !only.is_empty() {
        symptoms.anomalies.retain(|name| only.contains(name));
    }
    Ok(symptoms)
}

/// The command with the secrets that were not written down.
fn with_secrets(command: &[String], typed: &TestArgs) -> Vec<String> {
    let mut values = typed.load.properties.iter();
    let mut is_property = false;
    let whole = command.iter().map(|word| {
        let was_property = std::mem::replace(&mut is_property, word == "-X");
        let joined = word.strip_prefix("-X").filter(|rest| !was_property && !rest.is_empty());
        match (was_property || joined.is_some()).then(|| values.next()).flatten() {
            Some((name, value)) if was_property => format!("{name}={value}"),
            Some((name, value)) => format!("-X{name}={value}"),
            None => word.clone(),
        }
    });
    whole.collect()
}

/// Of a run that was replayed, or of what that one replayed.
fn load_of(run: &Path, properties: &[(String, String)], further: usize) -> anyhow::Result<Options> {
    let plan: Plan = json(run, "plan.json").with_context(|| format!("it replayed {}", run.display()))?;
    let typed = run::as_typed(&plan, properties)?.ok_or_else(|| anyhow!("{} is no run of `kchaos test`", run.display()))?;
    let options = Options::of(&with_secrets(&plan.command, &typed)).map_err(|why| anyhow!("{}: its command: {why}", run.display()))?;
    match &typed.replay {
        Some(replayed) if further > 0 => Ok(options.with_load_of(&load_of(replayed, properties, further - 1)?)),
        _ => Ok(options),
    }
}

/// Which inventory the tries are told.
fn inventory_of(args: &ShrinkArgs, typed: &TestArgs) -> Result<PathBuf, Failure> {
    let of_run = typed.inventory.inventory.clone().filter(|path| path.exists());
    let named = args.inventory.inventory.clone().or(of_run);
    let found = find_inventory(named.as_deref()).or_else(kchaos_lab::inventory_path).ok_or_else(|| {
        Failure::usage(anyhow!(
            "its cluster is gone: there is no --inventory, no $KCHAOS_INVENTORY, no ./kchaos.toml and no lab that is up (`kchaos lab up` with the options \
             of that time makes one like it)"
        ))
    })?;
    std::path::absolute(&found).with_context(|| found.display().to_string()).map_err(Failure::usage)
}

/// A lab that came up anew is another cluster, and as good as the one before if it is made alike.
fn same_cluster(then: &Value, inventory: &Inventory) -> Result<(), String> {
    let now = inventory.without_secrets();
    let is_lab = inventory.cluster.environment == Environment::Lab;
    let mut told = vec!["/cluster/name", "/cluster/environment"];
    told.push(if is_lab { "/cluster/notes" } else { "/cluster/expect_cluster_id" });
    for pointer in told {
        let (was, is) = (then.pointer(pointer).unwrap_or(&Value::Null), now.pointer(pointer).unwrap_or(&Value::Null));
        if was != is {
            return Err(format!("{} was {was} and is {is}", pointer.trim_start_matches('/').replace('/', ".")));
        }
    }
    let (was, is) = (daemons(then), daemons(&now));
    if was != is {
        return Err(format!("its hosts were {} and are {}", was.join("; "), is.join("; ")));
    }
    Ok(())
}

/// `kafka1: kafka 1, zookeeper 1`, a line a host.
fn daemons(inventory: &Value) -> Vec<String> {
    let hosts = inventory["host"].as_array().into_iter().flatten();
    let told = hosts.map(|host| {
        let daemons = host["daemon"].as_array().into_iter().flatten();
        let daemons = daemons.map(|daemon| format!("{} {}", daemon["kind"].as_str().unwrap_or_default(), daemon["id"]));
        format!("{}: {}", host["name"].as_str().unwrap_or_default(), daemons.collect::<Vec<_>>().join(", "))
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

/// All that it did, as far as it can be made smaller.
fn whole(run: &Path, plan: &Plan) -> anyhow::Result<Candidate> {
    let mut faults = run::faults_in_force(run, plan)?;
    faults.sort_by_key(|fault| fault.at_ms);
    let options = |pointer: &str| {
        let (first, rest) = pointer.split_once('/').unwrap_or((pointer, ""));
        let value = plan.options.get(first);
        let value = if rest.is_empty() { value } else { value.and_then(|value| value.get(rest)) };
        value.and_then(Value::as_f64).map(|number| number as u64)
    };
    let mut clients = BTreeMap::new();
    for (name, pointer) in [("producers", "producers"), ("consumers", "consumers"), ("group-members", "group/members"), (RATE, "rate")] {
        let is_had = name != "group-members" || plan.consumers_via.contains("subscribe");
        if let Some(count) = options(pointer).filter(|count| is_had && *count > 1) {
            clients.insert(name, count);
        }
    }
    let mut whole = Candidate { faults, clients, ..Candidate::default() };
    // As long without faults as with them.
    whole.time_limit_ms = if whole.faults.is_empty() { options("time_limit_ms").unwrap_or(60_000) } else { whole.ends_ms() };
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_were_not_written_down_come_from_the_command_line() {
        let command =
            ["kchaos", "test", "-X", "sasl.password=<hidden>", "-Xlinger.ms=5", "-X=ssl.key.password=<hidden>"].map(str::to_owned);
        let plan = Plan { command: command.to_vec(), ..Plan::default() };
        let again = [("sasl.password", "a"), ("ssl.key.password", "b")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let typed = run::as_typed(&plan, &again).unwrap().unwrap();
        let whole = with_secrets(&command, &typed);
        assert_eq!(whole[2..], ["-X", "sasl.password=a", "-Xlinger.ms=5", "-Xssl.key.password=b"]);
    }

    #[test]
    fn a_lab_made_alike_is_as_good_and_any_other_cluster_is_refused() {
        let text = |name: &str, id: &str, note: &str, broker: u32| {
            serde_json::json!({
                "cluster": {"name": name, "environment": "lab", "expect_cluster_id": id, "notes": [note]},
                "host": [{"name": "kafka1", "daemon": [{"kind": "kafka", "id": broker}]}]
            })
        };
        let daemon = serde_json::json!({
            "kind": "kafka", "id": 1, "port": 9092, "manager": "scripts", "start": "a", "stop": "b", "find": {"argv": ["kafka.Kafka"]}, "log_dir": "/l"
        });
        let inventory: Inventory = serde_json::from_value(serde_json::json!({
            "cluster": {"name": "lab", "environment": "lab", "expect_cluster_id": "new", "notes": ["session 6 s"]},
            "kafka": {"bootstrap": ["10.0.0.1:9092"]},
            "host": [{"name": "kafka1", "address": "10.0.0.1", "daemon": [daemon]}]
        }))
        .unwrap();
        assert_eq!(same_cluster(&text("lab", "old", "session 6 s", 1), &inventory), Ok(()));
        for (then, words) in [
            (text("other", "old", "session 6 s", 1), "cluster.name was \"other\" and is \"lab\""),
            (text("lab", "old", "session 18 s", 1), "cluster.notes"),
            (text("lab", "old", "session 6 s", 2), "its hosts were kafka1: kafka 2 and are kafka1: kafka 1"),
        ] {
            let why = same_cluster(&then, &inventory).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
    }
}
