//! Ops that are used again.

use std::ops::Deref;

use kchaos_core::{Body, Key, MicroOp, Offset, Op, Polled, Send, Value};

/// Ops in one portion. A block's would take 20 MB, these stay in a processor's first cache. A group of a column is two of them.
pub(crate) const PORTION_OPS: usize = 64;
/// The same where they are told one by one.
pub(crate) const TOLD_OPS: usize = 128;
/// A list that grew beyond this is not used again, and no more than so many are kept.
pub(crate) const KEEP_RECORDS: usize = 1 << 12;
const KEEP_TEXTS: usize = 1 << 10;
const POOL_RECORDS: usize = 1 << 20;

/// A portion of a history, as [`crate::Reader::next_block`] fills it. Read it as a slice.
///
/// Why not a `Vec<Op>`: an op is 300 bytes, most of which hold nothing in a healthy history. Only what nobody else may change is known to be empty
/// still, and need not be looked at again.
#[derive(Default)]
pub struct Ops {
    pub(crate) slots: Vec<Op>,
    /// What stands beside each slot's op: the flags of its kind.
    pub(crate) beside: Vec<u32>,
    pub(crate) length: usize,
    pub(crate) pools: Pools,
    /// What the poll at hand returned.
    pub(crate) polled: Vec<(Key, Vec<(Offset, Value)>)>,
}

/// Lists that are waiting for their next use.
#[derive(Default)]
pub(crate) struct Pools {
    sends: Vec<Vec<Send>>,
    polled: Vec<Polled>,
    texts: Vec<String>,
    records: Vec<Vec<(Offset, Value)>>,
    /// What those could hold together.
    record_space: usize,
}

impl Ops {
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for so many.
    pub(crate) fn grow(&mut self, count: usize) {
        self.beside.resize(count.max(self.beside.len()), 0);
        self.slots.resize_with(count.max(self.slots.len()), Op::default);
    }
}

impl Deref for Ops {
    type Target = [Op];

    fn deref(&self) -> &[Op] {
        &self.slots[..self.length]
    }
}

impl Pools {
    pub(crate) fn records(&mut self) -> Vec<(Offset, Value)> {
        let records = self.records.pop().unwrap_or_default();
        self.record_space -= records.capacity();
        records
    }

    fn keep_records(&mut self, mut records: Vec<(Offset, Value)>) {
        let space = records.capacity();
        if space > 0 && space <= KEEP_RECORDS && self.record_space + space <= POOL_RECORDS {
            records.clear();
            self.record_space += space;
            self.records.push(records);
        }
    }

    pub(crate) fn empty(&mut self, polled: &mut Polled) {
        for (_, records) in polled.0.drain(..) {
            self.keep_records(records);
        }
        if polled.0.capacity() > KEEP_RECORDS {
            *polled = Polled::default();
        }
    }

    pub(crate) fn set(&mut self, to: &mut Option<String>, text: &str) {
        match to {
            Some(old) if old == text => {}
            Some(old) => {
                old.clear();
                old.push_str(text);
            }
            None => {
                let mut new = self.texts.pop().unwrap_or_default();
                new.push_str(text);
                *to = Some(new);
            }
        }
    }

    #[inline(always)]
    pub(crate) fn unset(&mut self, text: &mut Option<String>) {
        if let Some(mut text) = text.take()
            && text.capacity() <= KEEP_RECORDS
            && self.texts.len() < KEEP_TEXTS
        {
            text.clear();
            self.texts.push(text);
        }
    }

    /// The body as sends, emptied.
    pub(crate) fn sends<'a>(&mut self, body: &'a mut Body) -> &'a mut Vec<Send> {
        if !matches!(body, Body::Send(_)) {
            self.recycle(body);
            *body = Body::Send(self.sends.pop().unwrap_or_default());
        }
        match body {
            Body::Send(sends) => {
                sends.clear();
                if sends.capacity() > KEEP_RECORDS {
                    *sends = Vec::new();
                }
                sends
            }
            _ => unreachable!("it was made one above"),
        }
    }

    /// The body as a poll that returned, emptied.
    pub(crate) fn polled<'a>(&mut self, body: &'a mut Body) -> &'a mut Polled {
        if !matches!(body, Body::Poll(Some(_))) {
            self.recycle(body);
            *body = Body::Poll(Some(self.polled.pop().unwrap_or_default()));
        }
        match body {
            Body::Poll(Some(polled)) => {
                self.empty(polled);
                polled
            }
            _ => unreachable!("it was made one above"),
        }
    }

    /// Keeps what a body holds. What is left of it must be replaced.
    pub(crate) fn recycle(&mut self, body: &mut Body) {
        match body {
            Body::Send(sends) if sends.capacity() <= KEEP_RECORDS && self.sends.len() < PORTION_OPS => {
                self.sends.push(std::mem::take(sends));
            }
            Body::Poll(Some(polled)) => {
                self.empty(polled);
                if self.polled.len() < PORTION_OPS {
                    self.polled.push(std::mem::take(polled));
                }
            }
            Body::Txn(parts) => {
                for part in parts {
                    if let MicroOp::Poll(Some(polled)) = part {
                        self.empty(polled);
                    }
                }
            }
            _ => {}
        }
    }
}
