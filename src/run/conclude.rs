//! From what a run left to its verdict, its files and its exit code. Everything is written before the process exits with any code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, anyhow};
use kchaos_checkers::latency::RunPhase;
use kchaos_checkers::{CheckReport, CheckerVerdict};
use kchaos_core::{Example, Finding, Key, KeyEntry, Validity, Verdict};
use kchaos_nemeses::{HostReport, HostState as NemesisHostState};
use kchaos_workloads::FinalOrder;

use super::metrics::Scrape;
use super::{AbortReason, Ended, Setup};
use crate::cli::Format;
use crate::coverage;
use crate::exit::{self, Failure};
use crate::judged::{CheckerOutcome, EvidenceLine, FaultCount, HostOutcome, HostState, ResourcesUsed, RunVerdict, StepOutcome, StepState};
use crate::report::{self, LatencyFile, RunData, SizeLatency};
use crate::slo::{SloOutcome, SloStatus};
use crate::store::RunDirectory;

/// Judges a run that came to its end, writes all of it down, says it on the terminal, and gives the exit code.
pub(crate) fn conclude(directory: &RunDirectory, setup: &Setup, ended: Ended, format: Format) -> Result<u8, Failure> {
    let faults = fault_count(&ended);
    let check =
        ended.analysed.check.as_ref().ok_or_else(|| Failure { code: exit::INTERNAL, error: anyhow!("the run was never judged") })?;
    let mut judged = Judged::of(check);
    judged.add("liveness", ended.analysed.liveness.clone(), "every partition came back once all was mended");
    judged.add("daemons", daemons(&ended), "no daemon ended or complained without a fault of ours");
    judged.add("settings", settings(&ended), "the settings in force at the start were in force at the end");
    if let Some(order) = &ended.finale.order {
        judged.add("blocks", blocks(order), "all orderers cut the same blocks");
    }
    judged.add("run", experiment(&ended, &faults), "every fault was in force and mended, and enough was acknowledged and read");
    let mut verdict = judged.verdict;
    verdict.faults = faults;
    verdict.thresholds = setup.slos.iter().map(|slo| slo.evaluate(&ended.analysed.recovery, &ended.analysed.latency)).collect();
    if setup.args.workload == "soak" {
        verdict.thresholds.extend(ended.resources.judge_growth(setup.args.load.soak.soak_memory_growth_max));
    }
    verdict.thresholds.extend(ended.troubles.steps.iter().filter(|step| step.state == StepState::Missed).map(missed));
    verdict.notes.extend(ended.troubles.steps.iter().map(StepOutcome::told));
    verdict.steps.clone_from(&ended.troubles.steps);
    verdict.load.clone_from(&ended.analysed.latency.load);
    verdict.recovery = ended.analysed.recovery;
    verdict.resources = ResourcesUsed {
        cpu_s: ended.resources.cpu_s,
        wall_s: ended.resources.wall_s,
        resident_first_mib: ended.resources.resident_first_mib,
        resident_max_mib: ended.resources.resident_max_mib,
        resident_last_mib: ended.resources.resident_last_mib,
        resident: ended.resources.resident.clone(),
    };
    verdict.hosts = ended.hosts.iter().map(|report| host(report, setup)).collect();
    verdict.notes.extend(unaccounted(&verdict.faults, &ended.hosts));
    verdict.notes.extend(ended.daemon_logs.missing.iter().map(|text| format!("daemon log missing: {text}")));
    verdict.notes.push(format!("clients: {}", setup.clients()));
    verdict.notes.extend(setup.privilege().map(|how| format!("on the hosts: {how}")));
    verdict.notes.extend(ended.finale.groups.iter().cloned());
    verdict.notes.extend(ended.finale.order.iter().map(|order| order.told.clone()));
    if setup.args.workload == "elections" {
        verdict.notes.push(availability(check, &ended.plan.keys));
    }
    verdict.notes.extend(ended.finale.told.iter().cloned());
    verdict.notes.push(format!("the check was done {} ms after the last op", ended.analysed.check_ms));
    // What was exercised is no part of the verdict.
    match coverage::of_run(directory.path(), &ended.plan) {
        Ok(exercised) => verdict.coverage = exercised,
        Err(error) => verdict.notes.push(format!("what the faults met cannot be told: {error:#}")),
    }
    let others = others(&ended.troubles.environment, ended.abort.as_ref(), ended.failures);
    verdict.conclude(others);

    let recovery = verdict.recovery.phases.clone();
    let sizes = ended.finale.sizes.iter().map(SizeLatency::of).collect();
    directory.write_json("latency.json", &LatencyFile { recovery, sizes, latency: ended.analysed.latency })?;
    if let Some(scrape) = ended.scrape {
        let told = Scrape { exit_code: Some(verdict.exit_code), ..scrape };
        directory.write("metrics.txt", told.render().as_bytes())?;
    }
    verdict.evidence = evidence(&directory.file(setup.args.history_format.file_name()), &verdict.evidence_wanted());
    write_reports(directory, &verdict, format)
}

/// A run that never came to its trouble: what stopped it is written down all the same.
pub(crate) fn conclude_failed(directory: &RunDirectory, failure: Failure) -> Result<u8, Failure> {
    let mut verdict = RunVerdict { valid: Validity::Unknown, ..RunVerdict::default() };
    verdict.reasons.push(kchaos_core::Reason { name: report::NOT_RUN.into(), text: failure.to_string() });
    verdict.checkers.push(CheckerOutcome { name: "experiment".into(), valid: Validity::Unknown, text: failure.to_string() });
    verdict.conclude(vec![(failure.code, failure.to_string())]);
    write_reports(directory, &verdict, Format::Text)?;
    Err(failure)
}

fn write_reports(directory: &RunDirectory, verdict: &RunVerdict, format: Format) -> Result<u8, Failure> {
    directory.write_json("verdict.json", verdict)?;
    let data = RunData::load(directory.path()).map_err(anyhow::Error::from)?;
    directory.write("junit.xml", report::junit(&data).map_err(anyhow::Error::from)?.as_bytes())?;
    directory.write("report.html", report::html(&data).as_bytes())?;
    match format {
        Format::Text => crate::say_raw!("{}", report::terminal(&data, report::Style::of_stdout())),
        Format::Json => crate::commands::say_json(&verdict)?,
    }
    Ok(verdict.exit_code)
}

/// The checkers' report, to which the run adds what only it knows.
struct Judged {
    verdict: RunVerdict,
}

impl Judged {
    fn of(check: &CheckReport) -> Self {
        let checkers = check.checkers.iter().map(|checker| CheckerOutcome {
            name: checker.name.clone(),
            valid: checker.valid,
            text: text_of(checker, check),
        });
        let verdict = RunVerdict {
            valid: check.valid,
            ops: check.ops,
            is_of_registers: check.load.iter().all(|load| load.sends_invoked == 0),
            profile: check.profile.clone(),
            anomalies: check.anomalies.clone(),
            unproved: check.unproved.iter().cloned().collect(),
            ignored: check.ignored.clone(),
            reasons: check.reasons.clone(),
            checkers: checkers.collect(),
            ..RunVerdict::default()
        };
        Self { verdict }
    }

    fn add(&mut self, name: &str, found: Verdict, all_is_well: &str) {
        let valid = found.validity();
        let text = found.reasons.first().map(|reason| reason.text.clone());
        let text = text
            .or_else(|| found.anomalies.values().flat_map(|finding| &finding.examples).next().map(|example| example.explanation.clone()));
        self.verdict.checkers.push(CheckerOutcome { name: name.into(), valid, text: text.unwrap_or_else(|| all_is_well.into()) });
        self.verdict.valid = self.verdict.valid.max(valid);
        let mut all = Verdict {
            anomalies: std::mem::take(&mut self.verdict.anomalies),
            reasons: std::mem::take(&mut self.verdict.reasons),
            ..Verdict::default()
        };
        all.merge(found);
        self.verdict.anomalies = all.anomalies;
        self.verdict.reasons = all.reasons;
    }
}

/// The first thing that speaks against it, or what it watches.
fn text_of(checker: &CheckerVerdict, check: &CheckReport) -> String {
    let example = |name: &String| Some(format!("{name}: {}", check.anomalies.get(name)?.examples.first()?.explanation));
    checker.anomalies.iter().find_map(example).or_else(|| checker.reasons.first().cloned()).unwrap_or_else(|| checker.about.clone())
}

fn fault_count(ended: &Ended) -> FaultCount {
    FaultCount {
        required: ended.plan.faults_required,
        tried: u32::try_from(ended.troubles.tried.len()).unwrap_or(u32::MAX).saturating_add(ended.troubles.steps_tried),
        in_force: ended.troubles.in_force,
        mended: ended.troubles.mended,
    }
}

fn daemons(ended: &Ended) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.accuse("unexpected-exit", finding(&ended.unexpected_exits));
    verdict.accuse("log-pattern", ended.daemon_logs.findings.clone());
    verdict
}

/// What the checkers found in the history already is not told twice.
fn settings(ended: &Ended) -> Verdict {
    let mut verdict = Verdict::default();
    let is_found = ended.analysed.check.as_ref().is_some_and(|check| check.anomalies.contains_key("config-reverted"));
    if !is_found {
        verdict.accuse("config-reverted", finding(&ended.settings_changed));
    }
    verdict
}

/// What orderers made of what they read. The polls themselves are judged by the checkers.
fn blocks(order: &FinalOrder) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.accuse("total-order-disagreement", Finding { count: order.disagreements, ..finding(&order.examples) });
    if let Some(first) = order.behind.first() {
        let more = if order.behind.len() > 1 { format!(" (and {} more)", order.behind.len() - 1) } else { String::new() };
        verdict.reason("orderer-behind", format!("{first}{more}"));
    }
    verdict
}

/// The longest time that each partition acknowledged nothing although somebody tried, in a sentence.
fn availability(check: &CheckReport, keys: &[KeyEntry]) -> String {
    let mut longest: BTreeMap<Key, u64> = BTreeMap::new();
    for window in &check.unavailable.windows {
        let of_key = longest.entry(window.key).or_default();
        *of_key = (*of_key).max(window.to_ns.saturating_sub(window.from_ns));
    }
    let name = |key: Key| {
        keys.iter().find(|entry| entry.key == key).map_or_else(String::new, |entry| format!(" ({}-{})", entry.topic, entry.partition))
    };
    let mut worst: Vec<(Key, u64)> = longest.into_iter().collect();
    worst.sort_by_key(|(key, ns)| (std::cmp::Reverse(*ns), *key));
    let shown: Vec<String> =
        worst.iter().take(3).map(|(key, ns)| format!("{:.1} s of key {key}{}", *ns as f64 / 1e9, name(*key))).collect();
    let others = keys.len().saturating_sub(worst.len());
    match shown.as_slice() {
        [] => format!("availability: no partition of {} was without an ack for a second while an attempt was open", keys.len()),
        shown => format!(
            "availability: {} of {} partitions were without an ack for a second or more while an attempt was open ({others} were not); the longest: {}",
            worst.len(),
            keys.len(),
            shown.join(", ")
        ),
    }
}

/// Did the faults really happen, was there anything to judge, and was it read to the end?
fn experiment(ended: &Ended, faults: &FaultCount) -> Verdict {
    let mut verdict = Verdict::default();
    for text in &ended.troubles.not_proved {
        verdict.reason("no-effect", format!("a fault was issued and not proved to be in force: {text}"));
    }
    if faults.required > 0 && faults.tried == 0 {
        verdict.reason("no-effect", "no fault was tried: the trouble ended before the first one was due");
    } else if faults.in_force < faults.required && ended.troubles.not_proved.is_empty() {
        verdict.reason("no-effect", format!("{} of {} faults tried were in force", faults.in_force, faults.tried));
    }
    // Behind a promise of time that was missed nothing is begun, and that is told by an exit code of its own (6).
    let is_missed = ended.troubles.steps.iter().any(|step| step.state == StepState::Missed);
    for step in ended.troubles.steps.iter().filter(|step| step.state == StepState::NotDone && !is_missed) {
        verdict.reason("step-not-done", step.told());
    }
    if let Some(text) = &ended.finale.incomplete {
        verdict.reason("no-final-read", text.clone());
    }
    for text in &ended.finale.unproved {
        verdict.reason("not-looked-at", text.clone());
    }
    // Whether every host is mended has an exit code of its own (5). What the clients saw stands: it was reread when the cluster was whole.
    for (phase, load) in &ended.analysed.latency.load {
        if load.ok == 0 && !(ended.is_cut_off && *phase == RunPhase::After) {
            verdict.reason("nothing-acknowledged", format!("no write was acknowledged in the phase \"{}\"", phase.name()));
        }
    }
    if ended.analysed.latency.load.is_empty() {
        verdict.reason("nothing-acknowledged", "no write was acknowledged");
    }
    let missing = ended.troubles.never_recovered.as_ref().or(ended.finale.never_whole.as_ref());
    if let Some(missing) = missing {
        let text = format!("all was mended, and the cluster was not whole again within {} s: {missing}", ended.recovery_timeout_s);
        verdict.accuse("never-recovered", finding(&[text]));
    }
    verdict
}

/// A promise of time that a plan made.
fn missed(step: &StepOutcome) -> SloOutcome {
    SloOutcome { slo: step.step.clone(), status: SloStatus::Missed, measured_ns: None, limit_ns: 0, n: 1, text: step.told() }
}

fn finding(texts: &[String]) -> Finding {
    let examples = texts.iter().map(|text| Example { explanation: text.clone(), ..Example::default() });
    Finding { count: texts.len() as u64, examples: examples.take(8).collect() }
}

fn others(environment: &[String], abort: Option<&AbortReason>, failures: Vec<Failure>) -> Vec<(u8, String)> {
    let mut codes: Vec<(u8, String)> = environment.iter().map(|text| (exit::ENVIRONMENT, text.clone())).collect();
    match abort {
        Some(AbortReason::Signal(name)) => codes.push((exit::ABORTED, format!("ended early by {name}"))),
        Some(AbortReason::Halted(text) | AbortReason::Condition(text)) => codes.push((exit::ABORTED, format!("ended early: {text}"))),
        Some(AbortReason::Environment(text)) => codes.push((exit::ENVIRONMENT, text.clone())),
        // The violation itself is in the verdict; if the reread did not confirm it, so is its absence.
        Some(AbortReason::Violation(_)) | None => {}
    }
    codes.extend(failures.into_iter().map(|failure| (failure.code, failure.to_string())));
    codes
}

/// What the last look at the hosts found and took away although every fault had been called mended: one of them was not, or not whole.
fn unaccounted(faults: &FaultCount, hosts: &[HostReport]) -> Vec<String> {
    let is_all_mended = faults.mended == faults.in_force;
    let left = hosts.iter().filter_map(|report| match &report.state {
        NemesisHostState::Healed(what) if is_all_mended => Some(format!("{}: {}", report.host, what.join(", "))),
        _ => None,
    });
    left.map(|left| format!("every fault was called mended, and the last look still found and took away, on {left}")).collect()
}

fn host(report: &HostReport, setup: &Setup) -> HostOutcome {
    let (state, what) = match &report.state {
        NemesisHostState::Clean => (HostState::Clean, Vec::new()),
        NemesisHostState::Healed(what) => (HostState::Healed, what.clone()),
        NemesisHostState::Unhealed(what) => (HostState::Unhealed, what.clone()),
        NemesisHostState::Unreachable(why) => (HostState::Unreachable, vec![why.clone()]),
    };
    let command = (!report.is_whole()).then(|| setup.heal_command());
    HostOutcome { host: report.host.clone(), state, what, command }
}

/// The history's own lines, for those indexes. A history that cannot be read again leaves its evidence out, and the verdict stands.
fn evidence(history: &Path, wanted: &BTreeSet<u64>) -> Vec<EvidenceLine> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let read = || -> anyhow::Result<Vec<EvidenceLine>> {
        let file = File::open(history).with_context(|| format!("open {}", history.display()))?;
        let last = wanted.last().copied().ok_or_else(|| anyhow!("nothing is wanted"))?;
        if history.extension().is_some_and(|extension| extension == "kch") {
            return evidence_in_columns(file, wanted, last);
        }
        let lines = BufReader::new(zstd::Decoder::new(file)?).lines();
        let mut found = Vec::new();
        // The recorder numbers lines densely from 0.
        for (index, line) in (0..=last).zip(lines) {
            if wanted.contains(&index) {
                found.push(EvidenceLine { index, line: line? });
            }
        }
        Ok(found)
    };
    read().unwrap_or_default()
}

/// The same of a compact history, as the lines that it would be.
fn evidence_in_columns(file: File, wanted: &BTreeSet<u64>, last: u64) -> anyhow::Result<Vec<EvidenceLine>> {
    let mut reader = kchaos_columns::Reader::new(file)?;
    let (mut ops, mut found) = (kchaos_columns::Ops::new(), Vec::new());
    while reader.next_block(&mut ops)? && ops.first().is_some_and(|op| op.index <= last) {
        found.extend(ops.iter().filter(|op| wanted.contains(&op.index)).map(|op| {
            let mut line = String::new();
            op.write_json(&mut line);
            EvidenceLine { index: op.index, line }
        }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use kchaos_checkers::latency::Load;

    use super::*;

    /// A run with one fault, of which nothing speaks against it.
    fn quiet() -> Ended {
        let mut ended = Ended {
            plan: Default::default(),
            analysed: Default::default(),
            troubles: Default::default(),
            finale: Default::default(),
            hosts: Vec::new(),
            daemon_logs: Default::default(),
            settings_changed: Vec::new(),
            unexpected_exits: Vec::new(),
            resources: Default::default(),
            recovery_timeout_s: 60,
            abort: None,
            is_cut_off: false,
            scrape: None,
            failures: Vec::new(),
        };
        ended.plan.faults_required = 1;
        ended.troubles.tried.push(Default::default());
        ended.troubles.in_force = 1;
        for phase in [RunPhase::Before, RunPhase::Trouble, RunPhase::After] {
            ended.analysed.latency.load.insert(phase, Load { ok: 5, ..Load::default() });
        }
        ended
    }

    /// What the run itself says of a run that differs from the quiet one: its validity, its anomalies, its reasons.
    fn check(difference: impl FnOnce(&mut Ended), expected: &str) {
        let mut ended = quiet();
        difference(&mut ended);
        let mut all = daemons(&ended);
        all.merge(settings(&ended));
        all.merge(experiment(&ended, &fault_count(&ended)));
        let anomalies = all.anomalies.keys().cloned();
        let names: Vec<String> = anomalies.chain(all.reasons.iter().map(|reason| reason.name.clone())).collect();
        assert_eq!(format!("{:?}: {}", all.validity(), names.join(", ")), expected);
    }

    #[test]
    fn what_the_last_look_found_after_all_was_called_mended_is_told() {
        let left =
            [HostReport { host: "kafka1".into(), state: NemesisHostState::Healed(vec!["a table without a fault".into()]), notes: vec![] }];
        let faults = |mended| FaultCount { required: 2, tried: 2, in_force: 2, mended };
        assert!(unaccounted(&faults(2), &left)[0].ends_with("on kafka1: a table without a fault"));
        assert!(unaccounted(&faults(1), &left).is_empty());
        assert!(unaccounted(&faults(2), &[HostReport { state: NemesisHostState::Clean, ..left[0].clone() }]).is_empty());
    }

    #[test]
    fn of_a_quiet_run_there_is_nothing_to_say() {
        check(|_| {}, "Valid: ");
    }

    #[test]
    fn what_the_daemons_and_their_settings_did_without_a_fault_of_ours_is_a_violation() {
        check(|ended| ended.unexpected_exits.push("broker 1 ended".into()), "Invalid: unexpected-exit");
        check(|ended| ended.daemon_logs.findings = finding(&["FATAL".into()]), "Invalid: log-pattern");
        check(|ended| ended.settings_changed.push("min.insync.replicas: 2, then 1".into()), "Invalid: config-reverted");
    }

    #[test]
    fn a_setting_that_the_checkers_found_reverted_is_not_told_twice() {
        let told = |ended: &mut Ended| {
            ended.settings_changed.push("min.insync.replicas: 2, then 1".into());
            let mut report = kchaos_checkers::Judge::new(Default::default()).finish();
            report.anomalies.insert("config-reverted".into(), finding(&["the same".into()]));
            ended.analysed.check = Some(report);
        };
        check(told, "Valid: ");
    }

    #[test]
    fn a_cluster_that_was_not_whole_again_in_time_is_a_violation_during_the_trouble_and_after_it() {
        check(|ended| ended.troubles.never_recovered = Some("broker 2".into()), "Invalid: never-recovered");
        check(|ended| ended.finale.never_whole = Some("broker 2".into()), "Invalid: never-recovered");
    }

    #[test]
    fn a_fault_that_was_not_in_force_leaves_a_run_unknown() {
        check(|ended| ended.troubles.not_proved.push("pause-leader".into()), "Unknown: no-effect");
        check(|ended| ended.troubles.tried.clear(), "Unknown: no-effect");
        check(|ended| ended.troubles.in_force = 0, "Unknown: no-effect");
        check(|ended| ended.plan.faults_required = 2, "Unknown: no-effect");
    }

    #[test]
    fn what_was_not_done_not_read_or_not_looked_at_leaves_a_run_unknown() {
        let step = |state| StepOutcome { state, ..StepOutcome::default() };
        check(|ended| ended.troubles.steps.push(step(StepState::NotDone)), "Unknown: step-not-done");
        check(|ended| ended.troubles.steps.extend([step(StepState::Missed), step(StepState::NotDone)]), "Valid: ");
        check(|ended| ended.finale.incomplete = Some("key 3 has no leader".into()), "Unknown: no-final-read");
        check(|ended| ended.finale.unproved.push("offsets of broker 2".into()), "Unknown: not-looked-at");
    }

    #[test]
    fn a_phase_without_an_acknowledged_write_leaves_a_run_unknown_unless_it_was_cut_off_before_its_end() {
        let silent = |phase| move |ended: &mut Ended| ended.analysed.latency.load.get_mut(&phase).expect("a phase").ok = 0;
        for phase in [RunPhase::Before, RunPhase::Trouble, RunPhase::After] {
            check(silent(phase), "Unknown: nothing-acknowledged");
        }
        check(|ended| ended.analysed.latency.load.clear(), "Unknown: nothing-acknowledged");
        let cut_off = |phase| {
            move |ended: &mut Ended| {
                silent(phase)(ended);
                ended.is_cut_off = true;
            }
        };
        check(cut_off(RunPhase::After), "Valid: ");
        check(cut_off(RunPhase::Trouble), "Unknown: nothing-acknowledged");
    }

    #[test]
    fn orderers_that_disagree_make_a_run_invalid_and_one_that_is_behind_leaves_it_unknown() {
        let forked = FinalOrder { disagreements: 12, examples: vec!["block 3 of key 0: …".into()], ..FinalOrder::default() };
        let behind = FinalOrder { behind: vec!["orderer-2 came to offset 7".into(), "orderer-3".into()], ..FinalOrder::default() };
        assert_eq!(blocks(&FinalOrder::default()).validity(), Validity::Valid);
        let verdict = blocks(&forked);
        assert_eq!((verdict.validity(), verdict.anomalies["total-order-disagreement"].count), (Validity::Invalid, 12));
        let verdict = blocks(&behind);
        assert_eq!((verdict.validity(), verdict.reasons[0].text.as_str()), (Validity::Unknown, "orderer-2 came to offset 7 (and 1 more)"));
    }
}
