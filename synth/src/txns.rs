//! Transactional producers, one transaction each at a time, and consumers that poll and send in one.
//!
//! A transaction's records land together, after its poll: so transactions have one order and no cycle.

use kchaos_core::{Body, Extra, MicroOp, OpType, Send, Value};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use crate::draw::{Chance, Fate, Fates, below, draw};
use crate::options::Options;
use crate::out::Out;
use crate::world::{TxnId, World};

struct Lane {
    process: u32,
    client: u32,
}

enum Owner {
    Lane(Lane),
    Reader(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Begun,
    Landed,
    Ended,
}

struct Txn {
    id: TxnId,
    owner: Owner,
    sends: Vec<Send>,
    fate: Fate,
    stage: Stage,
    /// Records that it polled: the first of its reader's queue.
    took: usize,
    commit_ns: Option<u64>,
}

pub(crate) struct Txns {
    idle: Vec<Lane>,
    open: Vec<Txn>,
    keys: usize,
    batch: usize,
    fates: Fates,
    holes: Chance,
    next: TxnId,
}

impl Txns {
    pub(crate) fn new(options: &Options, processes: &mut u32) -> Self {
        let lane = |_| {
            let process = *processes;
            *processes += 1;
            Lane { process, client: process }
        };
        Self {
            idle: (0..options.producers * options.lanes).map(lane).collect(),
            open: Vec::new(),
            keys: options.keys as usize,
            batch: options.batch as usize,
            fates: Fates::new(options),
            holes: Chance::new(options.holes),
            next: 1,
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.open.is_empty()
    }

    /// A number for a transaction that is not ours.
    pub(crate) fn id(&mut self) -> TxnId {
        self.next += 1;
        self.next - 1
    }

    /// One step of one transaction. Gives how many values it began to send.
    pub(crate) fn step(&mut self, may_begin: bool, next: Value, rng: &mut ChaCha8Rng, world: &mut World, out: &mut Out<'_>) -> usize {
        let bits = rng.next_u64();
        if may_begin && !self.idle.is_empty() && (self.open.is_empty() || bits >> 62 == 0) {
            let at = below(bits as u32, self.idle.len());
            let lane = self.idle.swap_remove(at);
            return self.begin(Owner::Lane(lane), next, rng, world, out);
        }
        if !self.open.is_empty() {
            let at = below(bits as u32, self.open.len());
            self.advance(at, rng, world, out);
        }
        0
    }

    /// A reader that has enough to read may do so in a transaction.
    pub(crate) fn begin_with(&mut self, reader: usize, next: Value, rng: &mut ChaCha8Rng, world: &mut World, out: &mut Out<'_>) -> usize {
        if !world.readers.begin_txn(reader) {
            return 0;
        }
        self.begin(Owner::Reader(reader), next, rng, world, out)
    }

    fn begin(&mut self, owner: Owner, next: Value, rng: &mut ChaCha8Rng, world: &World, out: &mut Out<'_>) -> usize {
        let count = 1 + draw(rng, self.batch);
        let send = |value| Send { key: draw(rng, self.keys) as i64, value, offset: None };
        let sends: Vec<Send> = (next..).take(count).map(send).collect();
        let id = self.id();
        let txn = Txn { id, owner, sends, fate: self.fates.draw(rng), stage: Stage::Begun, took: 0, commit_ns: None };
        txn.line(OpType::Invoke, world, out);
        self.open.push(txn);
        count
    }

    fn advance(&mut self, at: usize, rng: &mut ChaCha8Rng, world: &mut World, out: &mut Out<'_>) {
        let txn = &mut self.open[at];
        match txn.stage {
            Stage::Begun => {
                if let Owner::Reader(reader) = txn.owner {
                    txn.took = world.readers.waiting(reader);
                }
                // Half of what fails or is lost had landed, and was aborted.
                let lands = txn.fate.takes_effect() || rng.next_u32().is_multiple_of(2);
                for send in txn.sends.iter_mut().filter(|_| lands) {
                    let key = key(*send);
                    if self.holes.happens(rng) {
                        world.hole(key);
                    }
                    send.offset = Some(world.append_in(key, send.value, txn.id));
                }
                txn.stage = Stage::Landed;
            }
            Stage::Landed => {
                let commits = txn.fate.takes_effect();
                let mut keys: Vec<u32> = txn.sends.iter().filter(|send| send.offset.is_some()).map(|send| key(*send)).collect();
                keys.sort_unstable();
                keys.dedup();
                txn.commit_ns = commits.then_some(out.time_ns);
                keys.into_iter().for_each(|key| world.end_txn(key, txn.id, commits));
                txn.stage = Stage::Ended;
            }
            Stage::Ended => {
                let txn = self.open.swap_remove(at);
                let op_type = match txn.fate {
                    Fate::Ok | Fate::OkUntold => OpType::Ok,
                    Fate::InfoDone | Fate::InfoLost => OpType::Info,
                    Fate::Fail => OpType::Fail,
                };
                txn.line(op_type, world, out);
                match txn.owner {
                    Owner::Lane(lane) => self.idle.push(lane),
                    Owner::Reader(reader) => world.readers.end_txn(reader, txn.took, op_type == OpType::Ok, rng),
                }
            }
        }
    }
}

impl Txn {
    fn line(&self, op_type: OpType, world: &World, out: &mut Out<'_>) {
        if out.is_silent {
            return out.line(0, None, op_type, Body::Crash, Extra::default());
        }
        let mut parts = Vec::with_capacity(self.sends.len() + 1);
        let (process, client) = match &self.owner {
            Owner::Lane(lane) => (lane.process, lane.client),
            Owner::Reader(number) => {
                let reader = &world.readers.all[*number];
                let polled = (op_type != OpType::Invoke).then(|| out.polled(reader.queue.iter().take(self.took).copied()));
                parts.push(MicroOp::Poll(polled));
                (reader.process, reader.client)
            }
        };
        let told = self.fate == Fate::Ok || self.fate == Fate::InfoDone;
        parts.extend(self.sends.iter().map(|send| MicroOp::Send(Send { offset: send.offset.filter(|_| told), ..*send })));
        let extra = Extra { commit_time_ns: self.commit_ns, ..Extra::default() };
        out.line(process, Some(client), op_type, Body::Txn(parts), extra);
    }
}

fn key(send: Send) -> u32 {
    u32::try_from(send.key).unwrap_or_default()
}
