//! One Java producer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kchaos_core::OpType;

use super::process::Worker;
use super::protocol::{self, Answer, Stage, Start, Thrown};
use super::{JavaClient, errors, properties};
use crate::instance::{Instance, Told};
use crate::library::{Outgoing, Sending};
use crate::options::Acks;
use crate::writer::Writer;

const GONE: &str = "the worker ended without an answer";

pub(super) struct JavaProducer {
    worker: Worker,
    hears: Arc<Hears>,
}

/// What hears the answers.
struct Hears {
    instance: Arc<Instance>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The lane of each send that has no answer. By tickets that are never used twice, since an answer that comes twice (an exception of `send()` and
    /// a report after it) must not be taken for that of another send on the same lane.
    lanes: HashMap<u64, usize>,
    /// Why the client is dead although its worker lives.
    fatal: Option<String>,
    /// What was last logged of exceptions.
    logged: String,
}

impl JavaProducer {
    pub(super) fn start(client: &JavaClient, writer: &Writer, instance: &Arc<Instance>) -> Result<Self, String> {
        let shared = &instance.shared;
        let properties = properties::producer(&shared.properties(writer.role, &writer.name));
        let start = Start { role: "producer", properties, keys: &shared.keys };
        let hears = Arc::new(Hears { instance: Arc::clone(instance), state: Mutex::default() });
        let listener = {
            let hears = Arc::clone(&hears);
            move |line: Option<&str>| hears.line(line)
        };
        Ok(Self { worker: Worker::start(client, &start, &instance.log, Box::new(listener))?, hears })
    }
}

impl Sending for JavaProducer {
    fn send(&mut self, record: &Outgoing<'_>) -> bool {
        self.hears.lock().lanes.insert(record.sequence, record.lane);
        if !self.worker.say(protocol::send(record.sequence, record.key, record.record_key, record.payload)) {
            self.hears.answered(record.sequence, || told(OpType::Info, Some(GONE.to_owned()), None));
        }
        true
    }

    fn fatal(&self) -> Option<String> {
        self.hears.lock().fatal.clone().or_else(|| self.worker.death())
    }

    /// The Java client begins again with its bootstrap servers when it knows of no broker.
    fn is_stalled(&self, _bootstrap: &str) -> bool {
        false
    }
}

impl Hears {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, line: Option<&str>) {
        let Some(line) = line else {
            self.lock().lanes.clear();
            self.instance.give_up(GONE);
            return;
        };
        match protocol::answer(line) {
            Some(Answer::Acked { ticket, .. }) if self.instance.shared.options.acks == Acks::None => {
                self.answered(ticket, || told(OpType::Info, Some("not acknowledged (acks=0)".to_owned()), None));
            }
            Some(Answer::Acked { ticket, offset }) => self.answered(ticket, || told(OpType::Ok, None, Some(offset))),
            Some(Answer::Failed { ticket, stage, thrown }) => {
                self.log(stage, &thrown);
                let class = errors::classify(&thrown.class, stage);
                let text = errors::describe(&thrown.class, stage, thrown.is_retriable);
                self.answered(ticket, || told(class, Some(text), None));
            }
            None => self.instance.log.say("error", "KCHAOS", &format!("the worker says {line:?}")),
        }
    }

    fn answered(&self, ticket: u64, told: impl FnOnce() -> Told) {
        let lane = self.lock().lanes.remove(&ticket);
        if let Some(lane) = lane {
            self.instance.complete(lane, |_, _| told());
        }
    }

    /// The message of an exception, once for all records of a batch; and whether it ends the client.
    fn log(&self, stage: Stage, thrown: &Thrown) {
        let text = format!("{}: {}", thrown.class, thrown.message);
        let mut state = self.lock();
        if errors::ends_client(&thrown.class, stage) && state.fatal.is_none() {
            state.fatal = Some(text.clone());
        }
        if state.logged != text {
            self.instance.log.say("error", "JAVA", &text);
            state.logged = text;
        }
    }
}

fn told(op_type: OpType, error: Option<String>, offset: Option<i64>) -> Told {
    Told { op_type, error, offset, broker_id: None }
}
