//! Histories made up: clean ones of any size, shape and seed, and each anomaly at chosen places.
//!
//! Why: whoever wants to know what a bad run looks like should not have to wait for one; a benchmark needs a hundred million sends that
//! nobody ran; and a checker is only as good as what was hidden from it. The same options give the same history, byte for byte.
//!
//! How: a small simulation of a cluster that keeps every promise, one step of one client at a time. A history is a stream: nothing is kept
//! but what is in flight or yet to be read. The final reader, who rereads everything, is given it by playing the history again. An anomaly
//! is a scene of its own, played when nothing is in flight, by clients that appear nowhere else: its ops stand one after the other, and
//! [`Summary::injected`] tells where.
//!
//! **Invariants of absence:** no clock, no cluster, no thread; no file but the writer that is handed in. Memory does not grow with the number of sends.

mod draw;
mod groups;
mod injection;
mod json;
mod observer;
mod options;
mod out;
mod producers;
mod readers;
mod registers;
mod scenes;
mod sim;
mod txns;
mod world;

use std::io::Write;
use std::ops::RangeInclusive;

use kchaos_core::{Key, Op, Value};

pub use injection::{INJECTABLE, Injectable, Injection, InjectionError, Place};
pub use json::write_json;
pub use options::{Options, OptionsError, Workload};

use crate::out::Out;
use crate::sim::Sim;

/// Lines are handed to the writer in pieces of this size.
const BUFFER_BYTES: usize = 1 << 20;

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub ops: u64,
    /// Without those of injections.
    pub sends: u64,
    /// How long the history lasts by its own time.
    pub time_ns: u64,
    pub injected: Vec<Injected>,
}

/// Where an anomaly is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    pub anomaly: &'static str,
    /// The send before which it stands.
    pub send: u64,
    /// Its ops, by index.
    pub ops: RangeInclusive<u64>,
    pub time_ns: u64,
    /// `None` if it is of no key.
    pub key: Option<Key>,
    /// The values that tell of it, where values do.
    pub values: Vec<Value>,
}

/// A history that can be made.
pub struct Synth {
    options: Options,
}

impl Synth {
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        options.validate()?;
        Ok(Self { options })
    }

    /// Gives every op of the history to `sink`, in order, until it fails.
    pub fn each<E>(&self, mut sink: impl FnMut(&Op) -> Result<(), E>) -> Result<Summary, E> {
        let mut failed = None;
        let mut hand = |op: &Op| match sink(op) {
            Ok(()) => true,
            Err(error) => {
                failed = Some(error);
                false
            }
        };
        let summary = run(&self.options, &mut Out::new(&mut hand, self.options.keys, self.options.rate));
        failed.map_or(Ok(summary), Err)
    }

    /// Writes the history as JSON, an op a line.
    pub fn write<W: Write>(&self, mut writer: W) -> std::io::Result<Summary> {
        let mut lines = Vec::with_capacity(BUFFER_BYTES + (BUFFER_BYTES >> 3));
        let summary = self.each(|op| {
            write_json(op, &mut lines);
            lines.push(b'\n');
            if lines.len() >= BUFFER_BYTES {
                writer.write_all(&lines)?;
                lines.clear();
            }
            Ok::<_, std::io::Error>(())
        })?;
        writer.write_all(&lines)?;
        writer.flush()?;
        Ok(summary)
    }
}

fn run(options: &Options, out: &mut Out<'_>) -> Summary {
    let mut sim = Sim::new(options);
    sim.start(out);
    while !out.is_stopped && sim.step(out) {}
    sim.drain(out);
    sim.finale(out)
}
