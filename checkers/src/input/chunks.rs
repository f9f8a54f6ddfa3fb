//! An input, cut into chunks of whole lines.

use std::io::{self, Read};

/// Large enough that cutting costs nothing, small enough to stay in a processor's cache while it is parsed and judged.
const CHUNK_BYTES: usize = 256 << 10;
pub(super) const MAX_LINE_BYTES: usize = 64 << 20;

/// Whole lines; the last chunk's last may lack its newline.
#[derive(Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    is_too_long: bool,
}

impl Chunk {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn lines(&self) -> u64 {
        let unfinished = u64::from(self.bytes.last().is_some_and(|byte| *byte != b'\n'));
        memchr::memchr_iter(b'\n', &self.bytes).count() as u64 + unfinished
    }

    /// What follows is a line longer than any may be.
    pub(super) fn is_too_long(&self) -> bool {
        self.is_too_long
    }

    /// A line by its number, from 0.
    pub(super) fn line(&self, number: u64) -> &[u8] {
        self.bytes.split(|byte| *byte == b'\n').nth(usize::try_from(number).unwrap_or(usize::MAX)).unwrap_or_default()
    }

    pub(super) fn rest(&self, start: usize) -> Chunk {
        Chunk { bytes: self.bytes[start..].to_vec(), is_too_long: self.is_too_long }
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
        let bytes = &mut chunk.bytes;
        bytes.clear();
        chunk.is_too_long = false;
        if self.is_done {
            return false;
        }
        bytes.append(&mut self.carry);
        // What is carried over holds no newline.
        let mut search = bytes.len();
        loop {
            let start = bytes.len();
            let wanted = CHUNK_BYTES.saturating_sub(start).max(CHUNK_BYTES / 4);
            bytes.resize(start + wanted, 0);
            let count = self.read(bytes, start);
            bytes.truncate(start + count);
            if count == 0 {
                self.is_done = true;
                return !bytes.is_empty() && self.failed.is_none();
            }
            if bytes.len() < CHUNK_BYTES {
                continue;
            }
            if let Some(last) = memchr::memrchr(b'\n', &bytes[search..]) {
                self.carry.extend_from_slice(&bytes[search + last + 1..]);
                bytes.truncate(search + last + 1);
                return true;
            }
            search = bytes.len();
            if bytes.len() > MAX_LINE_BYTES {
                (self.is_done, chunk.is_too_long) = (true, true);
                bytes.clear();
                return true;
            }
        }
    }

    fn read(&mut self, bytes: &mut [u8], start: usize) -> usize {
        loop {
            match self.input.read(&mut bytes[start..]) {
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
