//! `reordered`: acknowledged values that did not land in the order in which they had to.
//!
//! Two promises, by two rules of the profile:
//!
//! - `reordered/in-real-time` (acks=all): what was known to stand at an offset before a send was invoked has the smaller offset. An append
//!   log is linearizable exactly if no pair breaks this, so one number for each key is enough: the greatest offset known when the send was
//!   invoked, its *floor*. An unacknowledged value counts as soon as a poll shows it: the poll completed after it existed.
//! - `reordered/by-client` (idempotent producers, or one request in flight): the acknowledged offsets of one client rise in the order of
//!   sending, pipelined sends included. Where ops name no client, the process stands for it. A restarted producer is a new client.
//!
//! A pair that breaks both is counted once, as the first. Equal offsets are another anomaly (`inconsistent-offsets`).
//!
//! Limits: of one client and key, at most 4096 sends wait for an earlier one that never ends; that one is then left out. Ops without an
//! invocation in the history are placed by the order of completions, and only where no client is named.

use std::collections::VecDeque;

use kchaos_core::{Body, Example, Key, Offset, Op, OpType, PlainSend, Process, Value, Verdict};

use crate::by_id::{ById, ByKey};
use crate::facts::Facts;
use crate::log::{OpRef, Outcome, Written};
use crate::profile::Ruling;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "reordered",
    about: "acknowledged values land in the order of sending, and of real time",
    anomalies: &["reordered"],
    stable: true,
    hears: hears::SENDS | hears::PLACES,
    build: || Box::new(Reordered::default()),
};

const REAL_TIME: &str = "reordered/in-real-time";
const BY_CLIENT: &str = "reordered/by-client";
const MAX_WAITING: usize = 4096;

#[derive(Default)]
struct Reordered {
    /// By client, and by process where ops name none.
    clients: ById<ByKey<Window>>,
    processes: ById<ByKey<Window>>,
    inversions: Vec<Inversion>,
}

/// The sends of one client to one key, from the oldest whose end is not known.
#[derive(Default)]
struct Window {
    waiting: VecDeque<Waiting>,
    /// The send with the greatest offset among those that left the window.
    highest: Option<Placed>,
}

struct Waiting {
    value: Value,
    /// [`OPEN`] until it ended; then its acknowledged offset, or [`NOWHERE`].
    offset: Offset,
    op: OpRef,
}

const OPEN: Offset = -1;
const NOWHERE: Offset = -2;

#[derive(Clone, Copy)]
struct Placed {
    value: Value,
    offset: Offset,
    op: OpRef,
}

struct Inversion {
    key: Key,
    earlier: Placed,
    later: Placed,
}

impl Rule for Reordered {
    fn update(&mut self, op: &Op, facts: &Facts) {
        let Process::Client(process) = op.process else { return };
        if op.body == Body::Crash {
            self.processes.remove(u64::from(process));
        }
        if facts.sends().is_empty() {
            return;
        }
        if op.op_type == OpType::Invoke {
            let windows = sender(&mut self.clients, &mut self.processes, process, op.client);
            for send in facts.sends() {
                windows.or_default(send.key as u64).begin(send.key, send.value, &mut self.inversions);
            }
            return;
        }
        let (client, was_invoked) = match facts.invocation() {
            Some(invocation) => (invocation.client, true),
            None if op.client.is_some() => return,
            None => (None, false),
        };
        let windows = sender(&mut self.clients, &mut self.processes, process, client);
        let in_txn = matches!(op.body, Body::Txn(_));
        for send in facts.sends() {
            let acknowledged = op.op_type == OpType::Ok || (op.op_type == OpType::Info && !in_txn);
            let offset = send.offset.filter(|offset| acknowledged && *offset >= 0);
            let window = windows.or_default(send.key as u64);
            if !was_invoked && !window.awaits(send.value) {
                window.begin(send.key, send.value, &mut self.inversions);
            }
            window.end(send.key, send.value, offset, OpRef::new(op.index), &mut self.inversions);
        }
    }

    fn plain_sends(&mut self, sends: &[PlainSend]) {
        sends.iter().for_each(|send| self.plain_send(send));
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for (key, log) in facts.logs() {
            if log.below_floor() == 0 {
                continue;
            }
            for (_, written) in log.written(counts_in_real_time) {
                findings.add(REAL_TIME, || in_real_time(key, written, log.at(written.floor).as_ref()));
            }
        }
        let real_time_counts = options.profile.ruling(REAL_TIME) == Ruling::Violation;
        let mut inversions: Vec<&Inversion> = self.inversions.iter().collect();
        let mut open = Vec::new();
        for (_, windows) in self.clients.iter().chain(self.processes.iter()) {
            for (key, window) in windows.iter() {
                window.unsettled(key as Key, &mut open);
            }
        }
        inversions.extend(&open);
        inversions.sort_unstable_by_key(|inversion| (inversion.later.op.get(), inversion.key, inversion.later.offset));
        for inversion in inversions {
            let written = facts.log(inversion.key).and_then(|log| log.find_live(inversion.later.value));
            if !(real_time_counts && written.is_some_and(counts_in_real_time)) {
                findings.add(BY_CLIENT, || inversion.example());
            }
        }
        findings.verdict()
    }
}

impl Reordered {
    #[inline(always)]
    fn plain_send(&mut self, plain: &PlainSend) {
        let PlainSend { send, op_type, .. } = *plain;
        let window = sender(&mut self.clients, &mut self.processes, plain.process, plain.client).or_default(send.key as u64);
        if op_type == OpType::Invoke {
            window.begin(send.key, send.value, &mut self.inversions);
        } else {
            let offset = send.offset.filter(|offset| op_type != OpType::Fail && *offset >= 0);
            window.end(send.key, send.value, offset, OpRef::new(plain.index), &mut self.inversions);
        }
    }
}

#[inline]
fn sender<'a, T: Default>(clients: &'a mut ById<T>, processes: &'a mut ById<T>, process: u32, client: Option<u32>) -> &'a mut T {
    match client {
        Some(client) => clients.or_default(u64::from(client)),
        None => processes.or_default(u64::from(process)),
    }
}

/// What failed (an aborted record that somebody polled uncommitted) was promised no place.
fn counts_in_real_time(written: &Written) -> bool {
    written.is_below_floor() && written.outcome != Outcome::Fail
}

fn in_real_time(key: Key, later: &Written, earlier: Option<&Written>) -> Example {
    let (mut values, mut ops) = (vec![later.value], vec![later.invoked, later.placed]);
    let known = match earlier {
        Some(earlier) => {
            values.insert(0, earlier.value);
            ops.insert(0, earlier.placed);
            format!("value {} of key {key} was known to stand at offset {}{}", earlier.value, later.floor, cite(earlier.placed))
        }
        None => format!("offset {} of key {key} was known to be taken", later.floor),
    };
    let explanation = format!(
        "{known} before the send of value {} was invoked{}, which landed at {}{}: it should have landed after {}",
        later.value,
        cite(later.invoked),
        later.offset,
        cite(later.placed),
        later.floor,
    );
    example(key, values, vec![later.floor, later.offset], &ops, explanation)
}

impl Window {
    #[inline]
    fn begin(&mut self, key: Key, value: Value, inversions: &mut Vec<Inversion>) {
        if self.waiting.len() >= MAX_WAITING {
            self.give_up_oldest(key, inversions);
        }
        self.waiting.push_back(Waiting { value, offset: OPEN, op: OpRef::default() });
    }

    #[cold]
    fn give_up_oldest(&mut self, key: Key, inversions: &mut Vec<Inversion>) {
        if let Some(oldest) = self.waiting.front_mut() {
            oldest.offset = NOWHERE;
        }
        self.settle(key, inversions);
    }

    fn awaits(&self, value: Value) -> bool {
        self.waiting.iter().any(|waiting| waiting.value == value && waiting.offset == OPEN)
    }

    fn end(&mut self, key: Key, value: Value, offset: Option<Offset>, op: OpRef, inversions: &mut Vec<Inversion>) {
        // Mostly the oldest ends first.
        if self.waiting.front().is_some_and(|oldest| oldest.value == value && oldest.offset == OPEN) {
            self.waiting.pop_front();
            if let Some(offset) = offset {
                follow(key, &mut self.highest, Placed { value, offset, op }, inversions);
            }
            if self.waiting.front().is_none_or(|next| next.offset == OPEN) {
                return;
            }
        } else {
            let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.value == value && waiting.offset == OPEN) else { return };
            waiting.offset = offset.unwrap_or(NOWHERE);
            waiting.op = op;
        }
        self.settle(key, inversions);
    }

    fn settle(&mut self, key: Key, inversions: &mut Vec<Inversion>) {
        while let Some(Waiting { value, offset, op }) = self.waiting.pop_front_if(|oldest| oldest.offset != OPEN) {
            if offset != NOWHERE {
                follow(key, &mut self.highest, Placed { value, offset, op }, inversions);
            }
        }
    }

    /// What is known of the sends that wait behind one that has not ended.
    fn unsettled(&self, key: Key, inversions: &mut Vec<Inversion>) {
        let mut highest = self.highest;
        for waiting in &self.waiting {
            let Waiting { value, offset, op } = *waiting;
            if offset >= 0 {
                follow(key, &mut highest, Placed { value, offset, op }, inversions);
            }
        }
    }
}

#[inline]
fn follow(key: Key, highest: &mut Option<Placed>, next: Placed, inversions: &mut Vec<Inversion>) {
    match *highest {
        Some(earlier) if earlier.offset > next.offset => inversions.push(Inversion { key, earlier, later: next }),
        Some(earlier) if earlier.offset == next.offset => {}
        _ => *highest = Some(next),
    }
}

impl Inversion {
    fn example(&self) -> Example {
        let Inversion { key, earlier, later } = self;
        let explanation = format!(
            "one client sent value {} to key {key} before value {}, yet they landed at {}{} and {}{}: the first sent should have landed first",
            earlier.value,
            later.value,
            earlier.offset,
            cite(earlier.op),
            later.offset,
            cite(later.op),
        );
        example(*key, vec![earlier.value, later.value], vec![earlier.offset, later.offset], &[earlier.op, later.op], explanation)
    }
}
