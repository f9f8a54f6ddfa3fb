//! Transactions in the order of their ends, what depends on what among them, and which of them may be part of a cycle.
//!
//! Only places in that order are looked at, so that a healthy history costs a few steps for each transaction; what is found suspicious is
//! looked at again, with values and ops ([`super::window`]).

use crate::facts::Facts;
use crate::hash::IntMap;
use crate::log::OpRef;
use crate::txns::{Txn, TxnId};

use super::Read;

pub(super) const NONE: u32 = u32::MAX;

/// Committed transactions that are not judged yet, by their places in the order of ends; those that never ended come last.
pub(super) struct Order {
    txns: Vec<TxnId>,
    /// Places of those in the table of transactions, which begins after `first`; and of others. `NONE` of those that did not commit.
    first: TxnId,
    places: Vec<u32>,
    others: IntMap<TxnId, u32>,
    /// Dependencies, from place to place.
    links: Vec<(u32, u32)>,
    /// Of each place the span it is in, if it is in one. A span is a merged interval of dependencies that lead back.
    span_of: Vec<u32>,
    /// First and last place of each, in order.
    spans: Vec<(u32, u32)>,
}

impl Order {
    pub(super) fn new(facts: &Facts, reads: &[Read]) -> Self {
        let txns = facts.txns();
        let (first, count) = txns.table();
        let order = Self {
            txns: Vec::with_capacity(count),
            first,
            places: vec![NONE; count],
            others: IntMap::default(),
            links: Vec::with_capacity(count),
            span_of: Vec::new(),
            spans: Vec::new(),
        };
        order.of_ends(facts).link(facts, reads).span()
    }

    fn of_ends(mut self, facts: &Facts) -> Self {
        self.txns.extend_from_slice(facts.txns().ended());
        self.txns.extend(facts.txns().unended().map(|(id, _)| id).filter(|id| facts.is_txn_committed(*id)));
        for at in 0..self.txns.len() {
            let (id, place) = (self.txns[at], at as u32);
            if facts.is_txn_committed(id) {
                match id.checked_sub(self.first + 1).and_then(|at| self.places.get_mut(at as usize)) {
                    Some(there) => *there = place,
                    None => drop(self.others.insert(id, place)),
                }
            }
        }
        self
    }

    #[inline]
    pub(super) fn place(&self, txn: TxnId) -> u32 {
        match txn.checked_sub(self.first + 1) {
            Some(at) => self.places.get(at as usize).copied().unwrap_or(NONE),
            None => self.others.get(&txn).copied().unwrap_or(NONE),
        }
    }

    fn link(mut self, facts: &Facts, reads: &[Read]) -> Self {
        let mut links = std::mem::take(&mut self.links);
        let mut add = |from: u32, to: u32| {
            if from != to && from != NONE && to != NONE {
                links.push((from, to));
            }
        };
        for read in reads {
            if let Some(written) = facts.log(read.key).map(|log| log.of(read.id)).filter(|written| !written.is_sent_twice()) {
                add(self.place(written.txn), self.place(read.reader));
            }
        }
        for (_, log) in facts.logs() {
            let mut before = NONE;
            log.each_in_txn(|written| {
                let place = self.place(written.txn);
                if place != NONE {
                    add(before, place);
                    before = place;
                }
            });
        }
        self.links = links;
        self
    }

    fn span(mut self) -> Self {
        let count = self.txns.len();
        // How far the dependencies reach that lead back to a place.
        let mut reach: Vec<u32> = (0..count as u32).collect();
        for (from, to) in &self.links {
            reach[*to as usize] = reach[*to as usize].max(*from);
        }
        self.span_of = vec![NONE; count];
        let mut at = 0;
        while at < count {
            let (first, mut last) = (at, reach[at] as usize);
            while at <= last {
                last = last.max(reach[at] as usize);
                at += 1;
            }
            if last > first {
                self.span_of[first..=last].fill(self.spans.len() as u32);
                self.spans.push((first as u32, last as u32));
            }
        }
        self
    }

    /// The greatest place, `limit` or less, that no dependency leads back across.
    pub(super) fn cut(&self, limit: usize) -> usize {
        match self.span_of.get(limit) {
            Some(span) if *span != NONE => (self.spans[*span as usize].0 as usize).min(limit),
            _ => limit,
        }
    }

    /// Those of the first `count`.
    pub(super) fn span_of(&self, txn: TxnId, count: usize) -> Option<u32> {
        let place = self.place(txn);
        let span = if (place as usize) < count { self.span_of[place as usize] } else { NONE };
        (span != NONE).then_some(span)
    }

    /// Which spans of the first `count` places may hold a cycle.
    ///
    /// Each transaction is given a number: its beginning, or that of one that it depends on, if that is later. Dependencies never lead to a
    /// smaller number. If none is given a number after its own end, then neither does real time, nor the order of a process: the end of the
    /// one is before the beginning of the other, so the number even grows. A cycle is then one of dependencies alone, and those are seen to
    /// have none when all can be numbered, each after what it depends on.
    pub(super) fn suspicious(&self, facts: &Facts, count: usize) -> Vec<bool> {
        let mut suspicious = vec![false; self.spans.len()];
        // Links of each place, as lists, and how many come to it.
        let (mut head, mut next, mut coming) = (vec![NONE; count], vec![NONE; self.links.len()], vec![0_u32; count]);
        for (number, (from, to)) in self.links.iter().enumerate().filter(|(_, link)| self.is_inside(**link, count)) {
            next[number] = std::mem::replace(&mut head[*from as usize], number as u32);
            coming[*to as usize] += 1;
        }
        let time = |place: usize| {
            let txn = facts.txns().get(self.txns[place]);
            let of = |op: fn(&Txn) -> OpRef| txn.and_then(|txn| op(txn).get());
            let begun = of(|txn| txn.invoked).or(of(|txn| txn.completed)).unwrap_or(0);
            let is_over = txn.is_some_and(|txn| txn.outcome == crate::log::Outcome::Ok);
            (begun, of(|txn| txn.completed).filter(|_| is_over).unwrap_or(u64::MAX))
        };
        let mut numbers = vec![0_u64; count];
        let (mut ready, mut left) = (Vec::new(), vec![0_u32; self.spans.len()]);
        for place in (0..count).filter(|place| self.span_of[*place] != NONE) {
            left[self.span_of[place] as usize] += 1;
            if coming[place] == 0 {
                ready.push(place);
            }
        }
        while let Some(place) = ready.pop() {
            let (begun, ended) = time(place);
            let (number, span) = (numbers[place].max(begun), self.span_of[place] as usize);
            suspicious[span] |= number > ended;
            left[span] -= 1;
            let mut link = head[place];
            while let Some((_, to)) = self.links.get(link as usize) {
                let to = *to as usize;
                numbers[to] = numbers[to].max(number);
                coming[to] -= 1;
                if coming[to] == 0 {
                    ready.push(to);
                }
                link = next[link as usize];
            }
        }
        for (suspicious, left) in suspicious.iter_mut().zip(left) {
            *suspicious |= left > 0;
        }
        suspicious
    }

    fn is_inside(&self, (from, to): (u32, u32), count: usize) -> bool {
        let span = self.span_of[from as usize];
        (from as usize) < count && (to as usize) < count && span != NONE && span == self.span_of[to as usize]
    }

    pub(super) fn count(&self) -> usize {
        self.txns.len()
    }
}
