//! `lso-stall`: the last stable offset of a partition stands still long after every known transaction ended.
//!
//! Readers of committed wait at the last stable offset for the transaction whose first record stands there. Told by ops of the process
//! "nemesis":
//!
//! - `stable-offsets` `{"0": {"stable": 10, "end": 20, "leader_epoch": 4}, …}`: by key, the last stable offset and the high watermark, as
//!   the current leader told both. `limit_ms` may stand beside the keys: how long is long (five minutes where it is not told), and
//!   `transaction_timeout_ms`: when a coordinator aborts what nobody ended (fifteen minutes, the most that brokers allow by default).
//!
//! The record at a last stable offset below the high watermark was there at the first look that showed it, so only transactions that were
//! begun before can hold it. Once all of those have ended, and `limit_ms` is over, it should have moved. One that was not ok ends with its
//! timeout, since its abort may have failed as well. While one is open, nothing is said. Counted: offsets of a key at which it stood.
//!
//! A reply of an older leader epoch than one seen before comes from a deposed leader and is passed over, as is one without either offset.
//!
//! What this cannot see: transactions of producers that are not in the history (a foreign transaction that is still open holds the offset
//! rightly, for its own timeout; where there may be some, `transaction_timeout_ms` should count towards `limit_ms`), and what happens
//! between two looks: an offset that moved and a new one that stands at the same place cannot be, since offsets only grow.

use std::collections::BTreeMap;
use std::time::Duration;

use kchaos_core::{Body, Key, Offset, Op, OpType, Process, Verdict};

use crate::by_id::ById;
use crate::facts::Facts;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};
use crate::told::{by_number, milliseconds, number, told};

pub(crate) const SPEC: Spec = Spec {
    name: "lso-stall",
    about: "the last stable offset moves on once every transaction has ended",
    anomalies: &["lso-stall"],
    stable: true,
    hears: hears::TXN_INVOKE | hears::TXN_END | hears::PLACES | hears::NEMESIS,
    build: || Box::new(LsoStall::default()),
};

const LIMIT: Duration = Duration::from_secs(300);
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(900);

#[derive(Default)]
struct LsoStall {
    keys: BTreeMap<Key, Stand>,
    /// The transaction that each process has begun: its number.
    open: ById<u64>,
    next: u64,
    /// The latest end of all that were ok, and of the others (their timeout comes on top).
    ended_ns: u64,
    given_up_ns: Option<u64>,
    /// How those ended that were open when an offset was first seen to stand: when, and whether ok.
    ends: BTreeMap<u64, Option<(u64, bool)>>,
    stalls: BTreeMap<(Key, Offset), Stall>,
}

/// A last stable offset below the high watermark, since it was first seen so.
struct Stand {
    stable: Offset,
    leader_epoch: i64,
    since: OpRef,
    since_ns: u64,
    ended_ns: u64,
    given_up_ns: Option<u64>,
    open: Vec<u64>,
    moved: bool,
}

struct Stall {
    since: OpRef,
    op: OpRef,
    stood_ns: u64,
    end: Offset,
}

impl Rule for LsoStall {
    fn update(&mut self, op: &Op, _: &Facts) {
        match (op.process, &op.body) {
            (Process::Client(process), Body::Txn(_)) => self.txn(process, op),
            (Process::Client(process), Body::Crash) => self.give_up(process, op),
            _ => self.look(op),
        }
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for ((key, stable), Stall { since, op, stood_ns, end }) in &self.stalls {
            findings.add("lso-stall", || {
                let explanation = format!(
                    "the last stable offset of key {key} stands at {stable}{} and did {} s before{}, below the high watermark {end}, long \
                     after every transaction begun before then had ended: it should have moved on",
                    cite(*op),
                    stood_ns / 1_000_000_000,
                    cite(*since),
                );
                example(*key, Vec::new(), vec![*stable, *end], &[*since, *op], explanation)
            });
        }
        findings.verdict()
    }
}

impl LsoStall {
    fn txn(&mut self, process: u32, op: &Op) {
        match op.op_type {
            OpType::Invoke => {
                self.give_up(process, op);
                self.open.insert(u64::from(process), self.next);
                self.next += 1;
            }
            OpType::Ok => self.end(process, op, true),
            // What failed is aborted by somebody, if not by its own producer.
            OpType::Fail | OpType::Info => self.end(process, op, false),
        }
    }

    /// A process that begins another one, or crashed, will not end its transaction.
    fn give_up(&mut self, process: u32, op: &Op) {
        if self.open.get(u64::from(process)).is_some() {
            self.end(process, op, false);
        }
    }

    fn end(&mut self, process: u32, op: &Op, certain: bool) {
        if certain {
            self.ended_ns = self.ended_ns.max(op.time_ns);
        } else {
            self.given_up_ns = self.given_up_ns.max(Some(op.time_ns));
        }
        if let Some(end) = self.open.remove(u64::from(process)).and_then(|txn| self.ends.get_mut(&txn)) {
            *end = Some((op.time_ns, certain));
        }
    }

    fn look(&mut self, op: &Op) {
        let Some(value) = told(op, "stable-offsets") else { return };
        let limit_ns = milliseconds(value, "limit_ms", LIMIT);
        let timeout_ns = milliseconds(value, "transaction_timeout_ms", TRANSACTION_TIMEOUT);
        for (key, look) in by_number(value) {
            let (Some(stable @ 0..), Some(end)) = (number(look, "stable"), number(look, "end")) else { continue };
            let leader_epoch = number(look, "leader_epoch").unwrap_or(-1);
            let before = self.keys.get(&key);
            if before.is_some_and(|before| leader_epoch >= 0 && leader_epoch < before.leader_epoch) {
                continue;
            }
            let leader_epoch = before.map_or(leader_epoch, |before| leader_epoch.max(before.leader_epoch));
            match self.keys.get_mut(&key).filter(|stand| stand.stable == stable && !stand.moved && stable < end) {
                None => {
                    self.stand(key, op, stable, leader_epoch, stable >= end);
                    continue;
                }
                Some(stand) => stand.leader_epoch = leader_epoch,
            }
            let Some((since, since_ns, over_ns)) = self.over(key, timeout_ns) else { continue };
            if op.time_ns > over_ns.max(since_ns).saturating_add(limit_ns) {
                let stood_ns = op.time_ns.saturating_sub(since_ns);
                self.stalls.entry((key, stable)).or_insert(Stall { since, op: OpRef::new(op.index), stood_ns, end });
            }
        }
    }

    fn stand(&mut self, key: Key, op: &Op, stable: Offset, leader_epoch: i64, moved: bool) {
        let open: Vec<u64> = if moved { Vec::new() } else { self.open.iter().map(|(_, txn)| *txn).collect() };
        for txn in &open {
            self.ends.entry(*txn).or_insert(None);
        }
        let (since, since_ns, ended_ns, given_up_ns) = (OpRef::new(op.index), op.time_ns, self.ended_ns, self.given_up_ns);
        self.keys.insert(key, Stand { stable, leader_epoch, since, since_ns, ended_ns, given_up_ns, open, moved });
    }

    /// Since when an offset stands, and when the last transaction that may hold it was over; `None` while one is open.
    fn over(&mut self, key: Key, timeout_ns: u64) -> Option<(OpRef, u64, u64)> {
        let stand = self.keys.get_mut(&key)?;
        let ends = &self.ends;
        let (ended_ns, given_up_ns) = (&mut stand.ended_ns, &mut stand.given_up_ns);
        stand.open.retain(|txn| match ends.get(txn).copied().flatten() {
            Some((at_ns, true)) => {
                *ended_ns = (*ended_ns).max(at_ns);
                false
            }
            Some((at_ns, false)) => {
                *given_up_ns = (*given_up_ns).max(Some(at_ns));
                false
            }
            None => true,
        });
        let over_ns = stand.given_up_ns.map_or(stand.ended_ns, |at_ns| stand.ended_ns.max(at_ns.saturating_add(timeout_ns)));
        stand.open.is_empty().then_some((stand.since, stand.since_ns, over_ns))
    }
}
