//! One Java producer.

use std::sync::{Arc, Mutex, PoisonError};

use kchaos_core::OpType;

use super::{JavaClient, errors, properties};
use crate::instance::{Instance, Told};
use crate::library::{Outgoing, Sending};
use crate::options::Acks;
use crate::worker::protocol::{self, Answer, Stage, Start, Thrown};
use crate::worker::{Tickets, Worker};
use crate::writer::Writer;

pub(super) struct JavaProducer {
    worker: Worker,
    hears: Arc<Hears>,
}

/// What hears the answers.
struct Hears {
    tickets: Tickets,
    /// What was last logged of exceptions.
    logged: Mutex<String>,
}

impl JavaProducer {
    pub(super) fn start(client: &JavaClient, writer: &Writer, instance: &Arc<Instance>) -> Result<Self, String> {
        let shared = &instance.shared;
        let properties = properties::producer(&shared.properties(writer.role, &writer.name))?;
        let start = Start { role: "producer", properties, keys: &shared.keys };
        let hears = Arc::new(Hears { tickets: Tickets::new(instance), logged: Mutex::default() });
        let listener = {
            let hears = Arc::clone(&hears);
            move |line: Option<&str>| hears.line(line)
        };
        let (pipes, place) = client.spawn()?;
        Ok(Self { worker: Worker::start(pipes, place, &start, &instance.log, Box::new(listener))?, hears })
    }
}

impl Sending for JavaProducer {
    fn send(&mut self, record: &Outgoing<'_>) -> bool {
        let is_open = self.hears.tickets.open(record.sequence, record.lane);
        if is_open {
            // Whom it does not reach has ended, and its listener gives up what is open.
            self.worker.say(protocol::send(record.sequence, record.key, record.record_key, record.payload));
        }
        is_open
    }

    fn fatal(&self) -> Option<String> {
        self.hears.tickets.fatal().or_else(|| self.worker.death())
    }

    /// The Java client begins again with its bootstrap servers when it knows of no broker.
    fn is_stalled(&self, _bootstrap: &str) -> bool {
        false
    }
}

impl Hears {
    fn line(&self, line: Option<&str>) {
        let Some(line) = line else {
            self.tickets.give_up();
            return;
        };
        let instance = &self.tickets.instance;
        match protocol::answer(line) {
            Some(Answer::Acked { ticket, .. }) if instance.shared.options.acks == Acks::None => {
                self.tickets.answered(ticket, |_, _| told(OpType::Info, Some("not acknowledged (acks=0)".to_owned()), None));
            }
            Some(Answer::Acked { ticket, offset }) => self.tickets.answered(ticket, |_, _| told(OpType::Ok, None, Some(offset))),
            Some(Answer::Failed { ticket, stage, thrown }) => {
                self.log(stage, &thrown);
                let class = errors::classify(&thrown.class, stage);
                let text = errors::describe(&thrown.class, stage, thrown.is_retriable);
                self.tickets.answered(ticket, |_, _| told(class, Some(text), None));
            }
            None => instance.log.say("error", "KCHAOS", &format!("the worker says {line:?}")),
        }
    }

    /// The message of an exception, once for all records of a batch; and whether it ends the client.
    fn log(&self, stage: Stage, thrown: &Thrown) {
        let text = format!("{}: {}", thrown.class, thrown.message);
        if errors::ends_client(&thrown.class, stage) {
            self.tickets.is_fatal(&text);
        }
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if *logged != text {
            self.tickets.instance.log.say("error", "JAVA", &text);
            *logged = text;
        }
    }
}

fn told(op_type: OpType, error: Option<String>, offset: Option<i64>) -> Told {
    Told { op_type, error, offset, broker_id: None }
}
