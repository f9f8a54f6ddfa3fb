//! A search for a legal order of one register's ops, in the manner of Wing, Gong and Lowe: just in time.
//!
//! Events are taken in the order of the file. Kept is every configuration (value held, which of the pending ops have taken effect) that
//! explains the answers so far; when an op ends, each configuration in which it has not taken effect yet is extended by pending ops until it
//! has. None left: there is no legal order. What is pending has one of 128 bits, so a configuration needs no memory of its own, and equal
//! ones are kept once. A pending read that matches takes effect at once, which can never hurt.
//!
//! Exponential only in what is pending at one time; ops of unknown outcome are pending for good. Out of budget or of bits: exhausted.

use std::collections::{BTreeSet, HashSet};

use kchaos_core::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Read(Option<Value>),
    Write(Value),
    Cas(Value, Value),
}

impl Action {
    /// What the register holds after it, if that tells.
    pub(crate) fn leaves(self) -> Option<Value> {
        match self {
            Action::Read(value) => value,
            Action::Write(value) | Action::Cas(_, value) => Some(value),
        }
    }

    pub(crate) fn written(self) -> Option<Value> {
        match self {
            Action::Read(_) => None,
            Action::Write(value) | Action::Cas(_, value) => Some(value),
        }
    }

    pub(crate) fn values(self) -> Vec<Value> {
        match self {
            Action::Cas(old, new) => vec![old, new],
            other => other.leaves().into_iter().collect(),
        }
    }

    /// Whether a completion can be this invocation's: a read is asked without its value.
    pub(crate) fn is_same(self, completion: Action) -> bool {
        match (self, completion) {
            (Action::Read(_), Action::Read(_)) => true,
            (asked, told) => asked == told,
        }
    }

    pub(crate) fn told(self) -> String {
        match self {
            Action::Read(None) => "a read of nothing".to_owned(),
            Action::Read(Some(value)) => format!("a read of {value}"),
            Action::Write(value) => format!("a write of {value}"),
            Action::Cas(old, new) => format!("a compare-and-set of {old} to {new}"),
        }
    }

    fn apply(self, held: Option<Value>) -> Option<Option<Value>> {
        match self {
            Action::Read(value) => (value == held).then_some(held),
            Action::Write(value) => Some(Some(value)),
            Action::Cas(old, new) => (held == Some(old)).then_some(Some(new)),
        }
    }
}

/// An op that took effect, or may have. `at` is the caller's own number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) at: usize,
    pub(crate) action: Action,
    pub(crate) begun: u64,
    /// `u64::MAX`: nobody knows whether or when.
    pub(crate) ended: u64,
}

pub(crate) enum Found {
    Order,
    /// The op that no configuration has room for, the ops since the register was last at rest that are needed to show it, and what it could
    /// hold before.
    Violation {
        window: Vec<usize>,
        at: usize,
        states: Vec<Option<Value>>,
    },
    Exhausted,
}

const BITS: usize = 128;
/// Larger windows are shown as they are.
const MAX_SHRUNK: usize = 64;

type Configuration = (Option<Value>, u128);

struct Search<'a> {
    steps: &'a [Step],
    pending: [Option<usize>; BITS],
    configurations: HashSet<Configuration>,
}

enum Ran {
    ToTheEnd,
    /// At this step, from these values.
    Failed(usize, BTreeSet<Option<Value>>),
    Exhausted,
}

pub(crate) fn search(steps: &[Step], budget: &mut u64) -> Found {
    let events = events(steps);
    let mut rest = (0, BTreeSet::from([None]));
    let mut search = Search::new(steps, &rest.1);
    match search.run(&events, budget, |at, search| rest = (at, search.states())) {
        Ran::ToTheEnd => Found::Order,
        Ran::Exhausted => Found::Exhausted,
        Ran::Failed(step, states) => {
            let end = events.iter().position(|event| *event == (steps[step].ended, true, step)).map_or(events.len(), |at| at + 1);
            let window = shrink(steps, &events[rest.0..end], &rest.1, step, budget);
            Found::Violation {
                window: window.iter().map(|step| steps[*step].at).collect(),
                at: steps[step].at,
                states: states.into_iter().collect(),
            }
        }
    }
}

/// (when, whether it is an end, which), in order. An op that is an instant begins before it ends.
fn events(steps: &[Step]) -> Vec<(u64, bool, usize)> {
    let begins = steps.iter().enumerate().map(|(at, step)| (step.begun, false, at));
    let ends = steps.iter().enumerate().filter(|(_, step)| step.ended != u64::MAX).map(|(at, step)| (step.ended, true, at));
    let mut events: Vec<_> = begins.chain(ends).collect();
    events.sort_unstable();
    events
}

/// Leaves out reads that are not needed: what still has no order without them had none with them.
fn shrink(steps: &[Step], events: &[(u64, bool, usize)], states: &BTreeSet<Option<Value>>, failed: usize, budget: &mut u64) -> Vec<usize> {
    let mut window: Vec<usize> = events.iter().filter(|(_, ends, _)| !ends).map(|(_, _, at)| *at).collect();
    if window.len() > MAX_SHRUNK {
        return window.into_iter().filter(|at| steps[*at].ended >= steps[failed].begun).collect();
    }
    let candidates: Vec<usize> =
        window.iter().copied().filter(|at| *at != failed && matches!(steps[*at].action, Action::Read(_))).collect();
    for candidate in candidates {
        let kept: Vec<_> = events.iter().copied().filter(|(_, _, at)| *at != candidate && window.contains(at)).collect();
        if matches!(Search::new(steps, states).run(&kept, budget, |_, _| {}), Ran::Failed(at, _) if at == failed) {
            window.retain(|at| *at != candidate);
        }
    }
    window
}

impl<'a> Search<'a> {
    fn new(steps: &'a [Step], states: &BTreeSet<Option<Value>>) -> Self {
        Self { steps, pending: [None; BITS], configurations: states.iter().map(|held| (*held, 0)).collect() }
    }

    fn states(&self) -> BTreeSet<Option<Value>> {
        self.configurations.iter().map(|(held, _)| *held).collect()
    }

    /// `at_rest` is told whenever nothing is pending, with the number of events taken.
    fn run(&mut self, events: &[(u64, bool, usize)], budget: &mut u64, mut at_rest: impl FnMut(usize, &Self)) -> Ran {
        for (taken, (_, ends, step)) in (1..).zip(events) {
            if !ends {
                let Some(bit) = self.pending.iter().position(Option::is_none) else { return Ran::Exhausted };
                self.pending[bit] = Some(*step);
                continue;
            }
            let Some(bit) = self.pending.iter().position(|pending| *pending == Some(*step)) else { continue };
            let before = self.states();
            if !self.end(bit, budget) {
                return Ran::Exhausted;
            }
            if self.configurations.is_empty() {
                return Ran::Failed(*step, before);
            }
            self.pending[bit] = None;
            if self.pending.iter().all(Option::is_none) {
                at_rest(taken, self);
            }
        }
        Ran::ToTheEnd
    }

    /// Keeps the configurations in which the op of this bit has taken effect; `false` if the budget ends first.
    fn end(&mut self, bit: usize, budget: &mut u64) -> bool {
        let mark = 1_u128 << bit;
        let mut waiting: Vec<Configuration> = self.configurations.drain().collect();
        let mut seen: HashSet<Configuration> = waiting.iter().copied().collect();
        while let Some((held, done)) = waiting.pop() {
            if done & mark != 0 {
                self.configurations.insert((held, done & !mark));
                continue;
            }
            for (other, pending) in self.pending.iter().enumerate() {
                let Some(step) = pending.filter(|_| done & (1 << other) == 0) else { continue };
                let Some(budget_left) = budget.checked_sub(1) else { return false };
                *budget = budget_left;
                let Some(held) = self.steps[step].action.apply(held) else { continue };
                let next = (held, self.read_along(held, done | 1 << other));
                if seen.insert(next) {
                    waiting.push(next);
                }
            }
        }
        true
    }

    /// Pending reads that match take effect at once.
    fn read_along(&self, held: Option<Value>, done: u128) -> u128 {
        let reads = self.pending.iter().enumerate().filter_map(|(bit, step)| step.map(|step| (bit, self.steps[step].action)));
        reads.filter(|(_, action)| *action == Action::Read(held)).fold(done, |done, (bit, _)| done | 1 << bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Kind, value read or compared with, value written, begin, length, whether its outcome is unknown (0).
    type Drawn = (u8, Option<i64>, i64, u64, u64, u8);

    /// By trying every order.
    fn has_order(left: &[Step], held: Option<Value>) -> bool {
        let may_be_next = |step: &&Step| left.iter().all(|other| other.ended >= step.begun);
        left.iter().all(|step| step.ended == u64::MAX)
            || left.iter().filter(may_be_next).any(|next| {
                let rest: Vec<Step> = left.iter().filter(|step| step.at != next.at).copied().collect();
                next.action.apply(held).is_some_and(|held| has_order(&rest, held))
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

        #[test]
        fn it_finds_an_order_exactly_if_there_is_one(
            ops in prop::collection::vec((0..3_u8, proptest::option::of(0..3_i64), 0..3_i64, 0..20_u64, 1..8_u64, 0..6_u8), 0..6),
        ) {
            let step = |(at, (kind, read, value, begun, length, unknown)): (usize, Drawn)| {
                let action = match kind {
                    0 => Action::Read(read),
                    1 => Action::Write(value),
                    _ => Action::Cas(read.unwrap_or(0), value),
                };
                let unknown = unknown == 0 && kind != 0;
                // No two events at one time, as in a history.
                let at_time = |time: u64| time * 100 + at as u64;
                Step { at, action, begun: at_time(begun), ended: if unknown { u64::MAX } else { at_time(begun + length) } }
            };
            let steps: Vec<Step> = ops.into_iter().enumerate().map(step).collect();
            match search(&steps, &mut 1_000_000) {
                Found::Order => prop_assert!(has_order(&steps, None)),
                Found::Violation { window, at, .. } => {
                    prop_assert!(!has_order(&steps, None));
                    prop_assert!(window.contains(&at));
                }
                Found::Exhausted => prop_assert!(false, "exhausted"),
            }
        }
    }
}
