//! Quantiles of recovery phases over the fault cycles and partitions of a run.
//!
//! A phase is known as a span (not less than, not more than). The quantiles people read are of the spans' middles; beside them stand the
//! same quantiles of the upper ends, by which thresholds are judged, so that no promise is kept by our own imprecision.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::recovery::{FaultRecovery, Found, Phase, Span};

/// A day: nothing in a run takes longer.
const DURATION_MAX_NS: u64 = 86_400_000_000_000;

/// Quantiles in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseQuantiles {
    pub p50_ns: u64,
    pub p95_ns: u64,
    pub p99_ns: u64,
    pub max_ns: u64,
}

/// One phase over all cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseSummary {
    /// Spans measured.
    pub n: u64,
    /// Spans that were owed and not seen.
    pub unseen: u64,
    /// Of the spans' middles.
    pub middle: PhaseQuantiles,
    /// Of the spans' upper ends.
    pub at_most: PhaseQuantiles,
    /// How wide the spans are.
    pub width: PhaseQuantiles,
}

impl PhaseSummary {
    /// Of lengths that are known exactly.
    pub(crate) fn of_exact(lengths: &Histogram<u64>) -> Self {
        let quantiles = PhaseQuantiles::of(lengths);
        Self { n: lengths.len(), unseen: 0, middle: quantiles, at_most: quantiles, width: PhaseQuantiles::default() }
    }

    fn of_spans<'a>(spans: impl Iterator<Item = &'a Found<Span>>) -> Self {
        let (mut middle, mut at_most, mut width) = (duration_histogram(), duration_histogram(), duration_histogram());
        let mut unseen = 0;
        for found in spans {
            match found {
                Found::Seen(span) => {
                    record(&mut middle, span.middle_ns());
                    record(&mut at_most, span.at_most_ns);
                    record(&mut width, span.width_ns());
                }
                Found::Unseen { .. } => unseen += 1,
                Found::NotApplicable { .. } => {}
            }
        }
        Self {
            n: middle.len(),
            unseen,
            middle: PhaseQuantiles::of(&middle),
            at_most: PhaseQuantiles::of(&at_most),
            width: PhaseQuantiles::of(&width),
        }
    }
}

impl PhaseQuantiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let max_ns = histogram.max();
        // A quantile is the highest value of its bucket, which may lie above the greatest value recorded.
        let at = |quantile: f64| histogram.value_at_quantile(quantile).min(max_ns);
        Self { p50_ns: at(0.5), p95_ns: at(0.95), p99_ns: at(0.99), max_ns }
    }
}

/// 1 µs to a day, three digits.
pub(crate) fn duration_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, DURATION_MAX_NS, 3).expect("the bounds are constants that HDR accepts")
}

pub(crate) fn record(histogram: &mut Histogram<u64>, duration_ns: u64) {
    histogram.saturating_record(duration_ns.min(DURATION_MAX_NS));
}

/// Every phase of every fault that was proved in force. A phase nobody owed is absent.
pub(crate) fn summarise(faults: &[FaultRecovery]) -> BTreeMap<Phase, PhaseSummary> {
    let proved: Vec<&FaultRecovery> = faults.iter().filter(|fault| fault.proved).collect();
    let mut summaries = BTreeMap::new();
    for phase in Phase::ALL {
        let of_faults = proved.iter().filter_map(|fault| fault.phases.get(phase));
        let of_keys = proved.iter().flat_map(|fault| &fault.keys).filter_map(|key| key.phases.get(phase));
        let summary = PhaseSummary::of_spans(of_faults.chain(of_keys));
        if summary.n + summary.unseen > 0 {
            summaries.insert(*phase, summary);
        }
    }
    summaries
}
