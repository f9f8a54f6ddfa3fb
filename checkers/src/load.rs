//! How much was tried and how it ended, by phase of the run.
//!
//! A verdict of valid means little if nothing was written while the trouble lasted, so the load of each phase stands beside it. Phases are
//! told by ops `phase` of the process "nemesis"; a history without them is one phase, "all".

use kchaos_core::{Body, Op, OpType, PlainPoll, PlainSend, Process};
use serde::{Deserialize, Serialize};

use crate::facts::{Facts, each_polled, polls};

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
    /// Those that are over.
    phases: Vec<PhaseLoad>,
    phase: PhaseLoad,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self { phases: Vec::new(), phase: PhaseLoad { phase: "all".to_owned(), ..PhaseLoad::default() } }
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
        let phase = &mut self.phase;
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
            let polled = match &op.body {
                Body::Poll(polled) => polled.is_some(),
                body => polls(body).next().is_some(),
            };
            phase.polls_ok += u64::from(polled);
            each_polled(&op.body, |_, records| phase.records_read += records.len() as u64);
        }
    }

    #[inline]
    pub(crate) fn plain_poll(&mut self, poll: &PlainPoll<'_>) {
        let phase = &mut self.phase;
        phase.to_ns = phase.to_ns.max(poll.time_ns);
        phase.polls_ok += 1;
        phase.records_read += poll.polled.iter().map(|(_, records)| records.len() as u64).sum::<u64>();
    }

    /// An op that counts nowhere.
    pub(crate) fn goes_on(&mut self, time_ns: u64) {
        self.phase.to_ns = self.phase.to_ns.max(time_ns);
    }

    #[inline]
    pub(crate) fn plain_send(&mut self, send: &PlainSend) {
        let phase = &mut self.phase;
        phase.to_ns = phase.to_ns.max(send.time_ns);
        match send.op_type {
            OpType::Invoke => phase.sends_invoked += 1,
            OpType::Ok => phase.sends_ok += 1,
            OpType::Fail => phase.sends_fail += 1,
            OpType::Info if send.send.offset.is_some_and(|offset| offset >= 0) => phase.sends_ok += 1,
            OpType::Info => phase.sends_info += 1,
        }
    }

    fn begin(&mut self, name: &str, time_ns: u64) {
        let begun = PhaseLoad { phase: name.to_owned(), from_ns: time_ns, to_ns: time_ns, ..PhaseLoad::default() };
        let nothing = PhaseLoad { phase: "all".to_owned(), to_ns: self.phase.to_ns, ..PhaseLoad::default() };
        if self.phases.is_empty() && self.phase == nothing {
            // Nothing was done before the first phase was named.
            self.phase = begun;
            return;
        }
        self.phase.to_ns = self.phase.to_ns.max(time_ns);
        if self.phases.len() + 1 < MAX_PHASES {
            self.phases.push(std::mem::replace(&mut self.phase, begun));
        }
    }

    pub(crate) fn phases(mut self) -> Vec<PhaseLoad> {
        self.phases.push(self.phase);
        self.phases
    }
}
