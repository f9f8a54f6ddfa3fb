//! Tries as runs of this very executable, what came of them, and the smallest so far, written down as they go.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use chrono::{SecondsFormat, Utc};
use serde::Serialize;

use super::candidate::{Candidate, seconds};
use super::judge::Symptoms;
use super::original::Original;
use super::reduce::{Bench, Came, Reduced, Tally, reduce};
use super::words;
use crate::cli::{Format, ShrinkArgs};
use crate::exit::{self, Failure};
use crate::judged::RunVerdict;
use crate::run::{Abort, millis};
use crate::store::RunDirectory;
use crate::suite::child;
use crate::suite::transcript::Transcript;

const LATEST: &str = "latest-shrink";
const SMALLEST: &str = "smallest.toml";
/// So many runs after another that were refused before their first fault: the cluster takes none any more.
const REFUSED_MAX: u32 = 3;

/// `shrink.json`.
#[derive(Clone, Debug, Default, Serialize)]
struct Shrink {
    verdict: &'static str,
    exit_code: u8,
    sentence: String,
    started_at: String,
    took_ms: u64,
    kchaos_version: &'static str,
    directory: String,
    /// The run that failed.
    run: String,
    looked_for: Symptoms,
    tries_of_each: u32,
    whole: Candidate,
    /// So far.
    smallest: Option<Smallest>,
    /// Of all tries.
    tally: Tally,
    tries: Vec<Try>,
}

#[derive(Clone, Debug, Serialize)]
struct Smallest {
    plan: Candidate,
    /// How often it failed.
    tally: Tally,
    /// It again.
    command: String,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
struct Try {
    number: usize,
    what: String,
    plan: Candidate,
    came: Came,
    text: String,
    exit_code: u8,
    anomalies: BTreeMap<String, u64>,
    command: String,
    /// Its directory.
    run: String,
    seconds: f64,
}

/// Why it ends before all was tried.
struct Stop {
    code: u8,
    why: String,
}

struct Live<'a> {
    args: &'a ShrinkArgs,
    original: Original,
    directory: RunDirectory,
    path: PathBuf,
    shown: Transcript,
    runtime: tokio::runtime::Runtime,
    abort: Abort,
    began: Instant,
    refused: u32,
    stop: Option<Stop>,
    result: Shrink,
}

/// All of it, to the exit code.
pub(crate) fn live(original: Original, args: &ShrinkArgs) -> Result<u8, Failure> {
    let mut live = Live::new(original, args)?;
    live.shown.say(&format!(
        "shrink {} · {} · {}\n",
        live.original.run.file_name().unwrap_or_default().to_string_lossy(),
        live.original.symptoms.told(),
        live.path.display()
    ));
    let reduced = reduce(live.original.whole.clone(), args.tries, &mut live);
    live.conclude(&reduced)
}

impl Live<'_> {
    fn new(original: Original, args: &ShrinkArgs) -> Result<Live<'_>, Failure> {
        let started = Utc::now();
        let directory = RunDirectory::create_as(&args.results, &format!("{}-shrink", started.format("%Y%m%dT%H%M%SZ")), LATEST)?;
        let path = std::path::absolute(directory.path()).context("the directory of the shrink")?;
        for inner in ["runs", "plans", "output"] {
            std::fs::create_dir(path.join(inner)).with_context(|| format!("make {inner} in {}", path.display()))?;
        }
        // One runtime for all of them, so that no signal between two is lost.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
        let abort = Abort::new();
        runtime.block_on(async { abort.listen() }).context("listen for signals")?;
        let result = Shrink {
            started_at: started.to_rfc3339_opts(SecondsFormat::Millis, true),
            kchaos_version: env!("CARGO_PKG_VERSION"),
            directory: directory.path().display().to_string(),
            run: original.run.display().to_string(),
            looked_for: original.symptoms.clone(),
            tries_of_each: args.tries,
            whole: original.whole.clone(),
            ..Shrink::default()
        };
        Ok(Live {
            args,
            original,
            directory,
            path,
            shown: Transcript::new(args.format == Format::Json),
            runtime,
            abort,
            began: Instant::now(),
            refused: 0,
            stop: None,
            result,
        })
    }

    fn command(&self, candidate: &Candidate, plan: &Path) -> Vec<String> {
        self.original.options.words(candidate, &self.original.whole, plan, self.original.seed)
    }

    /// As people would type it.
    fn line(&self, candidate: &Candidate, plan: &Path) -> String {
        format!("kchaos test --inventory {} {}", self.original.inventory.display(), words::told(&self.command(candidate, plan)))
    }

    /// One run, to its end.
    fn one(&mut self, candidate: &Candidate, what: &str) -> Result<Try, Failure> {
        let number = self.result.tries.len() + 1;
        let plan = self.path.join(format!("plans/{number:03}.toml"));
        let line = self.line(candidate, &plan);
        crate::store::write_whole(&plan, candidate.plan_file(self.original.seed, &line).as_bytes())?;
        let given = self.command(candidate, &plan);
        if let Err(why) = crate::commands::test_args(&given) {
            return Ok(Try {
                number,
                what: what.to_owned(),
                plan: candidate.clone(),
                came: Came::Unproved,
                text: format!("it cannot be asked for: {why}"),
                exit_code: exit::USAGE,
                anomalies: BTreeMap::new(),
                command: line,
                run: String::new(),
                seconds: 0.0,
            });
        }
        let began = Instant::now();
        let (code, run) = self.child(number, given)?;
        let verdict = std::fs::read(run.join("verdict.json")).ok();
        let verdict: RunVerdict = verdict.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let (came, text) = self.original.symptoms.judge(code, &verdict);
        self.look_at(code, &run, &text);
        Ok(Try {
            number,
            what: what.to_owned(),
            plan: candidate.clone(),
            came,
            text,
            exit_code: code,
            anomalies: super::judge::found(&verdict),
            command: line,
            run: run.display().to_string(),
            seconds: (began.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        })
    }

    /// A child's exit code, and where its run lies.
    fn child(&self, number: usize, given: Vec<String>) -> Result<(u8, PathBuf), Failure> {
        let runs = self.path.join("runs");
        let mut all = vec!["test".to_owned(), "--progress=none".to_owned(), "--ci=none".to_owned()];
        all.push(format!("--inventory={}", self.original.inventory.display()));
        all.push(format!("--results={}", runs.display()));
        all.extend(self.args.i_understand.iter().map(|name| format!("--i-understand={name}")));
        all.extend(given);
        let quiet = Transcript::quiet();
        quiet.begin(&self.path.join(format!("output/{number:03}.txt")))?;
        let latest = || runs.join("latest").canonicalize().ok();
        let before = latest();
        let code = self.runtime.block_on(child::kchaos(&all, &quiet, &self.abort))?;
        // One that a signal ended may have left something.
        let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::UNHEALED);
        // A run that was refused at once made no directory.
        Ok((code, latest().filter(|run| Some(run) != before.as_ref()).unwrap_or_default()))
    }

    /// Whether another run makes sense after this one.
    fn look_at(&mut self, code: u8, run: &Path, text: &str) {
        let has_begun = std::fs::metadata(run.join("faults.jsonl")).is_ok_and(|file| file.len() > 0);
        let is_refused = code == exit::ENVIRONMENT && !has_begun;
        self.refused = if is_refused { self.refused + 1 } else { 0 };
        let stop = match code {
            exit::UNHEALED => Some((exit::UNHEALED, "something of ours may still be on a host (kchaos heal)".to_owned())),
            exit::ABORTED if self.abort.reason().is_some() => Some((exit::ABORTED, "ended early by a signal".to_owned())),
            exit::ABORTED => Some((exit::ABORTED, format!("a run was ended from outside: {text}"))),
            exit::USAGE => Some((exit::USAGE, format!("a run was refused for what it was told: {text}"))),
            _ if self.refused >= REFUSED_MAX => Some((exit::ENVIRONMENT, format!("the cluster takes no runs any more: {text}"))),
            _ => None,
        };
        self.stop = stop.map(|(code, why)| Stop { code, why });
    }

    /// Whether no try may be begun.
    fn is_over(&mut self) -> bool {
        // What was sent between two tries is heard of here.
        self.runtime.block_on(tokio::task::yield_now());
        if self.abort.reason().is_some() {
            self.stop.get_or_insert(Stop { code: exit::ABORTED, why: "ended early by a signal".to_owned() });
        }
        if let Some(budget) = self.args.budget.filter(|budget| self.began.elapsed() >= *budget) {
            let why = format!("the budget of {} was spent", seconds(millis(budget)));
            self.stop.get_or_insert(Stop { code: exit::VALID, why });
        }
        self.stop.is_some()
    }

    fn write(&mut self) -> Result<(), Failure> {
        self.result.took_ms = millis(self.began.elapsed());
        self.directory.write_json("shrink.json", &self.result).map_err(Failure::from)
    }

    fn conclude(mut self, reduced: &Reduced) -> Result<u8, Failure> {
        let (stopped, is_repeated) = (self.stop.take(), reduced.smallest.is_some());
        let result = &mut self.result;
        let end = match (&stopped, reduced.is_whole) {
            (Some(stop), _) => format!("; {}: not all was tried", stop.why),
            (None, false) => "; not all was tried".to_owned(),
            (None, true) => String::new(),
        };
        result.exit_code = match &stopped {
            Some(stop) if stop.code != exit::VALID => stop.code,
            _ if is_repeated => exit::VALID,
            _ => exit::UNKNOWN,
        };
        result.verdict = if is_repeated { "shrunk" } else { "not-repeated" };
        result.sentence = match &result.smallest {
            Some(smallest) => format!(
                "{} of {} faults are left, and failed {} of {} times{end}",
                smallest.plan.faults.len(),
                result.whole.faults.len(),
                smallest.tally.failed,
                smallest.tally.tries,
            ),
            None => format!("the whole plan did not fail again in {} tries{end}", reduced.tally.tries),
        };
        self.write()?;
        self.shown.say(&self.told());
        if self.args.format == Format::Json {
            crate::commands::say_json(&self.result)?;
        }
        Ok(self.result.exit_code)
    }

    /// For people.
    fn told(&self) -> String {
        let result = &self.result;
        let mut text = format!("\n{}  {}\n", result.verdict.to_uppercase(), result.sentence);
        if let Some(smallest) = &result.smallest {
            let _ = writeln!(text, "{}", smallest.plan.told(&result.whole));
            let _ = writeln!(text, "the same again: {}", smallest.command);
        }
        let Tally { tries, failed, held, otherwise, unproved } = result.tally;
        let _ = write!(
            text,
            "{tries} runs in {} s: {failed} failed, {held} held, {otherwise} failed otherwise, {unproved} proved nothing; {}",
            result.took_ms / 1_000,
            result.directory
        );
        text
    }
}

impl Bench for Live<'_> {
    fn attempt(&mut self, candidate: &Candidate, what: &str) -> Option<Came> {
        if self.is_over() {
            return None;
        }
        let done = match self.one(candidate, what) {
            Ok(done) => done,
            Err(failure) => {
                self.stop = Some(Stop { code: failure.code, why: failure.to_string() });
                return None;
            }
        };
        let came = done.came;
        let name = match came {
            Came::Fails => "FAILS",
            Came::Holds => "holds",
            Came::Otherwise => "OTHERWISE",
            Came::Unproved => "unproved",
        };
        self.shown.say(&format!("{:>4}  {name:<9} {:>5.0} s  {what}: {}", done.number, done.seconds, candidate.told(&self.original.whole)));
        self.shown.say(&format!("                         {}", done.text));
        self.result.tally.count(came);
        self.result.tries.push(done);
        if let Err(failure) = self.write() {
            self.stop = Some(Stop { code: failure.code, why: failure.to_string() });
        }
        // What was ended on its way says nothing of the candidate.
        if self.abort.reason().is_some() && came != Came::Fails { None } else { Some(came) }
    }

    fn kept(&mut self, candidate: &Candidate, tally: Tally) {
        let path = self.path.join(SMALLEST);
        let command = self.line(candidate, &path);
        let written = if candidate.faults.is_empty() {
            // Without a fault there is no plan: the command alone is it.
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(anyhow::Error::from(error).context(SMALLEST)),
                _ => Ok(()),
            }
        } else {
            self.directory.write(SMALLEST, candidate.plan_file(self.original.seed, &command).as_bytes())
        };
        self.result.smallest = Some(Smallest { plan: candidate.clone(), tally, command });
        if let Err(failure) = written.map_err(Failure::from).and_then(|()| self.write()) {
            self.stop = Some(Stop { code: failure.code, why: failure.to_string() });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::candidate::{RATE, fault};
    use super::*;
    use crate::schema::conform::assert_conforms;

    #[test]
    fn what_is_written_down_conforms_from_the_first_moment_to_the_last() {
        let mut result = Shrink { looked_for: Symptoms { exit_code: exit::INVALID, ..Symptoms::default() }, ..Shrink::default() };
        assert_conforms("shrink", &json!(result));
        let mut faults = vec![fault("kill-leader", 4_000, 13_000), fault("pause-leader", 25_000, 900)];
        faults[1].beside = true;
        let clients = BTreeMap::from([("producers", 3), ("consumers", 2), ("group-members", 2), (RATE, 500)]);
        let plan = Candidate { faults, time_limit_ms: 25_900, clients };
        let tally = Tally { tries: 3, failed: 1, held: 1, otherwise: 1, unproved: 0 };
        result.verdict = "shrunk";
        result.looked_for.anomalies.insert("lost-write".to_owned());
        result.looked_for.thresholds.insert("send.p99 < 1 s".to_owned());
        result.smallest = Some(Smallest { plan: plan.clone(), tally, command: "kchaos test --plan smallest.toml".to_owned() });
        for (number, came) in [Came::Fails, Came::Holds, Came::Otherwise, Came::Unproved].into_iter().enumerate() {
            result.tries.push(Try {
                number,
                what: "shorter faults".to_owned(),
                plan: plan.clone(),
                came,
                text: "3 lost-write".to_owned(),
                exit_code: exit::USAGE,
                anomalies: BTreeMap::from([("lost-write".to_owned(), 3)]),
                command: "kchaos test".to_owned(),
                run: String::new(),
                seconds: 40.5,
            });
        }
        assert_conforms("shrink", &json!(Shrink { whole: plan, tally, ..result }));
    }
}
