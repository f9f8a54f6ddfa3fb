//! What goes on in a run, second by second, for whoever looks at it meanwhile: the progress line, the terminal view, a scraper of metrics.
//!
//! Why apart from the analysis: that judges, and must hear everything; this may be a second late, and forgets.

use std::collections::BTreeMap;
use std::sync::Mutex;

use kchaos_checkers::latency_series::Point;
use kchaos_core::{FaultEvent, FaultMoment, Key, Observation, Observed};
use kchaos_nemeses::InForce;
use kchaos_workloads::Counts;
use serde::Serialize;

use super::lock;

/// One look at a run. Rates are of the last second, counts of the whole run. docs/live.md has its shape, which programs read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Pulse {
    pub(crate) time_s: f64,
    /// `before`, `trouble`, `after`, `finale`.
    pub(crate) phase: String,
    pub(crate) phase_s: f64,
    /// How long the phase is to last, where that is known.
    pub(crate) phase_limit_s: Option<f64>,
    pub(crate) acked_per_s: u64,
    pub(crate) read_per_s: u64,
    pub(crate) ok: u64,
    pub(crate) info: u64,
    pub(crate) fail: u64,
    pub(crate) open: u64,
    pub(crate) read: u64,
    /// Of writes acknowledged in the last second, from their intended start.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    pub(crate) faults: Vec<PulseFault>,
    pub(crate) partitions: Vec<PulsePartition>,
    /// Its broker, or its node of KRaft's quorum.
    pub(crate) controller: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct PulseFault {
    pub(crate) id: u32,
    pub(crate) nemesis: String,
    /// `kafka:1 on kafka1`.
    pub(crate) on: Vec<String>,
    pub(crate) state: FaultState,
    /// Since it was proved to be in force.
    pub(crate) held_s: Option<f64>,
    /// Until it is to be mended, where that is known.
    pub(crate) left_s: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FaultState {
    #[default]
    Beginning,
    InForce,
    Mending,
    /// Its lease ran out.
    Lapsed,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct PulsePartition {
    pub(crate) key: Key,
    pub(crate) name: String,
    pub(crate) leader: Option<i32>,
    pub(crate) leader_epoch: i32,
    pub(crate) isr: Vec<i32>,
    /// As many as were ever in sync at once.
    pub(crate) replicas: usize,
}

impl PulsePartition {
    pub(crate) fn is_whole(&self) -> bool {
        self.leader.is_some() && self.isr.len() >= self.replicas
    }
}

impl FaultState {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Beginning => "beginning",
            Self::InForce => "in force",
            Self::Mending => "mending",
            Self::Lapsed => "lapsed",
        }
    }
}

/// From when to when a fault was in force, as far as that was proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FaultWindow {
    pub(crate) id: u32,
    pub(crate) nemesis: String,
    pub(crate) on: String,
    /// On the run's clock.
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: Option<u64>,
}

/// What is gathered between two looks.
#[derive(Default)]
pub(crate) struct Vitals {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    phase: String,
    phase_since_s: f64,
    phase_limit_s: Option<f64>,
    partitions: BTreeMap<Key, PulsePartition>,
    controller: Option<i32>,
    /// When each fault is to be mended, on the run's clock.
    due_s: BTreeMap<u32, f64>,
    windows: Vec<FaultWindow>,
    before: Counts,
    before_s: f64,
    last: Pulse,
}

impl Vitals {
    pub(super) fn phase(&self, name: &str, now_s: f64, limit_s: Option<f64>) {
        let mut state = lock(&self.state);
        (state.phase, state.phase_since_s, state.phase_limit_s) = (name.to_owned(), now_s, limit_s);
    }

    /// A fault that is in force, and until when.
    pub(super) fn holds(&self, fault_id: u32, until_s: f64) {
        lock(&self.state).due_s.insert(fault_id, until_s);
    }

    pub(super) fn fault(&self, event: &FaultEvent) {
        let mut state = lock(&self.state);
        match event.moment {
            FaultMoment::InEffect if event.proof.as_ref().is_none_or(|proof| proof.proved) => {
                let on: Vec<String> = event.chosen.iter().map(|chosen| format!("{} on {}", chosen.daemon, chosen.host)).collect();
                let (id, nemesis, begin_ns) = (event.fault_id, event.nemesis.clone(), event.when.before_ns);
                state.windows.push(FaultWindow { id, nemesis, on: on.join(", "), begin_ns, end_ns: None });
            }
            FaultMoment::Healed | FaultMoment::LeaseLapsed => {
                if let Some(window) = state.windows.iter_mut().find(|window| window.id == event.fault_id && window.end_ns.is_none()) {
                    window.end_ns = Some(event.when.before_ns);
                }
            }
            _ => {}
        }
    }

    pub(super) fn windows(&self) -> Vec<FaultWindow> {
        lock(&self.state).windows.clone()
    }

    pub(super) fn observation(&self, observation: &Observation) {
        let mut state = lock(&self.state);
        match &observation.what {
            Observed::PartitionState { key, leader, leader_epoch, isr, .. } => {
                let seen = state.partitions.entry(*key).or_default();
                seen.replicas = seen.replicas.max(isr.len());
                (seen.key, seen.leader, seen.leader_epoch, seen.isr) = (*key, *leader, *leader_epoch, isr.clone());
            }
            Observed::Controller { broker, .. } => state.controller = *broker,
            _ => {}
        }
    }

    /// Puts a look together. `counts`: none while the finale holds the clients; then nothing new is counted.
    pub(super) fn look(
        &self,
        now_s: f64,
        counts: Option<Counts>,
        point: Option<&Point>,
        in_force: &[InForce],
        name: impl Fn(Key) -> String,
    ) -> Pulse {
        let mut state = lock(&self.state);
        let is_counted = counts.is_some();
        let counts = counts.unwrap_or_else(|| state.before.clone());
        let seconds = (now_s - state.before_s).max(0.001);
        let per_s = |now: u64, before: u64| (now.saturating_sub(before) as f64 / seconds).round() as u64;
        let ms = |ns: Option<u64>| ns.map(|ns| round(ns as f64 / 1e6, 3));
        let point = point.filter(|_| is_counted);
        let partitions = state.partitions.values().map(|seen| PulsePartition { name: name(seen.key), ..seen.clone() });
        let pulse = Pulse {
            time_s: round(now_s, 1),
            phase: state.phase.clone(),
            phase_s: round(now_s - state.phase_since_s, 1),
            phase_limit_s: state.phase_limit_s,
            acked_per_s: per_s(counts.ok, state.before.ok),
            read_per_s: per_s(counts.records_polled, state.before.records_polled),
            ok: counts.ok,
            info: counts.info,
            fail: counts.fail,
            open: counts.outstanding(),
            read: counts.records_polled,
            p50_ms: ms(point.and_then(|point| point.p50_ns)),
            p99_ms: ms(point.and_then(|point| point.p99_ns)),
            max_ms: ms(point.and_then(|point| point.max_ns)),
            faults: in_force.iter().map(|fault| fault_of(fault, now_s, state.due_s.get(&fault.fault_id).copied())).collect(),
            partitions: partitions.collect(),
            controller: state.controller,
        };
        (state.before, state.before_s) = (counts, now_s);
        state.last = pulse.clone();
        pulse
    }

    /// The last look, for whoever asks in between.
    pub(crate) fn last(&self) -> Pulse {
        lock(&self.state).last.clone()
    }
}

fn fault_of(fault: &InForce, now_s: f64, due_s: Option<f64>) -> PulseFault {
    let state = match fault {
        InForce { lapsed: true, .. } => FaultState::Lapsed,
        InForce { healing: true, .. } => FaultState::Mending,
        InForce { since: Some(_), .. } => FaultState::InForce,
        _ => FaultState::Beginning,
    };
    PulseFault {
        id: fault.fault_id,
        nemesis: fault.nemesis.clone(),
        on: fault.chosen.iter().map(|chosen| format!("{} on {}", chosen.daemon, chosen.host)).collect(),
        state,
        held_s: fault.since.map(|since| round((now_s - since.before_ns as f64 / 1e9).max(0.0), 1)),
        left_s: due_s.filter(|_| state == FaultState::InForce).map(|due_s| round((due_s - now_s).max(0.0), 1)),
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use kchaos_core::{Chosen, Interval};

    use super::*;

    fn state(key: Key, leader: Option<i32>, isr: &[i32]) -> Observation {
        let what = Observed::PartitionState { key, leader, leader_epoch: 4, isr: isr.to_vec(), controller_epoch: 1 };
        Observation { when: Interval::at(0), source: "zookeeper".into(), what }
    }

    fn killed(healing: bool) -> InForce {
        let chosen = Chosen { host: "kafka1".into(), daemon: "kafka:1".into(), evidence: String::new(), keys_led: vec![] };
        let since = Some(Interval::at(10_000_000_000));
        InForce { fault_id: 3, nemesis: "kill-leader".into(), chosen: vec![chosen], since, lapsed: false, healing }
    }

    #[test]
    fn rates_are_of_the_time_since_the_last_look_and_a_finale_counts_nothing_new() {
        let vitals = Vitals::default();
        let counts = |ok| Counts { ok, records_polled: 2 * ok, invoked: ok + 5, ..Counts::default() };
        let point = Point { p99_ns: Some(12_345_678), ..Point::default() };
        vitals.look(1.0, Some(counts(100)), Some(&point), &[], |_| String::new());
        let pulse = vitals.look(3.0, Some(counts(300)), Some(&point), &[], |_| String::new());
        assert_eq!((pulse.acked_per_s, pulse.read_per_s, pulse.ok, pulse.open, pulse.p99_ms), (100, 200, 300, 5, Some(12.346)));
        let pulse = vitals.look(4.0, None, Some(&point), &[], |_| String::new());
        assert_eq!((pulse.acked_per_s, pulse.ok, pulse.p99_ms), (0, 300, None));
        assert_eq!(vitals.last(), pulse);
    }

    #[test]
    fn a_fault_counts_down_until_it_is_mended() {
        let vitals = Vitals::default();
        vitals.holds(3, 17.0);
        let pulse = vitals.look(12.5, None, None, &[killed(false)], |_| String::new());
        let fault = &pulse.faults[0];
        assert_eq!((fault.state, fault.held_s, fault.left_s), (FaultState::InForce, Some(2.5), Some(4.5)));
        assert_eq!(fault.on, ["kafka:1 on kafka1"]);
        let pulse = vitals.look(17.5, None, None, &[killed(true)], |_| String::new());
        assert_eq!((pulse.faults[0].state, pulse.faults[0].left_s), (FaultState::Mending, None));
    }

    #[test]
    fn a_partition_is_whole_when_as_many_are_in_sync_as_ever_were() {
        let vitals = Vitals::default();
        vitals.observation(&state(0, Some(1), &[1, 2, 3]));
        vitals.observation(&state(0, Some(2), &[2, 3]));
        vitals.observation(&state(1, None, &[1]));
        let pulse = vitals.look(1.0, None, None, &[], |key| format!("topic-{key}"));
        let seen: Vec<_> = pulse.partitions.iter().map(|one| (one.name.as_str(), one.leader, one.replicas, one.is_whole())).collect();
        assert_eq!(seen, [("topic-0", Some(2), 3, false), ("topic-1", None, 1, false)]);
    }
}
