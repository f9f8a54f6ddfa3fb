//! What is known of a client host: what its clients did, how long by its own clock, and how far that clock is from ours.
//!
//! The bounds of a clock are those of Cristian's algorithm: we say something at our time a, the host answers at its time t, we hear it at our time b. So the host's
//! clock showed t at some moment between a and b, and is ahead of ours by t - (a + b) / 2, give or take (b - a) / 2: of many, the shortest way there
//! and back says it best. Nothing is judged by it. The verdict rests on our clock alone, since an interval that is stamped before a request goes out and after
//! its answer came in holds the op whatever the host's clock does; to make it narrower by these bounds would make it rest on a clock that a host may set.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use kchaos_core::{Draft, OpType};
use serde_json::json;

use super::door::ClientHost;
use crate::Lost;
use crate::shared::Shared;

/// Of so long, the best look at a clock is told.
const WINDOW_NS: u64 = 5_000_000_000;

pub(crate) struct Book {
    pub(crate) host: Arc<dyn ClientHost>,
    state: Mutex<State>,
}

struct State {
    took: Histogram<u64>,
    acked: u64,
    info: u64,
    failed: u64,
    started: u64,
    lost: Vec<Lost>,
    window: Option<(u64, Look)>,
    first: Option<Look>,
    last: Option<Look>,
    best: Option<Look>,
    looks: u64,
}

/// One way there and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    /// The middle of it, by our clock.
    at_ns: u64,
    /// The host's clock less ours.
    offset_ns: i64,
    round_trip_ns: u64,
}

impl Look {
    fn new(said_ns: u64, theirs_ns: u64, heard_ns: u64) -> Self {
        let round_trip_ns = heard_ns.saturating_sub(said_ns);
        let at_ns = said_ns + round_trip_ns / 2;
        Self { at_ns, offset_ns: theirs_ns.wrapping_sub(at_ns).cast_signed(), round_trip_ns }
    }

    /// Half of the way, rounded up.
    fn bound_ns(&self) -> u64 {
        self.round_trip_ns.div_ceil(2)
    }

    /// How much faster the host's clock runs than ours since that look, and give or take how much, in parts of a million.
    fn drift_since(&self, first: &Self) -> Option<(f64, f64)> {
        let passed_ns = self.at_ns.checked_sub(first.at_ns).filter(|passed_ns| *passed_ns > 0)? as f64;
        let drift = (self.offset_ns - first.offset_ns) as f64 / passed_ns * 1e6;
        Some((drift, (self.bound_ns() + first.bound_ns()) as f64 / passed_ns * 1e6))
    }
}

impl Book {
    pub(crate) fn new(host: Arc<dyn ClientHost>) -> Self {
        let state = State {
            took: Histogram::new_with_bounds(1_000, 600_000_000_000, 3)
                .unwrap_or_else(|_| Histogram::new(3).expect("3 digits are allowed")),
            acked: 0,
            info: 0,
            failed: 0,
            started: 0,
            lost: Vec::new(),
            window: None,
            first: None,
            last: None,
            best: None,
            looks: 0,
        };
        Self { host, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn name(&self) -> &str {
        self.host.name()
    }

    pub(crate) fn started(&self) {
        self.lock().started += 1;
    }

    /// A client of it ended, and nobody had asked it to.
    pub(crate) fn lost(&self, client: &str, time_ns: u64, why: &str) {
        self.lock().lost.push(Lost { host: self.name().to_owned(), client: client.to_owned(), time_ns, why: why.to_owned() });
    }

    pub(crate) fn what_was_lost(&self) -> Vec<Lost> {
        self.lock().lost.clone()
    }

    pub(crate) fn completed(&self, op_type: OpType, took_ns: u64) {
        let mut state = self.lock();
        match op_type {
            OpType::Ok => {
                state.acked += 1;
                state.took.saturating_record(took_ns);
            }
            OpType::Fail => state.failed += 1,
            OpType::Info | OpType::Invoke => state.info += 1,
        }
    }

    /// So many sends that a worker had in hand when it was lost.
    pub(crate) fn gave_up(&self, count: u64) {
        self.lock().info += count;
    }

    /// A `pong`; of each window, the best one is told in the history.
    pub(crate) fn looked(&self, shared: &Shared, said_ns: u64, theirs_ns: u64) {
        let look = Look::new(said_ns, theirs_ns, shared.clock.now_ns());
        let mut state = self.lock();
        state.looks += 1;
        let is_better = |than: Option<Look>| than.is_none_or(|best| look.round_trip_ns < best.round_trip_ns);
        if is_better(state.best) {
            state.best = Some(look);
        }
        let (began_ns, best) = *state.window.get_or_insert((look.at_ns, look));
        let best = if is_better(Some(best)) { look } else { best };
        state.window = Some((began_ns, best));
        if look.at_ns.saturating_sub(began_ns) < WINDOW_NS {
            return;
        }
        (state.window, state.last) = (None, Some(best));
        let first = *state.first.get_or_insert(best);
        drop(state);
        let mut value = json!({
            "host": self.name(), "offset_ns": best.offset_ns, "bound_ns": best.bound_ns(), "round_trip_ns": best.round_trip_ns, "at_ns": best.at_ns
        });
        if let Some((drift, bound)) = best.drift_since(&first) {
            value["drift_ppm"] = json!(thousandths(drift));
            value["drift_bound_ppm"] = json!(thousandths(bound));
        }
        shared.record(Draft::told("client-clock", value));
    }

    /// For the history: how long sends took on the host itself.
    pub(crate) fn tell_latency(&self, shared: &Shared) {
        let state = self.lock();
        let at = |quantile: f64| state.took.value_at_quantile(quantile);
        let value = json!({
            "host": self.name(), "acked": state.acked, "info": state.info, "failed": state.failed,
            "p50_ns": at(0.5), "p99_ns": at(0.99), "max_ns": state.took.max()
        });
        drop(state);
        shared.record(Draft::told("client-latency", value));
    }

    /// In a sentence.
    pub(crate) fn told(&self) -> String {
        let state = self.lock();
        let ms = |ns: u64| ns as f64 / 1e6;
        let (p50, p99) = (ms(state.took.value_at_quantile(0.5)), ms(state.took.value_at_quantile(0.99)));
        let mut text =
            format!("clients on {}: {} writes acknowledged, {} unknown, {} failed", self.name(), state.acked, state.info, state.failed);
        if state.acked > 0 {
            text.push_str(&format!("; from send to acknowledgement on the host itself {p50:.1} ms in the middle, {p99:.1} ms at p99"));
        }
        if let Some(best) = state.best {
            text.push_str(&format!(
                "; its clock is known to {:.3} ms (half of the shortest way there and back of {})",
                ms(best.bound_ns()),
                state.looks
            ));
        }
        if let Some((drift, bound)) = state.first.zip(state.last).and_then(|(first, last)| last.drift_since(&first)) {
            text.push_str(&format!(" and drifts by {drift:.1} ± {bound:.1} ppm"));
        }
        if !state.lost.is_empty() {
            text.push_str(&format!("; {} of {} clients started there were lost", state.lost.len(), state.started));
        }
        text
    }
}

fn thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_true_offset_is_never_beyond_the_bound(
            ahead_ns in -1_000_000_000_i64..1_000_000_000, said_ns in 2_000_000_000_u64..10_000_000_000, there_ns in 0_u64..50_000_000, back_ns in 0_u64..50_000_000,
        ) {
            let theirs_ns = (said_ns + there_ns).checked_add_signed(ahead_ns).unwrap();
            let look = Look::new(said_ns, theirs_ns, said_ns + there_ns + back_ns);
            prop_assert!(look.offset_ns.abs_diff(ahead_ns) <= look.bound_ns());
        }
    }

    #[test]
    fn a_clock_that_runs_ahead_shows_its_drift_and_how_well_it_is_known() {
        let first = Look::new(1_000_000_000, 5_000_000_000, 1_000_000_000);
        // 10 s later it is 1 ms further ahead, told over a way of 2 ms.
        let last = Look::new(10_999_000_000, 15_001_000_000, 11_001_000_000);
        let (drift, bound) = last.drift_since(&first).unwrap();
        assert!((drift - 100.0).abs() < 1e-6 && (bound - 100.0).abs() < 1e-6, "{drift} ± {bound}");
        assert_eq!(first.drift_since(&first), None);
    }
}
