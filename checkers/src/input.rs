//! A history as bytes: JSONL or EDN, plain, gzip or zstd (the packing is told by its first bytes, not by its name; how EDN is told stands in
//! [`crate::edn`]).
//!
//! What is malformed, and what is not (FORMATS.md):
//!
//! - A missing index or time is allowed; gaps in the index are renumbered, with a note. Evidence then cites the place in the file, from 0.
//! - A duplicate or decreasing index, or a line that does not parse, is an error with file, line and column.
//! - The last line is forgiven if it does not parse: a run that was killed leaves it so. It is dropped and reported; so is a compressed
//!   stream that ends in the middle. White space after the last line is no line; in EDN, white space is no line anywhere.
//!
//! Time that goes back is allowed: the order of the file is the order of events.
//!
//! Limit: a line may be 64 MiB long, so that a file without newlines does not eat the memory.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use kchaos_core::{Op, OpError};

use crate::edn::{self, Edn};
use crate::judge::Judge;
use crate::report::CheckReport;
use crate::rule::JudgeOptions;

const CHUNK_BYTES: usize = 1 << 20;
const MAX_LINE_BYTES: usize = 64 << 20;

/// A history that cannot be judged. Nothing is said about the cluster then.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Lines and columns count from 1, columns in bytes.
    #[error("{file}:{line}:{column}: malformed history: {message}")]
    Malformed { file: String, line: u64, column: usize, message: String },
    #[error("{file}: cannot be read")]
    Unreadable { file: String, source: io::Error },
}

/// What there is to say of the reading, beside the ops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub ops: u64,
    /// Why the end is missing, if it is.
    pub truncated: Option<String>,
    pub notes: Vec<String>,
}

/// Reads a history and judges it. `name` is what errors call it; one that ends in `.edn`, `.edn.gz` or `.edn.zst` is EDN.
pub fn check_reader(input: impl Read, name: &str, options: JudgeOptions) -> Result<CheckReport, InputError> {
    let mut judge = Judge::new(options);
    let lines = read_ops(input, name, |op| judge.update(op))?;
    if let Some(text) = lines.truncated {
        judge.truncated(text);
    }
    for note in lines.notes {
        judge.note(note);
    }
    Ok(judge.finish())
}

/// Calls `each` with every op of a history, in order. `name` is as for [`check_reader`].
pub fn read_ops(input: impl Read, name: &str, each: impl FnMut(&Op)) -> Result<Lines, InputError> {
    let format = if edn::is_named_edn(name) { Format::Edn } else { Format::Unknown };
    let mut reader = Reader { name, each, format, edn: Edn::default(), state: State::default(), line: 0 };
    let mut head = Head::read(input).map_err(|source| reader.unreadable(source))?;
    match head.start() {
        [0x1f, 0x8b, ..] => reader.run(MultiGzDecoder::new(head))?,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::Decoder::new(&mut head).map_err(|source| reader.unreadable(source))?;
            reader.run(decoder)?;
        }
        _ => reader.run(head)?,
    }
    if reader.state.truncated.is_none() {
        reader.state.truncated = reader.edn.unfinished();
    }
    Ok(reader.state.lines())
}

/// The first bytes of an input, and the input.
struct Head<R> {
    bytes: [u8; 16],
    length: usize,
    at: usize,
    rest: R,
}

impl<R: Read> Head<R> {
    fn read(mut rest: R) -> io::Result<Self> {
        let mut bytes = [0; 16];
        let mut length = 0;
        while length < bytes.len() {
            match rest.read(&mut bytes[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { bytes, length, at: 0, rest })
    }

    fn start(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl<R: Read> Read for Head<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.length {
            return self.rest.read(into);
        }
        let count = into.len().min(self.length - self.at);
        into[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// What carries over from line to line.
#[derive(Default)]
struct State {
    ops: u64,
    last_index: Option<u64>,
    last_time_ns: u64,
    /// The first index that is not the op's place in the file, and that place.
    gap: Option<(u64, u64)>,
    without_index: u64,
    without_time: u64,
    /// A line that is forgiven only if no other follows.
    doubt: Option<Doubt>,
    truncated: Option<String>,
}

struct Doubt {
    line: u64,
    error: OpError,
    blank: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    /// Until the first line that is not blank.
    Unknown,
    Json,
    Edn,
}

struct Reader<'a, F> {
    name: &'a str,
    each: F,
    format: Format,
    edn: Edn,
    state: State,
    line: u64,
}

impl<F: FnMut(&Op)> Reader<'_, F> {
    fn run(&mut self, mut input: impl Read) -> Result<(), InputError> {
        let mut buffer = vec![0; CHUNK_BYTES];
        let (mut start, mut end) = (0, 0);
        loop {
            if end == buffer.len() {
                if start > 0 {
                    buffer.copy_within(start..end, 0);
                    (start, end) = (0, end - start);
                } else {
                    let length = buffer.len() * 2;
                    buffer.resize(length, 0);
                }
            }
            let count = match input.read(&mut buffer[end..]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.state.truncated = Some(format!("the compressed stream ends in the middle, after line {}", self.line));
                    0
                }
                Err(source) => return Err(self.unreadable(source)),
            };
            // What was there before this read holds no newline.
            let mut search = end;
            end += count;
            while let Some(found) = memchr::memchr(b'\n', &buffer[search..end]) {
                self.take(&buffer[start..search + found])?;
                search += found + 1;
                start = search;
            }
            if end - start > MAX_LINE_BYTES {
                let message = format!("this line is longer than {} MiB", MAX_LINE_BYTES >> 20);
                return Err(self.malformed(self.line + 1, OpError { column: MAX_LINE_BYTES, message }));
            }
            if count == 0 {
                if start < end {
                    self.take(&buffer[start..end])?;
                }
                return Ok(());
            }
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), InputError> {
        self.line += 1;
        let blank = line.iter().all(u8::is_ascii_whitespace);
        if self.format == Format::Unknown && !blank {
            self.format = if edn::is_like_edn(line) { Format::Edn } else { Format::Json };
        }
        if self.format == Format::Edn {
            return if blank { Ok(()) } else { self.take_edn(line) };
        }
        if !blank && let Some(doubt) = self.state.doubt.take() {
            return Err(self.malformed(doubt.line, doubt.error));
        }
        let error = match Op::read_json(line) {
            Ok((mut op, index, time_ns)) => {
                let column = || memchr::memmem::find(line, b"\"index\"").map_or(1, |at| at + 1);
                self.state.number(&mut op, index, time_ns, column).map_err(|error| self.malformed(self.line, error))?;
                (self.each)(&op);
                return Ok(());
            }
            Err(_) if blank => OpError { column: 1, message: "an empty line, where an op is expected".to_owned() },
            Err(error) => error,
        };
        self.doubt(error, blank);
        Ok(())
    }

    /// The ops before one that does not parse stand: only the rest of the line is in doubt.
    fn take_edn(&mut self, line: &[u8]) -> Result<(), InputError> {
        // Blank lines were in doubt only while it was not known what this is.
        if let Some(doubt) = self.state.doubt.take().filter(|doubt| !doubt.blank) {
            return Err(self.malformed(doubt.line, doubt.error));
        }
        let line = match std::str::from_utf8(line) {
            Ok(line) => line,
            Err(error) => {
                self.doubt(OpError { column: error.valid_up_to() + 1, message: "not valid UTF-8".to_owned() }, false);
                return Ok(());
            }
        };
        let mut at = 0;
        loop {
            match self.edn.next_op(line, &mut at) {
                Ok(None) => return Ok(()),
                Ok(Some((mut op, index, time_ns))) => {
                    let column = || self.edn.index_column(line);
                    self.state.number(&mut op, index, time_ns, column).map_err(|error| self.malformed(self.line, error))?;
                    (self.each)(&op);
                }
                Err(error) => {
                    self.doubt(error, false);
                    return Ok(());
                }
            }
        }
    }

    /// Of several, the first: blank lines that follow a bad one are the end's white space.
    fn doubt(&mut self, error: OpError, blank: bool) {
        self.state.doubt.get_or_insert(Doubt { line: self.line, error, blank });
    }

    fn malformed(&self, line: u64, error: OpError) -> InputError {
        InputError::Malformed { file: self.name.to_owned(), line, column: error.column, message: error.message }
    }

    fn unreadable(&self, source: io::Error) -> InputError {
        InputError::Unreadable { file: self.name.to_owned(), source }
    }
}

impl State {
    /// Gives the op its place in the file as its index, and a time. `column` is the index's.
    fn number(&mut self, op: &mut Op, index: Option<u64>, time_ns: Option<u64>, column: impl Fn() -> usize) -> Result<(), OpError> {
        if let Some(index) = index {
            if let Some(last) = self.last_index.filter(|last| index <= *last) {
                let how = if index == last { "a duplicate" } else { "a decreasing" };
                return Err(OpError { column: column(), message: format!("{how} index: {index} after {last}") });
            }
            self.last_index = Some(index);
            if index != self.ops && self.gap.is_none() {
                self.gap = Some((index, self.ops));
            }
        } else {
            self.without_index += 1;
        }
        op.index = self.ops;
        op.time_ns = time_ns.unwrap_or(self.last_time_ns);
        self.without_time += u64::from(time_ns.is_none());
        self.last_time_ns = op.time_ns;
        self.ops += 1;
        Ok(())
    }

    fn lines(self) -> Lines {
        let mut notes = Vec::new();
        if let Some((index, place)) = self.gap {
            notes.push(format!("ops are renumbered from 0: the indices have gaps, the first at {index}, which is op {place} here"));
        }
        if self.without_index > 0 {
            notes.push(format!("{} ops have no index: they are numbered by their place in the file", self.without_index));
        }
        if self.without_time > 0 {
            notes.push(format!("{} ops have no time: each is given that of the op before it", self.without_time));
        }
        let cut = self.doubt.filter(|doubt| !doubt.blank).map(|Doubt { line, error, .. }| {
            format!("the last line ({line}) is not an op and was dropped: column {}: {}", error.column, error.message)
        });
        Lines { ops: self.ops, truncated: cut.or(self.truncated), notes }
    }
}
