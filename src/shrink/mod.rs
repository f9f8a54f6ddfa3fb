//! The smallest plan that still fails (docs/shrink.md).
//!
//! Why: a run that drew twelve faults of twelve and lost a write says that something is wrong, and not what. [`original`] reads the run that failed and
//! refuses what cannot be done again, [`candidate`] is what can be made smaller of it, [`reduce`] decides which candidate comes next and which is kept
//! (knowing nothing of clusters), [`judge`] holds what a try found against what the run had found, [`life`] carries tries out as runs of this very
//! executable and writes down what came of them, [`rehearsal`] says which there would be.

mod candidate;
mod judge;
mod life;
mod original;
mod reduce;
mod rehearsal;
mod words;

pub(crate) use life::live;
pub(crate) use original::Original;
pub(crate) use rehearsal::rehearse;
