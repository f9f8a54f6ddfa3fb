//! One Java consumer: asked and answered one thing after another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use kchaos_core::{KeyEntry, Offset};

use super::process::Worker;
use super::protocol::{self, Read, Said, Start};
use super::{JavaClient, properties};
use crate::library::{Incoming, ReadError, Reading};
use crate::options::Isolation;
use crate::properties::Role;
use crate::shared::Shared;

/// For an answer, beyond the time that the question itself takes: a worker that says nothing for so long is as good as dead.
const PATIENCE: Duration = Duration::from_secs(10);
/// An exception that lasts is thrown by every poll, at once.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

pub(super) struct JavaConsumer {
    worker: Worker,
    said: Receiver<Option<String>>,
    shared: Arc<Shared>,
    read: VecDeque<Read>,
    /// What the last poll told, if it found nothing.
    positions: Vec<(usize, Offset)>,
}

impl JavaConsumer {
    pub(super) fn start(client: &JavaClient, shared: &Arc<Shared>, name: &str, isolation: Isolation) -> Result<Self, String> {
        let properties = properties::consumer(&shared.properties(Role::Consumer, name), isolation);
        let start = Start { role: "consumer", properties, keys: &shared.keys };
        let (to, said) = channel();
        // Nobody hears it any more when the consumer is gone.
        let listener = move |line: Option<&str>| drop(to.send(line.map(str::to_owned)));
        let worker = Worker::start(client, &start, &shared.log(name), Box::new(listener))?;
        Ok(Self { worker, said, shared: Arc::clone(shared), read: VecDeque::new(), positions: Vec::new() })
    }

    /// Asks, and gives what follows `done`; records that come before it are kept.
    fn ask(&mut self, question: String, time: Duration) -> Result<String, ReadError> {
        self.worker.say(question);
        let until = Instant::now() + time + PATIENCE;
        loop {
            let Ok(Some(line)) = self.said.recv_timeout(until.saturating_duration_since(Instant::now())) else {
                let why = self.worker.death().unwrap_or_else(|| "its worker does not answer".to_owned());
                return Err(ReadError { name: why, is_out_of_range: false, is_fatal: true });
            };
            match protocol::said(&line) {
                Some(Said::Record(read)) => self.read.push_back(read),
                Some(Said::Done(rest)) => return Ok(rest),
                Some(Said::Error { is_out_of_range, thrown }) => {
                    return Err(ReadError { name: thrown.class, is_out_of_range, is_fatal: false });
                }
                None => {
                    let name = format!("its worker says {line:?}");
                    return Err(ReadError { name, is_out_of_range: false, is_fatal: true });
                }
            }
        }
    }

    fn number(&self, entry: &KeyEntry) -> Option<usize> {
        self.shared.keys.iter().position(|known| known.partition == entry.partition && known.topic == entry.topic)
    }
}

impl Reading for JavaConsumer {
    /// Assignments are made on the thread that polls.
    fn settles_in(&self) -> Duration {
        Duration::ZERO
    }

    fn assign(&mut self, places: &[(&KeyEntry, Offset)]) -> Result<(), String> {
        self.read.clear();
        self.positions.clear();
        let place = |(entry, next): &(&KeyEntry, Offset)| Some(format!(" {}:{next}", self.number(entry)?));
        let words: String = places.iter().filter_map(place).collect();
        self.ask(format!("assign{words}"), Duration::ZERO).map(drop).map_err(|error| error.name)
    }

    fn poll(&mut self, timeout: Duration, take: &mut dyn FnMut(&Incoming<'_>)) -> Result<bool, ReadError> {
        if self.read.is_empty() {
            match self.ask(format!("poll {}", timeout.as_millis()), timeout) {
                Ok(rest) => self.positions = protocol::positions(&rest),
                Err(error) => {
                    std::thread::sleep(PAUSE_AFTER_ERROR);
                    return Err(error);
                }
            }
        }
        let Some(read) = self.read.pop_front() else { return Ok(false) };
        let entry = self.shared.keys.get(read.key);
        if let Some(KeyEntry { topic, partition, .. }) = entry {
            take(&Incoming {
                topic,
                partition: *partition,
                offset: read.offset,
                record_key: read.record_key.as_deref(),
                payload: read.payload.as_deref(),
                leader_epoch: read.leader_epoch,
            });
        }
        Ok(entry.is_some())
    }

    fn positions(&mut self, entries: &[&KeyEntry]) -> Vec<Option<Offset>> {
        let of = |entry: &&KeyEntry| {
            let number = self.number(entry)?;
            self.positions.iter().find(|(key, _)| *key == number).map(|(_, position)| *position)
        };
        entries.iter().map(of).collect()
    }

    fn start_of(&mut self, entry: &KeyEntry, timeout: Duration) -> Option<Offset> {
        let number = self.number(entry)?;
        self.ask(format!("start {number} {}", timeout.as_millis()), timeout).ok()?.parse().ok()
    }

    fn is_stalled(&self, _bootstrap: &str) {}
}
