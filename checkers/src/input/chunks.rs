//! An input, cut into chunks of whole lines.

use std::io::{self, Read};

/// Large enough that cutting costs nothing, small enough to stay in a processor's cache while it is parsed and judged.
const CHUNK_BYTES: usize = 128 << 10;
pub(super) const MAX_LINE_BYTES: usize = 64 << 20;

/// Whole lines; the last chunk's last may lack its newline.
#[derive(Default)]
pub(super) struct Chunk {
    /// Longer than what was read, so that it need not be cleared each time.
    buffer: Vec<u8>,
    length: usize,
    is_too_long: bool,
}

impl Chunk {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }

    pub(super) fn lines(&self) -> u64 {
        let unfinished = u64::from(self.bytes().last().is_some_and(|byte| *byte != b'\n'));
        memchr::memchr_iter(b'\n', self.bytes()).count() as u64 + unfinished
    }

    /// What follows is a line longer than any may be.
    pub(super) fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// A line by its number, from 0.
    pub(super) fn line(&self, number: u64) -> &[u8] {
        self.bytes().split(|byte| *byte == b'\n').nth(usize::try_from(number).unwrap_or(usize::MAX)).unwrap_or_default()
    }

    pub(super) fn rest(&self, start: usize) -> Chunk {
        Chunk { buffer: self.bytes()[start..].to_vec(), length: self.length - start, is_too_long: self.is_too_long }
    }
}

pub(super) struct Chunks<R> {
    input: R,
    /// The beginning of a line whose end was not read yet.
    carry: Vec<u8>,
    is_done: bool,
    is_cut: bool,
    failed: Option<io::Error>,
}

impl<R: Read> Chunks<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, carry: Vec::new(), is_done: false, is_cut: false, failed: None }
    }

    /// The compressed stream ended in the middle.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Why the input cannot be read, if so.
    pub(super) fn failed(&self) -> Option<io::Error> {
        self.failed.as_ref().map(|error| io::Error::new(error.kind(), error.to_string()))
    }

    /// The next chunk; `false` if there is none.
    pub(super) fn next(&mut self, chunk: &mut Chunk) -> bool {
        let Chunk { buffer, length, is_too_long } = chunk;
        (*length, *is_too_long) = (self.carry.len(), false);
        if self.is_done {
            *length = 0;
            return false;
        }
        buffer.resize(buffer.len().max(CHUNK_BYTES).max(*length * 2), 0);
        buffer[..*length].copy_from_slice(&self.carry);
        self.carry.clear();
        // What is carried over holds no newline.
        let mut search = *length;
        loop {
            let count = self.read(&mut buffer[*length..]);
            *length += count;
            if count == 0 {
                self.is_done = true;
                return *length > 0 && self.failed.is_none();
            }
            if *length < buffer.len() {
                continue;
            }
            if let Some(last) = memchr::memrchr(b'\n', &buffer[search..]) {
                *length = search + last + 1;
                self.carry.extend_from_slice(&buffer[*length..]);
                return true;
            }
            search = *length;
            if *length > MAX_LINE_BYTES {
                (self.is_done, *is_too_long, *length) = (true, true, 0);
                return true;
            }
            buffer.resize(buffer.len() * 2, 0);
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> usize {
        loop {
            match self.input.read(bytes) {
                Ok(count) => return count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.kind() == io::ErrorKind::UnexpectedEof {
                        self.is_cut = true;
                    } else {
                        self.failed = Some(error);
                    }
                    return 0;
                }
            }
        }
    }
}
