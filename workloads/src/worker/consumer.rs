//! A worker's consumer: asked and answered one thing after another.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use kchaos_core::{KeyEntry, Offset};

use super::door::{Pipes, Worker};
use super::protocol::{self, Read, Said, Start};
use crate::client_log::ClientLog;
use crate::library::{Incoming, ReadError, Reading};
use crate::shared::Shared;

/// For an answer, beyond the time that the question itself takes: a worker that says nothing for so long is as good as dead.
const PATIENCE: Duration = Duration::from_secs(10);
/// An exception that lasts is thrown by every poll, at once.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

pub(crate) struct WorkerConsumer {
    worker: Worker,
    said: Receiver<Option<String>>,
    settles_in: Duration,
    shared: Arc<Shared>,
    read: VecDeque<Read>,
    /// What the last poll told, if it found nothing.
    positions: Vec<(usize, Offset)>,
}

impl WorkerConsumer {
    /// `passes` says of each line whether it belongs to what was asked, and hears of the end. `settles_in` is the library's.
    pub(crate) fn start(
        pipes: Pipes,
        place: String,
        shared: &Arc<Shared>,
        (start, log): (&Start<'_>, &ClientLog),
        settles_in: Duration,
        mut passes: impl FnMut(Option<&str>) -> bool + Send + 'static,
    ) -> Result<Self, String> {
        let (to, said) = channel();
        let listener = move |line: Option<&str>| {
            if passes(line) {
                // Nobody hears it any more when the consumer is gone.
                drop(to.send(line.map(str::to_owned)));
            }
        };
        let worker = Worker::start(pipes, place, start, log, Box::new(listener))?;
        Ok(Self { worker, said, settles_in, shared: Arc::clone(shared), read: VecDeque::new(), positions: Vec::new() })
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
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
                Some(Said::Error { is_out_of_range, is_fatal, thrown }) => {
                    return Err(ReadError { name: thrown.class, is_out_of_range, is_fatal });
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

impl Reading for WorkerConsumer {
    fn settles_in(&self) -> Duration {
        self.settles_in
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

    /// Java's client begins again with its bootstrap servers when it knows of no broker, and its worker does not know the word.
    fn is_stalled(&self, _bootstrap: &str) {
        if !self.settles_in.is_zero() {
            self.worker.say(protocol::STALLED.to_owned());
        }
    }
}
