//! `kchaos runs`: the runs of a results directory.

use std::path::PathBuf;

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::cli::{ExportArgs, Format, InfoArgs, PruneArgs, RunsArgs, RunsCommand};
use crate::exit::{self, Failure};
use crate::report::words;
use crate::runs::{self, Fate, Filter, Limits};

pub(super) fn run(command: &RunsCommand) -> Result<u8, Failure> {
    match command {
        RunsCommand::List(args) => list(args),
        RunsCommand::Info(args) => info(args),
        RunsCommand::Prune(args) => prune(args),
        RunsCommand::Export(args) => export(args),
    }
}

fn say_json(value: &Value) -> Result<(), Failure> {
    crate::say!("{}", serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?);
    Ok(())
}

fn list(args: &RunsArgs) -> Result<u8, Failure> {
    let results = &args.results.results;
    let all = runs::below(results)?;
    let filter =
        Filter { verdicts: args.verdict.clone(), workloads: args.workload.clone(), nemeses: args.nemesis.clone(), since: args.since };
    let mut shown: Vec<_> = all.iter().filter(|run| filter.takes(run)).cloned().collect();
    shown.truncate(args.limit.unwrap_or(usize::MAX));
    match args.format {
        Format::Json => {
            let told: Vec<Value> = shown.iter().map(runs::Run::json).collect();
            say_json(&json!({"results": results.display().to_string(), "of": all.len(), "runs": told}))?;
        }
        Format::Text if all.is_empty() => crate::say!("{} holds no run yet", results.display()),
        Format::Text if shown.is_empty() => crate::say!("{}", runs::nothing_matches(&all)),
        Format::Text => crate::say_raw!("{}", runs::table(&shown)),
    }
    Ok(exit::VALID)
}

fn info(args: &InfoArgs) -> Result<u8, Failure> {
    let run = runs::resolve(&args.results.results, &args.run)?;
    let files = crate::report::files(&run.path);
    match args.format {
        Format::Text => crate::say_raw!("{}", runs::info(&run, &files)),
        Format::Json => {
            let mut told = run.json();
            told["plan"] = json!({
                "schedule": run.plan.schedule, "steps": run.plan.steps, "options": run.plan.options, "command": run.plan.command,
                "acks": run.plan.acks, "idempotence": run.plan.idempotence, "slo": run.plan.slo, "facts": run.plan.facts,
            });
            told["thresholds"] = json!(run.brief.as_ref().map(|brief| &brief.thresholds));
            told["load"] = json!(run.brief.as_ref().map(|brief| &brief.load));
            told["reasons"] = json!(run.brief.as_ref().map(|brief| &brief.reasons));
            told["notes"] = json!(run.brief.as_ref().map(|brief| &brief.notes));
            told["files"] = files.iter().map(|(name, bytes)| json!({"name": name, "bytes": bytes})).collect();
            say_json(&told)?;
        }
    }
    Ok(exit::VALID)
}

fn prune(args: &PruneArgs) -> Result<u8, Failure> {
    let limits = Limits { keep: args.keep, older_than: args.older_than, max_bytes: args.max_size, failed_too: args.failed_too };
    if limits.are_none() {
        return Err(Failure::usage(anyhow!("say what may go: --keep N, --older-than 30d or --max-size 10GiB")));
    }
    let results = &args.results.results;
    let units = runs::units(results)?;
    let fates = runs::choose(&units, &limits, chrono::Utc::now());
    let goes: Vec<_> = units.iter().zip(&fates).filter(|(_, fate)| matches!(fate, Fate::Goes(_))).map(|(unit, _)| unit).collect();
    let pruned = if args.yes { runs::carry_out(results, &goes) } else { runs::Pruned::default() };
    match args.format {
        Format::Json => {
            let told: Vec<Value> = units
                .iter()
                .zip(&fates)
                .map(|(unit, fate)| {
                    let (goes, Fate::Goes(why) | Fate::Stays(why)) = (matches!(fate, Fate::Goes(_)), fate);
                    json!({"id": unit.id, "runs": unit.runs, "bytes": unit.bytes, "goes": goes, "why": why})
                })
                .collect();
            let bytes: u64 = goes.iter().map(|unit| unit.bytes).sum();
            say_json(&json!({"is_done": args.yes, "units": told, "would_free_bytes": bytes,
                             "removed": pruned.removed, "freed_bytes": pruned.bytes, "failed": pruned.failed}))?;
        }
        Format::Text => tell_pruned(args, &units, &fates, &goes, &pruned),
    }
    pruned.failed.iter().for_each(|failed| eprintln!("kchaos: not removed: {failed}"));
    Ok(if pruned.failed.is_empty() { exit::VALID } else { exit::ENVIRONMENT })
}

fn tell_pruned(args: &PruneArgs, units: &[runs::Unit], fates: &[Fate], goes: &[&runs::Unit], pruned: &runs::Pruned) {
    let width = units.iter().map(|unit| unit.id.chars().count()).max().unwrap_or(0);
    for (unit, fate) in units.iter().zip(fates) {
        let (word, why) = match fate {
            Fate::Goes(why) => (if args.yes { "removed" } else { "goes" }, why),
            Fate::Stays(why) => ("stays", why),
        };
        let several = if unit.runs > 1 { format!(" ({} runs)", unit.runs) } else { String::new() };
        crate::say!("{word:<7}  {:>9}  {:<width$}  {why}{several}", words::bytes(unit.bytes), unit.id);
    }
    let bytes: u64 = goes.iter().map(|unit| unit.bytes).sum();
    let total: u64 = units.iter().map(|unit| unit.bytes).sum();
    match (goes.len(), args.yes) {
        (0, _) => crate::say!("\nNothing to remove: {} in {} stay.", units.len(), words::bytes(total)),
        (n, false) => crate::say!(
            "\n{n} of {} would go, {} of {}. Nothing was removed: repeat it with --yes.",
            units.len(),
            words::bytes(bytes),
            words::bytes(total)
        ),
        (_, true) => crate::say!("\n{} removed, {} freed.", pruned.removed, words::bytes(pruned.bytes)),
    }
}

fn export(args: &ExportArgs) -> Result<u8, Failure> {
    let run = runs::resolve(&args.results.results, &args.run)?;
    let name = runs::name_of(&run.path);
    let output = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.tar.zst")));
    let archived = runs::export(&run.path, &name, &output, args.force)?;
    let bytes = std::fs::metadata(&output).map_or(0, |metadata| metadata.len());
    if run.state == runs::State::Running {
        eprintln!("kchaos: {name} goes on: the archive holds what it had written so far");
    }
    archived.left_out.iter().for_each(|what| eprintln!("kchaos: left out: {what}"));
    match args.format {
        Format::Text => {
            crate::say!("{}: {} files, {} in {}", output.display(), archived.files, words::bytes(archived.bytes), words::bytes(bytes))
        }
        Format::Json => say_json(&json!({"archive": output.display().to_string(), "run": run.id, "files": archived.files,
                                         "bytes": archived.bytes, "archive_bytes": bytes, "left_out": archived.left_out}))?,
    }
    Ok(exit::VALID)
}
