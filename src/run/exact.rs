//! Faults at exact times, and steps one after another: from a plan file (`--plan`), or as they were in an earlier run (`--replay`, faults alone).
//!
//! They begin when they are due, whatever else goes on, and so may overlap; the guards of the nemeses still hold.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Parser;
use kchaos_core::{Body, FaultEvent, FaultMoment, Plan, PlannedFault};
use serde::Deserialize;

use super::{millis, steps};
use crate::cli::{Cli, Command, TestArgs};
use crate::exit::Failure;

/// A plan file. `seed` and `nemesis` mean what the flags mean.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    seed: Option<u64>,
    #[serde(rename = "fault", default)]
    faults: Vec<FaultEntry>,
    #[serde(rename = "step", default)]
    steps: Vec<toml::Table>,
}

/// What a run is told exactly.
#[derive(Default)]
pub(super) struct Exact {
    pub(super) faults: Vec<PlannedFault>,
    pub(super) steps: Vec<steps::Planned>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultEntry {
    nemesis: String,
    /// From the beginning of the trouble.
    at: String,
    duration: String,
    seed: Option<u64>,
}

/// What the run breaks and when, if that is told exactly; `args` gets the rest of what the source says.
pub(super) fn resolve(args: &mut TestArgs) -> Result<Exact, Failure> {
    if let Some(path) = args.plan.clone() {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read the plan {}", path.display()));
        let (seed, exact) =
            parse(&text.map_err(Failure::usage)?).map_err(|reason| Failure::usage(anyhow!("the plan {}: {reason}", path.display())))?;
        args.seed = args.seed.or(seed);
        return Ok(exact);
    }
    let Some(run) = args.replay.clone() else { return Ok(Exact::default()) };
    let faults = replay(&run, args).with_context(|| format!("--replay {}", run.display())).map_err(Failure::usage)?;
    if faults.is_empty() {
        return Err(Failure::usage(anyhow!("--replay {}: no fault was in force in that run", run.display())));
    }
    Ok(Exact { faults, steps: Vec::new() })
}

/// Whether it is a plan, as far as can be known without an inventory.
pub(crate) fn check_plan(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

fn parse(text: &str) -> Result<(Option<u64>, Exact), String> {
    let file: PlanFile = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut faults = Vec::new();
    for (entry, n) in file.faults.into_iter().zip(1_u64..) {
        let time =
            |what: &str, text: &str| crate::cli::duration(text).map_err(|why| format!("fault {n} ({}): {what}: {why}", entry.nemesis));
        let (at, duration) = (time("at", &entry.at)?, time("duration", &entry.duration)?);
        faults.push(PlannedFault {
            duration_ms: millis(duration),
            at_ms: Some(millis(at)),
            // The same plan chooses alike, each of its faults for itself.
            seed: entry.seed.unwrap_or_else(|| file.seed.unwrap_or(0).wrapping_add(n)),
            nemesis: entry.nemesis,
            ..PlannedFault::default()
        });
    }
    let steps = steps::read(file.steps)?;
    if faults.is_empty() && steps.is_empty() {
        return Err("it holds no [[fault]] and no [[step]]".to_owned());
    }
    faults.sort_by_key(|fault| fault.at_ms);
    Ok((file.seed, Exact { faults, steps }))
}

/// The faults of that run that were in force; `args` takes over its seed, its workload, its load and its kind of kill.
fn replay(run: &Path, args: &mut TestArgs) -> anyhow::Result<Vec<PlannedFault>> {
    let text = std::fs::read_to_string(run.join("plan.json")).context("cannot read plan.json: is it a run's directory?")?;
    let plan: Plan = serde_json::from_str(&text).context("plan.json")?;
    anyhow::ensure!(plan.steps.is_empty(), "it was a plan with steps, which cannot be taken back: give its plan again (--plan)");
    if let Some(before) = as_typed(&plan, &args.load.properties)? {
        (args.workload, args.kill, args.load) = (before.workload, before.kill, before.load);
    }
    args.seed = args.seed.or(Some(plan.seed));
    faults_in_force(run, &plan)
}

/// The faults of a run that were in force, each at its time from the beginning of the trouble.
pub(crate) fn faults_in_force(run: &Path, plan: &Plan) -> anyhow::Result<Vec<PlannedFault>> {
    let lines = std::fs::read_to_string(run.join("faults.jsonl")).context("cannot read faults.jsonl: is it a run's directory?")?;
    let events = lines.lines().filter(|line| !line.trim().is_empty());
    // A last line that was cut off by the run's end tells of nothing that was in force and mended.
    let events: Vec<FaultEvent> = events.filter_map(|line| serde_json::from_str(line).ok()).collect();
    Ok(as_they_were(&events, &plan.schedule, trouble_ns(run)?))
}

/// What was typed for a run of `kchaos test`. A property that may be a secret was not written down: its value is that of `again`.
pub(crate) fn as_typed(plan: &Plan, again: &[(String, String)]) -> anyhow::Result<Option<TestArgs>> {
    let typed = Cli::try_parse_from(&plan.command).map_err(|error| anyhow!("its command is not understood any more: {error}"))?;
    let Command::Test(mut typed) = typed.command else { return Ok(None) };
    for (name, value) in &mut typed.load.properties {
        if kchaos_workloads::is_hidden(value) {
            let again = again.iter().find(|(again, _)| again == name);
            let again = again.ok_or_else(|| anyhow!("the value of -X {name} was not written down: give it again"))?;
            value.clone_from(&again.1);
        }
    }
    Ok(Some(*typed))
}

/// When the trouble began, by the run's own history.
fn trouble_ns(run: &Path) -> anyhow::Result<u64> {
    let path = crate::commands::check::history(run).map_err(|failure| failure.error)?;
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut began = None;
    kchaos_checkers::read_ops(file, &path.display().to_string(), |op| match &op.body {
        Body::Nemesis { f, value } if f == "phase" && value == "trouble" => began = began.or(Some(op.time_ns)),
        _ => {}
    })?;
    began.ok_or_else(|| anyhow!("the trouble never began in that run"))
}

fn as_they_were(events: &[FaultEvent], schedule: &[PlannedFault], trouble_ns: u64) -> Vec<PlannedFault> {
    let mut drawn: Vec<&PlannedFault> = schedule.iter().collect();
    let mut faults = Vec::new();
    for asked in events.iter().filter(|event| event.moment == FaultMoment::Asked) {
        let of = |moment| events.iter().find(|event| event.fault_id == asked.fault_id && event.moment == moment);
        let (Some(in_effect), Some(ended)) = (of(FaultMoment::InEffect), of(FaultMoment::LeaseLapsed).or(of(FaultMoment::Healing))) else {
            continue;
        };
        let place = drawn.iter().position(|fault| fault.nemesis == asked.nemesis);
        let seed = place.map_or(0, |place| drawn.remove(place).seed);
        let ms = |ns: u64| millis(Duration::from_nanos(ns));
        faults.push(PlannedFault {
            nemesis: asked.nemesis.clone(),
            at_ms: Some(ms(asked.when.after_ns.saturating_sub(trouble_ns))),
            duration_ms: ms(ended.when.after_ns.saturating_sub(in_effect.when.before_ns)),
            seed,
            ..PlannedFault::default()
        });
    }
    faults
}

#[cfg(test)]
mod tests {
    use kchaos_core::Interval;

    use super::*;

    #[test]
    fn a_plan_file_says_what_happens_when_in_any_order() {
        let text = "seed = 7\n[[fault]]\nnemesis = \"kill-last-isr\"\nat = \"12s\"\nduration = \"500ms\"\n\
                    [[fault]]\nnemesis = \"pause-follower\"\nat = \"1s\"\nduration = \"30s\"\nseed = 3\n";
        let (seed, exact) = parse(text).unwrap();
        assert_eq!(seed, Some(7));
        let seen: Vec<_> = exact.faults.iter().map(|fault| (fault.nemesis.as_str(), fault.at_ms, fault.duration_ms, fault.seed)).collect();
        assert_eq!(seen, [("pause-follower", Some(1_000), 30_000, 3), ("kill-last-isr", Some(12_000), 500, 8)]);
    }

    #[test]
    fn what_is_wrong_in_a_plan_file_is_said_with_its_place() {
        let entry = |at: &str, more: &str| format!("[[fault]]\nnemesis = \"kill-leader\"\nat = \"{at}\"\nduration = \"1s\"\n{more}");
        for (text, words) in [
            (entry("5", ""), "fault 1 (kill-leader): at: \"5\" lacks a unit"),
            (entry("5s", "when = 1\n"), "unknown field `when`"),
            ("seed = 1\n".to_owned(), "no [[fault]] and no [[step]]"),
            ("fault = []\n".to_owned(), "no [[fault]]"),
            ("[[fault]]\nnemesis = 3\n".to_owned(), "line 2"),
        ] {
            let reason = parse(&text).err().unwrap();
            assert!(reason.contains(words), "{text}: {reason}");
        }
    }

    #[test]
    fn a_run_s_faults_come_again_at_their_offsets_from_the_trouble() {
        let event = |fault_id, moment, at_ms: u64| FaultEvent {
            fault_id,
            moment,
            when: Interval::at(at_ms * 1_000_000),
            nemesis: if fault_id == 2 { "pause-random".into() } else { "kill-leader".to_owned() },
            chosen: Vec::new(),
            effect: None,
            proof: None,
            text: None,
        };
        let events = [
            event(1, FaultMoment::Asked, 11_000),
            // Refused by a guard: it never was.
            event(1, FaultMoment::Failed, 11_100),
            event(2, FaultMoment::Asked, 12_000),
            event(2, FaultMoment::InEffect, 12_500),
            event(3, FaultMoment::Asked, 13_000),
            event(3, FaultMoment::InEffect, 13_100),
            event(2, FaultMoment::Healing, 20_500),
            event(3, FaultMoment::LeaseLapsed, 15_100),
            event(3, FaultMoment::Healing, 30_000),
        ];
        let drawn = |nemesis: &str, seed| PlannedFault { nemesis: nemesis.into(), seed, ..PlannedFault::default() };
        let faults = as_they_were(&events, &[drawn("kill-leader", 5), drawn("pause-random", 6)], 10_000_000_000);
        let seen: Vec<_> = faults.iter().map(|fault| (fault.nemesis.as_str(), fault.at_ms, fault.duration_ms, fault.seed)).collect();
        assert_eq!(seen, [("pause-random", Some(2_000), 8_000, 6), ("kill-leader", Some(3_000), 2_000, 5)]);
    }

    #[test]
    fn no_plan_file_makes_it_panic() {
        let whole = "seed = 7\n[[fault]]\nnemesis = \"kill-all\"\nat = \"1.5s\"\nduration = \"1e400s\"\n";
        for end in 0..=whole.len() {
            let _ = parse(&whole[..end]);
            let _ = parse(&whole[end..]);
        }
    }
}
