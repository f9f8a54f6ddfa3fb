//! Idempotent producers: what one sends lands in the order of sending, and completes in any.

use std::collections::VecDeque;

use kchaos_core::{OpType, Send, Value};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use crate::draw::{Chance, Fate, Fates, below, draw};
use crate::options::Options;
use crate::out::Out;
use crate::world::World;

/// How far a completion may overtake others of its client.
const OVERTAKES: usize = 8;

struct Producer {
    client: u32,
    idle: Vec<u32>,
    /// In the order of sending; the first `landed` have landed or never will.
    flying: VecDeque<Flight>,
    landed: usize,
}

struct Flight {
    process: u32,
    sends: Vec<Send>,
    fate: Fate,
}

pub(crate) struct Producers {
    all: Vec<Producer>,
    lanes: u32,
    keys: usize,
    batch: usize,
    fates: Fates,
    holes: Chance,
    in_flight: usize,
    /// Of restarted producers: in flight, and yet to land.
    late: VecDeque<Vec<Send>>,
    /// Emptied lists of sends.
    spare: Vec<Vec<Send>>,
}

impl Producers {
    pub(crate) fn new(options: &Options, processes: &mut u32) -> Self {
        let producer = |_| {
            let client = *processes;
            *processes += options.lanes;
            Producer { client, idle: (client..*processes).rev().collect(), flying: VecDeque::new(), landed: 0 }
        };
        Self {
            all: (0..options.producers).map(producer).collect(),
            lanes: options.lanes,
            keys: options.keys as usize,
            batch: options.batch as usize,
            fates: Fates::new(options),
            holes: Chance::new(options.holes),
            in_flight: 0,
            late: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.in_flight == 0 && self.late.is_empty()
    }

    /// One thing that one producer does. Gives how many values it began to send, numbered from `next`.
    pub(crate) fn step(&mut self, may_begin: bool, next: Value, rng: &mut ChaCha8Rng, world: &mut World, out: &mut Out<'_>) -> usize {
        let bits = rng.next_u64();
        if !self.late.is_empty()
            && bits & 3 == 0
            && let Some(sends) = self.late.pop_front()
        {
            sends.iter().for_each(|send| _ = world.append(key(*send), send.value));
        }
        let number = below(bits as u32, self.all.len());
        let begins = may_begin && !self.all[number].idle.is_empty() && (self.all[number].flying.is_empty() || bits >> 63 == 0);
        if begins {
            return self.begin(number, next, rng, out);
        }
        // Where nothing may begin, whoever has something in flight goes on.
        let number = if may_begin { number } else { self.busy(number) };
        if !self.all[number].flying.is_empty() {
            let among = self.all[number].flying.len().min(OVERTAKES);
            self.complete(number, below((bits >> 32) as u32 & 0x7FFF_FFFF, 2 * among), rng, world, out);
        }
        0
    }

    fn busy(&self, from: usize) -> usize {
        let numbers = (from..self.all.len()).chain(0..from);
        numbers.into_iter().find(|number| !self.all[*number].flying.is_empty()).unwrap_or(from)
    }

    fn begin(&mut self, number: usize, next: Value, rng: &mut ChaCha8Rng, out: &mut Out<'_>) -> usize {
        let producer = &mut self.all[number];
        let Some(process) = producer.idle.pop() else { return 0 };
        let count = if self.batch > 1 { 1 + draw(rng, self.batch) } else { 1 };
        let mut sends = self.spare.pop().unwrap_or_default();
        sends.clear();
        sends.extend((next..).take(count).map(|value| Send { key: draw(rng, self.keys) as i64, value, offset: None }));
        out.sends(process, producer.client, OpType::Invoke, sends.iter().copied());
        producer.flying.push_back(Flight { process, sends, fate: self.fates.draw(rng) });
        self.in_flight += 1;
        count
    }

    fn land(&mut self, number: usize, up_to: usize, rng: &mut ChaCha8Rng, world: &mut World) {
        let producer = &mut self.all[number];
        while producer.landed <= up_to {
            let flight = &mut producer.flying[producer.landed];
            for send in flight.sends.iter_mut().filter(|_| flight.fate.takes_effect()) {
                if self.holes.happens(rng) {
                    world.hole(key(*send));
                }
                send.offset = Some(world.append(key(*send), send.value));
            }
            producer.landed += 1;
        }
    }

    fn complete(&mut self, number: usize, at: usize, rng: &mut ChaCha8Rng, world: &mut World, out: &mut Out<'_>) {
        self.land(number, at, rng, world);
        let producer = &mut self.all[number];
        producer.landed -= 1;
        self.in_flight -= 1;
        let Some(Flight { process, sends, fate }) = producer.flying.remove(at) else { return };
        end(producer.client, process, &sends, fate, out);
        producer.idle.push(process);
        self.spare.push(sends);
    }

    /// A producer dies and a new one takes its place: of what was in flight nobody knows, and some of it lands later.
    pub(crate) fn restart(&mut self, processes: &mut u32, rng: &mut ChaCha8Rng, out: &mut Out<'_>) {
        let number = draw(rng, self.all.len());
        let producer = &mut self.all[number];
        for (nth, flight) in producer.flying.drain(..).enumerate() {
            self.in_flight -= 1;
            let (landed, fate) = (nth < producer.landed, flight.fate);
            let ended = if fate == Fate::Fail { Fate::Fail } else { Fate::InfoLost };
            end(producer.client, flight.process, &flight.sends, ended, out);
            if !landed && fate.takes_effect() && rng.next_u32().is_multiple_of(2) {
                self.late.push_back(flight.sends);
            }
        }
        producer.client = *processes;
        *processes += self.lanes;
        producer.idle = (producer.client..*processes).rev().collect();
        producer.landed = 0;
    }
}

fn key(send: Send) -> u32 {
    u32::try_from(send.key).unwrap_or_default()
}

fn end(client: u32, process: u32, sends: &[Send], fate: Fate, out: &mut Out<'_>) {
    let op_type = match fate {
        Fate::Ok | Fate::OkUntold => OpType::Ok,
        Fate::InfoDone | Fate::InfoLost => OpType::Info,
        Fate::Fail => OpType::Fail,
    };
    // Of a batch whose outcome is not known, the first value's may be.
    let told = |nth| fate == Fate::Ok || (fate == Fate::InfoDone && nth == 0 && sends.len() > 1);
    let sends = sends.iter().enumerate().map(|(nth, send)| Send { offset: send.offset.filter(|_| told(nth)), ..*send });
    out.sends(process, client, op_type, sends);
}
