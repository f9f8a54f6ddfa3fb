//! One way to state a history and what a check must say of it.

#![allow(dead_code, reason = "each test file uses a part")]

use kchaos_checkers::{CheckReport, FinalRead, JudgeOptions, Profile, check_reader};
use kchaos_core::{Finding, Validity};

/// Lines such as `0 ok send [["send",0,[5,1]]]`: process, type, f, value. What stands after ` ; ` stands beside the op: `"client":3`.
pub(crate) fn history(lines: &str) -> String {
    let mut history = String::new();
    for (index, line) in lines.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate() {
        let (op, beside) = line.split_once(" ; ").map_or((line, String::new()), |(op, beside)| (op, format!(",{beside}")));
        let mut words = op.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("{line}: process, type, f, value"));
        let (process, op_type, f, value) = (word(), word(), word(), word());
        let process = if process == "nemesis" { "\"nemesis\"" } else { process };
        let time = index * 1_000_000;
        history +=
            &format!(r#"{{"index":{index},"time":{time},"process":{process},"type":"{op_type}","f":"{f}","value":{value}{beside}}}"#);
        history.push('\n');
    }
    history
}

pub(crate) fn judge(history: &str, options: JudgeOptions) -> CheckReport {
    check_reader(history.as_bytes(), "test", options).unwrap_or_else(|error| panic!("{error}\n{history}"))
}

/// `invalid: duplicate 1, unseen 2; ignored: int-send-skip 1; because: no-final-read`, parts that are empty left out.
pub(crate) fn summary(report: &CheckReport) -> String {
    let valid = match report.valid {
        Validity::Valid => "valid",
        Validity::Invalid => "invalid",
        Validity::Unknown => "unknown",
    };
    let list = |findings: &std::collections::BTreeMap<String, Finding>| {
        findings.iter().map(|(name, finding)| format!("{name} {}", finding.count)).collect::<Vec<_>>().join(", ")
    };
    let reasons = report.reasons.iter().map(|reason| reason.name.clone()).collect::<Vec<_>>().join(", ");
    let parts = [("", list(&report.anomalies)), ("ignored: ", list(&report.ignored)), ("because: ", reasons)];
    let parts: Vec<String> = parts.iter().filter(|(_, part)| !part.is_empty()).map(|(name, part)| format!("{name}{part}")).collect();
    if parts.is_empty() { valid.to_owned() } else { format!("{valid}: {}", parts.join("; ")) }
}

/// What a check of these lines must say, by default options.
#[track_caller]
pub(crate) fn check(lines: &str, expected: &str) {
    check_with(lines, JudgeOptions::default(), expected);
}

#[track_caller]
pub(crate) fn check_with(lines: &str, options: JudgeOptions, expected: &str) {
    let report = judge(&history(lines), options);
    assert_eq!(summary(&report), expected, "{lines}\n{report:#?}");
}

pub(crate) fn complete() -> JudgeOptions {
    JudgeOptions { final_read: FinalRead::Complete, ..JudgeOptions::default() }
}

pub(crate) fn profile(name: &str) -> JudgeOptions {
    JudgeOptions { profile: Profile::named(name).unwrap(), ..JudgeOptions::default() }
}

/// A send by process 0 that was acknowledged.
pub(crate) fn sent(value: i64, offset: i64) -> String {
    format!("0 invoke send [[\"send\",0,{value}]]\n0 ok send [[\"send\",0,[{offset},{value}]]]\n")
}

/// An ok poll of key 0.
pub(crate) fn polled(process: u32, records: &str) -> String {
    format!("{process} invoke poll [[\"poll\"]]\n{process} ok poll [[\"poll\",{{\"0\":[{records}]}}]]\n")
}
