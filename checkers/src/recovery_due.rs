//! How long writes took by the phase of the recovery in which they were due.
//!
//! Why: the quantiles of the whole trouble hide in which part of an outage clients waited. A write to a partition whose leader a fault took is due
//! in its detection, election, propagation or client phase ([`crate::recovery::Phase`]), and its latency counts from there to its ack.
//!
//! The phases are known at the end, the writes go by before: so they wait in cells of 10 ms of when they were due and a hundredth of a decade of how
//! long they took, from when the fault was asked for until the first ack after the election. Memory is bounded by the length of outages, and at
//! [`CELLS_MAX`]; writes beyond that are counted. A boundary lies in the middle of the interval in which it was seen.
//!
//! Limits: of a fault that leads to no election within a minute there are no phases, and nothing is kept. Unknown and failed writes have no latency.
//! Where a deposed leader goes on acknowledging (acks=1), its first ack after the election ends what is kept: writes due after it are in no phase.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;
use kchaos_core::{Interval, Key};

use crate::latency::{Distribution, latency_histogram};
use crate::recovery::{FaultRecovery, Found, KeyRecovery, Moment, Phase};

const CELL_NS: u64 = 10_000_000;
const BUCKETS_PER_DECADE: f64 = 100.0;
/// Of all faults and partitions.
const CELLS_MAX: usize = 400_000;
/// An election that takes longer is no part of this.
const WINDOW_MAX_NS: u64 = 60_000_000_000;

#[derive(Default)]
pub(crate) struct Due {
    keys: HashMap<Key, KeyDue>,
    cells: usize,
    omitted: u64,
}

#[derive(Default)]
struct KeyDue {
    leader_epoch: Option<i32>,
    elections: Vec<Interval>,
    /// By fault, in the order in which they were asked for.
    windows: Vec<Window>,
}

struct Window {
    fault_id: u32,
    from_ns: u64,
    /// The first ack after the election: what is due later is not of this recovery.
    acked_ns: Option<u64>,
    /// When due, and how long it took: how many.
    cells: HashMap<(u32, u16), u32>,
}

impl Due {
    /// A fault that takes the leaders of these partitions was asked for.
    pub(crate) fn asked(&mut self, fault_id: u32, from_ns: u64, keys: impl Iterator<Item = Key>) {
        for key in keys {
            let windows = &mut self.keys.entry(key).or_default().windows;
            if windows.iter().all(|window| window.fault_id != fault_id) {
                windows.push(Window { fault_id, from_ns, acked_ns: None, cells: HashMap::new() });
            }
        }
    }

    /// A partition was seen to be led, under this epoch.
    pub(crate) fn led(&mut self, key: Key, when: Interval, leader_epoch: i32) {
        let of = self.keys.entry(key).or_default();
        if of.leader_epoch.is_some_and(|before| leader_epoch > before) {
            of.elections.push(when);
        }
        of.leader_epoch = of.leader_epoch.max(Some(leader_epoch));
    }

    pub(crate) fn acked(&mut self, key: Key, start_ns: u64, acked_ns: u64) {
        let Some(of) = self.keys.get_mut(&key) else { return };
        let Some(window) = of.windows.iter_mut().rev().find(|window| window.from_ns <= start_ns) else { return };
        if window.acked_ns.is_none() {
            let election = of.elections.iter().find(|when| when.before_ns > window.from_ns);
            if election.is_some_and(|when| when.before_ns <= acked_ns) {
                window.acked_ns = Some(acked_ns);
            } else if acked_ns.saturating_sub(window.from_ns) > WINDOW_MAX_NS {
                // It is no election that this partition went through.
                self.cells -= window.cells.len();
                window.cells = HashMap::new();
                window.acked_ns = Some(window.from_ns);
            }
        }
        if window.acked_ns.is_some_and(|acked_ns| start_ns >= acked_ns) {
            return;
        }
        let took_ns = acked_ns.saturating_sub(start_ns).max(1);
        let bucket = ((took_ns as f64).log10() * BUCKETS_PER_DECADE).ceil() as u16;
        let cell = (((start_ns - window.from_ns) / CELL_NS) as u32, bucket);
        if let Some(count) = window.cells.get_mut(&cell) {
            *count += 1;
        } else if self.cells < CELLS_MAX {
            window.cells.insert(cell, 1);
            self.cells += 1;
        } else {
            self.omitted += 1;
        }
    }

    /// By phase, over all faults that were proved in force, and how many writes had no room.
    pub(crate) fn finish(self, faults: &[FaultRecovery]) -> (BTreeMap<Phase, Distribution>, u64) {
        let mut histograms: BTreeMap<Phase, Histogram<u64>> = BTreeMap::new();
        for fault in faults.iter().filter(|fault| fault.proved) {
            for key in &fault.keys {
                let windows = self.keys.get(&key.key).map_or(&[][..], |of| of.windows.as_slice());
                let Some(window) = windows.iter().find(|window| window.fault_id == fault.fault_id) else { continue };
                let boundaries = boundaries(key, &fault.session_gone);
                for ((at, bucket), count) in &window.cells {
                    let due_ns = window.from_ns + u64::from(*at) * CELL_NS + CELL_NS / 2;
                    if let Some(phase) = phase_at(key, &boundaries, due_ns) {
                        let took_ns = 10f64.powf(f64::from(*bucket) / BUCKETS_PER_DECADE) as u64;
                        // All values lie within the bounds, or are taken for their ends.
                        histograms.entry(phase).or_insert_with(latency_histogram).saturating_record_n(took_ns, u64::from(*count));
                    }
                }
            }
        }
        (histograms.into_iter().map(|(phase, histogram)| (phase, Distribution::of(&histogram))).collect(), self.omitted)
    }
}

/// Where each phase ends, as far as it was seen.
fn boundaries(key: &KeyRecovery, session_gone: &Moment) -> Vec<(Phase, u64)> {
    let is_orderly = matches!(key.phases.get(&Phase::Detection), Some(Found::NotApplicable { .. }));
    let ends = [
        (Phase::Detection, (!is_orderly).then_some(session_gone)),
        (Phase::Election, Some(&key.elected)),
        (Phase::Propagation, Some(&key.metadata_first)),
        (Phase::Client, Some(&key.acked)),
    ];
    ends.into_iter().filter_map(|(phase, moment)| Some((phase, moment?.seen()?.middle_ns()))).collect()
}

fn phase_at(key: &KeyRecovery, boundaries: &[(Phase, u64)], due_ns: u64) -> Option<Phase> {
    // Without an election there is none of the phases.
    key.elected.seen()?;
    if due_ns < key.start.seen()?.middle_ns() {
        return None;
    }
    boundaries.iter().find(|(_, end_ns)| due_ns < *end_ns).map(|(phase, _)| *phase)
}
