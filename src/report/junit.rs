//! `junit.xml`: a test case for each checker and each threshold, in the dialect that CI systems read.
//!
//! A broken promise is a *failure*, and so, under types of their own, are a verdict that proved nothing and a missed threshold; what is
//! not Kafka's fault (environment, abort, unhealed hosts, a bug of ours) is an *error*, so that nobody takes an unreachable host for a
//! lost write.

use std::time::Duration;

use kchaos_core::Validity;
use quick_junit::{NonSuccessKind, Property, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::RunData;
use crate::exit;
use crate::slo::SloStatus;

pub(crate) fn render(data: &RunData) -> Result<String, SerializeError> {
    let verdict = &data.verdict;
    let name = suite_name(data);
    let mut suite = TestSuite::new(name.as_str());
    suite.add_property(Property::new("seed", data.plan.seed.to_string()));
    suite.add_property(Property::new("run", data.plan.run_id.as_str()));
    suite.add_property(Property::new("directory", data.directory.as_str()));
    suite.add_property(Property::new("kchaos", data.plan.kchaos_version.as_str()));
    suite.add_property(Property::new("command", data.repeat_command()));
    suite.add_property(Property::new("exit_code", verdict.exit_code.to_string()));
    for (fact, value) in &data.plan.facts {
        suite.add_property(Property::new(fact.as_str(), value.as_str()));
    }
    suite.add_test_case(run_itself(data));
    for checker in &verdict.checkers {
        let status = match checker.valid {
            Validity::Valid => TestCaseStatus::success(),
            Validity::Invalid => non_success(NonSuccessKind::Failure, "invalid", &checker.text),
            Validity::Unknown => non_success(NonSuccessKind::Failure, "unknown", &checker.text),
        };
        suite.add_test_case(case(&format!("{name}.checkers"), &checker.name, status, &checker.text));
    }
    for threshold in &verdict.thresholds {
        let status = match threshold.status {
            SloStatus::Met => TestCaseStatus::success(),
            SloStatus::Missed => non_success(NonSuccessKind::Failure, "threshold", &threshold.text),
            SloStatus::Unmeasured => non_success(NonSuccessKind::Failure, "threshold-unmeasured", &threshold.text),
        };
        suite.add_test_case(case(&format!("{name}.thresholds"), &threshold.slo, status, &threshold.text));
    }
    suite.set_time(Duration::from_nanos(data.end_ns()));
    if !verdict.sentence.is_empty() {
        suite.set_system_out(verdict.sentence.as_str());
    }
    let mut report = Report::new("kchaos");
    report.set_time(Duration::from_nanos(data.end_ns()));
    report.add_test_suite(suite);
    report.to_string()
}

/// The run itself: passes if the run came to its end, was mended, and proved something.
fn run_itself(data: &RunData) -> TestCase {
    let verdict = &data.verdict;
    let errors = [exit::UNHEALED, exit::INTERNAL, exit::ABORTED, exit::ENVIRONMENT];
    let of = |code: u8| verdict.exit_codes.iter().find(|reason| reason.code == code);
    let status = match errors.iter().find_map(|code| of(*code)) {
        Some(reason) => non_success(NonSuccessKind::Error, &reason.name, &reason.why),
        None => match of(exit::UNKNOWN) {
            Some(reason) => non_success(NonSuccessKind::Failure, &reason.name, &reason.why),
            None => TestCaseStatus::success(),
        },
    };
    let faults = &verdict.faults;
    let text = format!("{} of {} faults in force, {} mended", faults.in_force, faults.required.max(faults.tried), faults.mended);
    let mut case = case(&suite_name(data), "run", status, &text);
    case.set_time(Duration::from_nanos(data.end_ns()));
    case
}

fn suite_name(data: &RunData) -> String {
    let nemeses = if data.plan.nemeses.is_empty() { "none".to_owned() } else { data.plan.nemeses.join("+") };
    format!("kchaos.{}.{nemeses}", if data.plan.workload.is_empty() { "run" } else { &data.plan.workload })
}

fn case(class: &str, name: &str, status: TestCaseStatus, text: &str) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(class);
    if !text.is_empty() {
        case.set_system_out(text);
    }
    case
}

fn non_success(kind: NonSuccessKind, of_type: &str, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(of_type).set_message(message);
    status
}
