//! The history, step by step: one client does one thing, and at chosen places something happens.

use std::collections::{BTreeMap, VecDeque};

use kchaos_core::{Body, Extra, FaultEvent, FaultMoment, Interval, Key, Offset, OpType, Value};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, json};

use crate::draw::draw;
use crate::groups::Group;
use crate::injection::{Injectable, Place};
use crate::observer::{self, Observer};
use crate::options::{Options, Workload};
use crate::out::{Out, Record};
use crate::producers::Producers;
use crate::readers::Readers;
use crate::registers::Registers;
use crate::scenes::{self, Stage, With};
use crate::txns::Txns;
use crate::world::World;
use crate::{Injected, Summary};

pub(crate) struct Sim<'o> {
    options: &'o Options,
    rng: ChaCha8Rng,
    clients: Clients,
    pub(crate) stage: Stage,
    /// What happens where, in order.
    plan: Vec<(u64, Event)>,
    planned: usize,
    sent: u64,
    /// Nothing is begun, until all that was has ended.
    is_calming: bool,
    injected: Vec<Injected>,
}

enum Clients {
    Producers(Producers),
    Txns(Txns),
    Registers(Registers),
}

#[derive(Clone, Copy)]
enum Event {
    Phase(&'static str),
    FaultBegins(u32),
    FaultEnds(u32),
    Restart,
    Crash,
    Look,
    Inject(&'static Injectable),
}

impl<'o> Sim<'o> {
    pub(crate) fn new(options: &'o Options) -> Self {
        let mut processes = 0;
        let clients = match options.workload {
            Workload::Log | Workload::Groups => Clients::Producers(Producers::new(options, &mut processes)),
            Workload::Transactions => Clients::Txns(Txns::new(options, &mut processes)),
            Workload::Registers => Clients::Registers(Registers::new(options, &mut processes)),
        };
        let (readers, group) = match options.workload {
            Workload::Log | Workload::Transactions => (Readers::new(options, &mut processes), Group::nobody(options)),
            Workload::Groups => (Readers::nobody(), Group::new(options, &mut processes)),
            Workload::Registers => (Readers::nobody(), Group::nobody(options)),
        };
        let world = World::new(options.keys, options.base_offset, readers, group);
        // Injections have choices of their own, so that the history before them stays as it is.
        let mut chooser = ChaCha8Rng::seed_from_u64(options.seed ^ 0x5EED_0F5C_E9E5);
        let plan = plan(options, &mut chooser);
        Self {
            options,
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            clients,
            stage: Stage::new(world, chooser, Observer::new(options), processes),
            plan,
            planned: 0,
            sent: 0,
            is_calming: false,
            injected: Vec::new(),
        }
    }

    pub(crate) fn start(&mut self, out: &mut Out<'_>) {
        out.pace(0);
        self.stage.world.readers.assign(out);
        self.stage.world.group.join(out);
        if self.options.looks > 0 {
            out.leader_epochs = Some(BTreeMap::new());
            self.stage.observer.begin(self.options.workload, out);
        }
    }

    /// `false` when all was sent, has ended, and was read.
    pub(crate) fn step(&mut self, out: &mut Out<'_>) -> bool {
        self.happen(out);
        let may_begin = !self.is_calming && self.sent < self.options.sends;
        if !may_begin && self.sent >= self.options.sends && self.planned >= self.plan.len() && self.is_quiet() {
            return false;
        }
        let Self { clients, stage, rng, .. } = self;
        let next = stage.next_value;
        let mut begun = match clients {
            Clients::Producers(producers) => producers.step(may_begin, next, rng, &mut stage.world, out),
            Clients::Txns(txns) => txns.step(may_begin, next, rng, &mut stage.world, out),
            Clients::Registers(registers) => registers.step(may_begin, next, rng, out),
        };
        stage.next_value += begun as Value;
        stage.world.group.step(rng, out);
        // A reader now and then begins a transaction with what it reads.
        if let Clients::Txns(txns) = clients
            && may_begin
            && !stage.world.readers.is_behind()
        {
            let reader = draw(rng, 4 * stage.world.readers.all.len());
            let more = txns.begin_with(reader, stage.next_value, rng, &mut stage.world, out);
            stage.next_value += more as Value;
            begun += more;
        }
        stage.world.readers.step(rng, out);
        if begun > 0 {
            self.sent += begun as u64;
            out.pace(self.sent);
        }
        true
    }

    /// What is due by now.
    fn happen(&mut self, out: &mut Out<'_>) {
        while let Some((_, event)) = self.plan.get(self.planned).filter(|(place, _)| *place <= self.sent) {
            match *event {
                Event::Inject(_) if !self.is_quiet() => {
                    self.is_calming = true;
                    return;
                }
                Event::Inject(anomaly) => {
                    self.is_calming = false;
                    self.inject(anomaly, out);
                }
                Event::Phase(name) => out.nemesis("phase", name.into()),
                Event::FaultBegins(number) => fault(number, FaultMoment::InEffect, out),
                Event::Look => {
                    let registers = match &mut self.clients {
                        Clients::Registers(registers) => Some(registers),
                        Clients::Producers(_) | Clients::Txns(_) => None,
                    };
                    observer::look(&mut self.stage, registers, out);
                }
                Event::FaultEnds(number) => fault(number, FaultMoment::Healed, out),
                Event::Restart => {
                    if let Clients::Producers(producers) = &mut self.clients {
                        producers.restart(&mut self.stage.processes, &mut self.rng, out);
                    }
                }
                Event::Crash => {
                    let Stage { world, processes, .. } = &mut self.stage;
                    let number = draw(&mut self.rng, world.group.members.len());
                    world.group.crash(number, processes, &mut self.rng, out);
                }
            }
            self.planned += 1;
        }
    }

    fn is_quiet(&self) -> bool {
        match &self.clients {
            Clients::Producers(producers) => producers.is_quiet(),
            Clients::Txns(txns) => txns.is_quiet(),
            Clients::Registers(registers) => registers.is_quiet(),
        }
    }

    fn inject(&mut self, anomaly: &'static Injectable, out: &mut Out<'_>) {
        let (first, time_ns) = (out.index, out.time_ns);
        let with = match &mut self.clients {
            Clients::Registers(registers) => With::Registers(registers),
            Clients::Producers(_) => With::Producers,
            Clients::Txns(txns) => With::Txns(txns),
        };
        let shown = scenes::play(anomaly.name, &mut self.stage, with, &mut self.rng, out);
        let ops = first..=out.index.saturating_sub(1);
        let injected =
            Injected { anomaly: anomaly.name, send: self.sent, ops, time_ns, key: shown.key.map(Key::from), values: shown.values };
        self.injected.push(injected);
    }

    /// Everybody reads to the end.
    pub(crate) fn drain(&mut self, out: &mut Out<'_>) {
        out.unhurried();
        self.stage.world.readers.drain(&mut self.rng, out);
        self.stage.world.group.drain(&mut self.rng, out);
    }

    /// The last of a run: every key is reread from the start, and the ends of the logs are told.
    pub(crate) fn finale(mut self, out: &mut Out<'_>) -> Summary {
        if self.options.faults > 0 {
            out.nemesis("phase", "finale".into());
        }
        if self.options.final_read {
            let process = self.stage.process();
            match &self.clients {
                Clients::Registers(registers) => registers.read_all(process, out),
                _ => {
                    let ends: Vec<Offset> = (0..self.options.keys).map(|key| self.stage.world.end(key)).collect();
                    reread(self.options, process, out);
                    tell_ends(self.options.base_offset, &ends, &self.stage.observer, out);
                }
            }
        }
        Summary { ops: out.index, sends: self.sent, time_ns: out.time_ns, injected: self.injected }
    }
}

/// As a run of ours logs it.
fn fault(fault_id: u32, moment: FaultMoment, out: &mut Out<'_>) {
    let nemesis = "kill-leader".to_owned();
    let when = Interval::at(out.time_ns);
    let event = FaultEvent { fault_id, moment, when, nemesis, chosen: Vec::new(), effect: None, proof: None, text: None };
    out.nemesis(&event.nemesis, json!(event));
}

/// Plays the whole history again, for nobody but a reader of all keys, who needs no log then.
fn reread(options: &Options, process: u32, out: &mut Out<'_>) {
    let extra = || Extra { is_final: true, ..Extra::default() };
    let assign = Body::Assign { keys: (0..Key::from(options.keys)).collect(), seek_to_beginning: true };
    out.both(process, assign.clone(), assign, &extra());
    let mut nobody = |_: &kchaos_core::Op| true;
    let mut again = Out::new(&mut nobody, options.keys, options.rate);
    again.is_silent = true;
    let mut sim = Sim::new(options);
    sim.stage.world.tap = Some(VecDeque::new());
    sim.start(&mut again);
    let poll = |tap: &mut VecDeque<Record>, out: &mut Out<'_>| {
        let take = tap.len().min(options.poll_records as usize);
        out.line(process, None, OpType::Invoke, Body::Poll(None), extra());
        out.poll(process, OpType::Ok, tap.drain(..take), extra());
    };
    while !out.is_stopped && sim.step(&mut again) {
        while let Some(tap) = sim.stage.world.tap.as_mut().filter(|tap| tap.len() >= options.poll_records as usize) {
            poll(tap, out);
        }
    }
    while let Some(tap) = sim.stage.world.tap.as_mut().filter(|tap| !tap.is_empty() && !out.is_stopped) {
        poll(tap, out);
    }
}

/// As a run of ours tells them, asked of the leaders when all is mended.
fn tell_ends(start: Offset, ends: &[Offset], observer: &Observer, out: &mut Out<'_>) {
    let by_key = |value: &dyn Fn(u32, Offset) -> serde_json::Value| -> serde_json::Value {
        let keys = (0..).zip(ends).map(|(key, end)| (key.to_string(), value(key, *end)));
        serde_json::Value::Object(keys.collect::<Map<_, _>>())
    };
    out.nemesis("final-offsets", by_key(&|key, end| json!({"start": start, "end": end, "leader_epoch": observer.epoch(key)})));
    let keys = by_key(&|_, end| json!({"next": end, "end": end}));
    out.nemesis("final-reads", json!({"complete": true, "keys": keys}));
}

/// Everything that happens on the way, by the number of the send before which it does.
fn plan(options: &Options, chooser: &mut ChaCha8Rng) -> Vec<(u64, Event)> {
    let sends = options.sends;
    let part = |number: u64, of: u64| (u128::from(sends) * u128::from(number) / u128::from(of.max(1))) as u64;
    let mut plan = Vec::new();
    if options.faults > 0 {
        // A quarter of quiet before and after; in between, faults and pauses of one length.
        let moments = u64::from(options.faults) * 4;
        let within = |moment: u64| part(moments + 2 * moment, 4 * moments);
        plan.push((0, Event::Phase("before")));
        plan.push((part(1, 4), Event::Phase("trouble")));
        for fault in 1..=options.faults {
            let first = u64::from(fault - 1) * 4;
            plan.push((within(first + 1), Event::FaultBegins(fault)));
            plan.push((within(first + 3), Event::FaultEnds(fault)));
        }
        plan.push((part(3, 4), Event::Phase("after")));
    }
    let (restarts, crashes) = (u64::from(options.restarts), u64::from(options.crashes));
    plan.extend((1..=restarts).map(|number| (part(number, restarts + 1), Event::Restart)));
    plan.extend((1..=crashes).map(|number| (part(2 * number - 1, 2 * crashes), Event::Crash)));
    let looks = u64::from(options.looks);
    plan.extend((0..looks).map(|number| (part(number + 1, looks), Event::Look)));
    for injection in &options.injections {
        for _ in 0..injection.count {
            let place = match injection.place {
                Place::Random => chooser.random_range(0..=sends),
                Place::Fraction(fraction) => (sends as f64 * fraction) as u64,
                Place::Send(number) => number,
            };
            plan.push((place.min(sends), Event::Inject(injection.anomaly)));
        }
    }
    // Stable: what is due at one place happens in this order.
    plan.sort_by_key(|(place, _)| *place);
    plan
}
