//! Who sent what in which order, and where it landed: what the two rules of order look at ([`crate::rules::reordered`], [`crate::rules::send_order`]).
//!
//! Why here and not there: nine ops in ten are the beginning or the end of a send, and each has to find what is known of its client and of its
//! process for its key. So that is found once, for all, and remembered with the process (its [routes](super::plain)).

use std::collections::VecDeque;

use kchaos_core::{Body, Key, Offset, Op, OpType, PlainSend, Process, Send, Value};

use crate::by_id::{ById, ByKey};
use crate::log::{KeyLog, OpRef};
use crate::undecided::Undecided;

/// More than a client has open at a time at hundreds of thousands a second: two of librdkafka's batches (`workloads/src/lanes.rs`).
const MAX_WAITING: usize = 16_384;

/// The sends of every client and every process.
#[derive(Default)]
pub(crate) struct Senders {
    windows: Vec<Window>,
    free: Vec<u32>,
    /// The windows of a client's keys, or of a process's where ops name no client.
    clients: ById<ByKey<u32>>,
    processes: ById<ByKey<u32>>,
    lasts: Vec<Last>,
    last_of: ById<ByKey<u32>>,
    inversions: Vec<Inversion>,
    pairs: Undecided<Pair>,
}

impl Senders {
    /// Where the sends of a client to a key are kept, and a process's last one: both for good, or until the process crashes.
    pub(super) fn find(&mut self, process: u32, client: Option<u32>, key: Key) -> (u32, u32) {
        (self.window(process, client, key), self.last(process, key))
    }

    fn window(&mut self, process: u32, client: Option<u32>, key: Key) -> u32 {
        let windows = match client {
            Some(client) => self.clients.or_default(u64::from(client)),
            None => self.processes.or_default(u64::from(process)),
        };
        if let Some(window) = windows.get(key as u64) {
            return *window;
        }
        let window = self.free.pop().unwrap_or_else(|| {
            self.windows.push(Window::default());
            number(self.windows.len() - 1)
        });
        windows.insert(key as u64, window);
        window
    }

    fn last(&mut self, process: u32, key: Key) -> u32 {
        let lasts = self.last_of.or_default(u64::from(process));
        if let Some(last) = lasts.get(key as u64) {
            return *last;
        }
        self.lasts.push(Last::default());
        let last = number(self.lasts.len() - 1);
        lasts.insert(key as u64, last);
        last
    }

    /// A plain send was invoked.
    #[inline(always)]
    pub(super) fn begins(&mut self, window: u32, key: Key, value: Value) {
        self.windows[window as usize].begin(key, value, &mut self.inversions);
    }

    /// A plain send ended.
    #[inline(always)]
    pub(super) fn ends(&mut self, window: u32, last: u32, plain: &PlainSend, op: OpRef) {
        let PlainSend { send, process, op_type, .. } = *plain;
        let took_effect = op_type != OpType::Fail;
        let offset = send.offset.filter(|offset| took_effect && *offset >= 0).unwrap_or(NOWHERE);
        self.windows[window as usize].end(send.key, send.value, offset, op, &mut self.inversions);
        if took_effect {
            let Last { is_known, sent } = &mut self.lasts[last as usize];
            if *is_known && sent.offset >= 0 && sent.offset < offset {
                // Field by field: made aside and copied, it would be waited for.
                (sent.value, sent.offset, sent.op, sent.info) = (send.value, offset, op, op_type == OpType::Info);
            } else {
                let later = Sent { value: send.value, offset, op, info: op_type == OpType::Info };
                self.follows(process, send.key, last, later, &[]);
            }
        }
    }

    /// Any other op of a client: `sends` are what it sends, or what became of them; with the client that their invocation named, if there is one.
    pub(super) fn update(&mut self, op: &Op, sends: &[Send], invoked: Option<Option<u32>>) {
        let Process::Client(process) = op.process else { return };
        if op.body == Body::Crash
            && let Some(windows) = self.processes.remove(u64::from(process))
        {
            for (_, window) in windows.iter() {
                self.windows[*window as usize] = Window::default();
                self.free.push(*window);
            }
        }
        if op.op_type == OpType::Invoke {
            for send in sends {
                let window = self.window(process, op.client, send.key);
                self.begins(window, send.key, send.value);
            }
            return;
        }
        self.end_in_window(process, op, sends, invoked);
        if op.op_type != OpType::Fail {
            self.end_in_process(process, op, sends);
        }
    }

    fn end_in_window(&mut self, process: u32, op: &Op, sends: &[Send], invoked: Option<Option<u32>>) {
        let client = match invoked {
            Some(client) => client,
            None if op.client.is_some() => return,
            None => None,
        };
        let in_txn = matches!(op.body, Body::Txn(_));
        let acknowledged = op.op_type == OpType::Ok || (op.op_type == OpType::Info && !in_txn);
        for Send { key, value, offset } in sends.iter().copied() {
            let offset = offset.filter(|offset| acknowledged && *offset >= 0).unwrap_or(NOWHERE);
            let window = self.window(process, client, key);
            let window = &mut self.windows[window as usize];
            if invoked.is_none() && !window.awaits(value) {
                window.begin(key, value, &mut self.inversions);
            }
            window.end(key, value, offset, OpRef::new(op.index), &mut self.inversions);
        }
    }

    fn end_in_process(&mut self, process: u32, op: &Op, sends: &[Send]) {
        for Send { key, value, offset } in sends.iter().copied() {
            let offset = offset.filter(|offset| *offset >= 0).unwrap_or(NOWHERE);
            let later = Sent { value, offset, op: OpRef::new(op.index), info: op.op_type == OpType::Info };
            let last = self.last(process, key);
            self.follows(process, key, last, later, sends);
        }
    }

    /// A later send of a process to a key; `sends` are those of its op.
    fn follows(&mut self, process: u32, key: Key, last: u32, later: Sent, sends: &[Send]) {
        let last = &mut self.lasts[last as usize];
        let earlier = std::mem::replace(last, Last { is_known: true, sent: later });
        if !earlier.is_known {
            return;
        }
        let earlier = earlier.sent;
        let inside = earlier.op == later.op;
        let mut pair = Pair { process, key, earlier, later, inside, own: Box::default() };
        if pair.must_be_kept() {
            if inside {
                pair.own = pair.own_between(sends);
            }
            self.pairs.push(pair);
        }
    }

    /// Sends of one client that landed in another order than they were sent in.
    pub(crate) fn inversions(&self) -> &[Inversion] {
        &self.inversions
    }

    /// The same of those that wait behind one that has not ended.
    pub(crate) fn unsettled(&self) -> Vec<Inversion> {
        let mut open = Vec::new();
        for (_, windows) in self.clients.iter().chain(self.processes.iter()) {
            for (key, window) in windows.iter() {
                self.windows[*window as usize].unsettled(key as Key, &mut open);
            }
        }
        open
    }

    /// Whether it is time for [`Senders::forget_pairs`].
    #[inline]
    pub(super) fn are_many(&self, least: usize) -> bool {
        self.pairs.are_many(least)
    }

    /// Forgets pairs that are known to be in order now: a value stays where it stands, or proves nothing once it stands at several offsets.
    #[cold]
    pub(super) fn forget_pairs<'a>(&mut self, log: impl Fn(Key) -> Option<&'a KeyLog>) {
        self.pairs.forget(|pair| {
            let places = log(pair.key).and_then(|log| Some((pair.earlier.place(log)?, pair.later.place(log)?)));
            !pair.inside && places.is_some_and(|(earlier, later)| later > earlier)
        });
    }

    /// Successive sends of one process to a key that are in the wrong order, or cannot be judged before the end.
    pub(crate) fn pairs(&self) -> &[Pair] {
        self.pairs.as_slice()
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// The sends of one client to one key, from the oldest whose end is not known.
#[derive(Default)]
struct Window {
    /// The oldest, apart from the others: mostly there is no other. Nobody waits behind none.
    oldest: Option<Waiting>,
    others: VecDeque<Waiting>,
    /// The send with the greatest offset among those that left the window.
    highest: Placed,
}

#[derive(Clone, Copy)]
struct Waiting {
    value: Value,
    /// [`OPEN`] until it ended; then its acknowledged offset, or [`NOWHERE`].
    offset: Offset,
    op: OpRef,
}

const OPEN: Offset = -1;
const NOWHERE: Offset = -2;

/// Below 0 if it is nowhere.
#[derive(Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) value: Value,
    pub(crate) offset: Offset,
    pub(crate) op: OpRef,
}

impl Default for Placed {
    fn default() -> Self {
        Self { value: 0, offset: NOWHERE, op: OpRef::default() }
    }
}

pub(crate) struct Inversion {
    pub(crate) key: Key,
    pub(crate) earlier: Placed,
    pub(crate) later: Placed,
}

impl Window {
    #[inline(always)]
    fn begin(&mut self, key: Key, value: Value, inversions: &mut Vec<Inversion>) {
        let new = Waiting { value, offset: OPEN, op: OpRef::default() };
        if self.oldest.is_some() && self.others.len() + 1 >= MAX_WAITING {
            self.give_up_oldest(key, inversions);
        }
        if self.oldest.is_none() {
            self.oldest = Some(new);
        } else {
            self.others.push_back(new);
        }
    }

    #[cold]
    fn give_up_oldest(&mut self, key: Key, inversions: &mut Vec<Inversion>) {
        if let Some(oldest) = &mut self.oldest {
            oldest.offset = NOWHERE;
        }
        self.settle(key, inversions);
    }

    fn awaits(&self, value: Value) -> bool {
        self.oldest.iter().chain(&self.others).any(|waiting| waiting.value == value && waiting.offset == OPEN)
    }

    #[inline(always)]
    fn end(&mut self, key: Key, value: Value, offset: Offset, op: OpRef, inversions: &mut Vec<Inversion>) {
        // Mostly the oldest ends first.
        match &self.oldest {
            Some(oldest) if oldest.value == value && oldest.offset == OPEN => {
                follow(key, &mut self.highest, Placed { value, offset, op }, inversions);
                self.oldest = None;
                if !self.others.is_empty() {
                    self.oldest = self.others.pop_front();
                    self.settle(key, inversions);
                }
            }
            _ => self.end_out_of_order(key, value, offset, op, inversions),
        }
    }

    #[inline(never)]
    fn end_out_of_order(&mut self, key: Key, value: Value, offset: Offset, op: OpRef, inversions: &mut Vec<Inversion>) {
        let mut waiting = self.oldest.iter_mut().chain(&mut self.others);
        let Some(waiting) = waiting.find(|waiting| waiting.value == value && waiting.offset == OPEN) else { return };
        (waiting.offset, waiting.op) = (offset, op);
        self.settle(key, inversions);
    }

    /// Those that ended leave, up to the oldest that did not.
    fn settle(&mut self, key: Key, inversions: &mut Vec<Inversion>) {
        while let Some(Waiting { value, offset, op }) = self.oldest.filter(|oldest| oldest.offset != OPEN) {
            follow(key, &mut self.highest, Placed { value, offset, op }, inversions);
            self.oldest = self.others.pop_front();
        }
    }

    /// What is known of the sends that wait behind one that has not ended.
    fn unsettled(&self, key: Key, inversions: &mut Vec<Inversion>) {
        let mut highest = self.highest;
        for Waiting { value, offset, op } in self.oldest.iter().chain(&self.others).copied() {
            follow(key, &mut highest, Placed { value, offset, op }, inversions);
        }
    }
}

#[inline(always)]
fn follow(key: Key, highest: &mut Placed, next: Placed, inversions: &mut Vec<Inversion>) {
    if next.offset > highest.offset {
        *highest = next;
    } else if next.offset >= 0 && next.offset < highest.offset {
        inversions.push(Inversion { key, earlier: *highest, later: next });
    }
}

/// A process's last send to a key, if there is one.
#[derive(Default)]
struct Last {
    is_known: bool,
    sent: Sent,
}

/// A send and the op that ended it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sent {
    pub(crate) value: Value,
    /// Below 0 if it is not told.
    offset: Offset,
    pub(crate) op: OpRef,
    pub(crate) info: bool,
}

pub(crate) struct Pair {
    pub(crate) process: u32,
    pub(crate) key: Key,
    pub(crate) earlier: Sent,
    pub(crate) later: Sent,
    /// One op's.
    pub(crate) inside: bool,
    /// What else the op sent to the key, if it lies in between.
    pub(crate) own: Box<[Value]>,
}

impl Sent {
    /// Where it landed, if that is one place.
    pub(crate) fn place(&self, log: &KeyLog) -> Option<Offset> {
        self.told().or_else(|| log.only_offset(self.value)).filter(|offset| *offset >= 0)
    }

    /// Where its op says that it landed.
    pub(crate) fn told(&self) -> Option<Offset> {
        Some(self.offset).filter(|offset| *offset >= 0)
    }
}

impl Pair {
    fn must_be_kept(&self) -> bool {
        match (self.earlier.told(), self.later.told()) {
            (Some(earlier), Some(later)) => later <= earlier || (self.inside && later > earlier + 1),
            _ => true,
        }
    }

    /// What stands beside them in one op, and may stand between them in the log.
    fn own_between(&self, sends: &[Send]) -> Box<[Value]> {
        let (Some(earlier), Some(later)) = (self.earlier.told(), self.later.told()) else {
            return sends.iter().filter(|send| send.key == self.key).map(|send| send.value).collect();
        };
        let between = |send: &&Send| send.key == self.key && send.offset.is_none_or(|offset| earlier < offset && offset < later);
        sends.iter().filter(between).map(|send| send.value).collect()
    }
}
