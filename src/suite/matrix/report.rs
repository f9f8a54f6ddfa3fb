//! What came of a matrix: `suite.json`, `junit.xml`, a line for each run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use quick_junit::{Property, Report, TestCase, TestSuite};
use serde::Serialize;

use super::super::report::status;
use super::super::run::Ended;
use crate::exit;
use crate::run::millis;

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct MatrixResult {
    pub(super) suite: String,
    pub(super) description: String,
    pub(super) file: String,
    /// The strongest of all runs.
    pub(super) verdict: &'static str,
    pub(super) exit_code: u8,
    pub(super) sentence: String,
    /// Of which each run's is drawn.
    pub(super) seed: u64,
    pub(super) started_at: String,
    pub(super) took_ms: u64,
    pub(super) kchaos_version: &'static str,
    pub(super) directory: String,
    pub(super) is_aborted: bool,
    /// It has not ended yet, or was killed.
    pub(super) is_going_on: bool,
    /// Why not everything was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gone: Option<Gone>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lab_trouble: Option<String>,
    /// Combinations of which no run was begun.
    pub(super) not_begun: usize,
    pub(super) runs: Vec<Done>,
}

/// What ended it before its rounds did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Gone {
    Budget,
    Failed,
    Unhealed,
    Aborted,
    /// No cluster takes runs any more.
    Refused,
}

impl Gone {
    fn words(self) -> &'static str {
        match self {
            Self::Budget => "the budget was spent",
            Self::Failed => "it was to end with the first that is not valid",
            Self::Unhealed => "something may still be broken on a host: kchaos heal",
            Self::Aborted => "it was aborted",
            Self::Refused => "no cluster was fit for a run any more",
        }
    }
}

/// One run.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Done {
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) round: u32,
    pub(super) seed: u32,
    pub(super) command: String,
    pub(super) verdict: &'static str,
    pub(super) exit_code: u8,
    pub(super) text: String,
    /// By name, how many.
    pub(super) anomalies: BTreeMap<String, u64>,
    /// Below the suite's directory; empty: it was refused.
    pub(super) run: String,
    /// What it said: `output/003.txt`.
    pub(super) output: String,
    pub(super) took_ms: u64,
}

impl Done {
    pub(super) fn ends(&mut self, code: u8, text: &str) {
        (self.exit_code, self.verdict, self.text) = (code, exit::name(code), text.to_owned());
    }

    pub(super) fn take(&mut self, ended: &Ended) {
        let text = ended.verdict["sentence"].as_str().map_or_else(|| format!("see {}", self.output), str::to_owned);
        self.ends(ended.code, &text);
        let found = ended.verdict["anomalies"].as_object().into_iter().flatten();
        self.anomalies = found.map(|(name, finding)| (name.clone(), finding["count"].as_u64().unwrap_or(0))).collect();
        let name = ended.directory.as_ref().and_then(|run| run.file_name());
        self.run = name.map(|name| format!("runs/{}", name.to_string_lossy())).unwrap_or_default();
        self.took_ms = millis(ended.took);
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        format!("{:>3}  {:<11} {:>5} s  {:<36} {}", self.number, self.verdict, self.took_ms / 1_000, self.name, self.text)
    }
}

impl MatrixResult {
    /// `cells`: how many combinations there are.
    pub(super) fn conclude(&mut self, cells: usize, is_going_on: bool) {
        self.is_going_on = is_going_on;
        let mut codes: Vec<u8> = self.runs.iter().map(|run| run.exit_code).collect();
        codes.extend(self.is_aborted.then_some(exit::ABORTED));
        codes.extend(self.lab_trouble.is_some().then_some(exit::UNHEALED));
        let code = if codes.contains(&exit::USAGE) { exit::USAGE } else { exit::strongest(&codes) };
        let begun: std::collections::BTreeSet<&str> = self.runs.iter().map(|run| run.name.as_str()).collect();
        self.not_begun = cells.saturating_sub(begun.len());
        let count = |code: u8| self.runs.iter().filter(|run| run.exit_code == code).count();
        let kinds = exit::PRIORITY.into_iter().chain([exit::USAGE]).filter(|code| *code != exit::VALID && count(*code) > 0);
        let kinds: Vec<String> = kinds.map(|code| format!("{} {}", count(code), exit::name(code))).collect();
        // No run proves nothing.
        self.exit_code = if self.runs.is_empty() && code == exit::VALID { exit::UNKNOWN } else { code };
        self.verdict = exit::name(self.exit_code);
        let mut sentence = format!("{} of {} runs were valid", count(exit::VALID), self.runs.len());
        if !kinds.is_empty() {
            let _ = write!(sentence, ", {}", kinds.join(", "));
        }
        if let Some(run) = self.runs.iter().find(|run| run.exit_code == self.exit_code && run.exit_code != exit::VALID) {
            let _ = write!(sentence, "; {} (run {}): {}", run.name, run.number, run.text);
        }
        if self.not_begun > 0 {
            let _ = write!(sentence, "; of {} combinations {} were not begun", cells, self.not_begun);
        }
        if let Some(gone) = self.gone {
            let _ = write!(sentence, "; {}", gone.words());
        }
        if let Some(trouble) = &self.lab_trouble {
            let _ = write!(sentence, "; the lab: {trouble}");
        }
        self.sentence = sentence;
    }

    pub(super) fn last_words(&self) -> String {
        format!(
            "{}  suite {}: {}\nthe same seeds again: seed = {} in [matrix]\nindex: {}/index.html\nexit {} ({}), after {} s",
            self.verdict.to_uppercase(),
            self.suite,
            self.sentence,
            self.seed,
            self.directory,
            self.exit_code,
            self.verdict,
            self.took_ms / 1_000
        )
    }

    pub(super) fn junit(&self) -> Result<String, quick_junit::SerializeError> {
        let name = format!("kchaos.suite.{}", self.suite);
        let mut suite = TestSuite::new(name.as_str());
        let seed = self.seed.to_string();
        for (property, value) in [
            ("file", self.file.as_str()),
            ("directory", &self.directory),
            ("kchaos", self.kchaos_version),
            ("verdict", self.verdict),
            ("seed", &seed),
        ] {
            suite.add_property(Property::new(property, value));
        }
        for run in &self.runs {
            let mut case = TestCase::new(format!("{} #{}", run.name, run.round), status(run.exit_code, &run.text));
            case.set_classname(name.as_str()).set_time(Duration::from_millis(run.took_ms));
            case.add_property(Property::new("seed", run.seed.to_string().as_str()));
            case.add_property(Property::new("run", run.run.as_str()));
            case.set_system_out(format!("{}\n{}", run.command, run.text));
            suite.add_test_case(case);
        }
        suite.set_time(Duration::from_millis(self.took_ms));
        suite.set_system_out(self.sentence.as_str());
        let mut report = Report::new("kchaos");
        report.set_time(Duration::from_millis(self.took_ms));
        report.add_test_suite(suite);
        report.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(codes: &[u8], cells: usize, gone: Option<Gone>) -> MatrixResult {
        let done = |(number, code): (usize, &u8)| {
            let mut done = Done { number, name: format!("append/kill-{number}"), round: 1, ..Done::default() };
            done.ends(*code, "so it was");
            done
        };
        let mut result =
            MatrixResult { suite: "nightly".into(), runs: (1..).zip(codes).map(done).collect(), gone, ..MatrixResult::default() };
        result.conclude(cells, false);
        result
    }

    #[test]
    fn what_is_written_is_as_its_schema_says() {
        for gone in [None, Some(Gone::Budget), Some(Gone::Refused)] {
            let mut result = result(&[0, 1, 5], 4, gone);
            result.runs[1].anomalies.insert("lost-write".into(), 3);
            crate::schema::conform::assert_conforms("suite", &serde_json::json!(result));
        }
    }

    #[test]
    fn one_that_is_not_valid_is_enough_whatever_comes_after_it() {
        assert_eq!(result(&[0, 0], 2, None).exit_code, exit::VALID);
        assert_eq!(result(&[0, 1, 0], 3, None).exit_code, exit::INVALID);
        assert_eq!(result(&[6, 2], 2, None).exit_code, exit::UNKNOWN);
        assert_eq!(result(&[1, 5], 2, None).exit_code, exit::UNHEALED);
        assert_eq!(result(&[], 2, Some(Gone::Budget)).exit_code, exit::UNKNOWN, "no run proves nothing");
    }

    #[test]
    fn the_sentence_counts_and_names_what_decided_and_what_was_not_begun() {
        assert_eq!(
            result(&[0, 2, 1], 5, Some(Gone::Budget)).sentence,
            "1 of 3 runs were valid, 1 invalid, 1 unknown; append/kill-3 (run 3): so it was; of 5 combinations 2 were not begun; the budget was spent"
        );
    }

    #[test]
    fn junit_has_a_case_for_each_run() {
        let junit = result(&[0, 1, 3], 3, None).junit().unwrap();
        assert!(junit.contains("tests=\"3\"") && junit.contains("failures=\"1\"") && junit.contains("errors=\"1\""), "{junit}");
    }
}
