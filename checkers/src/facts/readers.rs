//! Who reads on where: polls that go as most do, taken in by a short way.
//!
//! Why: a consumer that is nobody's group member mostly reads on where it stopped, and finds what was acknowledged. The rules of order need to know of
//! such a poll only how far it got, and only when something else happens to its process. So it is kept here, and they are told then
//! ([`Facts::behind`]).

use kchaos_core::{Body, Key, Offset, Op, OpType, PlainPoll, PollBegin, Polled, Process, Value};

use super::{Doing, Facts, abandon};
use crate::by_id::ByKey;
use crate::log::{Isolation, OpRef, PollOp};

/// What is known of a process as a consumer.
#[derive(Default)]
pub(super) struct Reading {
    /// It subscribed: its polls are a group's, and none is plain.
    is_member: bool,
    /// Something stands in a place that the rules were not told of.
    is_ahead: bool,
    places: ByKey<Place>,
}

#[derive(Clone, Copy, Default)]
struct Place {
    /// The offset at which a plain poll goes on, if there is one.
    next: Option<Offset>,
    /// The last record that the rules were not told of.
    ahead: Option<Last>,
    /// The poll that was looked at last.
    looked_at: Option<u64>,
}

/// The last record of a key that a process was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(crate) offset: Offset,
    pub(crate) value: Value,
    pub(crate) op: OpRef,
}

impl Facts {
    /// Takes in the invocation of a poll, as [`Facts::update`] would.
    #[inline]
    pub(crate) fn poll_begins(&mut self, poll: &PollBegin) {
        self.counts.ops += 1;
        if self.txns.has_passed() {
            self.settle_txns();
        }
        if let Some(doing) = self.open.get_mut(u64::from(poll.process)).filter(|doing| doing.invocation.is_open) {
            abandon(&mut doing.invocation, &mut self.txns, &mut self.unknown_txns);
        }
    }

    /// Takes in a poll that goes as most do: every key of it is read on from where the process was, without a gap, in a log that nobody contests and in
    /// which the records stand as they were acknowledged or read. `false`: it does not, and [`Facts::update`] knows what to do, also with what was
    /// marked as read already.
    #[inline]
    pub(crate) fn plain_poll(&mut self, plain: &PlainPoll<'_>) -> bool {
        self.forget_pairs();
        let isolation = self.isolation_of(plain.isolation);
        let Self { logs, open, counts, .. } = self;
        if logs.none_light || logs.never_pack {
            return false;
        }
        let Some(doing) = open.get_mut(u64::from(plain.process)) else { return false };
        let reading = &mut doing.reading;
        if reading.is_member || !plain.polled.iter().all(|(key, records)| reading.goes_on(*key, records, plain.index)) {
            return false;
        }
        let poll = PollOp { op: plain.index, process: plain.process, ok: true, isolation };
        for (key, records) in plain.polled {
            let log = logs.get_mut(*key);
            if log.is_contested() || log.keeps_any() || !log.polled_as_known(records, poll) {
                return false;
            }
        }
        for (key, records) in plain.polled {
            reading.reach(*key, records, plain.index);
        }
        counts.ops += 1;
        counts.ok_polls += 1;
        true
    }

    /// What plain polls of the op's process did since the rules were last told of it; before the op itself is taken in.
    pub(crate) fn catch_up(&mut self, op: &Op) {
        self.behind.clear();
        let Process::Client(process) = op.process else { return };
        let Some(doing) = self.open.get_mut(u64::from(process)).filter(|doing| doing.reading.is_ahead) else { return };
        doing.reading.is_ahead = false;
        let behind = &mut self.behind;
        doing.reading.places.each_mut(|key, place| behind.extend(place.ahead.take().map(|last| (key as Key, last))));
    }

    /// Where the process of the op had got to, by polls that no rule was told of: each key once.
    pub(crate) fn behind(&self) -> &[(Key, Last)] {
        &self.behind
    }

    /// Any op but a plain one, of a client.
    pub(super) fn reads(&mut self, process: u32, op: &Op) {
        match &op.body {
            Body::Poll(Some(Polled(polled))) if op.op_type == OpType::Ok && op.extra.rebalance_log.is_empty() => {
                let reading = &mut self.open.or_default(u64::from(process)).reading;
                for (key, records) in polled {
                    let Some((last, _)) = records.last() else { continue };
                    reading.places.or_default(*key as u64).next = last.checked_add(1).filter(|next| *next > 0);
                }
                return;
            }
            Body::Poll(_) | Body::Assign { .. } | Body::Crash | Body::Txn(_) => {}
            Body::Subscribe { .. } => self.open.or_default(u64::from(process)).reading.is_member = true,
            _ if op.extra.rebalance_log.is_empty() => return,
            _ => {}
        }
        let Some(Doing { reading, .. }) = self.open.get_mut(u64::from(process)) else { return };
        match (&op.body, op.op_type) {
            (Body::Crash, _) | (Body::Assign { .. }, OpType::Ok | OpType::Info) => reading.is_member = false,
            _ => {}
        }
        // Where it goes on, the rules must find out.
        reading.places.each_mut(|_, place| place.next = None);
    }

    #[inline]
    pub(super) fn isolation_of(&self, name: Option<&str>) -> Isolation {
        match name {
            Some("read_uncommitted") => Isolation::Uncommitted,
            Some("read_committed") => Isolation::Committed,
            _ => self.default_isolation,
        }
    }
}

impl Reading {
    /// Every record follows the one before it. A key that comes twice in one poll does not go on.
    #[inline]
    fn goes_on(&mut self, key: Key, records: &[(Offset, Value)], poll: u64) -> bool {
        let Some((first, _)) = records.first() else { return true };
        let Some(place) = self.places.get_mut(key as u64) else { return false };
        let is_first_time = place.looked_at.replace(poll) != Some(poll);
        let goes_on = place.next == Some(*first) && is_first_time;
        // Beyond the greatest offset there is none.
        goes_on && *first <= Offset::MAX - records.len() as i64 && records.iter().zip(*first..).all(|((offset, _), next)| *offset == next)
    }

    #[inline]
    fn reach(&mut self, key: Key, records: &[(Offset, Value)], op: u64) {
        let (Some((offset, value)), Some(place)) = (records.last().copied(), self.places.get_mut(key as u64)) else { return };
        (place.next, place.ahead) = (offset.checked_add(1), Some(Last { offset, value, op: OpRef::new(op) }));
        self.is_ahead = true;
    }
}
