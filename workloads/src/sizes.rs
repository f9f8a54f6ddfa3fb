//! How long sends took by the size of what they sent. (The history knows values, not bytes.)

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;
use kchaos_core::OpType;

use crate::lanes::OpenSend;

/// Classes by the greatest size in them; the last takes what is larger still.
const UP_TO_BYTES: &[u64] = &[1 << 10, 10 << 10, 100 << 10, 1 << 20, 10 << 20, 100 << 20];
const LATENCY_MIN_NS: u64 = 1_000;
const LATENCY_MAX_NS: u64 = 600_000_000_000;

/// Sends of one class of sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeClass {
    /// A value of this class has at most so many bytes.
    pub up_to_bytes: u64,
    /// Of those that were acknowledged, from the intended start, in nanoseconds.
    pub latency: Histogram<u64>,
    pub ok: u64,
    pub fail: u64,
    pub info: u64,
}

/// The classes of a run.
pub(crate) struct Sizes {
    classes: Mutex<Vec<SizeClass>>,
    /// Sends over their topic's limit: refused, and taken all the same.
    refused: AtomicU64,
    taken: AtomicU64,
}

impl Default for Sizes {
    fn default() -> Self {
        let class = |up_to_bytes: &u64| {
            let latency = Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, 3).expect("the bounds are constants that HDR accepts");
            SizeClass { up_to_bytes: *up_to_bytes, latency, ok: 0, fail: 0, info: 0 }
        };
        let classes = Mutex::new(UP_TO_BYTES.iter().map(class).collect());
        Self { classes, refused: AtomicU64::new(0), taken: AtomicU64::new(0) }
    }
}

impl Sizes {
    pub(crate) fn completed(&self, send: &OpenSend, op_type: OpType, now_ns: u64) {
        match op_type {
            OpType::Ok if send.is_oversize => self.taken.fetch_add(1, Relaxed),
            OpType::Fail if send.is_oversize => self.refused.fetch_add(1, Relaxed),
            _ => 0,
        };
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        let last = classes.len() - 1;
        let place = classes.iter().position(|class| send.value_bytes as u64 <= class.up_to_bytes).unwrap_or(last);
        let class = &mut classes[place];
        match op_type {
            OpType::Ok => {
                class.ok += 1;
                class.latency.saturating_record(now_ns.saturating_sub(send.intended_ns));
            }
            OpType::Fail => class.fail += 1,
            OpType::Info => class.info += 1,
            OpType::Invoke => {}
        }
    }

    /// Of sends over their topic's limit, those that were refused and those that were taken.
    pub(crate) fn oversize(&self) -> (u64, u64) {
        (self.refused.load(Relaxed), self.taken.load(Relaxed))
    }

    /// Those in which anything was sent.
    pub(crate) fn snapshot(&self) -> Vec<SizeClass> {
        let classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        classes.iter().filter(|class| class.ok + class.fail + class.info > 0).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_counts_in_the_class_of_its_size() {
        let sizes = Sizes::default();
        for (value_bytes, op_type) in [(100, OpType::Ok), (1 << 10, OpType::Ok), ((1 << 10) + 1, OpType::Fail), (1 << 30, OpType::Info)] {
            let send = OpenSend { process: 0, key: 0, value: 1, intended_ns: 1_000, sent_ns: 1_000, value_bytes, is_oversize: false };
            sizes.completed(&send, op_type, 5_001_000);
        }
        let seen: Vec<_> = sizes.snapshot().iter().map(|class| (class.up_to_bytes, class.ok, class.fail, class.info)).collect();
        assert_eq!(seen, [(1 << 10, 2, 0, 0), (10 << 10, 0, 1, 0), (100 << 20, 0, 0, 1)]);
        assert!(sizes.snapshot()[0].latency.max() >= 5_000_000);
    }
}
