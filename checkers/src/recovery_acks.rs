//! The few acks and reads that matter for recovery, found while all others pass by.
//!
//! Two questions are asked of the acks of a partition: which was the first after an election, and which was the first of a send that was
//! invoked after a fault was in effect. Both are known before their answers (offline, where faults and observations are fed first) or a
//! moment after (online, where an election is heard of when it has happened). So each partition keeps its acks and reads of the last
//! seconds, and every open question is answered by the first ack that fits. Memory does not grow with the run.

use std::collections::{HashMap, VecDeque};

use kchaos_core::{Interval, Key, Offset};

use crate::recovery_brief::Brief;
use crate::recovery_windows::{Attempt, is_ack};

/// How late an election may be heard of. A poll of ZooKeeper or of a broker takes a second or two at worst.
const HEARD_LATE_NS: u64 = 10_000_000_000;
/// And no more of them than this for one partition.
const RECENT_MAX: usize = 100_000;
/// Elections of one partition whose first ack may be waiting to be read.
const UNREAD_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) op: u64,
    pub(crate) invoked_ns: u64,
    pub(crate) acked_ns: u64,
    pub(crate) offset: Option<Offset>,
    /// The broker that acknowledged it, if the client knows.
    pub(crate) broker: Option<i32>,
}

/// What came first after one election, or after one fault that led to none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct First {
    /// The first ack that the new leader may have sent.
    pub(crate) possible: Option<Ack>,
    /// The first that nobody else can have sent.
    pub(crate) certain: Option<Ack>,
    /// The first from there on that carried an offset.
    pub(crate) with_offset: Option<Ack>,
    /// When a poll first reached that offset.
    pub(crate) read_ns: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Acks {
    keys: HashMap<Key, KeyAcks>,
    /// Faults in effect: id and interval, by its upper end.
    faults: Vec<(u32, Interval)>,
}

#[derive(Default)]
struct KeyAcks {
    recent: VecDeque<Ack>,
    /// When a poll first reached an offset; both grow.
    reads: VecDeque<(u64, Offset)>,
    /// Questions, by the lower end of their intervals.
    elections: Vec<Question>,
    faults: Vec<Question>,
}

struct Question {
    when: Interval,
    /// The leader before this election, whose late acks (with acks=1, a deposed leader's) are not the new one's.
    not_from: Option<i32>,
    first: First,
}

impl Acks {
    /// The state of a partition that has a leader changed: perhaps an election, which is judged at the end.
    pub(crate) fn elected(&mut self, key: Key, when: Interval, not_from: Option<i32>) {
        let acks = self.key(key);
        if acks.elections.iter().any(|question| question.when == when) {
            return;
        }
        let mut question = Question { when, not_from, first: First::default() };
        acks.recent.iter().for_each(|ack| question.acked_after_election(ack));
        acks.reads.iter().for_each(|(time_ns, offset)| question.read(*time_ns, *offset));
        insert_by_lower_end(&mut acks.elections, question);
    }

    /// A fault came into effect.
    pub(crate) fn in_effect(&mut self, fault_id: u32, when: Interval) {
        if self.faults.iter().any(|(id, _)| *id == fault_id) {
            return;
        }
        self.faults.push((fault_id, when));
        for acks in self.keys.values_mut() {
            let mut question = Question { when, not_from: None, first: First::default() };
            acks.recent.iter().for_each(|ack| question.acked_after_invocation(ack));
            acks.reads.iter().for_each(|(time_ns, offset)| question.read(*time_ns, *offset));
            insert_by_lower_end(&mut acks.faults, question);
        }
    }

    /// Follows one op. `attempt` is given for a write's completion.
    pub(crate) fn brief(&mut self, brief: &Brief, attempt: Option<Attempt>) {
        for (key, offset) in brief.read() {
            self.key(*key).read(brief.time_ns, *offset);
        }
        let Some(wrote) = brief.wrote() else { return };
        wrote.keys.each(|key, offset| {
            if is_ack(brief.op_type, offset) {
                let invoked_ns = attempt.map_or(0, |attempt| attempt.invoked_ns);
                let ack = Ack { op: brief.index, invoked_ns, acked_ns: brief.time_ns, offset, broker: wrote.broker };
                self.key(key).acked(ack);
            }
        });
    }

    fn key(&mut self, key: Key) -> &mut KeyAcks {
        let faults = &self.faults;
        self.keys.entry(key).or_insert_with(|| {
            let mut acks = KeyAcks::default();
            for (_, when) in faults {
                insert_by_lower_end(&mut acks.faults, Question { when: *when, not_from: None, first: First::default() });
            }
            acks
        })
    }

    pub(crate) fn after_election(&self, key: Key, when: Interval) -> First {
        find(self.keys.get(&key).map(|acks| acks.elections.as_slice()), when)
    }

    pub(crate) fn after_fault(&self, key: Key, in_effect: Interval) -> First {
        find(self.keys.get(&key).map(|acks| acks.faults.as_slice()), in_effect)
    }
}

fn find(questions: Option<&[Question]>, when: Interval) -> First {
    questions.unwrap_or_default().iter().find(|question| question.when == when).map(|question| question.first).unwrap_or_default()
}

fn insert_by_lower_end(questions: &mut Vec<Question>, question: Question) {
    let at = questions.partition_point(|other| other.when.after_ns <= question.when.after_ns);
    questions.insert(at, question);
}

impl KeyAcks {
    fn acked(&mut self, ack: Ack) {
        while self.recent.len() >= RECENT_MAX || self.recent.front().is_some_and(|old| old.acked_ns + HEARD_LATE_NS < ack.acked_ns) {
            self.recent.pop_front();
        }
        self.recent.push_back(ack);
        for question in open(&mut self.elections, ack.acked_ns) {
            question.acked_after_election(&ack);
            question.read_already(&self.reads);
        }
        for question in open(&mut self.faults, ack.acked_ns) {
            question.acked_after_invocation(&ack);
            question.read_already(&self.reads);
        }
    }

    fn read(&mut self, time_ns: u64, offset: Offset) {
        if self.reads.back().is_none_or(|(_, reached)| offset > *reached) {
            while self.reads.len() >= RECENT_MAX || self.reads.front().is_some_and(|(old_ns, _)| old_ns + HEARD_LATE_NS < time_ns) {
                self.reads.pop_front();
            }
            self.reads.push_back((time_ns, offset));
        }
        open(&mut self.elections, time_ns).for_each(|question| question.read(time_ns, offset));
        open(&mut self.faults, time_ns).for_each(|question| question.read(time_ns, offset));
    }
}

/// The questions that have begun by `time_ns`: the newest few, since older ones were answered or never will be.
fn open(questions: &mut [Question], time_ns: u64) -> impl Iterator<Item = &mut Question> {
    let begun = questions.partition_point(|question| question.when.after_ns <= time_ns);
    questions[begun.saturating_sub(UNREAD_MAX)..begun].iter_mut().filter(|question| question.first.read_ns.is_none())
}

impl Question {
    fn acked_after_election(&mut self, ack: &Ack) {
        let is_old_leaders = ack.broker.is_some() && ack.broker == self.not_from;
        if ack.acked_ns <= self.when.after_ns || is_old_leaders {
            return;
        }
        self.first.possible.get_or_insert(*ack);
        if ack.acked_ns >= self.when.before_ns {
            self.certain(ack);
        }
    }

    fn acked_after_invocation(&mut self, ack: &Ack) {
        if ack.invoked_ns >= self.when.before_ns {
            self.first.possible.get_or_insert(*ack);
            self.certain(ack);
        }
    }

    fn certain(&mut self, ack: &Ack) {
        self.first.certain.get_or_insert(*ack);
        if ack.offset.is_some() {
            self.first.with_offset.get_or_insert(*ack);
        }
    }

    /// A poll may return before the ack does.
    fn read_already(&mut self, reads: &VecDeque<(u64, Offset)>) {
        if self.first.read_ns.is_none() && self.first.with_offset.is_some() {
            reads.iter().for_each(|(time_ns, offset)| self.read(*time_ns, *offset));
        }
    }

    fn read(&mut self, time_ns: u64, offset: Offset) {
        let Some(ack) = self.first.with_offset else { return };
        // Nothing is read before it was sent: a higher offset read earlier was of a log that was truncated since.
        if self.first.read_ns.is_none() && ack.offset.is_some_and(|wanted| offset >= wanted) && time_ns >= ack.invoked_ns {
            self.first.read_ns = Some(time_ns);
        }
    }
}
