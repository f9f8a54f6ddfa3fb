//! Chunks parsed by several threads, and handed on in order by one.
//!
//! Who hands on also parses whenever the next chunk is not ready, so no thread waits while there is work. How far the others may be ahead is
//! bounded, and so is memory.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use kchaos_core::{Op, Spare};

use super::chunks::{Chunk, Chunks};
use super::{Stop, always, parse};

type Told = (Option<u64>, Option<u64>);

/// The ops of a chunk. Kept when it is done, so that the next is filled into the same memory.
#[derive(Default)]
pub(super) struct Batch {
    ops: Vec<(Op, Told)>,
    length: usize,
    stop: Option<Stop>,
    spare: Spare,
}

impl Batch {
    pub(super) fn ops(&mut self) -> impl Iterator<Item = (&mut Op, Told)> {
        self.ops[..self.length].iter_mut().map(|(op, told)| (op, *told))
    }

    pub(super) fn stop(&mut self) -> Option<Stop> {
        self.stop.take()
    }

    fn fill(&mut self, chunk: &Chunk) {
        let Self { ops, length, stop, spare } = self;
        *length = 0;
        let mut op = Op::default();
        *stop = always(parse(
            chunk.bytes(),
            |op, told, _| {
                if *length == ops.len() {
                    ops.push((Op::default(), told));
                }
                std::mem::swap(&mut ops[*length].0, op);
                ops[*length].1 = told;
                *length += 1;
                Ok(())
            },
            &mut op,
            spare,
        ));
    }
}

/// A chunk that was parsed.
#[derive(Default)]
struct Parsed {
    chunk: Chunk,
    batch: Batch,
}

struct State<R> {
    /// Away while a thread reads from it.
    chunks: Option<Chunks<R>>,
    is_read: bool,
    /// The number of the chunk that is read next, and of the one that is handed on next.
    next: u64,
    wanted: u64,
    ready: BTreeMap<u64, Parsed>,
    /// Done with.
    used: Vec<Parsed>,
    /// Nothing more is wanted.
    is_over: bool,
}

struct Shared<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
    ahead_max: u64,
}

enum Work {
    /// Parse this chunk.
    Chunk(u64, Parsed),
    /// This one is the next to hand on.
    Ready(Parsed),
    Over,
}

impl<R: Read> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be done next; only one thread hands on.
    fn work(&self, hands_on: bool) -> Work {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return Work::Over;
            }
            let wanted = state.wanted;
            if hands_on && let Some(parsed) = state.ready.remove(&wanted) {
                state.wanted += 1;
                return Work::Ready(parsed);
            }
            let is_all = state.is_read && state.next == state.wanted;
            if is_all || (state.is_read && !hands_on) {
                return Work::Over;
            }
            if !state.is_read
                && state.next < state.wanted + self.ahead_max
                && let Some(mut chunks) = state.chunks.take()
            {
                let (number, mut parsed) = (state.next, state.used.pop().unwrap_or_default());
                state.next += 1;
                drop(state);
                let more = chunks.next(&mut parsed.chunk);
                state = self.lock();
                state.chunks = Some(chunks);
                if !more {
                    state.is_read = true;
                    state.next -= 1;
                    self.changed.notify_all();
                    continue;
                }
                self.changed.notify_all();
                return Work::Chunk(number, parsed);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn parsed(&self, number: u64, mut parsed: Parsed) {
        parsed.batch.fill(&parsed.chunk);
        self.lock().ready.insert(number, parsed);
        self.changed.notify_all();
    }

    fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }
}

/// Ends the others' work also when this thread's panics.
struct EndOfWork<'a, R: Read>(&'a Shared<R>);

impl<R: Read> Drop for EndOfWork<'_, R> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Gives the chunks back when all have been handed on; `None` only if a thread that was reading them panicked.
pub(super) fn run<R: Read + Send, E>(
    chunks: Chunks<R>,
    threads: usize,
    mut hand_on: impl FnMut(&Chunk, &mut Batch) -> Result<(), E>,
) -> Result<Option<Chunks<R>>, E> {
    let state =
        State { chunks: Some(chunks), is_read: false, next: 0, wanted: 0, ready: BTreeMap::new(), used: Vec::new(), is_over: false };
    let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), ahead_max: 2 * threads as u64 + 2 };
    std::thread::scope(|scope| {
        let _end = EndOfWork(&shared);
        for _ in 1..threads {
            scope.spawn(|| {
                while let Work::Chunk(number, parsed) = shared.work(false) {
                    shared.parsed(number, parsed);
                }
            });
        }
        loop {
            match shared.work(true) {
                Work::Ready(mut parsed) => {
                    hand_on(&parsed.chunk, &mut parsed.batch)?;
                    shared.lock().used.push(parsed);
                    shared.changed.notify_all();
                }
                Work::Chunk(number, parsed) => shared.parsed(number, parsed),
                Work::Over => return Ok(()),
            }
        }
    })?;
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(state.chunks)
}
