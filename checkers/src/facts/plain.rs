//! Plain sends, taken in by a short way.

use kchaos_core::{Key, OpType, PlainSend, Value};

use super::senders::Senders;
use super::{Counts, Doing, Facts, Invocation, Logs, Outcome, outcome};
use crate::log::{Id, LIGHT, OpRef};

/// A plain send that has not ended.
#[derive(Clone, Copy, Default)]
pub(super) struct Underway {
    pub(super) key: Key,
    pub(super) value: Value,
    pub(super) id: Id,
    to: Places,
}

/// Where what is known of a process, as the sender to a key, is kept.
#[derive(Clone, Copy, Default)]
struct Places {
    log: u32,
    window: u32,
    last: u32,
}

#[derive(Clone, Copy, Default)]
struct Route {
    key: Key,
    client: Option<u32>,
    is_known: bool,
    to: Places,
}

/// What a process's plain sends left of an attempt.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Attempt {
    /// There were none since it was asked.
    #[default]
    Told,
    Open,
    Over,
}

const ROUTES: usize = 8;

/// Those that a process took last, by the low bits of their keys.
#[derive(Default)]
pub(super) struct Routes([Route; ROUTES]);

impl Facts {
    /// Takes in a send that goes as most do; `false`: it does not, nothing was done, and [`Facts::update`] knows what to do. What
    /// [`Facts::sends`] and the others say is of an earlier op.
    #[inline(always)]
    pub(crate) fn plain_send(&mut self, plain: &PlainSend) -> bool {
        if self.txns.has_passed() {
            self.settle_txns();
        }
        let Some(doing) = self.open.get_mut(u64::from(plain.process)) else { return false };
        let taken = if plain.op_type == OpType::Invoke {
            doing.begins(plain, &mut self.logs, &mut self.senders)
        } else {
            doing.ends(plain, &mut self.logs, &mut self.senders, &mut self.counts)
        };
        self.counts.ops += u64::from(taken);
        taken
    }

    /// Forgets what came to nothing of the sends of each process, when there is much of it.
    #[inline]
    pub(super) fn forget_pairs(&mut self) {
        let Self { senders, logs, .. } = self;
        if senders.are_many(self.judge_every) && !logs.never_pack {
            senders.forget_pairs(|key| logs.get(key));
        }
    }

    /// Whether the process has an attempt open, if it sent anything plainly since this was asked.
    pub(crate) fn take_attempt(&mut self, process: u32) -> Option<bool> {
        let attempt = std::mem::take(&mut self.open.get_mut(u64::from(process))?.attempt);
        (attempt != Attempt::Told).then_some(attempt == Attempt::Open)
    }
}

impl Doing {
    #[inline(always)]
    fn begins(&mut self, plain: &PlainSend, logs: &mut Logs, senders: &mut Senders) -> bool {
        let (key, value) = (plain.send.key, plain.send.value);
        let Self { invocation, routes, attempt, .. } = self;
        if invocation.is_open {
            return false;
        }
        let route = &mut routes.0[key as usize % ROUTES];
        if !route.is_known || route.key != key || route.client != plain.client {
            *route = Route { key, client: plain.client, is_known: true, to: find(plain.process, plain.client, key, logs, senders) };
        }
        let to = route.to;
        let id = logs.logs[to.log as usize].1.invoked(value, plain.index, false);
        senders.begins(to.window, key, value);
        (invocation.is_open, invocation.is_plain, invocation.client) = (true, true, plain.client);
        invocation.plain = Underway { key, value, id, to };
        *attempt = Attempt::Open;
        true
    }

    #[inline(always)]
    fn ends(&mut self, plain: &PlainSend, logs: &mut Logs, senders: &mut Senders, counts: &mut Counts) -> bool {
        let Invocation { is_open, is_plain, plain: Underway { key, value, id, to }, .. } = &mut self.invocation;
        let send = &plain.send;
        if !*is_open || !*is_plain || *key != send.key || *value != send.value {
            return false;
        }
        *is_open = false;
        self.attempt = Attempt::Over;
        let log = &mut logs.logs[to.log as usize].1;
        let is_ok = plain.op_type == OpType::Ok;
        let (offset, op) = (send.offset.unwrap_or(-1), OpRef::new(plain.index));
        let mut is_acknowledged = is_ok;
        if !(is_ok && *id == LIGHT && log.acknowledged_light(*value, offset, op)) {
            let outcome = outcome(plain.op_type, send);
            is_acknowledged = outcome == Outcome::Ok;
            // A copy, so that nobody points to what is plain, and it may stand in registers.
            log.completed(&{ *send }, Some(*id), outcome, plain.index, false);
        }
        senders.ends(to.window, to.last, plain, op);
        counts.acknowledged_values += u64::from(is_acknowledged);
        counts.ok_sends += u64::from(is_ok);
        true
    }
}

#[cold]
fn find(process: u32, client: Option<u32>, key: Key, logs: &mut Logs, senders: &mut Senders) -> Places {
    let (window, last) = senders.find(process, client, key);
    Places { log: u32::try_from(logs.place(key)).unwrap_or(u32::MAX), window, last }
}
