//! Consumers that were assigned their keys, each with what it has yet to read.

use std::collections::VecDeque;

use kchaos_core::{Body, Extra, OpType};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use crate::draw::{Chance, draw};
use crate::options::{Options, Workload};
use crate::out::{Out, Record};

pub(crate) struct Reader {
    pub(crate) process: u32,
    pub(crate) client: u32,
    pub(crate) queue: VecDeque<Record>,
    state: State,
    /// It polls when so many records wait.
    target: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Polling,
    /// Its records belong to a transaction that polls.
    InTxn,
}

pub(crate) struct Readers {
    pub(crate) all: Vec<Reader>,
    /// By key: who reads it.
    of_key: Vec<Vec<u32>>,
    backlog: usize,
    /// Beyond it, readers go before writers.
    backlog_max: usize,
    next: usize,
    poll_records: usize,
    failed: Chance,
    /// Every second poll is left to a transaction.
    is_transactional: bool,
}

impl Readers {
    /// Each key has a reader, and each reader a key.
    pub(crate) fn new(options: &Options, processes: &mut u32) -> Self {
        let (keys, consumers) = (options.keys as usize, options.consumers as usize);
        let mut of_key = vec![Vec::new(); keys];
        let mut all = Vec::with_capacity(consumers);
        for number in 0..keys.max(consumers) {
            if let Ok(reader) = u32::try_from(number % consumers) {
                of_key[number % keys].push(reader);
            }
        }
        for _ in 0..consumers {
            let process = *processes;
            *processes += 1;
            all.push(Reader { process, client: process, queue: VecDeque::new(), state: State::Idle, target: 1 });
        }
        let poll_records = options.poll_records as usize;
        let (backlog_max, failed) = (128 + 2 * poll_records * consumers, Chance::new(options.failed_polls));
        let is_transactional = options.workload == Workload::Transactions;
        Self { all, of_key, backlog: 0, backlog_max, next: 0, poll_records, failed, is_transactional }
    }

    pub(crate) fn nobody() -> Self {
        let failed = Chance::new(0.0);
        Self { all: Vec::new(), of_key: Vec::new(), backlog: 0, backlog_max: 1, next: 0, poll_records: 1, failed, is_transactional: false }
    }

    pub(crate) fn assign(&self, out: &mut Out<'_>) {
        let mut keys = vec![Vec::new(); self.all.len()];
        for (key, readers) in (0..).zip(&self.of_key) {
            readers.iter().for_each(|reader| keys[*reader as usize].push(key));
        }
        for (reader, keys) in self.all.iter().zip(keys) {
            let assign = Body::Assign { keys, seek_to_beginning: true };
            out.both(reader.process, assign.clone(), assign, &Extra::default());
        }
    }

    #[inline]
    pub(crate) fn give(&mut self, record: Record) {
        let Some(readers) = self.of_key.get(record.key as usize) else { return };
        for reader in readers {
            self.all[*reader as usize].queue.push_back(record);
            self.backlog += 1;
        }
    }

    pub(crate) fn is_behind(&self) -> bool {
        self.backlog > self.backlog_max
    }

    /// A reader's next step, and further ones' if they are behind.
    pub(crate) fn step(&mut self, rng: &mut ChaCha8Rng, out: &mut Out<'_>) {
        let mut due = self.backlog;
        loop {
            self.next = if self.next + 1 < self.all.len() { self.next + 1 } else { 0 };
            self.visit(self.next, false, rng, out);
            if due < self.backlog_max {
                return;
            }
            due -= self.backlog_max;
        }
    }

    fn visit(&mut self, number: usize, rest: bool, rng: &mut ChaCha8Rng, out: &mut Out<'_>) {
        let is_behind = self.is_behind();
        let Some(reader) = self.all.get_mut(number) else { return };
        let is_left = self.is_transactional && reader.target % 2 == 1 && !is_behind;
        match reader.state {
            State::Idle if (reader.queue.len() >= reader.target && !is_left) || (rest && !reader.queue.is_empty()) => {
                reader.state = State::Polling;
                out.poll_invoke(reader.process);
            }
            State::Polling => {
                let take = reader.queue.len().min(self.poll_records);
                let op_type = match self.failed.happens(rng) {
                    true if rng.next_u32().is_multiple_of(2) => OpType::Fail,
                    true => OpType::Info,
                    false => OpType::Ok,
                };
                out.poll(reader.process, op_type, reader.queue.iter().take(take).copied(), Extra::default());
                reader.state = State::Idle;
                reader.target = 1 + draw(rng, self.poll_records);
                if op_type == OpType::Ok {
                    reader.queue.drain(..take);
                    self.backlog -= take;
                }
            }
            _ => {}
        }
    }

    /// Whether this reader has enough to begin a transaction with, and does.
    pub(crate) fn begin_txn(&mut self, number: usize) -> bool {
        let Some(reader) = self.all.get_mut(number) else { return false };
        let ready = reader.state == State::Idle && reader.queue.len() >= reader.target;
        if ready {
            reader.state = State::InTxn;
        }
        ready
    }

    pub(crate) fn waiting(&self, number: usize) -> usize {
        self.all[number].queue.len().min(self.poll_records)
    }

    /// The reader's transaction ended: what it polled is behind it if it committed for certain.
    pub(crate) fn end_txn(&mut self, number: usize, took: usize, commits: bool, rng: &mut ChaCha8Rng) {
        let target = draw(rng, self.poll_records);
        let reader = &mut self.all[number];
        (reader.state, reader.target) = (State::Idle, 1 + target);
        if commits {
            reader.queue.drain(..took);
            self.backlog -= took;
        }
    }

    /// Everybody reads to the end.
    pub(crate) fn drain(&mut self, rng: &mut ChaCha8Rng, out: &mut Out<'_>) {
        for number in 0..self.all.len() {
            while !out.is_stopped && (!self.all[number].queue.is_empty() || self.all[number].state == State::Polling) {
                self.visit(number, true, rng, out);
            }
        }
    }
}
