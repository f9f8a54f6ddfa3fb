//! The search for a legal order of register ops, held against another's tester of linearizability (stateright's) on tiny histories.

use kchaos_checkers::{Judge, JudgeOptions, Profile};
use kchaos_core::{Body, Op, OpType, Process, Value};
use proptest::prelude::*;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

/// A register that may be empty, with compare-and-set.
#[derive(Clone, Debug)]
struct Register(Option<Value>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Read,
    Write(Value),
    Cas(Value, Value),
}

/// What a read returned; whether a write or a compare-and-set took place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Held(Option<Value>),
    Done(bool),
}

impl SequentialSpec for Register {
    type Op = Action;
    type Ret = Answer;

    fn invoke(&mut self, action: &Action) -> Answer {
        match *action {
            Action::Read => Answer::Held(self.0),
            Action::Write(value) => {
                self.0 = Some(value);
                Answer::Done(true)
            }
            Action::Cas(old, new) => {
                let is_equal = self.0 == Some(old);
                self.0 = if is_equal { Some(new) } else { self.0 };
                Answer::Done(is_equal)
            }
        }
    }
}

/// An op of a process: what it does, what a read of it returned, and how it ended.
type Step = (Action, Option<Value>, OpType);

fn step() -> impl Strategy<Value = Step> {
    let value = || 0..3_i64;
    let action = prop_oneof![3 => Just(Action::Read), 3 => value().prop_map(Action::Write), 1 => (value(), value()).prop_map(|(old, new)| Action::Cas(old, new))];
    let end = prop_oneof![8 => Just(OpType::Ok), 1 => Just(OpType::Info), 1 => Just(OpType::Fail)];
    (action, prop_oneof![1 => Just(None), 5 => value().prop_map(Some)], end)
}

fn body(action: Action, held: Option<Value>) -> Body {
    match action {
        Action::Read => Body::Read { key: 0, value: held },
        Action::Write(value) => Body::Write { key: 0, value },
        Action::Cas(old, new) => Body::Cas { key: 0, old, new },
    }
}

/// Both are told the same: each process begins a step when it has nothing open, and ends it otherwise.
fn told(steps: &[Step], turns: &[u32]) -> (Vec<Op>, bool) {
    let (mut ops, mut tester) = (Vec::new(), LinearizabilityTester::new(Register(None)));
    let (mut threads, mut open) = ([0_u32, 1, 2], [None; 3]);
    let mut left: Vec<Step> = steps.iter().rev().copied().collect();
    // At last each process ends what it has open: an op that is to fail has not failed before it has ended.
    let turns = turns.iter().map(|turn| (*turn, true)).chain([0, 1, 2].map(|turn| (turn, false)));
    for (turn, may_begin) in turns {
        let at = turn as usize;
        let mut push = |op_type, action, held| {
            let index = ops.len() as u64;
            ops.push(Op { index, time_ns: index, process: Process::Client(turn), op_type, body: body(action, held), ..Op::default() });
        };
        match open[at].take() {
            None => {
                let Some((action, held, end)) = left.pop().filter(|_| may_begin) else { continue };
                push(OpType::Invoke, action, None);
                // What failed never was.
                if end != OpType::Fail {
                    tester.on_invoke(threads[at], action).unwrap();
                }
                open[at] = Some((action, held, end));
            }
            Some((action, held, end)) => {
                push(end, action, held.filter(|_| end == OpType::Ok));
                let answer = if action == Action::Read { Answer::Held(held) } else { Answer::Done(true) };
                match end {
                    OpType::Ok => drop(tester.on_return(threads[at], answer).unwrap()),
                    // It may take effect at any later time, or never: its thread never returns.
                    OpType::Info => threads[at] += 3,
                    _ => {}
                }
            }
        }
    }
    (ops, tester.is_consistent())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn two_searches_agree(steps in prop::collection::vec(step(), 1..8), turns in prop::collection::vec(0..3_u32, 4..20)) {
        let (ops, is_consistent) = told(&steps, &turns);
        let mut judge = Judge::new(JudgeOptions { profile: Profile::named("linearizable").unwrap(), ..JudgeOptions::default() });
        ops.iter().for_each(|op| judge.update(op));
        let report = judge.finish();
        prop_assert_eq!(!report.anomalies.contains_key("nonlinearizable"), is_consistent, "{:#?}\n{:?}", ops, report.anomalies);
    }
}
