//! What a suite says in the end: `suite.json`, `junit.xml`, and a table for people.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;
use serde_json::Value;

use crate::exit;

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct SuiteResult {
    pub(super) suite: String,
    pub(super) description: String,
    pub(super) file: String,
    pub(super) is_short: bool,
    /// Of the exit code.
    pub(super) verdict: &'static str,
    pub(super) exit_code: u8,
    pub(super) sentence: String,
    pub(super) started_at: String,
    pub(super) took_ms: u64,
    pub(super) kchaos_version: &'static str,
    pub(super) directory: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lab: Option<LabResult>,
    pub(super) steps: Vec<StepResult>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct LabResult {
    pub(crate) command: String,
    pub(crate) up_after_ms: Option<u64>,
    pub(crate) is_down: bool,
    /// Why it is not up, or not down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
    /// Exit code of what went wrong.
    #[serde(skip)]
    pub(crate) code: u8,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct StepResult {
    pub(super) number: usize,
    pub(super) name: String,
    #[serde(rename = "do")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) title: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) by_hand: Vec<String>,
    pub(super) command: String,
    pub(super) verdict: &'static str,
    pub(super) exit_code: u8,
    pub(super) text: String,
    pub(super) took_ms: u64,
    /// `steps/03-….txt`.
    pub(super) output: String,
    pub(super) facts: BTreeMap<String, Value>,
}

impl SuiteResult {
    /// The strongest of all that happened, and the sentence that says it.
    pub(super) fn conclude(&mut self, skipped: usize, is_aborted: bool) {
        let lab = self.lab.iter().map(|lab| lab.code);
        let mut codes: Vec<u8> = self.steps.iter().map(|step| step.exit_code).chain(lab).collect();
        if is_aborted {
            codes.push(exit::ABORTED);
        }
        // Usage cannot come up any more, and is ours if it does.
        let code = if codes.contains(&exit::USAGE) { exit::USAGE } else { exit::strongest(&codes) };
        self.exit_code = if self.steps.is_empty() && code == exit::VALID { exit::UNKNOWN } else { code };
        self.verdict = exit::name(self.exit_code);
        let valid = self.steps.iter().filter(|step| step.exit_code == exit::VALID).count();
        let first = self.steps.iter().find(|step| step.exit_code != exit::VALID);
        let mut sentence = format!("{valid} of {} steps ended as they were to", self.steps.len() + skipped);
        if let Some(step) = first {
            let _ = write!(sentence, "; {} was {}: {}", step.name, step.verdict, step.text);
        }
        if skipped > 0 {
            let _ = write!(sentence, "; {skipped} were not begun");
        }
        if let Some(trouble) = self.lab.as_ref().and_then(|lab| lab.trouble.as_ref()) {
            let _ = write!(sentence, "; the lab: {trouble}");
        }
        self.sentence = sentence;
    }

    /// A line each, and the verdict.
    pub(super) fn table(&self) -> String {
        let widest = |of: fn(&StepResult) -> &str| self.steps.iter().map(|step| of(step).chars().count()).max().unwrap_or(0);
        let (names, verdicts) = (widest(|step| &step.name), widest(|step| step.verdict));
        let mut text = String::new();
        for step in &self.steps {
            let (name, verdict, seconds) = (&step.name, step.verdict, step.took_ms as f64 / 1_000.0);
            let _ = writeln!(text, "{:>2}  {name:<names$}  {verdict:<verdicts$}  {seconds:>6.1} s  {}", step.number, step.text);
        }
        let seconds = self.took_ms as f64 / 1_000.0;
        let _ = writeln!(text, "\n{}  suite {}: {}", self.verdict.to_uppercase(), self.suite, self.sentence);
        let _ = write!(text, "exit {} ({}), after {seconds:.0} s; {}", self.exit_code, self.verdict, self.directory);
        text
    }

    pub(super) fn junit(&self) -> Result<String, quick_junit::SerializeError> {
        let name = format!("kchaos.suite.{}", self.suite);
        let mut suite = TestSuite::new(name.as_str());
        for (property, value) in
            [("file", self.file.as_str()), ("directory", &self.directory), ("kchaos", self.kchaos_version), ("verdict", self.verdict)]
        {
            suite.add_property(Property::new(property, value));
        }
        for step in &self.steps {
            let mut case = TestCase::new(step.name.as_str(), status(step.exit_code, &step.text));
            case.set_classname(format!("{name}.{}", step.kind)).set_time(Duration::from_millis(step.took_ms));
            case.set_system_out(format!("{}\n{}", step.command, step.text));
            suite.add_test_case(case);
        }
        if let Some(lab) = &self.lab {
            let mut case = TestCase::new("lab", status(lab.code, lab.trouble.as_deref().unwrap_or("up, and down")));
            case.set_classname(name.as_str()).set_time(Duration::from_millis(lab.up_after_ms.unwrap_or(0)));
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

/// As the table of exit codes has it: a broken promise is a failure, what is not Kafka's fault an error.
pub(crate) fn status(code: u8, text: &str) -> TestCaseStatus {
    let kind = match code {
        exit::VALID => return TestCaseStatus::success(),
        exit::INVALID | exit::UNKNOWN | exit::THRESHOLD => NonSuccessKind::Failure,
        _ => NonSuccessKind::Error,
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(exit::name(code)).set_message(text);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(codes: &[u8], lab: u8, skipped: usize, is_aborted: bool) -> SuiteResult {
        let step = |(number, code): (usize, &u8)| StepResult {
            number,
            name: format!("step-{number}"),
            verdict: exit::name(*code),
            exit_code: *code,
            text: "so it was".to_owned(),
            ..StepResult::default()
        };
        let lab = Some(LabResult { code: lab, ..LabResult::default() });
        let mut result = SuiteResult { steps: (1..).zip(codes).map(step).collect(), lab, ..SuiteResult::default() };
        result.conclude(skipped, is_aborted);
        result
    }

    #[test]
    fn what_is_written_is_as_its_schema_says() {
        crate::schema::conform::assert_conforms("suite", &serde_json::json!(result(&[0, 1, 254], exit::ENVIRONMENT, 2, false)));
    }

    #[test]
    fn the_suite_ends_with_the_strongest_of_all_that_happened() {
        assert_eq!(result(&[0, 0], 0, 0, false).exit_code, exit::VALID);
        assert_eq!(result(&[0, 6, 2], 0, 0, false).exit_code, exit::UNKNOWN);
        assert_eq!(result(&[1, 0], exit::ENVIRONMENT, 0, false).exit_code, exit::INVALID);
        assert_eq!(result(&[0], 0, 3, true).exit_code, exit::ABORTED);
        assert_eq!(result(&[], 0, 0, false).exit_code, exit::UNKNOWN, "no step proves nothing");
    }

    #[test]
    fn the_sentence_names_the_first_step_that_was_not_valid_and_what_was_not_begun() {
        let sentence = result(&[0, exit::UNKNOWN, exit::ENVIRONMENT], 0, 2, false).sentence;
        assert!(sentence.starts_with("1 of 5 steps") && sentence.contains("step-2 was unknown: so it was"), "{sentence}");
        assert!(sentence.ends_with("2 were not begun"), "{sentence}");
    }

    #[test]
    fn junit_calls_a_broken_promise_a_failure_and_the_environments_an_error() {
        let junit = result(&[0, 1, 3], 0, 0, false).junit().unwrap();
        assert!(junit.contains("failures=\"1\"") && junit.contains("errors=\"1\"") && junit.contains("tests=\"4\""), "{junit}");
    }
}
