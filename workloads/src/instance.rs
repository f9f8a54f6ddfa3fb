//! One producer client, as all its threads see it: what is open, on which lanes, and what becomes of it.
//!
//! What holds whichever library it is of: every invoke gets exactly one completion, and a second answer to the same send is nobody's.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kchaos_core::{Body, Draft, Offset, OpType, Process, Send as SendOp};

use crate::client_log::ClientLog;
use crate::lanes::{Gate, HandOver, Lanes, OffsetGuard, OpenSend};
use crate::shared::Shared;
use crate::writer::{Shape, Writer};

/// How long those who wait for room sleep at most.
const NAP: Duration = Duration::from_millis(50);

pub(crate) struct Instance {
    pub(crate) shared: Arc<Shared>,
    pub(crate) client: u32,
    pub(crate) log: ClientLog,
    state: Mutex<State>,
    /// A lane was freed.
    freed: Condvar,
}

pub(crate) struct State {
    pub(crate) lanes: Lanes,
    guards: Vec<OffsetGuard>,
}

/// Of a send that begins.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) intended_ns: u64,
    pub(crate) now_ns: u64,
}

/// What was said of a send.
pub(crate) struct Told {
    pub(crate) op_type: OpType,
    pub(crate) error: Option<String>,
    /// Of an acknowledgement, negative if it carried none.
    pub(crate) offset: Option<Offset>,
    /// The broker that answered, where that is known.
    pub(crate) broker_id: Option<i32>,
}

impl Instance {
    pub(crate) fn new(shared: &Arc<Shared>, writer: &Writer, gate: Option<Gate>, idle: Vec<u32>) -> Self {
        let keys = shared.written;
        let lanes = Lanes::new(writer.in_flight, keys, shared.written_at_a_time(), gate).inherit(idle);
        Self {
            client: shared.new_client(),
            log: shared.log(&writer.name),
            state: Mutex::new(State { lanes, guards: vec![OffsetGuard::default(); keys] }),
            freed: Condvar::new(),
            shared: Arc::clone(shared),
        }
    }

    /// Waits for room, so long at most.
    pub(crate) fn wait_for_room(&self, state: MutexGuard<'_, State>, pause: Duration) {
        drop(self.freed.wait_timeout(state, pause));
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long its oldest open send has been waiting.
    pub(crate) fn waits_for(&self, now_ns: u64) -> Duration {
        let oldest_ns = self.lock().lanes.oldest_sent_ns();
        Duration::from_nanos(oldest_ns.map_or(0, |sent_ns| now_ns.saturating_sub(sent_ns)))
    }

    /// Takes a lane and records the invoke. With `goes_first` the client gets the send at once, if it can have one.
    pub(crate) fn begin(&self, key: usize, shape: &Shape, times: Times, goes_first: bool) -> Option<(usize, OpenSend, HandOver)> {
        let (lane, process) = self.lock().lanes.take(key, || self.shared.new_process())?;
        let Shape { value_bytes, is_oversize, .. } = *shape;
        let Times { intended_ns, now_ns } = times;
        let send = OpenSend { process, key, value: self.shared.new_value(key), intended_ns, sent_ns: now_ns, value_bytes, is_oversize };
        self.shared.counters.invoked.fetch_add(1, Relaxed);
        self.shared.record(self.draft(&send, OpType::Invoke, None));
        let mut state = self.lock();
        state.lanes.open(lane, send);
        let hand_over = if goes_first { state.lanes.hand_over(lane, key, now_ns) } else { HandOver::Wait };
        Some((lane, send, hand_over))
    }

    /// Records the completion and frees the lane; `judge` says what the answer to this send means, so long after it. The second answer about a
    /// lane, if there ever is one, is nobody's.
    pub(crate) fn complete(&self, lane: usize, judge: impl FnOnce(&OpenSend, Duration) -> Told) {
        let now_ns = self.shared.clock.now_ns();
        let mut state = self.lock();
        let Some(send) = state.lanes.close(lane) else { return };
        let told = judge(&send, Duration::from_nanos(now_ns.saturating_sub(send.sent_ns)));
        let offset = told.offset.and_then(|offset| state.guards[send.key].check(offset));
        drop(state);
        let mut draft = self.draft(&send, told.op_type, offset);
        draft.error = told.error;
        draft.node = told.broker_id.map(|id| format!("kafka:{id}"));
        self.finish(lane, &send, draft, offset);
    }

    fn finish(&self, lane: usize, send: &OpenSend, draft: Draft, offset: Option<Offset>) {
        let op_type = draft.op_type;
        self.shared.record(draft);
        self.shared.counters.completed(op_type, send.key, offset);
        if let Some(sizes) = &self.shared.sizes {
            sizes.completed(send, op_type, self.shared.clock.now_ns());
        }
        let is_room = self.lock().lanes.release(lane, send.key, op_type == OpType::Info);
        if is_room {
            self.freed.notify_all();
        }
    }

    /// Completes as info what has no delivery report and will get none.
    pub(crate) fn give_up(&self, reason: &str) -> u64 {
        let open = self.lock().lanes.close_all();
        for (lane, send) in &open {
            let mut draft = self.draft(send, OpType::Info, None);
            draft.error = Some(reason.to_owned());
            self.finish(*lane, send, draft, None);
        }
        open.len() as u64
    }

    pub(crate) fn wait_until_closed(&self, until: Instant) {
        let mut state = self.lock();
        while state.lanes.used() > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.freed.wait_timeout(state, left.min(NAP)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn record_crash(&self, reason: &str) {
        self.shared.counters.crashed.fetch_add(1, Relaxed);
        let process = Process::Client(self.shared.new_process());
        for op_type in [OpType::Invoke, OpType::Info] {
            let mut draft = Draft::new(process, op_type, Body::Crash);
            draft.client = Some(self.client);
            draft.error = (op_type == OpType::Info).then(|| reason.to_owned());
            self.shared.record(draft);
        }
    }

    fn draft(&self, send: &OpenSend, op_type: OpType, offset: Option<Offset>) -> Draft {
        let body = Body::Send(vec![SendOp { key: self.shared.keys[send.key].key, value: send.value, offset }]);
        let mut draft = Draft::new(Process::Client(send.process), op_type, body);
        draft.client = Some(self.client);
        draft.extra.intended_ns = Some(send.intended_ns);
        draft
    }
}
