//! The runs of a results directory, as their files tell: what `kchaos runs`, `kchaos compare` and `kchaos serve` are made of.
//!
//! Reading is lenient and never fails for one run's sake: a run that goes on, one that was cut off, a file that was half written and a directory
//! that holds nothing are shown as what they are. Nothing here writes, but for `prune` and `archive`.

mod archive;
mod brief;
mod filter;
mod prune;
mod show;
mod state;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use chrono::{DateTime, NaiveDateTime, Utc};
use kchaos_core::{Plan, Validity};
use serde_json::{Value, json};

pub(crate) use archive::{Archived, Packing, pack, write as export};
pub(crate) use brief::{Brief, Distribution, Summary};
pub(crate) use filter::{Filter, age, moment, nothing_matches, verdict};
pub(crate) use prune::{Fate, Limits, Pruned, Unit, carry_out, choose, units};
pub(crate) use show::{info, sign, table, when};
pub(crate) use state::State;

use crate::exit::{self, Failure};

/// `results/<start>-suite-x/runs/<run>`, and one more.
const DEPTH: usize = 4;
/// Any of them makes a directory a run's.
const OF_A_RUN: [&str; 5] = ["plan.json", "verdict.json", "start.json", "history.jsonl.zst", "history.kch"];
/// What is being removed, until it is gone.
pub(crate) const REMOVING: &str = ".removing-";

/// One run, as far as its files tell.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Its path below the results directory.
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    pub(crate) state: State,
    /// What it intended; empty where `plan.json` could not be read.
    pub(crate) plan: Plan,
    /// What it came to, of those that have a verdict.
    pub(crate) brief: Option<Brief>,
    pub(crate) started: Option<DateTime<Utc>>,
    pub(crate) bytes: u64,
}

impl Run {
    /// Whatever it holds.
    pub(crate) fn load(path: &Path, id: &str) -> Self {
        let plan = brief::read::<Plan>(&path.join("plan.json"));
        let verdict = brief::read::<Brief>(&path.join("verdict.json"));
        let known = plan.as_ref().ok();
        let state = state::of(path, plan.as_ref(), verdict.as_ref());
        let started = known.and_then(|plan| i64::try_from(plan.started_at_unix_ns).ok()).filter(|ns| *ns > 0);
        let started = started.map(DateTime::from_timestamp_nanos).or_else(|| started_by_name(path)).or_else(|| changed(path));
        let brief = verdict.ok().filter(|brief| brief.valid.is_some());
        Self { id: id.to_owned(), path: path.to_owned(), state, plan: plan.unwrap_or_default(), brief, started, bytes: bytes(path) }
    }

    /// In one word: the verdict, or the exit code's name where something else speaks against the run, or what became of it.
    pub(crate) fn verdict(&self) -> &'static str {
        match (&self.state, &self.brief) {
            (State::Ended, Some(brief)) if brief.exit_code > exit::UNKNOWN => exit::name(brief.exit_code),
            (State::Ended, Some(brief)) => validity(brief.valid.unwrap_or(Validity::Unknown)),
            (state, _) => state.word(),
        }
    }

    /// Its verdict is valid, and nothing else speaks against it.
    pub(crate) fn ended_well(&self) -> bool {
        let is_valid = |brief: &Brief| brief.valid == Some(Validity::Valid) && brief.exit_code == exit::VALID;
        self.state == State::Ended && self.brief.as_ref().is_some_and(is_valid)
    }

    pub(crate) fn sentence(&self) -> String {
        match (&self.state, &self.brief) {
            (State::Ended, Some(brief)) => brief.sentence.clone(),
            (state, _) => state.told(),
        }
    }

    /// `kill-leader + pause-controller`.
    pub(crate) fn nemeses(&self) -> String {
        match (self.plan.nemeses.as_slice(), self.plan.steps.is_empty()) {
            ([], true) if self.plan.workload.is_empty() => "–".to_owned(),
            ([], true) => "none".to_owned(),
            ([], false) => "steps of a plan".to_owned(),
            (names, _) => names.join(" + "),
        }
    }

    pub(crate) fn workload(&self) -> &str {
        if self.plan.workload.is_empty() { "–" } else { &self.plan.workload }
    }

    pub(crate) fn cluster(&self) -> Option<&str> {
        self.plan.facts.get("cluster").map(String::as_str)
    }

    /// For programs; additive.
    pub(crate) fn json(&self) -> Value {
        let brief = self.brief.as_ref();
        json!({
            "id": self.id,
            "path": self.path.display().to_string(),
            "state": self.state.word(),
            "verdict": self.verdict(),
            "valid": brief.and_then(|brief| brief.valid),
            "exit_code": brief.map(|brief| brief.exit_code),
            "sentence": self.sentence(),
            "started_at": self.started.map(|started| started.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
            "workload": self.plan.workload,
            "nemeses": self.plan.nemeses,
            "cluster": self.cluster(),
            "seed": self.plan.seed,
            "kchaos_version": self.plan.kchaos_version,
            "faults": brief.map(|brief| brief.faults),
            "acknowledged": brief.map(Brief::acknowledged),
            "anomalies": brief.map(|brief| &brief.anomalies),
            "recovery": brief.and_then(Brief::recovery),
            "unavailable": brief.map(|brief| brief.recovery.unavailable.summary),
            "wall_s": brief.map(|brief| brief.resources.wall_s),
            "bytes": self.bytes,
        })
    }
}

pub(crate) fn validity(valid: Validity) -> &'static str {
    match valid {
        Validity::Valid => "valid",
        Validity::Invalid => "invalid",
        Validity::Unknown => "unknown",
    }
}

/// All runs below a directory, those of suites, selftests and shrinks as well, the newest first.
pub(crate) fn below(results: &Path) -> Result<Vec<Run>, Failure> {
    let mut runs: Vec<Run> = places(results)?.iter().map(|(path, id)| Run::load(path, id)).collect();
    newest_first(&mut runs);
    Ok(runs)
}

pub(crate) fn newest_first(runs: &mut [Run]) {
    runs.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| b.id.cmp(&a.id)));
}

/// Where they are, with their ids; nothing is read yet.
pub(crate) fn places(results: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut found = Vec::new();
    find(results, DEPTH, &mut found)
        .with_context(|| format!("cannot read {} (kchaos test --results says where runs are kept)", results.display()))
        .map_err(Failure::usage)?;
    Ok(found.into_iter().map(|path| (id_of(results, &path), path)).map(|(id, path)| (path, id)).collect())
}

fn find(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if is_run(directory) {
        found.push(directory.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(directory)?.flatten() {
        // `latest` is a link to what is found already, and what begins with a dot is nobody's run.
        if depth == 0 || !entry.file_type().is_ok_and(|of| of.is_dir()) || entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let path = entry.path();
        if find(&path, depth - 1, found).is_err() || is_stillborn(&path) {
            // A run whose directory cannot be looked into is a run all the same.
            found.extend((started_by_name(&path).is_some() && !found.contains(&path)).then_some(path));
        }
    }
    Ok(())
}

pub(crate) fn is_run(directory: &Path) -> bool {
    OF_A_RUN.iter().any(|name| directory.join(name).exists())
}

/// It was made for a run, and nothing was written into it.
fn is_stillborn(directory: &Path) -> bool {
    let is_hidden = |entry: io::Result<fs::DirEntry>| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    fs::read_dir(directory).is_ok_and(|mut entries| entries.all(is_hidden))
}

fn id_of(results: &Path, run: &Path) -> String {
    match run.strip_prefix(results) {
        Ok(below) if !below.as_os_str().is_empty() => below.to_string_lossy().into_owned(),
        _ => name_of(run),
    }
}

/// Its last component, of a link what it points at.
pub(crate) fn name_of(run: &Path) -> String {
    let whole = fs::canonicalize(run).unwrap_or_else(|_| run.to_owned());
    whole.file_name().map_or_else(|| run.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The one run that is meant by a path, by its id, by `latest`, or by the beginning or a part of its name.
pub(crate) fn resolve(results: &Path, named: &str) -> Result<Run, Failure> {
    for path in [PathBuf::from(named), results.join(named)] {
        if !named.is_empty() && is_run(&path) {
            let whole = fs::canonicalize(&path).unwrap_or(path);
            let id = fs::canonicalize(results).map_or_else(|_| name_of(&whole), |results| id_of(&results, &whole));
            return Ok(Run::load(&whole, &id));
        }
    }
    let places = places(results)?;
    let last = |id: &str| id.rsplit('/').next().unwrap_or(id).to_owned();
    let by = |is: &dyn Fn(&str) -> bool| places.iter().filter(|(_, id)| is(id)).collect::<Vec<_>>();
    let mut meant = by(&|id| id == named || last(id) == named);
    if meant.is_empty() {
        meant = by(&|id| last(id).starts_with(named));
    }
    if meant.is_empty() {
        meant = by(&|id| id.contains(named));
    }
    match meant.as_slice() {
        [(path, id)] => Ok(Run::load(path, id)),
        [] => {
            let likeness = |id: &str| (strsim::jaro_winkler(&last(id), named) * 1e6) as u64;
            let nearest = places.iter().max_by_key(|(_, id)| likeness(id));
            let nearest = nearest.map_or_else(String::new, |(_, id)| format!("; the nearest is {id} (kchaos runs list)"));
            Err(Failure::usage(anyhow!("no run is called \"{named}\", here or in {}{nearest}", results.display())))
        }
        several => {
            let mut names: Vec<&str> = several.iter().map(|(_, id)| id.as_str()).collect();
            names.sort_unstable();
            let (shown, more) = (names.len().min(8), names.len().saturating_sub(8));
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            Err(Failure::usage(anyhow!("\"{named}\" may be any of {}{more}: say more of its name", names[..shown].join(", "))))
        }
    }
}

/// `20261123T020000Z-append-kill-leader`.
pub(crate) fn started_by_name(path: &Path) -> Option<DateTime<Utc>> {
    let name = path.file_name()?.to_str()?;
    NaiveDateTime::parse_from_str(name.split_once("Z-")?.0, "%Y%m%dT%H%M%S").ok().map(|at| at.and_utc())
}

fn changed(path: &Path) -> Option<DateTime<Utc>> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok().map(DateTime::from)
}

/// What stands in it, links not followed.
pub(crate) fn bytes(directory: &Path) -> u64 {
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    fs::read_dir(directory).into_iter().flatten().flatten().map(of).sum()
}

#[cfg(test)]
pub(crate) mod tests;
