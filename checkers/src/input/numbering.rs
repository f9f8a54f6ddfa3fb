//! What carries over from op to op: indices, times, and a line that is forgiven only if it is the last.

use kchaos_core::OpError;

use super::Lines;

#[derive(Default)]
pub(super) struct Numbering {
    ops: u64,
    last_index: Option<u64>,
    last_time_ns: u64,
    /// The first index that is not the op's place in the file, and that place.
    gap: Option<(u64, u64)>,
    without_index: u64,
    without_time: u64,
    /// A line that is forgiven only if no other follows.
    pub(super) doubt: Option<Doubt>,
}

pub(super) struct Doubt {
    pub(super) line: u64,
    pub(super) error: OpError,
    pub(super) blank: bool,
}

impl Numbering {
    /// The index of the next op, its place in the file, and its time. `column` is the index's.
    #[inline]
    pub(super) fn number(&mut self, index: Option<u64>, time_ns: Option<u64>, column: impl Fn() -> usize) -> Result<(u64, u64), OpError> {
        if let Some(index) = index {
            if let Some(last) = self.last_index.filter(|last| index <= *last) {
                let how = if index == last { "a duplicate" } else { "a decreasing" };
                return Err(OpError { column: column(), message: format!("{how} index: {index} after {last}") });
            }
            self.last_index = Some(index);
            if index != self.ops && self.gap.is_none() {
                self.gap = Some((index, self.ops));
            }
        } else {
            self.without_index += 1;
        }
        let place = self.ops;
        self.without_time += u64::from(time_ns.is_none());
        self.last_time_ns = time_ns.unwrap_or(self.last_time_ns);
        self.ops += 1;
        Ok((place, self.last_time_ns))
    }

    /// `cut` says why the end is missing, if the input itself ended too early.
    pub(super) fn lines(self, cut: Option<String>) -> Lines {
        let mut notes = Vec::new();
        if let Some((index, place)) = self.gap {
            notes.push(format!("ops are renumbered from 0: the indices have gaps, the first at {index}, which is op {place} here"));
        }
        if self.without_index > 0 {
            notes.push(format!("{} ops have no index: they are numbered by their place in the file", self.without_index));
        }
        if self.without_time > 0 {
            notes.push(format!("{} ops have no time: each is given that of the op before it", self.without_time));
        }
        let dropped = self.doubt.filter(|doubt| !doubt.blank).map(|Doubt { line, error, .. }| {
            format!("the last line ({line}) is not an op and was dropped: column {}: {}", error.column, error.message)
        });
        Lines { ops: self.ops, truncated: dropped.or(cut), notes }
    }
}
