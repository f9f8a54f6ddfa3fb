//! `--metrics`, and `metrics.txt` of a run's directory: what goes on, for Prometheus and its like (docs/metrics.md has every name).
//!
//! Made from a look at the run when somebody asks, never counted on the way: a scrape costs a walk over the histograms, and a run that nobody
//! scrapes pays nothing.

mod server;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use kchaos_checkers::latency::Counted;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use super::analysis::Analysis;
use super::lock;
use super::pulse::{FaultState, FaultWindow, Pulse, Vitals};

pub(super) use server::Server;

const MS: u64 = 1_000_000;
/// Upper ends of the histograms' buckets.
const BOUNDS_NS: &[u64] = &[
    MS / 2,
    MS,
    2 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    50 * MS,
    100 * MS,
    200 * MS,
    500 * MS,
    1_000 * MS,
    2_000 * MS,
    5_000 * MS,
    10_000 * MS,
    20_000 * MS,
    30_000 * MS,
    60_000 * MS,
    120_000 * MS,
    300_000 * MS,
];

/// All that is told at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrape {
    /// Which run it is, by label.
    pub(super) run: Vec<(String, String)>,
    pub(super) started_at_unix_ns: u64,
    pub(super) pulse: Pulse,
    pub(super) windows: Vec<FaultWindow>,
    /// By op.
    pub(super) latencies: BTreeMap<&'static str, Counted>,
    /// Once it is known.
    pub(crate) exit_code: Option<u8>,
}

/// Where a look comes from while a run goes on.
pub(super) struct Source {
    pub(super) run: Vec<(String, String)>,
    pub(super) started_at_unix_ns: u64,
    pub(super) vitals: Arc<Vitals>,
    pub(super) analysis: Arc<Mutex<Analysis>>,
    /// What was told last, for when the analysis is over.
    pub(super) latencies: Mutex<BTreeMap<&'static str, Counted>>,
}

impl Source {
    pub(super) fn scrape(&self) -> Scrape {
        if let Some(latencies) = lock(&self.analysis).latencies(BOUNDS_NS) {
            *lock(&self.latencies) = latencies;
        }
        Scrape {
            run: self.run.clone(),
            started_at_unix_ns: self.started_at_unix_ns,
            pulse: self.vitals.last(),
            windows: self.vitals.windows(),
            latencies: lock(&self.latencies).clone(),
            exit_code: None,
        }
    }
}

impl Scrape {
    /// As OpenMetrics text.
    pub(crate) fn render(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }

    fn runs(&self, to: &mut Families<'_>) -> fmt::Result {
        let pulse = &self.pulse;
        to.info("kchaos_run", "The run that this is of", &self.run)?;
        let started_s = self.started_at_unix_ns as f64 / 1e9;
        to.gauge("kchaos_run_started_timestamp_seconds", "When the run's clock began", [(NONE, started_s)])?;
        to.gauge("kchaos_run_seconds", "What the run's clock says", [(NONE, pulse.time_s)])?;
        let phases = ["before", "trouble", "after", "finale"].map(|name| ([("phase", name)], i64::from(pulse.phase == name)));
        to.gauge("kchaos_run_phase", "1 for the phase that the run is in", phases)?;
        if let Some(code) = self.exit_code {
            to.gauge("kchaos_run_exit_code", "How the run ended, as its exit code: 0 is valid", [(NONE, i64::from(code))])?;
        }
        Ok(())
    }

    fn load(&self, to: &mut Families<'_>) -> fmt::Result {
        let pulse = &self.pulse;
        let outcomes = [("ok", pulse.ok), ("info", pulse.info), ("fail", pulse.fail)];
        let writes = outcomes.map(|(outcome, count)| ([("outcome", outcome)], count));
        to.counter("kchaos_writes", "Writes by what became of them; info: nobody knows", writes)?;
        to.counter("kchaos_records_read", "Records that polls returned", [(NONE, pulse.read)])?;
        to.gauge("kchaos_writes_open", "Writes that are not answered", [(NONE, pulse.open)])?;
        to.histograms(
            "kchaos_latency_seconds",
            "From when an op was meant to start until it was acknowledged; read-lag: until it was first read",
            &self.latencies,
        )
    }

    fn faults(&self, to: &mut Families<'_>) -> fmt::Result {
        let is_in_force = |fault: &&super::pulse::PulseFault| fault.state == FaultState::InForce;
        let rows: Vec<_> = self.pulse.faults.iter().filter(is_in_force).map(|fault| (fault.id.to_string(), fault)).collect();
        let rows = rows
            .iter()
            .map(|(id, fault)| (vec![("fault", id.clone()), ("nemesis", fault.nemesis.clone()), ("on", fault.on.join(", "))], 1_i64));
        to.gauge("kchaos_fault_in_force", "1 for each fault that is proved to be in force", rows)?;
        let labels =
            |window: &FaultWindow| vec![("fault", window.id.to_string()), ("nemesis", window.nemesis.clone()), ("on", window.on.clone())];
        let at = |ns: u64| (self.started_at_unix_ns + ns) as f64 / 1e9;
        let begun = self.windows.iter().map(|window| (labels(window), at(window.begin_ns)));
        to.gauge("kchaos_fault_begin_timestamp_seconds", "When a fault was proved to be in force", begun)?;
        let ended = self.windows.iter().filter_map(|window| Some((labels(window), at(window.end_ns?))));
        to.gauge("kchaos_fault_end_timestamp_seconds", "When it was mended, or ended by itself", ended)
    }

    fn partitions(&self, to: &mut Families<'_>) -> fmt::Result {
        let all = &self.pulse.partitions;
        let label = |name: &str| [("partition", name.to_owned())];
        let leaders = all.iter().map(|one| (label(&one.name), one.leader.map_or(-1, i64::from)));
        to.gauge("kchaos_partition_leader", "The leader's broker.id; -1: none", leaders)?;
        to.gauge("kchaos_partition_leader_epoch", "Its epoch", all.iter().map(|one| (label(&one.name), i64::from(one.leader_epoch))))?;
        to.gauge(
            "kchaos_partition_in_sync",
            "How many replicas are in sync",
            all.iter().map(|one| (label(&one.name), one.isr.len() as u64)),
        )?;
        to.gauge(
            "kchaos_partition_replicas",
            "As many as were ever in sync at once",
            all.iter().map(|one| (label(&one.name), one.replicas as u64)),
        )?;
        to.gauge(
            "kchaos_controller",
            "The controller's broker.id, or its node.id of KRaft; -1: none",
            [(NONE, self.pulse.controller.map_or(-1, i64::from))],
        )
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Families(encoder);
        self.runs(&mut to)?;
        self.load(&mut to)?;
        self.faults(&mut to)?;
        self.partitions(&mut to)
    }
}

const NONE: [(&str, &str); 0] = [];

/// Families of metrics, each with its rows.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn gauge<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        rows.into_iter().try_for_each(|(labels, value)| family.encode_family(&labels)?.encode_gauge(&value))
    }

    fn counter<L: EncodeLabelSet>(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (L, u64)>) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        rows.into_iter().try_for_each(|(labels, value)| ConstCounter::new(value).encode(family.encode_family(&labels)?))
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(String, String)]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Info)?;
        family.encode_info(&labels.to_vec())
    }

    fn histograms(&mut self, name: &str, help: &str, by_op: &BTreeMap<&'static str, Counted>) -> fmt::Result {
        type Exemplars = std::collections::HashMap<usize, Exemplar<Vec<(String, String)>, f64>>;
        const NO_EXEMPLARS: Option<&Exemplars> = None;
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let bounds_s: Vec<f64> = BOUNDS_NS.iter().map(|bound| *bound as f64 / 1e9).chain([f64::INFINITY]).collect();
        for (op, counted) in by_op {
            let buckets: Vec<(f64, u64)> = bounds_s.iter().copied().zip(counted.counts.iter().copied()).collect();
            family.encode_family(&[("op", *op)])?.encode_histogram(counted.sum_ns / 1e9, counted.n, &buckets, NO_EXEMPLARS)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn scrape() -> Scrape {
        let window = |id, end_ns| FaultWindow {
            id,
            nemesis: "kill-leader".into(),
            on: "kafka:1 on kafka1".into(),
            begin_ns: 27_000_000_000,
            end_ns,
        };
        let mut counts = vec![0; BOUNDS_NS.len() + 1];
        (counts[3], counts[12]) = (160_000, 112);
        Scrape {
            run: [("run_id", "20261123120000-00ff"), ("workload", "append"), ("cluster", "staging")]
                .map(|(k, v)| (k.into(), v.into()))
                .to_vec(),
            started_at_unix_ns: 1_795_521_600_000_000_000,
            pulse: super::super::progress::tests::pulse(),
            windows: vec![window(1, Some(36_000_000_000)), window(2, None)],
            latencies: BTreeMap::from([("send", Counted { counts, sum_ns: 7.5e11, n: 160_112 })]),
            exit_code: Some(0),
        }
    }

    #[test]
    fn a_scrape_is_open_metrics() {
        let text = scrape().render();
        insta::assert_snapshot!("metrics", text);
        assert!(text.ends_with("# EOF\n"));
        // Each sample belongs to a family that was declared before it.
        let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(families.iter().any(|family| line.starts_with(family)), "{line}");
        }
    }

    #[test]
    fn before_anything_is_known_it_is_open_metrics_too() {
        let text = Scrape::default().render();
        assert!(text.contains("kchaos_writes_total{outcome=\"ok\"} 0") && text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn what_the_dashboard_asks_for_is_told() {
        let dashboard = include_str!("../../contrib/grafana/kchaos.json");
        let parsed: serde_json::Value = serde_json::from_str(dashboard).unwrap();
        assert!(parsed["panels"].as_array().is_some_and(|panels| panels.len() >= 6));
        let text = scrape().render();
        let names: std::collections::BTreeSet<&str> =
            dashboard.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("kchaos_")).collect();
        assert!(names.len() >= 8, "{names:?}");
        for name in names {
            assert!(text.contains(name), "the dashboard asks for {name}");
        }
    }
}
