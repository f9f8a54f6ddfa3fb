//! The clients of a run together: started, counted, drained, read to the end, stopped.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kchaos_core::{Key, KeyEntry, Offset};

use crate::aside::Aside;
use crate::counts::Counts;
use crate::library::{self, Library};
use crate::options::Options;
use crate::producer::{self, ProducerHandle};
use crate::reader::{self, Listener, Purpose, ReaderHandle, ReaderOutcome, ReaderPlan};
use crate::shared::Shared;
use crate::sizes::{SizeClass, Sizes};
use crate::writer::Writer;
use crate::{Context, FinalKey, FinalTarget, FinaleOutcome, Lost, Outstanding, Running, Stopped, WorkloadError};

/// A JVM on a busy machine takes its time.
const START: Duration = Duration::from_secs(60);
/// What a client's end may take beyond the deadline of its work: rust-rdkafka flushes for 0.5 s when it drops a producer.
const END: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(5);

/// Producers and readers on threads of their own, over one set of keys.
pub(crate) struct ClientsRun {
    pub(crate) shared: Arc<Shared>,
    clients: Box<dyn Clients>,
    producers: Vec<ProducerHandle>,
    readers: Vec<ReaderHandle>,
    left_behind: Vec<String>,
    finales: usize,
    /// Who makes the topics of later keys.
    beside: Option<Aside>,
}

pub(crate) type Ready = Receiver<Result<(), String>>;

/// What is a workload's own about its clients; as it stands here, of `append`.
pub(crate) trait Clients: Send + Sync {
    /// How many of the keys, the first ones, the writers write to.
    fn written(&self, keys: &[KeyEntry]) -> usize {
        keys.len()
    }

    fn writers(&self, shared: &Shared) -> usize {
        shared.options.producers as usize
    }

    fn writer_name(&self, number: usize) -> String {
        format!("producer-{}", number + 1)
    }

    /// Starts one of those who write: its number from 0, and when the first was to start.
    fn spawn_writer(
        &self,
        shared: &Arc<Shared>,
        number: usize,
        start_ns: u64,
        ready: SyncSender<Result<(), String>>,
    ) -> std::io::Result<ProducerHandle> {
        producer::spawn_by(self.library(), shared, Writer::plain(shared, number, start_ns), ready)
    }

    /// Of those who write as `append` does, and of live readers. Final readers are librdkafka's whatever wrote: they witness for one another.
    fn library(&self) -> Arc<dyn Library> {
        library::librdkafka()
    }

    fn reader_name(&self, consumer: usize) -> String {
        format!("consumer-{}", consumer + 1)
    }

    /// Who hears what it reads, and how long after the others it starts.
    fn reader(&self, _consumer: usize) -> (Option<Arc<dyn Listener>>, Duration) {
        (None, Duration::ZERO)
    }

    /// What is worth telling of the clients when all writing is over, in sentences.
    fn told(&self, _shared: &Shared) -> Vec<String> {
        Vec::new()
    }

    /// Clients that ended unasked, where that can happen.
    fn lost(&self) -> Vec<Lost> {
        Vec::new()
    }

    /// Who hears what the final readers read.
    fn final_listener(&self) -> Option<Arc<dyn Listener>> {
        None
    }
}

/// Those of `append`.
pub(crate) struct Plain;

impl Clients for Plain {}

impl ClientsRun {
    pub(crate) fn start(options: Options, keys: Vec<KeyEntry>, context: Context) -> Result<Self, WorkloadError> {
        Self::start_with(options, keys, context, Box::new(Plain))
    }

    pub(crate) fn start_with(
        options: Options,
        keys: Vec<KeyEntry>,
        context: Context,
        clients: Box<dyn Clients>,
    ) -> Result<Self, WorkloadError> {
        let mut shared = Shared::new(options, keys, context)?;
        shared.written = clients.written(&shared.keys);
        let shared = Arc::new(shared);
        let mut run =
            Self { clients, producers: Vec::new(), readers: Vec::new(), left_behind: Vec::new(), finales: 0, beside: None, shared };
        if let Err(error) = run.start_clients() {
            run.end(Duration::ZERO);
            return Err(error);
        }
        Ok(run)
    }

    /// With somebody who makes the topics of later keys, and who is ended with the writers.
    pub(crate) fn beside(self, maker: Aside) -> Self {
        Self { beside: Some(maker), ..self }
    }

    /// Readers first, so that they are there for the first record.
    fn start_clients(&mut self) -> Result<(), WorkloadError> {
        let shared = Arc::clone(&self.shared);
        for consumer in 0..shared.options.consumers as usize {
            let (ready, made) = sync_channel(1);
            let name = self.clients.reader_name(consumer);
            let (listener, starts_after) = self.clients.reader(consumer);
            let keys: Vec<usize> = (0..shared.generations.begun()).collect();
            let start = vec![0; keys.len()];
            let plan = ReaderPlan { name: name.clone(), keys, start, purpose: Purpose::Live { consumer }, listener, starts_after };
            let reader = reader::spawn_by(self.clients.library(), &shared, plan, ready);
            self.readers.push(reader.map_err(|source| WorkloadError::Thread { name: name.clone(), source })?);
            wait_until_made(&name, &made)?;
        }
        let start_ns = shared.clock.now_ns();
        let writers = if shared.is_cut_off { 0 } else { self.clients.writers(&shared) };
        for number in 0..writers {
            let (ready, made): (SyncSender<_>, Ready) = sync_channel(1);
            let name = self.clients.writer_name(number);
            let producer = self.clients.spawn_writer(&shared, number, start_ns, ready);
            self.producers.push(producer.map_err(|source| WorkloadError::Thread { name: name.clone(), source })?);
            wait_until_made(&name, &made)?;
        }
        Ok(())
    }

    fn end(&mut self, deadline: Duration) {
        self.stop_writes(deadline);
        self.shared.is_reading_over.store(true, Relaxed);
        let until = Instant::now() + deadline.max(END);
        for reader in std::mem::take(&mut self.readers) {
            if join(reader.thread, until).is_none() {
                self.left_behind.push(reader.name);
            }
        }
    }

    /// One reader for each share of the keys: as many as the run has consumers, at least one.
    fn spawn_final_readers(
        &mut self,
        targets: &[(usize, &FinalTarget)],
        until: Instant,
    ) -> Vec<(Vec<usize>, Result<ReaderHandle, String>)> {
        self.finales += 1;
        let count = (self.shared.options.consumers.max(1) as usize).min(targets.len());
        (0..count)
            .map(|number| {
                let share: Vec<usize> = (number..targets.len()).step_by(count).collect();
                let of = |part: fn(&FinalTarget) -> Offset| share.iter().map(|index| part(targets[*index].1)).collect::<Vec<_>>();
                let (starts, ends) = (of(|target| target.start), of(|target| target.end));
                let keys = share.iter().map(|index| targets[*index].0).collect();
                let name = format!("final-{}-{}", self.finales, number + 1);
                // Nobody waits for it to be made: the outcome says what went wrong.
                let (ready, _) = sync_channel(1);
                let (purpose, listener) = (Purpose::Final { ends, until }, self.clients.final_listener());
                let plan = ReaderPlan { name, keys, start: starts, purpose, listener, starts_after: Duration::ZERO };
                let reader = reader::spawn(&self.shared, plan, ready);
                (share, reader.map_err(|error| error.to_string()))
            })
            .collect()
    }
}

impl Running for ClientsRun {
    fn counts(&self) -> Counts {
        let generations = &self.shared.generations;
        let mut counts = self.shared.counters.snapshot();
        counts.keys.truncate(generations.begun());
        counts.keys.iter_mut().take(generations.first()).for_each(|key| key.is_retired = true);
        counts
    }

    fn latency_by_size(&self) -> Vec<SizeClass> {
        self.shared.sizes.as_ref().map(Sizes::snapshot).unwrap_or_default()
    }

    fn stop_writes(&mut self, deadline: Duration) -> Outstanding {
        let at_stop = self.counts().outstanding();
        let info_before = self.counts().info;
        let until = Instant::now() + deadline;
        let until = *self.shared.writes_until.get_or_init(|| until) + END;
        if let Some(mut maker) = self.beside.take() {
            maker.end();
            self.left_behind.append(&mut maker.left_behind);
        }
        let mut given_up = 0;
        for producer in std::mem::take(&mut self.producers) {
            let ProducerHandle { name, .. } = &producer;
            let name = name.clone();
            let (is_ended, producer) = wait(producer, until);
            if !is_ended {
                given_up += producer.give_up();
                self.left_behind.push(name);
            }
        }
        let info = self.counts().info - info_before;
        Outstanding { at_stop, undecided: info.max(given_up), left_behind: self.left_behind.clone() }
    }

    fn finale(&mut self, targets: &[FinalTarget], deadline: Duration) -> FinaleOutcome {
        let until = Instant::now() + deadline;
        let known: Vec<(usize, &FinalTarget)> = targets
            .iter()
            .filter_map(|target| Some((self.shared.keys.iter().position(|entry| entry.key == target.key)?, target)))
            .collect();
        let mut outcome = FinaleOutcome { told: self.clients.told(&self.shared), lost: self.clients.lost(), ..FinaleOutcome::default() };
        outcome.told.extend(self.shared.served.told());
        for target in targets.iter().filter(|target| known.iter().all(|(_, found)| found.key != target.key)) {
            outcome.errors.push(format!("key {} is none of this run's", target.key));
            outcome.keys.push(FinalKey::unread(target));
        }
        for (share, reader) in self.spawn_final_readers(&known, until) {
            let shared_targets = share.iter().map(|index| known[*index].1);
            let read = reader.and_then(|reader| {
                join(reader.thread, until + END).ok_or_else(|| {
                    self.left_behind.push(reader.name.clone());
                    format!("{} did not end in time", reader.name)
                })
            });
            outcome.add(shared_targets, read);
        }
        outcome.keys.sort_by_key(|key| key.key);
        outcome
    }

    fn stop(mut self: Box<Self>, deadline: Duration) -> Stopped {
        self.end(deadline);
        Stopped { left_behind: std::mem::take(&mut self.left_behind) }
    }
}

impl FinaleOutcome {
    /// True if every key was read to its end, by records of no later epoch than the leader's.
    pub fn is_complete(&self) -> bool {
        self.keys.iter().all(|key| key.is_complete && !key.is_epoch_ahead)
    }

    fn add<'a>(&mut self, targets: impl Iterator<Item = &'a FinalTarget>, read: Result<ReaderOutcome, String>) {
        match read {
            Err(error) => {
                self.errors.push(error);
                self.keys.extend(targets.map(FinalKey::unread));
            }
            Ok(read) => {
                self.errors.extend(read.errors);
                self.keys.extend(targets.zip(read.next.into_iter().zip(read.leader_epochs)).map(|(target, (next, leader_epoch))| {
                    FinalKey {
                        key: target.key,
                        start: target.start,
                        end: target.end,
                        next,
                        is_complete: next >= target.end,
                        leader_epoch,
                        is_epoch_ahead: leader_epoch.is_some_and(|epoch| epoch > target.leader_epoch),
                    }
                }));
            }
        }
    }
}

impl FinalKey {
    fn unread(target: &FinalTarget) -> Self {
        let FinalTarget { key, start, end, .. } = *target;
        let key: Key = key;
        Self { key, start, end, next: start, is_complete: false, leader_epoch: None, is_epoch_ahead: false }
    }
}

pub(crate) fn wait_until_made(name: &str, made: &Ready) -> Result<(), WorkloadError> {
    let reason = match made.recv_timeout(START) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(reason)) => reason,
        Err(RecvTimeoutError::Timeout) => format!("not ready after {} s", START.as_secs()),
        Err(RecvTimeoutError::Disconnected) => "its thread ended".to_owned(),
    };
    Err(WorkloadError::Client { name: name.to_owned(), reason })
}

/// Waits for a thread without joining it.
fn wait(producer: ProducerHandle, until: Instant) -> (bool, ProducerHandle) {
    while !producer.thread.is_finished() && Instant::now() < until {
        std::thread::sleep(TICK);
    }
    (producer.thread.is_finished(), producer)
}

/// What a thread gives back, or `None` if it does not end in time (it is left behind then) or panicked.
pub(crate) fn join<T>(thread: JoinHandle<T>, until: Instant) -> Option<T> {
    while !thread.is_finished() && Instant::now() < until {
        std::thread::sleep(TICK);
    }
    if thread.is_finished() { thread.join().ok() } else { None }
}
