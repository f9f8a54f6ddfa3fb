//! What polls passed over: between two successive records of one poll, offsets that it did not return.
//!
//! Gaps are everywhere (each transaction's marker leaves one), and whether something stood in one that had to be returned is only known at the
//! end. So they are kept until then, or until their part of the log is packed with nothing there ([`crate::pages`]).

use kchaos_core::{Key, Offset, Op, Process, Value};

use crate::log::{Isolation, KeyLog, OpRef};
use crate::undecided::Undecided;

/// Between two offsets.
#[derive(Clone, Copy)]
pub(crate) struct Gap {
    pub(crate) key: Key,
    pub(crate) from: Offset,
    pub(crate) to: Offset,
    pub(crate) op: OpRef,
    pub(crate) process: u32,
    pub(crate) isolation: Isolation,
}

#[derive(Default)]
pub(crate) struct Gaps {
    gaps: Undecided<Gap>,
    /// The op that was taken in last returned records that do not rise.
    pub(crate) goes_back: bool,
}

const LOOKED_AT_MIN: usize = 16_384;

impl Gaps {
    /// Keys in the op's own rebalance log are exempt.
    pub(crate) fn polled(&mut self, op: &Op, key: Key, records: &[(Offset, Value)], isolation: Isolation, log: Option<&KeyLog>) {
        let Process::Client(process) = op.process else { return };
        let mut is_dense = true;
        for two in records.windows(2) {
            is_dense &= two[0].0.wrapping_add(1) == two[1].0 && two[0].0 != Offset::MAX;
        }
        if is_dense {
            return;
        }
        let is_exempt = !op.extra.rebalance_log.is_empty() && op.extra.rebalance_log.iter().any(|event| event.keys.contains(&key));
        for two in records.windows(2) {
            let (from, to) = (two[0].0, two[1].0);
            if from.checked_add(1) == Some(to) {
                continue;
            }
            if to <= from || from < 0 {
                self.goes_back = true;
            } else if !is_exempt && log.is_none_or(|log| !log.is_closed_between(from, to)) {
                self.gaps.push(Gap { key, from, to, op: OpRef::new(op.index), process, isolation });
            }
        }
    }

    /// Whether it is time for [`Gaps::forget`].
    #[inline]
    pub(crate) fn are_many(&self) -> bool {
        self.gaps.are_many(LOOKED_AT_MIN)
    }

    pub(crate) fn forget(&mut self, is_closed: impl Fn(&Gap) -> bool) {
        self.gaps.forget(is_closed);
    }

    /// In the order of ops.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Gap> {
        self.gaps.as_slice().iter()
    }
}
