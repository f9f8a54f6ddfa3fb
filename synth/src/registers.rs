//! Registers, as ZooKeeper's nodes: each write makes the next version, and every op takes effect at one moment between its begin and its end.

use kchaos_core::{Body, Extra, Key, OpType, Value};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use crate::draw::{Fate, Fates, below, draw};
use crate::options::Options;
use crate::out::Out;

#[derive(Clone, Copy, Default)]
pub(crate) struct Register {
    pub(crate) value: Option<Value>,
    pub(crate) version: i64,
}

struct Session {
    process: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Begun(Action, Fate),
    Done(Action, OpType, Told),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Read(u32),
    Write(u32, Value),
    Cas(u32, Value, Value),
}

/// What the answer carries.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    value: Option<Value>,
    version: i64,
    zxid: i64,
}

pub(crate) struct Registers {
    registers: Vec<Register>,
    sessions: Vec<Session>,
    open: usize,
    zxid: i64,
    fates: Fates,
}

impl Registers {
    pub(crate) fn new(options: &Options, processes: &mut u32) -> Self {
        let session = |_| {
            let process = *processes;
            *processes += 1;
            Session { process, state: State::Idle }
        };
        Self {
            registers: vec![Register::default(); options.keys as usize],
            sessions: (0..options.producers * options.lanes).map(session).collect(),
            open: 0,
            zxid: 0,
            fates: Fates::new(options),
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.open == 0
    }

    /// One step of one session. Gives how many ops it began.
    pub(crate) fn step(&mut self, may_begin: bool, next: Value, rng: &mut ChaCha8Rng, out: &mut Out<'_>) -> usize {
        let number = below(rng.next_u32(), self.sessions.len());
        let number = if may_begin { number } else { self.busy(number) };
        let process = self.sessions[number].process;
        match self.sessions[number].state {
            State::Idle if may_begin => {
                let action = self.choose(next, rng);
                self.sessions[number].state = State::Begun(action, self.fates.draw(rng));
                out.line(process, Some(process), OpType::Invoke, action.body(None), Extra::default());
                self.open += 1;
                return 1;
            }
            State::Idle => {}
            State::Begun(action, fate) => self.sessions[number].state = self.apply(action, fate),
            State::Done(action, op_type, told) => {
                let extra = if op_type == OpType::Ok { told.extra() } else { Extra::default() };
                out.line(process, Some(process), op_type, action.body(told.value), extra);
                self.sessions[number].state = State::Idle;
                self.open -= 1;
            }
        }
        0
    }

    fn busy(&self, from: usize) -> usize {
        let mut numbers = (from..self.sessions.len()).chain(0..from);
        numbers.find(|number| self.sessions[*number].state != State::Idle).unwrap_or(from)
    }

    fn choose(&self, next: Value, rng: &mut ChaCha8Rng) -> Action {
        let key = draw(rng, self.registers.len()) as u32;
        match (draw(rng, 4), self.registers[key as usize].value) {
            (0, _) => Action::Write(key, next),
            (1, Some(old)) => Action::Cas(key, old, next),
            _ => Action::Read(key),
        }
    }

    fn apply(&mut self, action: Action, fate: Fate) -> State {
        let register = &mut self.registers[action.key() as usize];
        let written = match action {
            Action::Read(_) => None,
            Action::Write(_, new) => Some(new),
            Action::Cas(_, old, new) if register.value == Some(old) => Some(new),
            // It found another value: a definite answer, whatever was drawn.
            Action::Cas(..) => return State::Done(action, OpType::Fail, Told { value: None, version: 0, zxid: 0 }),
        };
        if let Some(new) = written.filter(|_| fate.takes_effect()) {
            self.zxid += 1;
            *register = Register { value: Some(new), version: register.version + 1 };
        }
        let op_type = match fate {
            Fate::Ok | Fate::OkUntold => OpType::Ok,
            Fate::InfoDone | Fate::InfoLost => OpType::Info,
            Fate::Fail => OpType::Fail,
        };
        let value = if op_type == OpType::Ok { register.value } else { None };
        State::Done(action, op_type, Told { value, version: register.version, zxid: self.zxid })
    }

    /// A final reader asks for each.
    pub(crate) fn read_all(&self, process: u32, out: &mut Out<'_>) {
        for (key, register) in (0..).zip(&self.registers) {
            let action = Action::Read(key);
            let told = Told { value: register.value, version: register.version, zxid: self.zxid };
            let extra = |told: Extra| Extra { is_final: true, ..told };
            out.line(process, Some(process), OpType::Invoke, action.body(None), extra(Extra::default()));
            out.line(process, Some(process), OpType::Ok, action.body(told.value), extra(told.extra()));
        }
    }

    /// A write by a session of its own that is acknowledged with this version, which the register then holds.
    pub(crate) fn write(&mut self, key: u32, value: Value, version: i64, process: u32, out: &mut Out<'_>) {
        self.zxid += 1;
        let told = Told { value: Some(value), version, zxid: self.zxid };
        self.registers[key as usize] = Register { value: Some(value), version };
        out.line(process, Some(process), OpType::Invoke, Action::Write(key, value).body(None), Extra::default());
        out.line(process, Some(process), OpType::Ok, Action::Write(key, value).body(told.value), told.extra());
    }

    /// A read that is answered with what the register is said to hold.
    pub(crate) fn read(&self, key: u32, held: Register, process: u32, out: &mut Out<'_>) {
        let told = Told { value: held.value, version: held.version, zxid: self.zxid };
        out.line(process, Some(process), OpType::Invoke, Action::Read(key).body(None), Extra::default());
        out.line(process, Some(process), OpType::Ok, Action::Read(key).body(told.value), told.extra());
    }

    /// The zxid of a transaction of somebody else's.
    pub(crate) fn tick(&mut self) -> i64 {
        self.zxid += 1;
        self.zxid
    }

    /// Of the last transaction.
    pub(crate) fn zxid(&self) -> i64 {
        self.zxid
    }

    pub(crate) fn register(&self, key: u32) -> Register {
        self.registers[key as usize]
    }
}

impl Action {
    fn key(self) -> u32 {
        match self {
            Self::Read(key) | Self::Write(key, _) | Self::Cas(key, ..) => key,
        }
    }

    fn body(self, read: Option<Value>) -> Body {
        let key = Key::from(self.key());
        match self {
            Self::Read(_) => Body::Read { key, value: read },
            Self::Write(_, value) => Body::Write { key, value },
            Self::Cas(_, old, new) => Body::Cas { key, old, new },
        }
    }
}

impl Told {
    fn extra(self) -> Extra {
        Extra { version: Some(self.version), zxid: Some(self.zxid), ..Extra::default() }
    }
}
