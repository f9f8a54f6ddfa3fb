//! What a run came to: the type of `verdict.json`.
//!
//! It holds `kchaos check`'s own fields (FORMATS.md) and beside them what only a run knows: the sentence for people, every exit code that
//! holds and why, the load in each phase, faults in force, thresholds, recovery, what the client machine spent, and the state of the
//! hosts. A report can be drawn from it again without reading the history: the lines around the evidence stand in it too.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_checkers::latency::{Load, RunPhase};
use kchaos_checkers::recovery::{Phase, RecoveryReport};
use kchaos_core::{Finding, Reason, Validity, mutant};
use serde::{Deserialize, Serialize};

use crate::coverage::Exercised;
use crate::exit;
use crate::report::words;
use crate::slo::{SloOutcome, SloStatus};

/// Of each anomaly, so many examples are shown with the ops around them.
const EXAMPLES_SHOWN: usize = 8;
/// Ops shown on either side of a cited one.
const OPS_AROUND: u64 = 2;
/// Cited ops of one example that are shown; a lost batch may cite thousands.
const CITED_SHOWN: usize = 12;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunVerdict {
    pub(crate) valid: Validity,
    /// For people.
    pub(crate) sentence: String,
    pub(crate) exit_code: u8,
    /// All that hold, the strongest first.
    pub(crate) exit_codes: Vec<ExitReason>,
    /// Lines of the history.
    pub(crate) ops: u64,
    /// Nothing was sent to Kafka: what was acknowledged are writes of registers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_of_registers: bool,
    pub(crate) profile: String,
    pub(crate) anomalies: BTreeMap<String, Finding>,
    /// Names in `anomalies` that are listed and prove nothing against the cluster.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) unproved: BTreeSet<String>,
    pub(crate) ignored: BTreeMap<String, Finding>,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) checkers: Vec<CheckerOutcome>,
    pub(crate) thresholds: Vec<SloOutcome>,
    /// Faults, and steps on daemons.
    pub(crate) faults: FaultCount,
    /// What an operator did meanwhile, by a plan.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) steps: Vec<StepOutcome>,
    pub(crate) load: BTreeMap<RunPhase, Load>,
    /// What each fault that was in force met.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) coverage: Vec<Exercised>,
    pub(crate) recovery: RecoveryReport,
    pub(crate) resources: ResourcesUsed,
    pub(crate) hosts: Vec<HostOutcome>,
    /// Worth knowing and no verdict: a log that could not be fetched, a topic that was left.
    pub(crate) notes: Vec<String>,
    /// Lines of the history that the evidence cites, and those around them.
    pub(crate) evidence: Vec<EvidenceLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitReason {
    pub(crate) code: u8,
    pub(crate) name: String,
    pub(crate) why: String,
}

/// What one checker said: one test case in `junit.xml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CheckerOutcome {
    pub(crate) name: String,
    pub(crate) valid: Validity,
    pub(crate) text: String,
}

/// What became of one step of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StepOutcome {
    /// From 1, in the plan's order.
    pub(crate) number: u32,
    /// In words: `replace-version brokers by 3.9.1`.
    pub(crate) step: String,
    pub(crate) state: StepState,
    /// How it is known to be done, or why it was not.
    pub(crate) text: String,
    /// On the run's clock. What each daemon had of it stands in the faults.
    pub(crate) begin_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StepState {
    /// Not begun, or not to its end.
    #[default]
    NotDone,
    /// And proved to be.
    Done,
    /// A promise of time was missed.
    Missed,
    /// Its effect was not seen.
    NotProved,
    Failed,
}

impl StepState {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::NotDone => "was not done",
            Self::Done => "done",
            Self::Missed => "missed its time",
            Self::NotProved => "was not proved to have its effect",
            Self::Failed => "failed",
        }
    }
}

impl StepOutcome {
    /// For people.
    pub(crate) fn told(&self) -> String {
        let took = self.end_ns.map_or_else(String::new, |end| format!(" after {:.1} s", end.saturating_sub(self.begin_ns) as f64 / 1e9));
        format!("step {}, {}: {}{took}: {}", self.number, self.step, self.state.words(), self.text)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FaultCount {
    /// How many had to be in force for the run to count.
    pub(crate) required: u32,
    /// How many were tried.
    pub(crate) tried: u32,
    /// Proved to be in force.
    pub(crate) in_force: u32,
    /// Proved to be mended.
    pub(crate) mended: u32,
}

/// What the client machine spent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ResourcesUsed {
    pub(crate) cpu_s: f64,
    pub(crate) wall_s: f64,
    pub(crate) resident_first_mib: f64,
    pub(crate) resident_max_mib: f64,
    pub(crate) resident_last_mib: f64,
    /// Seconds and resident MiB while clients were at work, at most some hundreds of points.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resident: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HostState {
    Clean,
    Healed,
    Unhealed,
    Unreachable,
}

/// How one host was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostOutcome {
    pub(crate) host: String,
    pub(crate) state: HostState,
    /// What was mended, or is still there.
    #[serde(default)]
    pub(crate) what: Vec<String>,
    /// The command that mends it, if something may be left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
}

/// One line of the history, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EvidenceLine {
    pub(crate) index: u64,
    pub(crate) line: String,
}

impl HostOutcome {
    /// Nothing of ours is on it for certain.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.state, HostState::Clean | HostState::Healed)
    }
}

impl RunVerdict {
    /// Sets the exit codes from what stands in the verdict, and from what only the runner knows (`others`: aborted, environment, internal).
    pub(crate) fn conclude(&mut self, others: Vec<(u8, String)>) {
        let mut codes = others;
        match self.valid {
            Validity::Valid => {}
            Validity::Invalid => codes.push((exit::INVALID, self.what_was_broken())),
            Validity::Unknown => codes.push((exit::UNKNOWN, self.why_unknown())),
        }
        let left: Vec<&str> = self.hosts.iter().filter(|host| !host.is_whole()).map(|host| host.host.as_str()).collect();
        if !left.is_empty() {
            codes.push((exit::UNHEALED, format!("something of ours may still be on {}", left.join(", "))));
        }
        for threshold in self.thresholds.iter().filter(|threshold| threshold.status != SloStatus::Met) {
            codes.push((exit::THRESHOLD, threshold.text.clone()));
        }
        codes.retain(|(code, _)| !mutant::is("exit", &exit::name(*code)));
        if codes.is_empty() {
            codes.push((exit::VALID, "every checker passed".to_owned()));
        }
        let strength = |code: u8| exit::PRIORITY.iter().position(|other| *other == code).unwrap_or(exit::PRIORITY.len());
        codes.sort_by_key(|(code, _)| strength(*code));
        self.exit_code = codes.first().map_or(exit::VALID, |(code, _)| *code);
        self.exit_codes = codes.into_iter().map(|(code, why)| ExitReason { code, name: exit::name(code).to_owned(), why }).collect();
        self.sentence = self.sentence_for_people();
    }

    /// The op indexes whose lines belong into `evidence`: those that the examples cite, and a few on either side.
    pub(crate) fn evidence_wanted(&self) -> BTreeSet<u64> {
        let mut wanted = BTreeSet::new();
        for finding in self.anomalies.values() {
            for example in finding.examples.iter().take(EXAMPLES_SHOWN) {
                for op in example.ops.iter().take(CITED_SHOWN) {
                    wanted.extend(op.saturating_sub(OPS_AROUND)..=op + OPS_AROUND);
                }
            }
        }
        wanted
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.load.values().map(|load| load.ok).sum()
    }

    /// Acknowledged writes that are gone, by the findings that say so.
    pub(crate) fn lost(&self) -> u64 {
        let count = |name: &str| self.anomalies.get(name).filter(|_| !self.unproved.contains(name)).map_or(0, |finding| finding.count);
        // A lost write is often unseen as well: the same values, so not a sum.
        count("lost-write").max(count("unseen"))
    }

    fn sentence_for_people(&self) -> String {
        let mut sentence = match self.valid {
            Validity::Invalid => format!("{}.", capitalised(&self.what_was_broken())),
            Validity::Unknown => format!("Nothing is proved either way: {}.", self.why_unknown().trim_end_matches('.')),
            Validity::Valid if self.is_of_registers => format!(
                "The {} acknowledged writes and compare-and-sets have an order, and every answer agrees with it{}.",
                words::count(self.acknowledged()),
                self.through_faults()
            ),
            Validity::Valid => format!(
                "All {} acknowledged writes were read back{}{}.",
                words::count(self.acknowledged()),
                self.how_read(),
                self.through_faults()
            ),
        };
        let unmet = self.thresholds.iter().filter(|threshold| threshold.status != SloStatus::Met).count();
        match self.exit_codes.first() {
            Some(first) if first.code == exit::THRESHOLD => {
                sentence.push_str(&format!(" But {unmet} of {} promises of time were not met.", self.thresholds.len()));
            }
            Some(first) if !matches!(first.code, exit::VALID | exit::INVALID | exit::UNKNOWN) => {
                let why = first.why.trim_end_matches('.');
                if !sentence.contains(why) {
                    sentence.push_str(&format!(" {}.", capitalised(why)));
                }
            }
            _ => {}
        }
        sentence
    }

    fn how_read(&self) -> String {
        if self.ignored.is_empty() {
            return ", each once and in order".to_owned();
        }
        let names: Vec<&str> = self.ignored.keys().map(String::as_str).collect();
        format!(" (found and allowed by the profile: {})", names.join(", "))
    }

    fn through_faults(&self) -> String {
        let faults = &self.faults;
        if faults.in_force == 0 {
            return "; no fault was asked for".to_owned();
        }
        let noun = match (self.steps.is_empty(), faults.in_force) {
            (true, 1) => "fault",
            (true, _) => "faults",
            // One of a daemon each; beside them there may be faults.
            (false, 1) => "change of a plan",
            (false, _) => "changes of a plan",
        };
        let recovery = match self.recovery.phases.get(&Phase::Recovery).filter(|summary| summary.n > 0) {
            Some(summary) if summary.n == 1 => format!(", after which writes were back in {}", words::duration(summary.middle.max_ns)),
            Some(summary) => format!(
                ", after which writes were back in {} (p50) and {} at worst",
                words::duration(summary.middle.p50_ns),
                words::duration(summary.middle.max_ns)
            ),
            None => String::new(),
        };
        format!(", through {} {noun}{recovery}", faults.in_force)
    }

    fn what_was_broken(&self) -> String {
        let mut proved: Vec<(&String, &Finding)> = self.anomalies.iter().filter(|(name, _)| !self.unproved.contains(*name)).collect();
        proved.sort_by_key(|(name, _)| words::gravity(name));
        let Some(((name, finding), rest)) = proved.split_first() else { return "a promise was broken".to_owned() };
        let mut text = format!("{} ({name})", words::found(name, finding.count));
        if !rest.is_empty() {
            let names: Vec<&str> = rest.iter().map(|(name, _)| name.as_str()).collect();
            text.push_str(&format!("; also found: {}", names.join(", ")));
        }
        text
    }

    fn why_unknown(&self) -> String {
        match self.reasons.as_slice() {
            [] => match self.unproved.iter().next() {
                Some(name) => format!("{name} was found and proves nothing yet"),
                None => "no reason was given".to_owned(),
            },
            [one] => one.text.clone(),
            [one, rest @ ..] => format!("{} (and {} more reasons)", one.text.trim_end_matches('.'), rest.len()),
        }
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use kchaos_core::Example;

    use super::*;

    fn invalid() -> RunVerdict {
        let mut verdict = RunVerdict { valid: Validity::Invalid, ..RunVerdict::default() };
        let example = Example { ops: vec![1, 40], ..Example::default() };
        verdict.anomalies.insert("lost-write".into(), Finding { count: 26, examples: vec![example] });
        verdict.anomalies.insert("inconsistent-offsets".into(), Finding { count: 3, examples: vec![] });
        verdict
    }

    #[test]
    fn all_codes_that_hold_are_listed_and_the_strongest_stands_for_them() {
        let mut verdict = invalid();
        verdict.hosts.push(HostOutcome { host: "b1".into(), state: HostState::Unreachable, what: vec![], command: None });
        verdict.conclude(vec![(exit::ABORTED, "SIGINT".into())]);
        assert_eq!(verdict.exit_code, exit::UNHEALED);
        assert_eq!(verdict.exit_codes.iter().map(|reason| reason.code).collect::<Vec<_>>(), [5, 1, 4]);
        assert_eq!(
            verdict.sentence,
            "26 acknowledged writes were lost (lost-write); also found: inconsistent-offsets. Something of ours may still be on b1."
        );
    }

    #[test]
    fn whatever_speaks_against_a_run_alone_is_its_exit_code() {
        fn check(code: u8, others: &[u8], difference: impl FnOnce(&mut RunVerdict)) {
            let mut verdict = RunVerdict::default();
            difference(&mut verdict);
            verdict.conclude(others.iter().map(|code| (*code, "said elsewhere".to_owned())).collect());
            assert_eq!((verdict.exit_code, verdict.exit_codes.len()), (code, 1));
        }
        let host = |state| HostOutcome { host: "b1".into(), state, what: vec![], command: None };
        check(exit::VALID, &[], |_| {});
        check(exit::INVALID, &[], |verdict| verdict.valid = Validity::Invalid);
        check(exit::UNKNOWN, &[], |verdict| verdict.valid = Validity::Unknown);
        for state in [HostState::Unhealed, HostState::Unreachable] {
            check(exit::UNHEALED, &[], |verdict| verdict.hosts.push(host(state)));
        }
        for state in [HostState::Clean, HostState::Healed] {
            check(exit::VALID, &[], |verdict| verdict.hosts.push(host(state)));
        }
        for code in [exit::ENVIRONMENT, exit::ABORTED, exit::USAGE, exit::INTERNAL] {
            check(code, &[code], |_| {});
        }
    }

    #[test]
    fn a_valid_run_says_how_much_it_proved() {
        let mut verdict = RunVerdict::default();
        verdict.load.insert(RunPhase::Before, Load { ok: 74_512, ..Load::default() });
        verdict.faults = FaultCount { required: 3, tried: 3, in_force: 3, mended: 3 };
        verdict.conclude(vec![]);
        assert_eq!((verdict.exit_code, verdict.exit_codes.len()), (0, 1));
        assert_eq!(verdict.sentence, "All 74,512 acknowledged writes were read back, each once and in order, through 3 faults.");
    }

    #[test]
    fn a_run_of_registers_read_nothing_back_and_says_what_it_proved() {
        let mut verdict = RunVerdict { is_of_registers: true, ..RunVerdict::default() };
        verdict.load.insert(RunPhase::Trouble, Load { ok: 1_782, ..Load::default() });
        verdict.conclude(vec![]);
        assert_eq!(
            verdict.sentence,
            "The 1,782 acknowledged writes and compare-and-sets have an order, and every answer agrees with it; no fault was asked for."
        );
    }

    #[test]
    fn a_threshold_that_was_not_measured_is_not_met() {
        let mut verdict = RunVerdict::default();
        let slo: crate::slo::Slo = "recovery.p99<20s".parse().unwrap();
        verdict.thresholds.push(slo.evaluate(&verdict.recovery, &Default::default()));
        verdict.conclude(vec![]);
        assert_eq!(verdict.exit_code, exit::THRESHOLD);
        assert!(verdict.sentence.ends_with(" But 1 of 1 promises of time were not met."), "{}", verdict.sentence);
    }

    #[test]
    fn evidence_is_the_cited_ops_and_a_few_on_either_side() {
        assert_eq!(invalid().evidence_wanted().into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 38, 39, 40, 41, 42]);
    }

    #[test]
    fn a_verdict_survives_its_json() {
        let mut verdict = invalid();
        verdict.conclude(vec![]);
        let json = serde_json::to_string(&verdict).unwrap();
        assert_eq!(serde_json::from_str::<RunVerdict>(&json).unwrap(), verdict);
        assert!(json.starts_with(r#"{"valid":false,"sentence":"#), "{json}");
    }
}
