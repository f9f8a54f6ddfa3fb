//! `kchaos compare`: one run against those of before.

use std::path::Path;

use anyhow::anyhow;

use crate::cli::{CompareArgs, Format};
use crate::compare::{self, Comparison};
use crate::exit::Failure;
use crate::runs::{self, Run};
use crate::store::write_whole;

pub(super) fn run(args: &CompareArgs) -> Result<u8, Failure> {
    let results = &args.results.results;
    let (last, before) = args.runs.split_last().ok_or_else(|| Failure::usage(anyhow!("no run is given")))?;
    let now = runs::resolve(results, last)?;
    let mut baseline = before.iter().map(|named| runs::resolve(results, named)).collect::<Result<Vec<Run>, _>>()?;
    for named in &args.baseline {
        baseline.extend(baseline_of(results, named, &now)?);
    }
    let mut seen = Vec::new();
    baseline.retain(|run| {
        let whole = std::fs::canonicalize(&run.path).unwrap_or_else(|_| run.path.clone());
        let is_new = !seen.contains(&whole) && whole != std::fs::canonicalize(&now.path).unwrap_or_else(|_| now.path.clone());
        seen.push(whole);
        is_new
    });
    if baseline.is_empty() {
        return Err(Failure::usage(anyhow!(
            "there is nothing to hold {} against: give two different runs, or --baseline with a directory of runs like it",
            now.id
        )));
    }
    let mut comparison = Comparison::of(baseline, now);
    if !comparison.unlike.is_empty() && !args.anyway {
        let why = comparison.unlike.join("\n  ");
        return Err(Failure::usage(anyhow!("these cannot be compared (--anyway does it all the same):\n  {why}")));
    }
    comparison.hold(&args.fail_on).map_err(|why| Failure::usage(anyhow!(why)))?;
    // Before the exit code, so that it is there when CI stops.
    if let Some(path) = &args.html {
        write_whole(path, compare::page(&comparison).as_bytes())?;
    }
    match args.format {
        Format::Text => crate::say_raw!("{}", compare::text(&comparison)),
        Format::Json => super::say_json(&comparison.json())?,
    }
    Ok(comparison.exit_code())
}

/// A run, or all runs below a directory that ended well and are like this one.
fn baseline_of(results: &Path, named: &str, now: &Run) -> Result<Vec<Run>, Failure> {
    let directory = [Path::new(named).to_owned(), results.join(named)].into_iter().find(|path| path.is_dir() && !runs::is_run(path));
    let Some(directory) = directory else { return Ok(vec![runs::resolve(results, named)?]) };
    let all = runs::below(&directory)?;
    let of = all.len();
    let now_began = now.started;
    let like: Vec<Run> =
        all.into_iter().filter(|run| run.ended_well() && run.started < now_began && compare::differences(run, now).is_empty()).collect();
    eprintln!("kchaos: {}: {} of {of} runs are older, valid and like {}", directory.display(), like.len(), now.id);
    Ok(like)
}
