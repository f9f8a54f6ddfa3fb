//! How much was tried and how it ended, by phase of the run.
//!
//! A verdict of valid means little if nothing was written while the trouble lasted, so the load of each phase stands beside it. Phases are
//! told by ops `phase` of the process "nemesis"; a history without them is one phase, "all".

use kchaos_core::{Body, Op, OpType, PlainSend, Process};
use serde::{Deserialize, Serialize};

use crate::facts::{Facts, polls};

/// Phases kept apart; a history that names more of them goes on in the last.
const MAX_PHASES: usize = 64;

/// Counts of one phase. Sends are counted value by value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseLoad {
    pub phase: String,
    pub from_ns: u64,
    pub to_ns: u64,
    pub sends_invoked: u64,
    pub sends_ok: u64,
    pub sends_fail: u64,
    pub sends_info: u64,
    pub polls_ok: u64,
    /// Records that ok polls returned, reread ones included.
    pub records_read: u64,
}

pub(crate) struct Load {
    phases: Vec<PhaseLoad>,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self { phases: vec![PhaseLoad { phase: "all".to_owned(), ..PhaseLoad::default() }] }
    }

    pub(crate) fn update(&mut self, op: &Op, facts: &Facts) {
        if let (Process::Nemesis, Body::Nemesis { f, value }) = (op.process, &op.body) {
            if f == "phase"
                && let Some(name) = value.as_str()
            {
                self.begin(name, op.time_ns);
            }
            return;
        }
        let Some(phase) = self.phases.last_mut() else { return };
        phase.to_ns = phase.to_ns.max(op.time_ns);
        let sends = facts.sends();
        match op.op_type {
            OpType::Invoke => phase.sends_invoked += sends.len() as u64,
            OpType::Ok => phase.sends_ok += sends.len() as u64,
            OpType::Fail => phase.sends_fail += sends.len() as u64,
            OpType::Info => {
                let in_txn = matches!(op.body, Body::Txn(_));
                let acknowledged = sends.iter().filter(|send| !in_txn && send.offset.is_some_and(|offset| offset >= 0)).count() as u64;
                phase.sends_ok += acknowledged;
                phase.sends_info += sends.len() as u64 - acknowledged;
            }
        }
        if op.op_type == OpType::Ok {
            let mut polls = polls(&op.body).peekable();
            phase.polls_ok += u64::from(polls.peek().is_some());
            phase.records_read += polls.flat_map(|polled| &polled.0).map(|(_, records)| records.len() as u64).sum::<u64>();
        }
    }

    #[inline]
    pub(crate) fn plain_send(&mut self, send: &PlainSend) {
        let Some(phase) = self.phases.last_mut() else { return };
        phase.to_ns = phase.to_ns.max(send.time_ns);
        let count = match send.op_type {
            OpType::Invoke => &mut phase.sends_invoked,
            OpType::Ok => &mut phase.sends_ok,
            OpType::Fail => &mut phase.sends_fail,
            OpType::Info if send.send.offset.is_some_and(|offset| offset >= 0) => &mut phase.sends_ok,
            OpType::Info => &mut phase.sends_info,
        };
        *count += 1;
    }

    fn begin(&mut self, name: &str, time_ns: u64) {
        if let [only] = &mut self.phases[..]
            && only.phase == "all"
            && *only == (PhaseLoad { phase: "all".to_owned(), to_ns: only.to_ns, ..PhaseLoad::default() })
        {
            // Nothing was done before the first phase was named.
            *only = PhaseLoad { phase: name.to_owned(), from_ns: time_ns, to_ns: time_ns, ..PhaseLoad::default() };
            return;
        }
        if let Some(last) = self.phases.last_mut() {
            last.to_ns = last.to_ns.max(time_ns);
        }
        if self.phases.len() < MAX_PHASES {
            self.phases.push(PhaseLoad { phase: name.to_owned(), from_ns: time_ns, to_ns: time_ns, ..PhaseLoad::default() });
        }
    }

    pub(crate) fn phases(self) -> Vec<PhaseLoad> {
        self.phases
    }
}
