//! The one recorder: gives every op its index and time under one lock, and keeps it.
//!
//! Why one lock: file order is time order then, so "A completed before B was invoked" needs no clock comparison. The lock covers a push into a
//! buffer and nothing else; a thread of its own encodes, compresses and flushes (at least every 100 ms), and another hands each op to whoever listens
//! online: together they are half a core's work at 160,000 writes a second.
//!
//! Limit: what was recorded in the last 100 ms before a `kill -9` of kchaos is lost with it; in the compact format the last second, since a small
//! block is not compact.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use kchaos_core::{Clock, Draft, Op, Recorder, Stamp};

use crate::cli::RunHistory;

const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// Ops waiting for the writer. Beyond this a disk that cannot keep up slows the clients down instead of eating the machine's memory.
const QUEUE_OPS_MAX: usize = 500_000;
/// Ops for which there is room at all times; and so many are handed on at a time.
const KEPT_OPS: usize = 16_384;
/// Handfuls of ops waiting for the listener, beyond which the writer waits too.
const HANDFULS_MAX: usize = 8;
const COLUMNS_FLUSH_EVERY: Duration = Duration::from_secs(1);
const ZSTD_LEVEL: i32 = 1;
/// Lines that are compressed together: one by one they cost twice the time.
const LINES_BYTES: usize = 1 << 17;

/// Who gets every op, in file order, while the run goes on.
pub(crate) type Listener = Box<dyn FnMut(&Op) + Send>;

pub(crate) struct FileRecorder {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the writer tells the listener.
enum Told {
    Ops(Arc<Vec<Op>>),
    Sync(u64),
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// The writer waits here for ops, and everybody else for the writer.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next_index: u64,
    queue: Vec<Op>,
    /// Syncs asked for, done, and heard of by the listener, counted.
    syncs_asked: u64,
    syncs_done: u64,
    syncs_heard: u64,
    closed: bool,
    failed: Option<String>,
}

/// A history before the run goes on: empty, or with what another process had recorded of it.
pub(crate) struct Beginning {
    output: Output,
    next_index: u64,
}

impl Beginning {
    /// The file is locked as long as this process lives, so that nobody takes the run for one that was cut off.
    pub(crate) fn create(path: &Path, format: RunHistory) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        // A file system without locks has runs all the same.
        let _ = file.try_lock();
        Ok(Self { output: Output::new(file, format), next_index: 0 })
    }

    pub(crate) fn op(&mut self, op: &Op) {
        self.output.op(op);
        self.next_index = op.index + 1;
    }

    /// Why it cannot be written, if so.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.output.failed.as_deref()
    }
}

impl FileRecorder {
    pub(crate) fn go_on(beginning: Beginning, clock: Arc<dyn Clock>, listener: Listener) -> Result<Self> {
        let Beginning { output, next_index } = beginning;
        let state = Mutex::new(State { next_index, ..State::default() });
        let shared = Arc::new(Shared { clock, state, changed: Condvar::new() });
        let (told, hears) = sync_channel(HANDFULS_MAX);
        let (for_writer, for_listener) = (Arc::clone(&shared), Arc::clone(&shared));
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let writer =
            thread("history").spawn(move || write_until_closed(&for_writer, output, &told)).context("start the history's thread")?;
        let listening = thread("analysis").spawn(move || listen(&for_listener, &hears, listener)).context("start the analysis' thread")?;
        Ok(Self { shared, threads: Mutex::new(vec![writer, listening]) })
    }

    /// Everything recorded so far is on the disk, and was heard by the listener, when this returns.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut state = self.shared.lock();
        state.syncs_asked += 1;
        let mine = state.syncs_asked;
        self.shared.changed.notify_all();
        while state.syncs_done.min(state.syncs_heard) < mine && state.failed.is_none() {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failed.clone().map_or(Ok(()), |error| Err(anyhow!(error)))
    }

    /// Why the history can no longer be written, if so.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.lock().failed.clone()
    }

    /// Ends the file. Ops recorded later are lost, so every client must be at rest.
    pub(crate) fn close(&self) -> Result<u64> {
        {
            self.shared.lock().closed = true;
            self.shared.changed.notify_all();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a thread of the history panicked"))?;
        }
        let state = self.shared.lock();
        state.failed.clone().map_or(Ok(state.next_index), |error| Err(anyhow!(error)))
    }
}

impl Recorder for FileRecorder {
    fn record(&self, draft: Draft) -> Stamp {
        let mut state = self.shared.lock();
        while state.queue.len() >= QUEUE_OPS_MAX && !state.closed {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let stamp = Stamp { index: state.next_index, time_ns: self.shared.clock.now_ns() };
        state.next_index += 1;
        let Draft { process, op_type, body, error, client, node, extra } = draft;
        state.queue.push(Op { index: stamp.index, time_ns: stamp.time_ns, process, op_type, body, error, client, node, extra });
        stamp
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_until_closed(shared: &Shared, mut output: Output, told: &SyncSender<Told>) {
    let mut batch = Vec::new();
    loop {
        let (sync, closed) = {
            let mut state = shared.lock();
            if !state.closed && state.syncs_asked == state.syncs_done {
                state = shared.changed.wait_timeout(state, FLUSH_EVERY).unwrap_or_else(PoisonError::into_inner).0;
            }
            std::mem::swap(&mut batch, &mut state.queue);
            (state.syncs_asked, state.closed)
        };
        shared.changed.notify_all();
        let is_needed = !batch.is_empty();
        let mut rest = batch.drain(..);
        loop {
            let handful: Vec<Op> = rest.by_ref().take(KEPT_OPS).collect();
            if handful.is_empty() {
                break;
            }
            let handful = Arc::new(handful);
            output.tell(told, Told::Ops(Arc::clone(&handful)));
            handful.iter().for_each(|op| output.op(op));
        }
        drop(rest);
        // What a moment without a processor filled is not kept for days.
        batch.shrink_to(KEPT_OPS);
        output.flush(is_needed);
        let mut state = shared.lock();
        if sync > state.syncs_done {
            output.sync();
            state.syncs_done = sync;
            // Before the listener lets whoever asked go on.
            state.failed = output.failed.take().or_else(|| state.failed.take());
            drop(state);
            output.tell(told, Told::Sync(sync));
            state = shared.lock();
        }
        let done = closed && state.queue.is_empty();
        if done {
            output.finish();
        }
        state.failed = output.failed.take().or_else(|| state.failed.take());
        drop(state);
        shared.changed.notify_all();
        if done {
            return;
        }
    }
}

fn listen(shared: &Shared, hears: &Receiver<Told>, mut listener: Listener) {
    for told in hears {
        match told {
            Told::Ops(ops) => ops.iter().for_each(&mut listener),
            Told::Sync(number) => {
                shared.lock().syncs_heard = number;
                shared.changed.notify_all();
            }
        }
    }
}

/// The compressed file. After its first error it swallows what comes, so that the listener still sees every op.
struct Output {
    file: Option<Compressed>,
    /// Not compressed yet.
    lines: String,
    /// When the file was last flushed: a compact one pays for each time.
    flushed: Instant,
    failed: Option<String>,
}

enum Compressed {
    Lines(zstd::Encoder<'static, BufWriter<File>>),
    Columns(Box<kchaos_columns::Writer<BufWriter<File>>>),
}

impl Output {
    fn new(file: File, format: RunHistory) -> Self {
        let buffer = BufWriter::new(file);
        let file = match format {
            RunHistory::Jsonl => zstd::Encoder::new(buffer, ZSTD_LEVEL).map(Compressed::Lines),
            RunHistory::Columns => kchaos_columns::Writer::new(buffer).map(|writer| Compressed::Columns(Box::new(writer))),
        };
        let (file, failed) = match file {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(format!("cannot compress the history: {error}"))),
        };
        Self { file, lines: String::new(), flushed: Instant::now(), failed }
    }

    fn op(&mut self, op: &Op) {
        match &mut self.file {
            Some(Compressed::Lines(_)) => {
                op.write_json(&mut self.lines);
                self.lines.push('\n');
                if self.lines.len() >= LINES_BYTES {
                    self.compress();
                }
            }
            Some(Compressed::Columns(_)) => self.with(|file| match file {
                Compressed::Columns(writer) => writer.write(op),
                Compressed::Lines(_) => Ok(()),
            }),
            None => {}
        }
    }

    /// The listener ends after this one, unless it panics.
    fn tell(&mut self, told: &SyncSender<Told>, what: Told) {
        if told.send(what).is_err() {
            self.failed.get_or_insert_with(|| "the analysis ended before its time: a bug of kchaos".to_owned());
        }
    }

    fn compress(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        self.with(|file| match file {
            Compressed::Lines(encoder) => encoder.write_all(lines.as_bytes()),
            Compressed::Columns(_) => Ok(()),
        });
        self.lines = lines;
        self.lines.clear();
    }

    fn flush(&mut self, is_needed: bool) {
        self.compress();
        let is_late = self.flushed.elapsed() >= COLUMNS_FLUSH_EVERY;
        match &self.file {
            Some(Compressed::Lines(_)) if is_needed => self.with(Compressed::flush),
            Some(Compressed::Columns(writer)) if is_late && writer.waiting() > 0 => {
                self.flushed = Instant::now();
                self.with(Compressed::flush);
            }
            _ => {}
        }
    }

    fn sync(&mut self) {
        self.compress();
        self.with(|file| {
            file.flush()?;
            file.get_ref().sync_data()
        });
    }

    fn finish(&mut self) {
        self.compress();
        let end = match self.file.take() {
            None => return,
            Some(Compressed::Lines(encoder)) => encoder.finish(),
            Some(Compressed::Columns(writer)) => writer.finish(),
        };
        let end = end.and_then(|mut buffer| {
            buffer.flush()?;
            buffer.get_ref().sync_all()
        });
        if let Err(error) = end {
            self.failed = Some(format!("cannot write the history: {error}"));
        }
    }

    fn with(&mut self, write: impl FnOnce(&mut Compressed) -> std::io::Result<()>) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = write(file) {
            self.failed = Some(format!("cannot write the history: {error}"));
            self.file = None;
        }
    }
}

impl Compressed {
    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Lines(encoder) => encoder.flush(),
            Self::Columns(writer) => writer.flush(),
        }
    }

    fn get_ref(&self) -> &File {
        match self {
            Self::Lines(encoder) => encoder.get_ref().get_ref(),
            Self::Columns(writer) => writer.get_ref().get_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kchaos_core::{Body, OpType, Process, Send as SendOp};

    struct Zero;
    impl Clock for Zero {
        fn now_ns(&self) -> u64 {
            7
        }
    }

    #[test]
    fn every_op_is_written_once_in_order_and_seen_by_the_listener() {
        for format in [RunHistory::Jsonl, RunHistory::Columns] {
            every_op_is_written_once(format);
        }
    }

    fn every_op_is_written_once(format: RunHistory) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(format.file_name());
        let seen = Arc::new(Mutex::new(0_u64));
        let counter = Arc::clone(&seen);
        let listener: Listener = Box::new(move |op: &Op| {
            assert_eq!(op.index, *counter.lock().unwrap());
            *counter.lock().unwrap() += 1;
        });
        let recorder = Arc::new(FileRecorder::go_on(Beginning::create(&path, format).unwrap(), Arc::new(Zero), listener).unwrap());
        let threads: Vec<_> = (0..4)
            .map(|process| {
                let recorder = Arc::clone(&recorder);
                std::thread::spawn(move || {
                    for value in 0..500 {
                        let body = Body::Send(vec![SendOp { key: 0, value, offset: None }]);
                        recorder.record(Draft::new(Process::Client(process), OpType::Invoke, body));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        recorder.sync().unwrap();
        assert_eq!(*seen.lock().unwrap(), 2_000);
        assert_eq!(recorder.close().unwrap(), 2_000);
        let mut next = 0;
        let told = kchaos_checkers::read_ops(File::open(&path).unwrap(), "history", |op| {
            assert_eq!(op.index, next);
            next += 1;
        });
        assert_eq!((next, told.unwrap().truncated), (2_000, None));
    }

    #[test]
    fn a_full_disk_is_reported_and_does_not_stop_the_listener() {
        for format in [RunHistory::Jsonl, RunHistory::Columns] {
            a_full_disk_is_reported(format);
        }
    }

    fn a_full_disk_is_reported(format: RunHistory) {
        let listener_saw = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&listener_saw);
        let listener: Listener = Box::new(move |_: &Op| *counter.lock().unwrap() += 1);
        let recorder = FileRecorder::go_on(Beginning::create(Path::new("/dev/full"), format).unwrap(), Arc::new(Zero), listener).unwrap();
        recorder.record(Draft::new(Process::Client(0), OpType::Info, Body::Crash));
        let error = recorder.sync().unwrap_err().to_string();
        assert!(error.contains("No space left"), "{error}");
        recorder.record(Draft::new(Process::Client(0), OpType::Info, Body::Crash));
        assert!(recorder.close().is_err());
        assert_eq!(*listener_saw.lock().unwrap(), 2);
    }

    #[test]
    fn a_compact_history_of_a_run_that_was_killed_has_what_was_synced_and_says_that_it_was_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.kch");
        let recorder =
            FileRecorder::go_on(Beginning::create(&path, RunHistory::Columns).unwrap(), Arc::new(Zero), Box::new(|_| ())).unwrap();
        recorder.record(Draft::new(Process::Client(0), OpType::Info, Body::Crash));
        recorder.sync().unwrap();
        let mut ops = 0;
        let told = kchaos_checkers::read_ops(File::open(&path).unwrap(), "history", |_| ops += 1).unwrap();
        assert_eq!(ops, 1);
        assert!(told.truncated.is_some_and(|text| text.contains("no end mark")));
    }
}
