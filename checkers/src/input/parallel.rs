//! Chunks parsed by several threads, and handed on in order by one.
//!
//! Who hands on also parses whenever the next chunk is not ready, so no thread waits while there is work. How far the others may be ahead is
//! bounded, and so is memory.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use kchaos_core::{Line, Op, Spare};

use super::chunks::{Chunk, Chunks};
use super::{Stop, always, parse};

/// What was read from a chunk. Kept when it is done, so that the next is filled into the same memory.
#[derive(Default)]
pub(super) struct Batch {
    lines: Vec<Line>,
    /// Of the lines that are ops, in their order.
    ops: Vec<Op>,
    stop: Option<Stop>,
    spare: Spare,
}

impl Batch {
    pub(super) fn each<E>(&mut self, mut each: impl FnMut(Line, &mut Op) -> Result<(), E>) -> Result<(), E> {
        let Self { lines, ops, .. } = self;
        let (mut next, mut none) = (0, Op::default());
        for line in lines {
            let op = match line {
                Line::Op(..) => {
                    next += 1;
                    &mut ops[next - 1]
                }
                Line::Plain(_) => &mut none,
            };
            each(*line, op)?;
        }
        Ok(())
    }

    pub(super) fn stop(&mut self) -> Option<Stop> {
        self.stop.take()
    }

    fn fill(&mut self, chunk: &Chunk, plain: bool) {
        let Self { lines, ops, stop, spare } = self;
        lines.clear();
        let (mut next, mut op) = (0, Op::default());
        *stop = always(parse(
            chunk.bytes(),
            plain,
            |line, op, _| {
                if matches!(line, Line::Op(..)) {
                    if next == ops.len() {
                        ops.push(Op::default());
                    }
                    std::mem::swap(&mut ops[next], op);
                    next += 1;
                }
                lines.push(line);
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
    /// Plain sends are wanted as such.
    plain: bool,
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
        parsed.batch.fill(&parsed.chunk, self.plain);
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
    plain: bool,
    mut hand_on: impl FnMut(&Chunk, &mut Batch) -> Result<(), E>,
) -> Result<Option<Chunks<R>>, E> {
    let state =
        State { chunks: Some(chunks), is_read: false, next: 0, wanted: 0, ready: BTreeMap::new(), used: Vec::new(), is_over: false };
    let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), ahead_max: 2 * threads as u64 + 2, plain };
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
