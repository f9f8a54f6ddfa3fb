//! What history is wanted.

use std::fmt;
use std::str::FromStr;

use kchaos_core::Offset;

use crate::injection::{Injection, InjectionError, either};

/// What the clients of the history do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Sends, and polls by assigned consumers.
    Log,
    /// The same in transactions, some of which poll and then send.
    Transactions,
    /// Sends, and a consumer group: subscribe, commit, committed, crashes, rebalances.
    Groups,
    /// Registers: read, write, compare-and-set, with versions.
    Registers,
}

impl Workload {
    pub const ALL: [Self; 4] = [Self::Log, Self::Transactions, Self::Groups, Self::Registers];

    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Transactions => "transactions",
            Self::Groups => "groups",
            Self::Registers => "registers",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Workload {
    type Err = OptionsError;

    fn from_str(name: &str) -> Result<Self, OptionsError> {
        Self::ALL.into_iter().find(|workload| workload.name() == name).ok_or_else(|| OptionsError::Workload(name.to_owned()))
    }
}

/// Size, shape and seed. The same options give the same history, byte for byte.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub workload: Workload,
    /// Values sent; for registers, ops. Injections and the last op's batch come on top.
    pub sends: u64,
    pub keys: u32,
    pub producers: u32,
    /// Sends that one producer keeps in flight, each by a process of its own; for transactions, transactional producers.
    pub lanes: u32,
    pub consumers: u32,
    /// Records that one poll returns at most.
    pub poll_records: u32,
    /// Values that one send op, or one transaction, holds at most.
    pub batch: u32,
    pub seed: u64,
    /// The first offset of every key.
    pub base_offset: Offset,
    /// Sends per second of the history's own time.
    pub rate: u64,
    /// Fraction of sends, transactions, commits and register ops whose outcome nobody knows; half of them took effect.
    pub info: f64,
    /// Fraction that certainly failed.
    pub fail: f64,
    /// Fraction of acknowledgements without an offset.
    pub no_offset: f64,
    /// Fraction of records with a hole before them.
    pub holes: f64,
    /// Fraction of polls that fail or whose outcome nobody knows: they show records, and the consumer rewinds.
    pub failed_polls: f64,
    /// Producers that are restarted on the way, with sends in flight.
    pub restarts: u32,
    /// Group members that crash on the way; a new one takes the place, and keys move.
    pub crashes: u32,
    /// Faults that a nemesis logs, held one after the other; with any, the phases of a run are logged as well.
    pub faults: u32,
    /// Looks of an observer on the way, spread evenly: each tells of controllers, leader epochs, replicas, settings and the like. With any,
    /// acknowledgements tell the leader epoch.
    pub looks: u32,
    /// A final reader rereads every key from the start, and the log's ends are told as a run of ours tells them.
    pub final_read: bool,
    pub injections: Vec<Injection>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workload: Workload::Log,
            sends: 10_000,
            keys: 3,
            producers: 2,
            lanes: 5,
            consumers: 2,
            poll_records: 100,
            batch: 1,
            seed: 0,
            base_offset: 0,
            rate: 10_000,
            info: 0.001,
            fail: 0.001,
            no_offset: 0.001,
            holes: 0.0,
            failed_polls: 0.001,
            restarts: 0,
            crashes: 0,
            faults: 0,
            looks: 0,
            final_read: true,
            injections: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OptionsError {
    #[error("unknown workload \"{0}\": one of log, transactions, groups, registers")]
    Workload(String),
    #[error("{name} {value} is out of range: {least} to {most}")]
    Range { name: &'static str, value: String, least: i64, most: i64 },
    #[error("{name} {value} is no fraction: 0 to 1")]
    Fraction { name: &'static str, value: f64 },
    #[error("info {info}, fail {fail} and no-offset {no_offset} are more than all sends together")]
    Outcomes { info: f64, fail: f64, no_offset: f64 },
    #[error("the workload {workload} has no {name}: {} has", either(workloads))]
    Needs { name: &'static str, workload: Workload, workloads: &'static [Workload] },
    #[error(transparent)]
    Injection(#[from] InjectionError),
}

/// What a history may hold of a thing that takes memory.
const MOST: i64 = 1 << 20;
/// Workloads whose producers can be restarted.
const PRODUCING: &[Workload] = &[Workload::Log, Workload::Groups];
const GROUPS: &[Workload] = &[Workload::Groups];

impl Options {
    /// Says what cannot be made, before anything is.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let wide = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let lanes = i64::from(self.producers) * i64::from(self.lanes);
        for (name, value, least, most) in [
            ("sends", wide(self.sends), 1, 1 << 40),
            ("keys", self.keys.into(), 1, MOST),
            ("producers", self.producers.into(), 1, MOST),
            ("in-flight", self.lanes.into(), 1, MOST),
            ("producers times in-flight", lanes, 1, MOST),
            ("consumers", self.consumers.into(), 1, 1 << 16),
            ("poll-records", self.poll_records.into(), 1, MOST),
            ("batch", self.batch.into(), 1, 10_000),
            ("base-offset", self.base_offset, 0, 1 << 60),
            ("rate", wide(self.rate), 1, 1_000_000_000),
            ("restarts", self.restarts.into(), 0, MOST),
            ("crashes", self.crashes.into(), 0, MOST),
            ("faults", self.faults.into(), 0, MOST),
            ("looks", self.looks.into(), 0, MOST),
        ] {
            if !(least..=most).contains(&value) {
                return Err(OptionsError::Range { name, value: value.to_string(), least, most });
            }
        }
        for (name, value) in [
            ("info", self.info),
            ("fail", self.fail),
            ("no-offset", self.no_offset),
            ("holes", self.holes),
            ("failed-polls", self.failed_polls),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(OptionsError::Fraction { name, value });
            }
        }
        // 0.7 and 0.2 and 0.1 are a little more than 1 to a computer.
        if self.info + self.fail + self.no_offset > 1.0 + 1e-9 {
            return Err(OptionsError::Outcomes { info: self.info, fail: self.fail, no_offset: self.no_offset });
        }
        if self.failed_polls > 0.9 {
            // Consumers would never get anywhere.
            return Err(OptionsError::Fraction { name: "failed-polls (0.9 at most)", value: self.failed_polls });
        }
        for (name, count, workloads) in [("restarts", self.restarts, PRODUCING), ("crashes", self.crashes, GROUPS)] {
            if count > 0 && !workloads.contains(&self.workload) {
                return Err(OptionsError::Needs { name, workload: self.workload, workloads });
            }
        }
        for injection in &self.injections {
            injection.validate(self)?;
        }
        let injections: u64 = self.injections.iter().map(|injection| u64::from(injection.count)).sum();
        if wide(injections) > MOST {
            return Err(OptionsError::Range { name: "injections", value: injections.to_string(), least: 0, most: MOST });
        }
        Ok(())
    }
}
