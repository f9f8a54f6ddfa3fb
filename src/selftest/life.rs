//! The life of a selftest: a lab for all that can share it, each form as often as asked, lab down, verdict.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{SecondsFormat, Utc};
use quick_junit::{Property, Report, TestCase, TestSuite};
use serde::Serialize;

use super::case::{Case, Form};
use super::judge::{Came, Said, judge};
use super::record::{self, Record};
use crate::cli::{Format, SelftestArgs};
use crate::exit::{self, Failure};
use crate::run::millis;
use crate::store::RunDirectory;
use crate::suite::transcript::Transcript;
use crate::suite::{LabResult, lab_down, lab_up, run, status};

const LATEST: &str = "latest-selftest";
/// A lab in which this came up is not what the next run should begin with.
pub(super) const SPOILS: &[u8] = &[exit::ENVIRONMENT, exit::UNHEALED, exit::INTERNAL];

/// What came of all of it: `selftest.json`.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Selftest {
    pub(super) verdict: &'static str,
    pub(super) exit_code: u8,
    pub(super) sentence: String,
    pub(super) started_at: String,
    pub(super) took_ms: u64,
    pub(super) kchaos_version: &'static str,
    pub(super) directory: String,
    pub(super) runs: Vec<Done>,
}

/// A run of a form.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Done {
    pub(super) case: String,
    pub(super) form: &'static str,
    pub(super) round: u32,
    /// Which try of the round it was.
    pub(super) attempt: u32,
    pub(super) came: Came,
    pub(super) text: String,
    pub(super) exit_code: u8,
    pub(super) found: BTreeMap<String, u64>,
    pub(super) command: String,
    /// Its directory.
    pub(super) run: String,
    pub(super) took_ms: u64,
}

/// Which run it was.
pub(super) struct Named {
    pub(super) case: String,
    pub(super) form: &'static str,
    pub(super) round: u32,
    pub(super) attempt: u32,
}

/// One thing to do in a lab.
struct Task<'a> {
    case: &'a Case,
    form: &'a Form,
    name: &'static str,
}

/// What goes on, shared by all that is done.
pub(super) struct Bench<'a> {
    args: &'a SelftestArgs,
    pub(super) path: PathBuf,
    pub(super) shown: Transcript,
    pub(super) is_aborted: bool,
}

/// The whole corpus, to the exit code.
pub(crate) fn live(cases: &[Case], args: &SelftestArgs) -> Result<u8, Failure> {
    in_a_directory(args, "selftest", |bench| {
        let mut done = Vec::new();
        for (lab, tasks) in by_lab(cases) {
            if bench.is_aborted {
                break;
            }
            done.extend(bench.group(&lab, &tasks)?);
        }
        let wanted: usize = cases.len() * 2;
        Ok((done, wanted))
    })
}

/// Makes the directory, does the work, and concludes.
pub(super) fn in_a_directory(
    args: &SelftestArgs,
    kind: &str,
    work: impl FnOnce(&mut Bench<'_>) -> Result<(Vec<Done>, usize), Failure>,
) -> Result<u8, Failure> {
    let (started, began) = (Utc::now(), Instant::now());
    let name = format!("{}-{kind}", started.format("%Y%m%dT%H%M%SZ"));
    let directory = RunDirectory::create_as(&args.results, &name, LATEST)?;
    let path = std::path::absolute(directory.path()).context("the selftest's directory")?;
    for inner in ["runs", "output"] {
        std::fs::create_dir(path.join(inner)).with_context(|| format!("make {inner} in {}", path.display()))?;
    }
    let mut bench = Bench { args, path, shown: Transcript::new(args.format == Format::Json), is_aborted: false };
    let (runs, wanted) = work(&mut bench)?;
    let mut result = Selftest {
        started_at: started.to_rfc3339_opts(SecondsFormat::Millis, true),
        took_ms: millis(began.elapsed()),
        kchaos_version: env!("CARGO_PKG_VERSION"),
        directory: directory.path().display().to_string(),
        runs,
        ..Selftest::default()
    };
    result.conclude(wanted, bench.is_aborted);
    directory.write_json("selftest.json", &result)?;
    directory.write("junit.xml", result.junit().context("junit.xml")?.as_bytes())?;
    let (verdict, seconds) = (result.verdict.to_uppercase(), result.took_ms / 1_000);
    bench.shown.say(&format!(
        "\n{verdict}  {}\nexit {} ({}), after {seconds} s; {}",
        result.sentence, result.exit_code, result.verdict, result.directory
    ));
    if args.format == Format::Json {
        crate::commands::say_json(&result)?;
    }
    Ok(result.exit_code)
}

/// Those that can share a lab, in the order in which the labs are first asked for.
fn by_lab(cases: &[Case]) -> Vec<(Vec<String>, Vec<Task<'_>>)> {
    let mut groups: Vec<(Vec<String>, Vec<Task<'_>>)> = Vec::new();
    for case in cases {
        for (name, form) in [("bad", &case.bad), ("twin", &case.twin)] {
            let task = Task { case, form, name };
            match groups.iter_mut().find(|(lab, _)| *lab == form.lab) {
                Some((_, tasks)) => tasks.push(task),
                None => groups.push((form.lab.clone(), vec![task])),
            }
        }
    }
    groups
}

impl Bench<'_> {
    /// All of one lab.
    fn group(&mut self, words: &[String], tasks: &[Task<'_>]) -> Result<Vec<Done>, Failure> {
        let mut done = Vec::new();
        let mut lab = self.up(words)?;
        for round in 1..=self.args.rounds {
            for task in tasks {
                let attempts = task.form.attempts;
                for attempt in 1..=attempts {
                    if self.is_aborted {
                        break;
                    }
                    if lab.code != exit::VALID {
                        self.down(&mut lab)?;
                        lab = self.up(words)?;
                    }
                    let one = self.one(task, round, attempt, &mut lab)?;
                    let is_caught = one.came != Came::Missed;
                    done.push(one);
                    if is_caught {
                        break;
                    }
                }
            }
        }
        self.down(&mut lab)?;
        Ok(done)
    }

    pub(super) fn up(&mut self, words: &[String]) -> Result<LabResult, Failure> {
        self.shown.say(&format!("\n── kchaos lab up {}", words.join(" ")));
        let quiet = Transcript::quiet();
        quiet.begin(&self.path.join("output/lab.txt"))?;
        let lab = lab_up(words, &quiet, &mut self.is_aborted)?;
        if let Some(trouble) = &lab.trouble {
            self.shown.say(&format!("   the lab: {trouble}; {} says more", self.path.join("output/lab.txt").display()));
        }
        Ok(lab)
    }

    /// Of a lab that came up, or half so; one that somebody else has is left alone.
    pub(super) fn down(&mut self, lab: &mut LabResult) -> Result<(), Failure> {
        if lab.up_after_ms.is_some() && !lab.is_down {
            let quiet = Transcript::quiet();
            quiet.begin(&self.path.join("output/lab-down.txt"))?;
            lab_down(lab, &quiet)?;
            if let Some(trouble) = lab.trouble.as_ref().filter(|_| !lab.is_down) {
                self.shown.say(&format!("   the lab: {trouble}; {} says more", self.path.join("output/lab-down.txt").display()));
            }
        }
        Ok(())
    }

    fn one(&mut self, task: &Task<'_>, round: u32, attempt: u32, lab: &mut LabResult) -> Result<Done, Failure> {
        let name = format!("{}-{}-{round}{}", task.case.name, task.name, if attempt > 1 { format!("-{attempt}") } else { String::new() });
        let (said, run, took) = if lab.code == exit::VALID {
            let words = self.with_plan(&name, task.form)?;
            self.test(&name, &words)?
        } else {
            let sentence = lab.trouble.clone().unwrap_or_else(|| "there is no lab".to_owned());
            (Said { code: exit::ENVIRONMENT, sentence, ..Said::default() }, PathBuf::new(), Duration::ZERO)
        };
        if SPOILS.contains(&said.code) {
            lab.code = said.code;
        }
        let named = Named { case: task.case.name.clone(), form: task.name, round, attempt };
        let done = self.told(named, task.form, said, &run, took);
        if let (Some(path), false) = (&self.args.record, self.is_aborted) {
            record::append(path, &self.record(&done, task, &run))?;
        }
        Ok(done)
    }

    /// What came of a run, judged and shown.
    pub(super) fn told(&self, named: Named, form: &Form, said: Said, run: &Path, took: Duration) -> Done {
        let (came, text) = judge(form, &said);
        let Named { case, form: form_name, round, attempt } = named;
        let plan = if form.plan.is_some() { " --plan PLAN" } else { "" };
        let command = format!("kchaos test {}{plan}", form.words.join(" "));
        let (run, took_ms) = (run.display().to_string(), millis(took));
        let done =
            Done { case, form: form_name, round, attempt, came, text, exit_code: said.code, found: said.found, command, run, took_ms };
        self.shown.say(&done.line());
        done
    }

    /// What the run is told, and the plan file that it is given.
    fn with_plan(&self, name: &str, form: &Form) -> Result<Vec<String>, Failure> {
        let mut words = form.words.clone();
        if let Some(plan) = &form.plan {
            let path = self.path.join(format!("output/{name}.plan.toml"));
            std::fs::write(&path, plan).with_context(|| format!("write {}", path.display()))?;
            words.extend(["--plan".to_owned(), path.display().to_string()]);
        }
        Ok(words)
    }

    fn record(&self, done: &Done, task: &Task<'_>, run: &Path) -> Record {
        Record {
            date: Utc::now().format("%Y-%m-%d").to_string(),
            case: done.case.clone(),
            form: done.form.to_owned(),
            kafka: task.form.kafka(),
            kchaos: env!("CARGO_PKG_VERSION").to_owned(),
            run: run.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            came: done.came,
            found: done.found.clone(),
            took_s: done.took_ms / 1_000,
        }
    }

    /// A run in the lab that is up.
    pub(super) fn test(&mut self, name: &str, words: &[String]) -> Result<(Said, PathBuf, Duration), Failure> {
        let output = self.path.join(format!("output/{name}.txt"));
        let ended = run::test(kchaos_lab::inventory_path().as_deref(), &self.path.join("runs"), &output, words)?;
        self.is_aborted |= ended.was_aborted;
        let mut said = Said::of(ended.code, &ended.verdict);
        if said.sentence.is_empty() {
            said.sentence = format!("see {}", output.display());
        }
        Ok((said, ended.directory.unwrap_or_default(), ended.took))
    }
}

impl Done {
    /// For people.
    fn line(&self) -> String {
        let came = match (self.came, self.form) {
            (Came::AsExpected, "bad") => "caught",
            (Came::AsExpected, _) => "clean",
            (Came::Missed, _) => "MISSED",
            (Came::Accused, _) => "ACCUSED",
            (Came::Unproved, _) => "unproved",
        };
        format!("   {:<32} {:<5} {came:<9} {:>4} s  {}", self.case, self.form, self.took_ms / 1_000, self.text)
    }
}

impl Selftest {
    /// Of a form's attempts in a round the last one counts: they end with the first that caught.
    fn conclude(&mut self, wanted: usize, is_aborted: bool) {
        let mut last: BTreeMap<(&str, &str, u32), Came> = BTreeMap::new();
        for run in &self.runs {
            last.insert((&run.case, run.form, run.round), run.came);
        }
        let count = |is: Came| last.values().filter(|came| **came == is).count();
        let (expected, missed, accused, unproved) =
            (count(Came::AsExpected), count(Came::Missed), count(Came::Accused), count(Came::Unproved));
        let mut codes: Vec<u8> = last.values().map(|came| came.exit_code()).collect();
        codes.extend(self.runs.iter().filter(|run| run.exit_code == exit::UNHEALED).map(|run| run.exit_code));
        if is_aborted {
            codes.push(exit::ABORTED);
        }
        let code = exit::strongest(&codes);
        let is_whole = last.len() >= wanted && wanted > 0;
        self.exit_code = if code == exit::VALID && !is_whole { exit::UNKNOWN } else { code };
        self.verdict = exit::name(self.exit_code);
        let mut sentence = format!("{expected} of {} came as expected", last.len());
        for (many, what) in [(missed, "missed"), (accused, "accused without reason"), (unproved, "proved nothing")] {
            if many > 0 {
                let _ = write!(sentence, ", {many} {what}");
            }
        }
        if !is_whole {
            let _ = write!(sentence, "; not all was done");
        }
        self.sentence = sentence;
    }

    fn junit(&self) -> Result<String, quick_junit::SerializeError> {
        let mut suite = TestSuite::new("kchaos.selftest");
        for (property, value) in [("directory", self.directory.as_str()), ("kchaos", self.kchaos_version), ("verdict", self.verdict)] {
            suite.add_property(Property::new(property, value));
        }
        for run in &self.runs {
            let mut case =
                TestCase::new(format!("{} {} {}.{}", run.case, run.form, run.round, run.attempt), status(run.came.exit_code(), &run.text));
            case.set_classname("kchaos.selftest").set_time(Duration::from_millis(run.took_ms));
            case.set_system_out(format!("{}\n{}\n{}", run.command, run.text, run.run));
            suite.add_test_case(case);
        }
        suite.set_time(Duration::from_millis(self.took_ms));
        let mut report = Report::new("kchaos");
        report.add_test_suite(suite);
        report.to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::case::built_in;
    use super::*;
    use crate::schema::conform::assert_conforms;

    fn concluded(runs: &[(&str, u32, Came)], wanted: usize) -> Selftest {
        let done = |(form, attempt, came): &(&'static str, u32, Came)| Done {
            case: "c".into(),
            form,
            round: 1,
            attempt: *attempt,
            came: *came,
            text: String::new(),
            exit_code: 0,
            found: BTreeMap::new(),
            command: String::new(),
            run: String::new(),
            took_ms: 0,
        };
        // `form` must outlive the table, and these do.
        let runs: Vec<(&'static str, u32, Came)> =
            runs.iter().map(|(form, attempt, came)| (if *form == "bad" { "bad" } else { "twin" }, *attempt, *came)).collect();
        let mut result = Selftest { runs: runs.iter().map(done).collect(), ..Selftest::default() };
        result.conclude(wanted, false);
        result
    }

    #[test]
    fn of_several_attempts_the_last_counts_and_one_accusation_is_enough() {
        let (good, missed) = (Came::AsExpected, Came::Missed);
        assert_eq!(concluded(&[("bad", 1, missed), ("bad", 2, good), ("twin", 1, good)], 2).exit_code, exit::VALID);
        assert_eq!(concluded(&[("bad", 1, missed), ("bad", 2, missed), ("twin", 1, good)], 2).exit_code, exit::INVALID);
        assert_eq!(concluded(&[("bad", 1, good), ("twin", 1, Came::Accused)], 2).exit_code, exit::INVALID);
        assert_eq!(concluded(&[("bad", 1, good), ("twin", 1, Came::Unproved)], 2).exit_code, exit::UNKNOWN);
    }

    #[test]
    fn what_is_written_down_conforms() {
        let mut result = concluded(&[("bad", 1, Came::Missed), ("bad", 2, Came::Accused), ("twin", 1, Came::Unproved)], 2);
        assert_conforms("selftest", &json!(result));
        let started_at = "2026-11-23T02:00:00.000Z".to_owned();
        result = Selftest { started_at, took_ms: 7, kchaos_version: "0.1.0", directory: "results/x".into(), ..result };
        for run in &mut result.runs {
            run.found.insert("lost-write".to_owned(), 3);
            run.form = "clean";
            run.came = Came::AsExpected;
        }
        assert_conforms("selftest", &json!(result));
        assert_conforms("selftest", &json!(concluded(&[], 0)));
    }

    #[test]
    fn what_was_not_done_proves_nothing() {
        assert_eq!(concluded(&[("bad", 1, Came::AsExpected)], 2).exit_code, exit::UNKNOWN);
        assert_eq!(concluded(&[], 0).exit_code, exit::UNKNOWN);
    }

    #[test]
    fn forms_that_want_the_same_lab_share_it() {
        let cases = built_in().unwrap_or_else(|failure| panic!("{failure}"));
        let groups = by_lab(&cases);
        assert_eq!(groups.iter().map(|(_, tasks)| tasks.len()).sum::<usize>(), cases.len() * 2);
        assert!(groups.len() < cases.len(), "{} labs", groups.len());
    }
}
