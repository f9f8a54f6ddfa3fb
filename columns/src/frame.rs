//! Blocks in a file: a head of 12 bytes, then the body.
//!
//! The head is checked by itself, so that a damaged length is told from a file that was cut; it covers the block's number too, so that a block
//! that is missing, doubled or misplaced is noticed.

use std::io::{self, Read};

use crate::ColumnsError;
use crate::layout::{BLOCK_BYTES_MAX, MAGIC, VERSION};

const HEAD_BYTES: usize = 12;
/// A body is read in steps, so that a length alone allocates little.
const STEP_BYTES: usize = 1 << 20;

fn with_check(number: u64, length: u32, body_check: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..8].copy_from_slice(&body_check.to_le_bytes());
    let check = crc32c::crc32c_append(crc32c::crc32c(&head[..8]), &number.to_le_bytes());
    head[8..].copy_from_slice(&check.to_le_bytes());
    head
}

pub(crate) fn head(number: u64, body: &[u8]) -> [u8; HEAD_BYTES] {
    // At most `BLOCK_BYTES_MAX`.
    with_check(number, body.len() as u32, crc32c::crc32c(body))
}

/// What closes a file: no length, and the check is that of the number of ops.
pub(crate) fn end(number: u64, ops: u64) -> [u8; HEAD_BYTES] {
    with_check(number, 0, crc32c::crc32c(&ops.to_le_bytes()))
}

/// The blocks of an input, one after the other.
pub(crate) struct Frames<R> {
    input: R,
    /// Blocks that were read.
    read: u64,
    /// The block at hand: its number, and where it begins in the file.
    number: u64,
    start: u64,
    position: u64,
}

pub(crate) enum Frame {
    /// The body is in the caller's buffer.
    Block,
    /// The file is whole.
    End,
    /// It is not.
    Cut(String),
}

impl<R: Read> Frames<R> {
    pub(crate) fn open(input: R) -> Result<Self, ColumnsError> {
        let mut frames = Self { input, read: 0, number: 0, start: 0, position: 0 };
        let mut magic = [0; MAGIC.len() + 1];
        let count = frames.fill(&mut magic)?;
        match magic.split_last() {
            Some((&VERSION, start)) if start == MAGIC && count == magic.len() => Ok(frames),
            Some((&found, start)) if start == MAGIC && count == magic.len() => Err(ColumnsError::Version { found }),
            _ => Err(ColumnsError::Foreign),
        }
    }

    /// `ops` is how many were read so far.
    pub(crate) fn next(&mut self, ops: u64, body: &mut Vec<u8>) -> Result<Frame, ColumnsError> {
        (self.number, self.start) = (self.read, self.position);
        let mut head = [0; HEAD_BYTES];
        match self.fill(&mut head)? {
            HEAD_BYTES => {}
            0 => return Ok(self.cut("the file has no end mark")),
            count => return Ok(self.cut(&format!("it has {count} bytes of its head's {HEAD_BYTES}"))),
        }
        let [length, body_check, _] = [0, 4, 8].map(|at| head[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word)));
        if with_check(self.number, length, body_check) != head {
            return Err(self.corrupt("its head does not match its checksum, or it stands at the wrong place"));
        }
        if length == 0 {
            return self.end(ops, body_check);
        }
        let length = length as usize;
        if length > BLOCK_BYTES_MAX {
            return Err(self.corrupt(format!("{length} bytes are more than the {BLOCK_BYTES_MAX} that a block may have")));
        }
        body.clear();
        while body.len() < length {
            let filled = body.len();
            body.reserve_exact((length - filled).min(STEP_BYTES.max(filled)));
            body.resize(length.min(filled + STEP_BYTES), 0);
            let count = self.fill(&mut body[filled..])?;
            if filled + count < body.len() {
                return Ok(self.cut(&format!("it has {} bytes of its {length}", filled + count)));
            }
        }
        if crc32c::crc32c(body) != body_check {
            return Err(self.corrupt(format!("its {length} bytes do not match their checksum")));
        }
        self.read += 1;
        Ok(Frame::Block)
    }

    fn end(&mut self, ops: u64, check: u32) -> Result<Frame, ColumnsError> {
        if check != crc32c::crc32c(&ops.to_le_bytes()) {
            return Err(self.corrupt(format!("the file ends with another number of ops than the {ops} read")));
        }
        self.start = self.position;
        match self.fill(&mut [0])? {
            0 => Ok(Frame::End),
            _ => Err(self.corrupt("something follows the end mark")),
        }
    }

    fn cut(&self, how: &str) -> Frame {
        Frame::Cut(format!("the history ends in the middle, at block {} (byte {}): {how}", self.number, self.start))
    }

    pub(crate) fn corrupt(&self, message: impl Into<String>) -> ColumnsError {
        ColumnsError::Corrupt { block: self.number, position: self.start, message: message.into() }
    }

    /// Reads until `bytes` are full or the input ends.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, ColumnsError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.input.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ColumnsError::Unreadable(error)),
            }
        }
        self.position += filled as u64;
        Ok(filled)
    }
}
