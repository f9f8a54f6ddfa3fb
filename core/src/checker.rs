//! Judgement, as a fold over a history.

use crate::{Op, Verdict};

/// One promise, watched.
///
/// The same object judges online (while the run goes on) and offline (`kchaos check`): `update` sees every op once, in file order;
/// `finish` says what was found. A checker is total: no input makes it panic, and what it cannot know it calls unknown.
pub trait Checker: Send {
    fn update(&mut self, op: &Op);
    fn finish(self: Box<Self>) -> Verdict;
}
