//! The life of a matrix: round after round, a run for each cell, in a lab that is made anew where a run spoiled it; one verdict.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use chrono::{SecondsFormat, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::report::LabResult;
use super::super::transcript::Transcript;
use super::super::{Place, Suite, lab_down, lab_up, run};
use super::report::{Done, Gone, MatrixResult};
use super::{Cell, Matrix, page};
use crate::cli::{Format, SuiteArgs};
use crate::exit::{self, Failure};
use crate::run::millis;
use crate::store::RunDirectory;

/// After these a lab is not what the next run should begin with.
const SPOILS: &[u8] = &[exit::ENVIRONMENT, exit::UNHEALED, exit::INTERNAL];
/// A cluster that is there and refuses so many runs in succession is left alone.
const REFUSALS_MAX: u32 = 3;
/// What the newest of a name is called.
const LATEST: &str = "latest-suite";

/// The whole of it, to the exit code.
pub(crate) fn live(suite: &Suite, matrix: &Matrix, place: &Place, args: &SuiteArgs) -> Result<u8, Failure> {
    let started = Utc::now();
    let name = format!("{}-suite-{}", started.format("%Y%m%dT%H%M%SZ"), suite.name);
    let directory = RunDirectory::create_as(&args.results, &name, LATEST)?;
    let path = std::path::absolute(directory.path()).context("the suite's directory")?;
    for inner in ["runs", "output"] {
        fs::create_dir(path.join(inner)).with_context(|| format!("make {inner} in {}", path.display()))?;
    }
    directory.write("suite.toml", suite.text.as_bytes())?;
    let seed = matrix.seed.unwrap_or_else(|| rand::rng().random());
    let shown = Transcript::new(args.format == Format::Json);
    shown.say(&format!("suite {} · {} · seed {seed} · {}", suite.name, suite.description, path.display()));
    let mut work = Work {
        matrix,
        place,
        lab_words: suite.lab.as_deref().unwrap_or_default(),
        directory,
        path,
        shown,
        began: Instant::now(),
        lab: None,
        left_alone: vec![0; matrix.clusters.len().max(1)],
        result: MatrixResult {
            suite: suite.name.clone(),
            description: suite.description.clone(),
            file: suite.path.display().to_string(),
            seed,
            started_at: started.to_rfc3339_opts(SecondsFormat::Millis, true),
            kchaos_version: env!("CARGO_PKG_VERSION"),
            ..MatrixResult::default()
        },
    };
    work.result.directory = work.directory.path().display().to_string();
    // What was done is written down whatever ends it.
    let ended = work.rounds(&mut StdRng::seed_from_u64(seed));
    work.down()?;
    work.keep(false)?;
    ended?;
    work.shown.say(&format!("\n{}", work.result.last_words()));
    if args.format == Format::Json {
        crate::commands::say_json(&work.result)?;
    }
    Ok(work.result.exit_code)
}

struct Work<'a> {
    matrix: &'a Matrix,
    place: &'a Place,
    lab_words: &'a [String],
    directory: RunDirectory,
    path: PathBuf,
    shown: Transcript,
    began: Instant,
    lab: Option<LabResult>,
    /// Of each cluster, how many runs it refused in succession.
    left_alone: Vec<u32>,
    result: MatrixResult,
}

impl Work<'_> {
    fn rounds(&mut self, random: &mut StdRng) -> Result<(), Failure> {
        for round in 1..=self.matrix.repeat.unwrap_or(u32::MAX) {
            let mut is_any_left = false;
            for cell in &self.matrix.cells {
                let seed: u32 = random.random();
                if let Some(why) = self.over() {
                    self.result.gone = Some(why);
                    return Ok(());
                }
                if self.left_alone[cell.cluster.unwrap_or(0)] >= REFUSALS_MAX {
                    continue;
                }
                is_any_left = true;
                self.one(cell, round, seed)?;
                self.keep(true)?;
            }
            if !is_any_left {
                self.result.gone = Some(Gone::Refused);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Why nothing more is begun.
    fn over(&self) -> Option<Gone> {
        let last = self.result.runs.last();
        if self.result.is_aborted {
            Some(Gone::Aborted)
        } else if last.is_some_and(|run| run.exit_code == exit::UNHEALED) && !matches!(self.place, Place::Lab) {
            Some(Gone::Unhealed)
        } else if self.matrix.until_failure && last.is_some_and(|run| run.exit_code != exit::VALID) {
            Some(Gone::Failed)
        } else if self.matrix.budget.is_some_and(|budget| self.began.elapsed() >= budget) {
            Some(Gone::Budget)
        } else {
            None
        }
    }

    fn one(&mut self, cell: &Cell, round: u32, seed: u32) -> Result<(), Failure> {
        let number = self.result.runs.len() + 1;
        let output = format!("output/{number:03}.txt");
        let words: Vec<String> = cell.words.iter().cloned().chain([format!("--seed={seed}")]).collect();
        let mut done = Done { number, name: cell.name.clone(), round, seed, output, ..Done::default() };
        done.command = format!("kchaos test {}", words.join(" "));
        match self.inventory(cell)? {
            Err(trouble) => done.ends(exit::ENVIRONMENT, &trouble),
            Ok(inventory) => {
                let ended = run::test(inventory.as_deref(), &self.path.join("runs"), &self.path.join(&done.output), &words)?;
                self.result.is_aborted |= ended.was_aborted;
                done.take(&ended);
                if SPOILS.contains(&ended.code) {
                    self.down()?;
                }
            }
        }
        let refusals = &mut self.left_alone[cell.cluster.unwrap_or(0)];
        *refusals = if done.exit_code == exit::ENVIRONMENT { *refusals + 1 } else { 0 };
        if *refusals == REFUSALS_MAX {
            self.shown
                .say(&format!("{}\n   {REFUSALS_MAX} runs in succession found it unfit, so it is left alone from here on", done.line()));
        } else {
            self.shown.say(&done.line());
        }
        self.result.runs.push(done);
        Ok(())
    }

    /// Where this one's cluster is, or why there is none.
    fn inventory(&mut self, cell: &Cell) -> Result<Result<Option<PathBuf>, String>, Failure> {
        if let Some(cluster) = cell.cluster {
            return Ok(Ok(Some(self.matrix.clusters[cluster].1.clone())));
        }
        match self.place {
            Place::There(path) => Ok(Ok(Some(path.clone()))),
            Place::Lab => {
                if self.lab.is_none() {
                    self.shown.say(&format!("── kchaos lab up {}", self.lab_words.join(" ")));
                    let quiet = Transcript::quiet();
                    quiet.begin(&self.path.join("output/lab.txt"))?;
                    self.lab = Some(lab_up(self.lab_words, &quiet, &mut self.result.is_aborted)?);
                }
                let trouble = self.lab.as_ref().and_then(|lab| lab.trouble.clone());
                match trouble {
                    None => Ok(Ok(kchaos_lab::inventory_path())),
                    Some(trouble) => {
                        self.down()?;
                        Ok(Err(format!("the lab: {trouble}; {} says more", self.path.join("output/lab.txt").display())))
                    }
                }
            }
        }
    }

    /// The lab that is up, or half so; one that somebody else has is left alone.
    fn down(&mut self) -> Result<(), Failure> {
        let Some(mut lab) = self.lab.take() else { return Ok(()) };
        if lab.up_after_ms.is_none() {
            return Ok(());
        }
        let quiet = Transcript::quiet();
        quiet.begin(&self.path.join("output/lab-down.txt"))?;
        lab_down(&mut lab, &quiet)?;
        if !lab.is_down {
            let trouble = lab.trouble.unwrap_or_default();
            self.shown.say(&format!("   the lab: {trouble}; {} says more", self.path.join("output/lab-down.txt").display()));
            self.result.lab_trouble = Some(trouble);
        }
        Ok(())
    }

    /// All that is known so far: a suite that is killed leaves what it did.
    fn keep(&mut self, is_going_on: bool) -> Result<(), Failure> {
        self.result.took_ms = millis(self.began.elapsed());
        self.result.conclude(self.matrix.cells.len(), is_going_on);
        self.directory.write_json("suite.json", &self.result)?;
        self.directory.write("junit.xml", self.result.junit().context("junit.xml")?.as_bytes())?;
        self.directory.write("index.html", page::render(&self.result, Path::new(&self.path)).as_bytes())?;
        Ok(())
    }
}
