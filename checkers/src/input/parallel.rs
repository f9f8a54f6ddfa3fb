//! Chunks parsed by several threads, and handed on in order by one.
//!
//! Who hands on parses the chunk that is wanted next, if nobody has, and hands its lines on at once; meanwhile others parse those behind it into
//! batches. So no thread waits while there is work. How far the others may be ahead is bounded, and so is memory.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::batch::Batch;
use super::chunks::{Chunk, Chunks};

/// Some 10 to 20 microseconds.
const SPINS: u32 = 400;

/// A chunk, and what was parsed of it.
#[derive(Default)]
struct Parsed {
    chunk: Chunk,
    batch: Batch,
    /// It was not parsed: who hands it on does so while parsing it.
    is_raw: bool,
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
    /// How often it changed.
    changes: AtomicU64,
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

    fn tell_change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Most waits end sooner than a thread falls asleep and wakes up.
    fn wait<'a>(&'a self, state: MutexGuard<'a, State<R>>) -> MutexGuard<'a, State<R>> {
        let seen = self.changes.load(Ordering::Relaxed);
        drop(state);
        for _ in 0..SPINS {
            if self.changes.load(Ordering::Relaxed) != seen {
                return self.lock();
            }
            std::hint::spin_loop();
        }
        let state = self.lock();
        if self.changes.load(Ordering::Relaxed) != seen {
            return state;
        }
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
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
                // One more may be read ahead.
                self.tell_change();
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
                    self.tell_change();
                    continue;
                }
                parsed.is_raw = number == state.wanted;
                if parsed.is_raw {
                    // Parsed and handed on at once it need not be kept in between; others go on behind it.
                    state.ready.insert(number, parsed);
                    self.tell_change();
                    continue;
                }
                self.tell_change();
                return Work::Chunk(number, parsed);
            }
            state = self.wait(state);
        }
    }

    fn parsed(&self, number: u64, mut parsed: Parsed) {
        parsed.batch.fill(&parsed.chunk, self.plain);
        let mut state = self.lock();
        state.ready.insert(number, parsed);
        self.tell_change();
    }

    fn end(&self) {
        let mut state = self.lock();
        state.is_over = true;
        self.tell_change();
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
    mut hand_on: impl FnMut(&Chunk, Option<&mut Batch>) -> Result<(), E>,
) -> Result<Option<Chunks<R>>, E> {
    let state =
        State { chunks: Some(chunks), is_read: false, next: 0, wanted: 0, ready: BTreeMap::new(), used: Vec::new(), is_over: false };
    let shared =
        Shared { state: Mutex::new(state), changed: Condvar::new(), changes: AtomicU64::new(0), ahead_max: 2 * threads as u64 + 2, plain };
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
                    let Parsed { chunk, batch, is_raw } = &mut parsed;
                    hand_on(chunk, (!*is_raw).then_some(batch))?;
                    shared.lock().used.push(parsed);
                }
                Work::Chunk(number, parsed) => shared.parsed(number, parsed),
                Work::Over => return Ok(()),
            }
        }
    })?;
    let state = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(state.chunks)
}
