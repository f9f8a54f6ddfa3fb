//! Promises of time: `--slo 'recovery.p99<20s'`.
//!
//! A promise is kept only if it was measured: a phase that no fault cycle showed is *unmeasured*, which is not met and says so. Recovery
//! phases are judged by the upper ends of their intervals, so that none is kept by our own imprecision; and not while a cycle's end was
//! never seen, since that one took longer than anything measured.

use std::fmt;
use std::str::FromStr;

use kchaos_checkers::latency::LatencyReport;
use kchaos_checkers::recovery::{Phase, RecoveryReport};
use kchaos_checkers::recovery_summary::{PhaseQuantiles, PhaseSummary};
use kchaos_core::mutant;
use serde::{Deserialize, Serialize};

/// What can be promised, with what it means.
pub(crate) const METRICS: &[(&str, Metric)] = &[
    ("recovery", Metric::Phase(Phase::Recovery)),
    ("detection", Metric::Phase(Phase::Detection)),
    ("controller", Metric::Phase(Phase::Controller)),
    ("election", Metric::Phase(Phase::Election)),
    ("propagation", Metric::Phase(Phase::Propagation)),
    ("propagation-all", Metric::Phase(Phase::PropagationAll)),
    ("client", Metric::Phase(Phase::Client)),
    ("read", Metric::Phase(Phase::Read)),
    ("isr", Metric::Phase(Phase::Isr)),
    ("zookeeper-election", Metric::Phase(Phase::ZookeeperElection)),
    ("unavailable", Metric::Unavailable),
    ("send", Metric::Send),
    ("read-lag", Metric::ReadLag),
];

const QUANTILES: &[(&str, Quantile)] = &[("p50", Quantile::P50), ("p95", Quantile::P95), ("p99", Quantile::P99), ("max", Quantile::Max)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// A phase of recovery, over all fault cycles and partitions.
    Phase(Phase),
    /// The lengths of the windows in which a partition acknowledged nothing.
    Unavailable,
    /// The latency of acknowledged writes from their intended start, over the whole run.
    Send,
    /// From a write's intended start until it was first read, over the whole run.
    ReadLag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantile {
    P50,
    P95,
    P99,
    Max,
}

/// One promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slo {
    pub(crate) metric: Metric,
    pub(crate) quantile: Quantile,
    /// `<=` instead of `<`.
    pub(crate) inclusive: bool,
    pub(crate) limit_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SloError {
    #[error("a promise is METRIC.QUANTILE<TIME, as in recovery.p99<20s")]
    Shape,
    #[error("unknown metric \"{name}\"; did you mean \"{nearest}\"? (there are {})", names(METRICS))]
    Metric { name: String, nearest: &'static str },
    #[error("unknown quantile \"{name}\": one of {}", names(QUANTILES))]
    Quantile { name: String },
    #[error("\"{text}\" is no time: a number and ms or s, as in 20s or 500ms")]
    Limit { text: String },
    #[error("a promise of time has an upper limit: < or <=")]
    Lower,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SloStatus {
    Met,
    Missed,
    /// Nothing was measured, or not enough to say that it was met.
    Unmeasured,
}

/// What became of a promise; one entry of `thresholds` in `verdict.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SloOutcome {
    /// As it was given, in its plain form.
    pub(crate) slo: String,
    pub(crate) status: SloStatus,
    pub(crate) measured_ns: Option<u64>,
    pub(crate) limit_ns: u64,
    /// Over how many measurements.
    pub(crate) n: u64,
    /// One sentence.
    pub(crate) text: String,
}

impl FromStr for Slo {
    type Err = SloError;

    fn from_str(text: &str) -> Result<Self, SloError> {
        let text = text.trim();
        if text.contains('>') {
            return Err(SloError::Lower);
        }
        let (left, limit) = text.split_once('<').ok_or(SloError::Shape)?;
        let (inclusive, limit) = limit.strip_prefix('=').map_or((false, limit), |rest| (true, rest));
        let (metric, quantile) = left.trim().rsplit_once('.').ok_or(SloError::Shape)?;
        let metric = find(METRICS, metric).ok_or_else(|| SloError::Metric { name: metric.to_owned(), nearest: nearest_metric(metric) })?;
        let quantile = find(QUANTILES, quantile).ok_or_else(|| SloError::Quantile { name: quantile.to_owned() })?;
        Ok(Self { metric, quantile, inclusive, limit_ns: limit_ns(limit.trim())? })
    }
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.inclusive { "<=" } else { "<" };
        let (metric, quantile) = (name(METRICS, self.metric), name(QUANTILES, self.quantile));
        if self.limit_ns.is_multiple_of(1_000_000_000) {
            write!(f, "{metric}.{quantile}{sign}{}s", self.limit_ns / 1_000_000_000)
        } else {
            write!(f, "{metric}.{quantile}{sign}{}ms", self.limit_ns as f64 / 1e6)
        }
    }
}

impl Slo {
    pub(crate) fn evaluate(&self, recovery: &RecoveryReport, latency: &LatencyReport) -> SloOutcome {
        match self.metric {
            Metric::Phase(phase) => {
                let summary = recovery.phases.get(&phase).copied().unwrap_or_default();
                self.judge(summary, &format!("no fault cycle showed {}", phase.about()))
            }
            Metric::Unavailable => {
                let unavailable = &recovery.unavailable;
                let mut summary = unavailable.summary;
                // Writes were acknowledged, and never had to be waited for: the longest wait is none.
                if summary.n == 0 && unavailable.acks > 0 {
                    summary.n = unavailable.acks;
                }
                self.judge(summary, "no write was acknowledged")
            }
            Metric::Send => self.judge_distribution(latency, "send", 0, "no send was acknowledged"),
            Metric::ReadLag => self.judge_distribution(latency, "read-lag", latency.untracked, "no write was read while clients wrote"),
        }
    }

    fn judge_distribution(&self, latency: &LatencyReport, op: &str, unseen: u64, nothing: &str) -> SloOutcome {
        let all = latency.total.get(op).cloned().unwrap_or_default();
        let at_most = PhaseQuantiles { p50_ns: all.p50_ns, p95_ns: all.p95_ns, p99_ns: all.p99_ns, max_ns: all.max_ns };
        self.judge(PhaseSummary { n: all.n, unseen, at_most, ..PhaseSummary::default() }, nothing)
    }

    fn judge(&self, summary: PhaseSummary, nothing: &str) -> SloOutcome {
        let measured_ns = match self.quantile {
            Quantile::P50 => summary.at_most.p50_ns,
            Quantile::P95 => summary.at_most.p95_ns,
            Quantile::P99 => summary.at_most.p99_ns,
            Quantile::Max => summary.at_most.max_ns,
        };
        let is_within = if self.inclusive { measured_ns <= self.limit_ns } else { measured_ns < self.limit_ns };
        let is_within = is_within || mutant::is("slo", &name(METRICS, self.metric));
        let is_met_unmeasured = mutant::is("slo", &"unmeasured");
        let what = format!("{} was {:.3} s over {} measurements", self.subject(), measured_ns as f64 / 1e9, summary.n);
        let (status, text) = if summary.n == 0 && summary.unseen == 0 && !is_met_unmeasured {
            (SloStatus::Unmeasured, format!("{self} was not measured, which is not met: {nothing}"))
        } else if summary.n > 0 && !is_within {
            (SloStatus::Missed, format!("{self} was missed: {what}"))
        } else if summary.unseen > 0 && !mutant::is("slo", &"unseen") {
            let unseen = summary.unseen;
            (SloStatus::Unmeasured, format!("{self} cannot be called met: the end of {unseen} measurements was never seen"))
        } else {
            (SloStatus::Met, format!("{self} was met: {what}"))
        };
        let measured_ns = (summary.n > 0).then_some(measured_ns);
        SloOutcome { slo: self.to_string(), status, measured_ns, limit_ns: self.limit_ns, n: summary.n, text }
    }

    fn subject(&self) -> String {
        format!("{}.{}", name(METRICS, self.metric), name(QUANTILES, self.quantile))
    }
}

fn find<T: Copy>(of: &[(&'static str, T)], wanted: &str) -> Option<T> {
    of.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value)
}

fn name<T: Copy + PartialEq>(of: &[(&'static str, T)], wanted: T) -> &'static str {
    of.iter().find(|(_, value)| *value == wanted).map_or("?", |(name, _)| name)
}

fn names<T>(of: &[(&'static str, T)]) -> String {
    of.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn nearest_metric(wanted: &str) -> &'static str {
    let likeness = |name: &str| (strsim::jaro_winkler(name, wanted) * 1e6) as u64;
    METRICS.iter().map(|(name, _)| *name).max_by_key(|name| likeness(name)).unwrap_or("recovery")
}

fn limit_ns(text: &str) -> Result<u64, SloError> {
    let wrong = || SloError::Limit { text: text.to_owned() };
    let (number, unit_ns) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e6),
        None => (text.strip_suffix('s').ok_or_else(wrong)?, 1e9),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    if !number.is_finite() || number <= 0.0 || number > 1e6 {
        return Err(wrong());
    }
    Ok((number * unit_ns) as u64)
}

#[cfg(test)]
mod tests {
    use kchaos_checkers::latency::Distribution;

    use super::*;

    #[test]
    fn a_promise_prints_as_it_was_read() {
        for text in [
            "recovery.p99<20s",
            "election.p50<=1500ms",
            "zookeeper-election.max<2s",
            "unavailable.p95<500ms",
            "send.p99<250ms",
            "read-lag.p50<250ms",
        ] {
            assert_eq!(text.parse::<Slo>().unwrap().to_string(), text);
        }
        assert_eq!(" recovery.p99 < 1.5s".parse::<Slo>().unwrap().to_string(), "recovery.p99<1500ms");
    }

    #[test]
    fn a_wrong_promise_says_what_is_wrong() {
        for (text, expect) in [
            ("recovery<20s", "METRIC.QUANTILE<TIME"),
            ("recovry.p99<20s", "did you mean \"recovery\"?"),
            ("zk-election.max<2s", "did you mean"),
            ("recovery.p98<20s", "unknown quantile \"p98\": one of p50, p95, p99, max"),
            ("recovery.p99<20", "\"20\" is no time"),
            ("recovery.p99<-1s", "is no time"),
            ("recovery.p99>20s", "upper limit"),
            ("", "METRIC.QUANTILE<TIME"),
        ] {
            let error = text.parse::<Slo>().unwrap_err().to_string();
            assert!(error.contains(expect), "{text}: {error}");
        }
    }

    fn summary(n: u64, unseen: u64, seconds: u64) -> RecoveryReport {
        let at_most = PhaseQuantiles { p99_ns: seconds * 1_000_000_000, ..PhaseQuantiles::default() };
        let mut report = RecoveryReport::default();
        report.phases.insert(Phase::Recovery, PhaseSummary { n, unseen, at_most, ..PhaseSummary::default() });
        report
    }

    #[test]
    fn a_promise_is_met_only_by_what_was_measured_to_its_end() {
        let slo: Slo = "recovery.p99<20s".parse().unwrap();
        for (recovery, expect) in [
            (summary(3, 0, 19), SloStatus::Met),
            (summary(3, 0, 20), SloStatus::Missed),
            (summary(3, 1, 19), SloStatus::Unmeasured),
            (summary(3, 1, 21), SloStatus::Missed),
            (summary(0, 2, 0), SloStatus::Unmeasured),
            (RecoveryReport::default(), SloStatus::Unmeasured),
        ] {
            let outcome = slo.evaluate(&recovery, &LatencyReport::default());
            assert_eq!(outcome.status, expect, "{}", outcome.text);
        }
        assert!(
            "recovery.p99<=20s".parse::<Slo>().unwrap().evaluate(&summary(3, 0, 20), &LatencyReport::default()).status == SloStatus::Met
        );
    }

    /// Everything that can be promised, with a number of its own at each quantile: 1 s, 2 s, 3 s and 4 s.
    fn measured() -> (RecoveryReport, LatencyReport) {
        let [p50_ns, p95_ns, p99_ns, max_ns] = [1, 2, 3, 4].map(|s| s * 1_000_000_000);
        let summary = PhaseSummary { n: 9, at_most: PhaseQuantiles { p50_ns, p95_ns, p99_ns, max_ns }, ..PhaseSummary::default() };
        let (mut recovery, mut latency) = (RecoveryReport::default(), LatencyReport::default());
        for (_, metric) in METRICS {
            if let Metric::Phase(phase) = metric {
                recovery.phases.insert(*phase, summary);
            }
        }
        recovery.unavailable.summary = summary;
        for op in ["send", "read-lag"] {
            let distribution = Distribution { n: 9, p50_ns, p95_ns, p99_ns, max_ns, ..Distribution::default() };
            latency.total.insert(op.to_owned(), distribution);
        }
        (recovery, latency)
    }

    #[test]
    fn every_metric_is_held_to_its_limit_at_every_quantile() {
        let (recovery, latency) = measured();
        for (metric, _) in METRICS {
            for ((quantile, _), limit_s) in QUANTILES.iter().zip(1..) {
                for (sign, expected) in [("<=", SloStatus::Met), ("<", SloStatus::Missed)] {
                    let slo: Slo = format!("{metric}.{quantile}{sign}{limit_s}s").parse().expect("a promise");
                    assert_eq!(slo.evaluate(&recovery, &latency).status, expected, "{slo}");
                }
            }
        }
    }

    #[test]
    fn a_read_lag_of_which_some_was_not_tracked_is_not_called_met() {
        let (recovery, mut latency) = measured();
        latency.untracked = 1;
        let slo: Slo = "read-lag.max<5s".parse().expect("a promise");
        assert_eq!(slo.evaluate(&recovery, &latency).status, SloStatus::Unmeasured);
    }

    #[test]
    fn no_window_at_all_meets_a_promise_about_windows_if_writes_were_acknowledged() {
        let slo: Slo = "unavailable.max<1s".parse().unwrap();
        let mut recovery = RecoveryReport::default();
        assert_eq!(slo.evaluate(&recovery, &LatencyReport::default()).status, SloStatus::Unmeasured);
        recovery.unavailable.acks = 10;
        assert_eq!(slo.evaluate(&recovery, &LatencyReport::default()).status, SloStatus::Met);
    }
}
