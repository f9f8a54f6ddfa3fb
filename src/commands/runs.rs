//! `kchaos runs`: the runs of a results directory.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::cli::{ExportArgs, Format, InfoArgs, PruneArgs, RunsArgs, RunsCommand};
use crate::exit::{self, Failure};
use crate::report::words;
use crate::runs::{self, Fate, Filter, Limits, Run};

pub(super) fn run(command: &RunsCommand) -> Result<u8, Failure> {
    match command {
        RunsCommand::List(args) => list(args),
        RunsCommand::Info(args) => info(args),
        RunsCommand::Prune(args) => prune(args),
        RunsCommand::Export(args) => export(args),
    }
}

fn list(args: &RunsArgs) -> Result<u8, Failure> {
    let results = &args.results.results;
    let all = runs::below(results)?;
    let filter =
        Filter { verdicts: args.verdict.clone(), workloads: args.workload.clone(), nemeses: args.nemesis.clone(), since: args.since };
    let mut shown: Vec<_> = all.iter().filter(|run| filter.takes(run)).cloned().collect();
    shown.truncate(args.limit.unwrap_or(usize::MAX));
    match args.format {
        Format::Json => super::say_json(&listed(results, all.len(), &shown))?,
        Format::Text if all.is_empty() => crate::say!("{} holds no run yet", results.display()),
        Format::Text if shown.is_empty() => crate::say!("{}", runs::nothing_matches(&all)),
        Format::Text => crate::say_raw!("{}", runs::table(&shown)),
    }
    Ok(exit::VALID)
}

fn listed(results: &Path, of: usize, shown: &[Run]) -> Value {
    json!({"results": results.display().to_string(), "of": of, "runs": shown.iter().map(Run::json).collect::<Vec<_>>()})
}

fn info(args: &InfoArgs) -> Result<u8, Failure> {
    let run = runs::resolve(&args.results.results, &args.run)?;
    let files = crate::report::files(&run.path);
    match args.format {
        Format::Text => crate::say_raw!("{}", runs::info(&run, &files)),
        Format::Json => super::say_json(&informed(&run, &files))?,
    }
    Ok(exit::VALID)
}

fn informed(run: &Run, files: &[(String, u64)]) -> Value {
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
    told
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
        Format::Json => super::say_json(&fated(args.yes, &units, &fates, &pruned))?,
        Format::Text => tell_pruned(args, &units, &fates, &goes, &pruned),
    }
    pruned.failed.iter().for_each(|failed| eprintln!("kchaos: not removed: {failed}"));
    Ok(if pruned.failed.is_empty() { exit::VALID } else { exit::ENVIRONMENT })
}

fn fated(is_done: bool, units: &[runs::Unit], fates: &[Fate], pruned: &runs::Pruned) -> Value {
    let is_going = |fate: &Fate| matches!(fate, Fate::Goes(_));
    let told = units.iter().zip(fates).map(|(unit, fate)| {
        let (Fate::Goes(why) | Fate::Stays(why)) = fate;
        json!({"id": unit.id, "runs": unit.runs, "bytes": unit.bytes, "goes": is_going(fate), "why": why})
    });
    let bytes: u64 = units.iter().zip(fates).filter(|(_, fate)| is_going(fate)).map(|(unit, _)| unit.bytes).sum();
    json!({"is_done": is_done, "units": told.collect::<Vec<_>>(), "would_free_bytes": bytes,
           "removed": pruned.removed, "freed_bytes": pruned.bytes, "failed": pruned.failed})
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
            crate::say!("{}: {} files, {} in {}", output.display(), archived.files, words::bytes(archived.bytes), words::bytes(bytes));
        }
        Format::Json => super::say_json(&exported(&run, &output, &archived, bytes))?,
    }
    Ok(exit::VALID)
}

fn exported(run: &Run, output: &Path, archived: &runs::Archived, bytes: u64) -> Value {
    json!({"archive": output.display().to_string(), "run": run.id, "files": archived.files,
           "bytes": archived.bytes, "archive_bytes": bytes, "left_out": archived.left_out})
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;
    use crate::runs::{Archived, Pruned};
    use crate::schema::conform::assert_conforms;
    use crate::slo::{SloOutcome, SloStatus};

    #[test]
    fn runs_conform_whatever_became_of_them_in_the_list_and_one_by_one() {
        let results = runs::tests::results();
        let mut all = runs::below(results.path()).unwrap();
        assert_conforms("runs-list", &listed(results.path(), 0, &[]));
        for run in &mut all {
            assert_conforms("runs-info", &informed(run, &crate::report::files(&run.path)));
            run.plan.steps = serde_json::from_value(json!([{"step": "restart", "of": "kafka"}])).unwrap();
            run.plan.options.insert("rate".into(), json!(500));
            if let Some(brief) = &mut run.brief {
                let (slo, text) = ("send.p99<1s".to_owned(), "send.p99 was 2 s".to_owned());
                brief.thresholds.push(SloOutcome { slo, status: SloStatus::Missed, measured_ns: None, limit_ns: 1, n: 2, text });
                brief.reasons.push(kchaos_core::Reason { name: "no-effect".into(), text: "no fault was in force".into() });
                brief.notes.push("clients: 4".to_owned());
            }
            assert_conforms("runs-info", &informed(run, &[]));
        }
        assert!(all.iter().any(|run| run.brief.is_none()) && all.iter().any(|run| run.brief.is_some()));
        assert_conforms("runs-list", &listed(results.path(), 9, &all));
    }

    #[test]
    fn what_goes_and_what_is_packed_conforms() {
        let results = runs::tests::results();
        let units = runs::units(results.path()).unwrap();
        let limits = Limits { keep: Some(1), older_than: None, max_bytes: None, failed_too: true };
        let fates = runs::choose(&units, &limits, Utc::now());
        let told = fated(false, &units, &fates, &Pruned::default());
        assert_conforms("runs-prune", &told);
        assert!(told["would_free_bytes"].as_u64() > Some(0), "{told}");
        let pruned = Pruned { removed: 2, bytes: 70, failed: vec!["x: it is gone".to_owned()] };
        assert_conforms("runs-prune", &fated(true, &units, &fates, &pruned));
        let run = &runs::below(results.path()).unwrap()[0];
        assert_conforms("runs-export", &exported(run, Path::new("run.tar.zst"), &Archived::default(), 0));
        let archived = Archived { files: 2, bytes: 70, left_out: vec!["x: neither a file nor a directory".to_owned()] };
        assert_conforms("runs-export", &exported(run, Path::new("run.tar.zst"), &archived, 40));
    }
}
