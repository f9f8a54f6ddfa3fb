//! A producer's open sends, by tickets that are never used twice: an answer that comes twice (an exception of Java's `send()` and a report after it) must
//! not be taken for that of another send on the same lane.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kchaos_core::OpType;

use crate::instance::{Instance, Told};
use crate::lanes::OpenSend;

const GONE: &str = "the worker ended without an answer";

pub(crate) struct Tickets {
    pub(crate) instance: Arc<Instance>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The lane of each send that has no answer.
    lanes: HashMap<u64, usize>,
    /// Why the client is dead although its worker lives.
    fatal: Option<String>,
    /// Nobody answers any more.
    is_gone: bool,
}

impl Tickets {
    pub(crate) fn new(instance: &Arc<Instance>) -> Self {
        Self { instance: Arc::clone(instance), state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before the worker is told to send. `false`: it is gone, and the send has been completed as info. What was told to a worker that died
    /// a moment ago would otherwise stay open, and its client with it, until somebody gave it up.
    pub(crate) fn open(&self, ticket: u64, lane: usize) -> bool {
        let mut state = self.lock();
        if state.is_gone {
            drop(state);
            self.instance.complete(lane, |_, _| gone());
            return false;
        }
        state.lanes.insert(ticket, lane);
        true
    }

    /// The second answer to a ticket is nobody's.
    pub(crate) fn answered(&self, ticket: u64, judge: impl FnOnce(&OpenSend, Duration) -> Told) {
        let lane = self.lock().lanes.remove(&ticket);
        if let Some(lane) = lane {
            self.instance.complete(lane, judge);
        }
    }

    /// The worker has ended: everything it was told is in doubt. How many sends that is.
    pub(crate) fn give_up(&self) -> u64 {
        let mut state = self.lock();
        state.is_gone = true;
        state.lanes.clear();
        drop(state);
        self.instance.give_up(GONE)
    }

    pub(crate) fn is_fatal(&self, why: &str) {
        self.lock().fatal.get_or_insert_with(|| why.to_owned());
    }

    pub(crate) fn fatal(&self) -> Option<String> {
        self.lock().fatal.clone()
    }
}

fn gone() -> Told {
    Told { op_type: OpType::Info, error: Some(GONE.to_owned()), offset: None, broker_id: None }
}
