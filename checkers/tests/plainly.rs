//! Polls that are taken in by the short way say what they say by the long one: also before and after those that are not plain.

use kchaos_checkers::{CheckReport, FinalRead, Judge, JudgeOptions};
use kchaos_core::{Body, Op, OpType, Polled, Process, RebalanceEvent, RebalanceType, Send};
use proptest::prelude::*;

/// What a reader does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send {
        key: usize,
        acknowledged: bool,
    },
    /// Reads on by `count` records of one key, after a jump of so many offsets.
    Poll {
        reader: usize,
        key: usize,
        jump: i64,
        count: usize,
    },
    /// Reads on in both keys, or in one of them twice.
    PollBoth {
        reader: usize,
        twice: bool,
    },
    /// A poll that comes to nothing, and may have read.
    Failed {
        reader: usize,
        key: usize,
    },
    /// Another value than the log's.
    Wrong {
        reader: usize,
        key: usize,
    },
    Place {
        reader: usize,
        how: usize,
    },
    Rebalanced {
        reader: usize,
        key: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (reader, key) = (|| 0..2_usize, || 0..2_usize);
    let jump = prop_oneof![12 => Just(0_i64), 1 => -3..4_i64];
    let step = prop_oneof![
        30 => (key(), prop::bool::weighted(0.9)).prop_map(|(key, acknowledged)| Step::Send { key, acknowledged }),
        20 => (reader(), key(), jump, 1..6_usize).prop_map(|(reader, key, jump, count)| Step::Poll { reader, key, jump, count }),
        6 => (reader(), prop::bool::weighted(0.1)).prop_map(|(reader, twice)| Step::PollBoth { reader, twice }),
        1 => (reader(), key()).prop_map(|(reader, key)| Step::Failed { reader, key }),
        1 => (reader(), key()).prop_map(|(reader, key)| Step::Wrong { reader, key }),
        1 => (reader(), 0..5_usize).prop_map(|(reader, how)| Step::Place { reader, how }),
        1 => (reader(), key()).prop_map(|(reader, key)| Step::Rebalanced { reader, key }),
    ];
    prop::collection::vec(step, 1..600)
}

#[derive(Default)]
struct History {
    ops: Vec<Op>,
    logs: [Vec<i64>; 2],
    at: [[i64; 2]; 2],
}

impl History {
    fn op(&mut self, process: u32, op_type: OpType, body: Body) -> &mut Op {
        let index = self.ops.len() as u64;
        self.ops.push(Op { index, time_ns: index * 1000, process: Process::Client(process), op_type, body, ..Op::default() });
        self.ops.last_mut().unwrap()
    }

    fn records(&mut self, reader: usize, key: usize, count: usize) -> Vec<(i64, i64)> {
        let from = self.at[reader][key].max(0);
        let end = (from + count as i64).min(self.logs[key].len() as i64);
        self.at[reader][key] = end.max(from);
        (from..end).map(|offset| (offset, self.logs[key][offset as usize])).collect()
    }

    fn poll(&mut self, reader: usize, op_type: OpType, polled: Vec<(i64, Vec<(i64, i64)>)>) -> &mut Op {
        self.op(reader as u32, OpType::Invoke, Body::Poll(None));
        self.op(reader as u32, op_type, Body::Poll(Some(Polled(polled))))
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Send { key, acknowledged } => {
                let (value, offset) = (self.ops.len() as i64, self.logs[key].len() as i64);
                let send = |offset| Body::Send(vec![Send { key: key as i64, value, offset }]);
                self.op(10, OpType::Invoke, send(None));
                let op_type = if acknowledged { OpType::Ok } else { OpType::Info };
                self.op(10, op_type, send(Some(offset).filter(|_| acknowledged)));
                self.logs[key].push(value);
            }
            Step::Poll { reader, key, jump, count } => {
                self.at[reader][key] += jump;
                let records = self.records(reader, key, count);
                self.poll(reader, OpType::Ok, vec![(key as i64, records)]);
            }
            Step::PollBoth { reader, twice } => {
                let first = self.records(reader, 0, 4);
                let second = if twice { (0, first.clone()) } else { (1, self.records(reader, 1, 4)) };
                self.poll(reader, OpType::Ok, vec![(0, first), second]);
            }
            Step::Failed { reader, key } => {
                let records = self.records(reader, key, 2);
                self.poll(reader, OpType::Fail, vec![(key as i64, records)]);
            }
            Step::Wrong { reader, key } => {
                let mut records = self.records(reader, key, 2);
                records.last_mut().into_iter().for_each(|(_, value)| *value -= 2);
                self.poll(reader, OpType::Ok, vec![(key as i64, records)]);
            }
            Step::Place { reader, how } => {
                let (keys, seek_to_beginning) = (vec![0, 1], how == 0);
                let body = match how {
                    0 | 1 => Body::Assign { keys, seek_to_beginning },
                    2 => Body::Assign { keys: vec![0], seek_to_beginning },
                    3 => Body::Subscribe { keys },
                    _ => Body::Crash,
                };
                let end = if how > 3 { OpType::Info } else { OpType::Ok };
                self.op(reader as u32, OpType::Invoke, body.clone());
                self.op(reader as u32, end, body);
                if seek_to_beginning {
                    self.at[reader] = [0, 0];
                }
            }
            Step::Rebalanced { reader, key } => {
                let records = self.records(reader, key, 3);
                let op = self.poll(reader, OpType::Ok, vec![(key as i64, records)]);
                op.extra.rebalance_log = vec![RebalanceEvent { event: RebalanceType::Assigned, keys: vec![key as i64] }];
            }
        }
    }
}

fn judged(ops: &[Op]) -> CheckReport {
    let tell = |judge: &mut Judge| ops.iter().for_each(|op| judge.update(op));
    let mut judge = Judge::new(JudgeOptions { final_read: FinalRead::Complete, ..JudgeOptions::default() });
    tell(&mut judge);
    judge.finish_reading_again(|judge| {
        tell(judge);
        Ok::<(), String>(())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// An epoch beside a poll changes nothing in a history whose sends tell none, but that the poll is not plain.
    #[test]
    fn the_short_way_and_the_long_one_say_the_same(steps in steps()) {
        let mut history = History::default();
        steps.into_iter().for_each(|step| history.take(step));
        let plain = judged(&history.ops);
        for op in history.ops.iter_mut().filter(|op| op.op_type == OpType::Ok && matches!(op.body, Body::Poll(_))) {
            op.extra.leader_epochs.insert(0, 0);
        }
        let long = judged(&history.ops);
        prop_assert_eq!(serde_json::to_string_pretty(&plain).unwrap(), serde_json::to_string_pretty(&long).unwrap());
    }
}

#[test]
fn a_poll_with_the_greatest_index_or_up_to_the_greatest_offset_goes_on_like_any() {
    let poll = |index, first: i64| {
        let records = (0..2).map(|at| (first.wrapping_add(at), 7 + at)).collect();
        let (process, body) = (Process::Client(0), Body::Poll(Some(Polled(vec![(0, records)]))));
        Op { index, process, op_type: OpType::Ok, body, ..Op::default() }
    };
    for (first, before) in [(2, 0), (i64::MAX - 1, i64::MAX - 3), (i64::MAX, i64::MAX - 2)] {
        let ops = [poll(0, before), poll(u64::MAX, first), poll(u64::MAX, first)];
        let plain = judged(&ops);
        let long = judged(&ops.map(|mut op| {
            op.extra.leader_epochs.insert(0, 0);
            op
        }));
        assert_eq!(serde_json::to_string_pretty(&plain).unwrap(), serde_json::to_string_pretty(&long).unwrap());
    }
}
