//! The ops that examples cite, and of those around them the nearest that ended something on the same key.

use std::collections::VecDeque;

use kchaos_core::{Body, Example, Key, MicroOp, Op, Process, ShownOp};

use super::words::shown;

/// Cited ops of one example that are shown; a lost batch may cite thousands.
pub(super) const CITED_MAX: usize = 12;
/// An op that stands further away says nothing of a cited one.
const NEAR: u64 = 256;

pub(super) struct ShownOps {
    examples: Vec<Shown>,
    /// (index, example), ascending; `next` is the first that was not met.
    wanted: Vec<(u64, usize)>,
    next: usize,
    /// The ops before the one that is wanted next.
    recent: VecDeque<Op>,
    /// Examples that want one op more, and up to which index.
    awaiting: Vec<(usize, u64)>,
}

struct Shown {
    key: Option<Key>,
    ops: Vec<ShownOp>,
    more: u64,
}

impl ShownOps {
    pub(super) fn new<'a>(examples: impl Iterator<Item = &'a Example>) -> Self {
        let mut wanted = Vec::new();
        let shown = examples.enumerate().map(|(at, example)| {
            wanted.extend(example.ops.iter().take(CITED_MAX).map(|op| (*op, at)));
            Shown { key: example.key, ops: Vec::new(), more: example.ops.len().saturating_sub(CITED_MAX) as u64 }
        });
        let examples = shown.collect();
        wanted.sort_unstable();
        wanted.dedup();
        Self { examples, wanted, next: 0, recent: VecDeque::new(), awaiting: Vec::new() }
    }

    pub(super) fn update(&mut self, op: &Op) {
        let first = self.next;
        while self.wanted.get(self.next).is_some_and(|(index, _)| *index <= op.index) {
            self.next += 1;
        }
        for at in first..self.next {
            let (index, example) = self.wanted[at];
            if index == op.index {
                self.cite(example, op);
            }
        }
        if !self.awaiting.is_empty() {
            self.follow(op, &(first..self.next));
        }
        if self.wanted.get(self.next).is_some_and(|(index, _)| index - op.index <= NEAR) {
            if self.recent.len() as u64 == NEAR {
                self.recent.pop_front();
            }
            self.recent.push_back(op.clone());
        } else if !self.recent.is_empty() {
            self.recent.clear();
        }
    }

    fn cite(&mut self, at: usize, op: &Op) {
        let example = &mut self.examples[at];
        let last = example.ops.last().map(|op| op.index);
        if let Some(key) = example.key {
            let before = self.recent.iter().rev().find(|other| is_an_end_on(other, key));
            let before = before.filter(|other| op.index.abs_diff(other.index) <= NEAR && last.is_none_or(|last| last < other.index));
            example.ops.extend(before.map(|other| shown(other, Some(key), false)));
        }
        example.ops.push(shown(op, example.key, true));
        self.awaiting.retain(|(other, _)| *other != at);
        if example.key.is_some() {
            self.awaiting.push((at, op.index.saturating_add(NEAR)));
        }
    }

    fn follow(&mut self, op: &Op, cited: &std::ops::Range<usize>) {
        let Self { examples, wanted, awaiting, .. } = self;
        let is_cited = |at: usize| wanted[cited.clone()].iter().any(|(_, example)| *example == at);
        awaiting.retain(|(at, until)| {
            let example = &mut examples[*at];
            if is_cited(*at) || op.index > *until {
                return op.index <= *until;
            }
            let follows = example.key.is_some_and(|key| is_an_end_on(op, key));
            if follows {
                example.ops.push(shown(op, example.key, false));
            }
            !follows
        });
    }

    /// For each example its ops, and how many it cites beside them.
    pub(super) fn finish(self) -> impl Iterator<Item = (Vec<ShownOp>, u64)> {
        self.examples.into_iter().map(|example| (example.ops, example.more))
    }
}

/// It ended, and it wrote or read that key.
fn is_an_end_on(op: &Op, key: Key) -> bool {
    let polls = |polled: &Option<kchaos_core::Polled>| polled.iter().flat_map(|polled| &polled.0).any(|(of, _)| *of == key);
    op.op_type.is_completion()
        && op.process != Process::Nemesis
        && match &op.body {
            Body::Send(sends) => sends.iter().any(|send| send.key == key),
            Body::Poll(polled) => polls(polled),
            Body::Txn(all) => all.iter().any(|one| match one {
                MicroOp::Send(send) => send.key == key,
                MicroOp::Poll(polled) => polls(polled),
            }),
            Body::Commit(offsets) | Body::Committed { offsets, .. } => offsets.contains_key(&key),
            Body::Read { key: of, .. } | Body::Write { key: of, .. } | Body::Cas { key: of, .. } => *of == key,
            Body::Assign { .. } | Body::Subscribe { .. } | Body::Crash | Body::Nemesis { .. } | Body::Unknown { .. } => false,
        }
}
