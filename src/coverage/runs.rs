//! The runs of a directory, those within suites, selftests and shrinks as well.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kchaos_core::Plan;

use super::{Exercised, Seen, in_force, of_run};
use crate::exit::Failure;
use crate::judged::RunVerdict;
use crate::run::Guide;

/// `results/<start>-suite-x/runs/<run>`, and one more.
const DEPTH: usize = 4;

/// What several runs exercised.
#[derive(Debug, Default)]
pub(crate) struct Covered {
    pub(crate) runs: usize,
    pub(crate) exercised: Vec<Exercised>,
    /// Runs that could not be read, and why.
    pub(crate) unread: Vec<String>,
}

/// Of all runs below a directory that have a verdict; nothing is written.
pub(crate) fn below(directory: &Path) -> Result<Covered, Failure> {
    let (mut covered, mut runs) = (Covered::default(), Vec::new());
    find(directory, DEPTH, &mut runs).with_context(|| format!("cannot read {}", directory.display())).map_err(Failure::usage)?;
    runs.sort();
    for run in runs {
        match one(&run) {
            Ok(exercised) => {
                covered.runs += 1;
                covered.exercised.extend(exercised);
            }
            Err(error) => covered.unread.push(format!("{}: {error:#}", run.display())),
        }
    }
    Ok(covered)
}

/// How often each nemesis was in force in the runs below a directory, and met a cluster that was not at rest; what cannot be read counts for nothing.
pub(crate) fn guide(directory: &Path) -> Guide {
    let (mut guide, mut runs) = (Guide::default(), Vec::new());
    // No directory yet: no run yet.
    let _ = find(directory, DEPTH, &mut runs);
    for run in &runs {
        for fault in in_force(run).unwrap_or_default() {
            *guide.in_force.entry(fault.nemesis).or_default() += 1;
        }
        // Of runs that are older than coverage the states are not known, and reading their histories would take minutes.
        let verdict = std::fs::read(run.join("verdict.json")).ok().and_then(|json| serde_json::from_slice::<RunVerdict>(&json).ok());
        for met in verdict.into_iter().flat_map(|verdict| verdict.coverage) {
            if met.states.isr_shrunk == Seen::Yes || met.states.election == Seen::Yes {
                *guide.unsettled.entry(met.nemesis).or_default() += 1;
            }
        }
    }
    guide
}

/// As the run's verdict has it; of an older one, from its files.
fn one(run: &Path) -> anyhow::Result<Vec<Exercised>> {
    let read = |name: &str| std::fs::read(run.join(name)).with_context(|| name.to_owned());
    let verdict: RunVerdict = serde_json::from_slice(&read("verdict.json")?).context("verdict.json")?;
    if !verdict.coverage.is_empty() || verdict.faults.in_force == 0 {
        return Ok(verdict.coverage);
    }
    let plan: Plan = serde_json::from_slice(&read("plan.json")?).context("plan.json")?;
    of_run(run, &plan)
}

fn find(directory: &Path, depth: usize, runs: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if directory.join("verdict.json").exists() && directory.join("plan.json").exists() {
        runs.push(directory.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // `latest` is a link to what is counted already.
        if depth > 0 && entry.file_type()?.is_dir() {
            find(&entry.path(), depth - 1, runs)?;
        }
    }
    Ok(())
}
