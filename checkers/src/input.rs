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
//! How it is fast: the input is cut into chunks of whole lines. Threads parse them, whichever is free the next, while the ops are handed on in
//! order by one: the result cannot depend on how many there are. EDN, whose ops need not end with their line, is read by one alone.
//!
//! Limit: a line may be 64 MiB long, so that a file without newlines does not eat the memory.

mod batch;
mod chunks;
mod numbering;
mod parallel;

use std::convert::Infallible;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use kchaos_columns::{ColumnsError, Ops};
use kchaos_core::{EachOp, Line, Op, OpError, OpSink, Spare};

use crate::edn::{self, Edn};
use crate::judge::Judge;
use crate::report::CheckReport;
use crate::rule::JudgeOptions;
use batch::Batch;
use chunks::{Chunk, Chunks};
use numbering::{Doubt, Numbering};

/// A history that cannot be judged. Nothing is said about the cluster then.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// Lines and columns count from 1, columns in bytes.
    #[error("{file}:{line}:{column}: malformed history: {message}")]
    Malformed { file: String, line: u64, column: usize, message: String },
    #[error("{file}: cannot be read")]
    Unreadable { file: String, source: io::Error },
    #[error("{file}: malformed history: {source}")]
    Columns { file: String, source: ColumnsError },
}

/// What there is to say of the reading, beside the ops.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub ops: u64,
    /// Why the end is missing, if it is.
    pub truncated: Option<String>,
    pub notes: Vec<String>,
}

/// What a history is read from. `Send`, since the thread that is free reads on.
pub type Input<'a> = Box<dyn Read + Send + 'a>;

/// How a history is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading<'a> {
    /// What errors call it; one that ends in `.edn`, `.edn.gz` or `.edn.zst` is EDN.
    pub name: &'a str,
    pub threads: usize,
}

/// Reads a history once and judges it. `name` is what errors call it; one that ends in `.edn`, `.edn.gz` or `.edn.zst` is EDN.
pub fn check_reader(input: impl Read + Send, name: &str, options: JudgeOptions) -> Result<CheckReport, InputError> {
    let mut judge = Judge::new(options);
    tell(&mut judge, Box::new(input), Reading { name, threads: 1 })?;
    Ok(judge.finish())
}

/// Reads a history and judges it. It is opened again if something was found: the evidence needs a second look.
pub fn check<'a>(
    mut open: impl FnMut() -> io::Result<Input<'a>>,
    reading: Reading<'_>,
    options: JudgeOptions,
) -> Result<CheckReport, InputError> {
    let mut read = |judge: &mut Judge| {
        let input = open().map_err(|source| InputError::Unreadable { file: reading.name.to_owned(), source })?;
        tell(judge, input, reading)
    };
    let mut judge = Judge::new(options);
    read(&mut judge)?;
    let mut report = judge.finish_reading_again(read);
    report.add_evidence(|each| {
        let input = open().map_err(|source| InputError::Unreadable { file: reading.name.to_owned(), source })?;
        crate::input::read(input, reading, each).map(drop)
    });
    Ok(report)
}

/// Tells a judge all that a history says.
pub fn tell(judge: &mut Judge, input: Input<'_>, reading: Reading<'_>) -> Result<(), InputError> {
    let lines = read_into(input, reading, judge)?;
    if let Some(text) = lines.truncated {
        judge.truncated(text);
    }
    for note in lines.notes {
        judge.note(note);
    }
    Ok(())
}

/// Calls `each` with every op of a history, in order. `name` is as for [`check_reader`].
pub fn read_ops(input: impl Read + Send, name: &str, each: impl FnMut(&Op)) -> Result<Lines, InputError> {
    read(Box::new(input), Reading { name, threads: 1 }, each)
}

/// Calls `each` with every op of a history, in order.
pub fn read(input: Input<'_>, reading: Reading<'_>, each: impl FnMut(&Op)) -> Result<Lines, InputError> {
    read_into(input, reading, &mut EachOp(each))
}

/// Tells a listener of every op of a history, in order.
fn read_into(input: Input<'_>, reading: Reading<'_>, sink: &mut impl OpSink) -> Result<Lines, InputError> {
    let unreadable = |source| InputError::Unreadable { file: reading.name.to_owned(), source };
    let head = Head::read(input).map_err(unreadable)?;
    if kchaos_columns::is_columns(head.start()) {
        return read_columns(head, reading.name, sink);
    }
    let input: Input<'_> = match head.start() {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(head)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::new(head).map_err(unreadable)?),
        _ => Box::new(head),
    };
    let format = if edn::is_named_edn(reading.name) { Format::Edn } else { Format::Unknown };
    let reader = Reader { reading, sink, format, edn: Edn::default(), numbering: Numbering::default(), line: 0 };
    reader.run(Chunks::new(input))
}

/// A compact history: its ops are numbered from 0, and their order is the file's.
fn read_columns(input: impl Read, name: &str, sink: &mut impl OpSink) -> Result<Lines, InputError> {
    let malformed = |source| InputError::Columns { file: name.to_owned(), source };
    let mut reader = kchaos_columns::Reader::new(input).map_err(malformed)?;
    let mut ops = Ops::new();
    while reader.tell_block(&mut ops, sink).map_err(malformed)? {}
    Ok(Lines { ops: reader.ops(), truncated: reader.truncated().map(str::to_owned), notes: Vec::new() })
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

#[derive(Clone, Copy, PartialEq)]
enum Format {
    /// Until the first line that is not blank.
    Unknown,
    Json,
    Edn,
}

struct Reader<'a, S> {
    reading: Reading<'a>,
    sink: &'a mut S,
    format: Format,
    edn: Edn,
    numbering: Numbering,
    line: u64,
}

/// Why a chunk's lines were not all ops.
struct Stop {
    /// From 0, in the chunk.
    line: u64,
    error: OpError,
    blank: bool,
    /// A line that is not blank follows in the chunk, so that this one is not forgiven.
    is_followed: bool,
}

/// Who takes the lines of a chunk.
trait TakesLines<E> {
    /// What the next line may be read into.
    fn op(&mut self) -> &mut Op;
    /// What was read, if it was not read into the op that was given last, and the line.
    fn line(&mut self, read: Line, line: &[u8]) -> Result<(), E>;
}

/// Parses the lines of a chunk. `plain`: plain sends are wanted as such.
#[inline]
fn parse<E>(bytes: &[u8], plain: bool, taker: &mut impl TakesLines<E>, spare: &mut Spare) -> Result<Option<Stop>, E> {
    let mut start = 0;
    let mut number = 0;
    while start < bytes.len() {
        let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |length| start + length);
        let line = &bytes[start..end];
        let read = match plain {
            true => taker.op().read_json_or_plain(line, spare),
            false => taker.op().read_json_into(line, spare).map(|(index, time_ns)| Line::Op(index, time_ns)),
        };
        match read {
            Ok(read) => taker.line(read, line)?,
            Err(error) => {
                let blank = line.iter().all(u8::is_ascii_whitespace);
                let error = if blank { OpError { column: 1, message: "an empty line, where an op is expected".to_owned() } } else { error };
                let is_followed = bytes.get(end..).is_some_and(|rest| !rest.iter().all(u8::is_ascii_whitespace));
                return Ok(Some(Stop { line: number, error, blank, is_followed }));
            }
        }
        start = end + 1;
        number += 1;
    }
    Ok(None)
}

/// Numbers what was read, and hands it on. By value: what is read and handed on at once need never be in memory, which is a fifteenth of all time.
#[inline]
fn hand_on<S: OpSink>(line: Line, op: &mut Op, numbering: &mut Numbering, sink: &mut S, column: impl Fn() -> usize) -> Result<(), OpError> {
    match line {
        Line::Plain(mut plain) => {
            (plain.index, plain.time_ns) = numbering.number(Some(plain.index), Some(plain.time_ns), column)?;
            sink.plain_send(&plain);
        }
        Line::PollBegin(mut begin) => {
            (begin.index, begin.time_ns) = numbering.number(Some(begin.index), Some(begin.time_ns), column)?;
            sink.poll_begins(&begin);
        }
        Line::Op(index, time_ns) => {
            (op.index, op.time_ns) = numbering.number(index, time_ns, column)?;
            sink.op(op);
        }
    }
    Ok(())
}

/// Hands each line on at once.
struct HandsOn<'a, S> {
    op: &'a mut Op,
    numbering: &'a mut Numbering,
    sink: &'a mut S,
    line: &'a mut u64,
    name: &'a str,
}

impl<S: OpSink> TakesLines<InputError> for HandsOn<'_, S> {
    #[inline]
    fn op(&mut self) -> &mut Op {
        self.op
    }

    #[inline]
    fn line(&mut self, read: Line, line: &[u8]) -> Result<(), InputError> {
        *self.line += 1;
        let column = || column_of_index(line);
        hand_on(read, self.op, self.numbering, self.sink, column).map_err(|error| malformed(self.name, *self.line, error))
    }
}

impl<S: OpSink> Reader<'_, S> {
    fn run(mut self, mut chunks: Chunks<Input<'_>>) -> Result<Lines, InputError> {
        let (mut op, mut spare) = (Op::default(), Spare::default());
        let mut chunk = Chunk::default();
        while self.format != Format::Json || self.reading.threads < 2 {
            if !self.next(&mut chunks, &mut chunk)? {
                return Ok(self.finish(&chunks));
            }
            match self.format {
                Format::Json => self.take_json(&chunk, &mut op, &mut spare)?,
                Format::Edn | Format::Unknown => self.take_lines(&chunk, &mut op, &mut spare)?,
            }
        }
        let threads = self.reading.threads;
        let take = |chunk: &Chunk, batch: Option<&mut Batch>| match batch {
            Some(batch) => self.take_batch(chunk, batch),
            None => self.take_json(chunk, &mut op, &mut spare),
        };
        let Some(chunks) = parallel::run(chunks, threads, S::TAKES_PLAIN, take)? else {
            return Err(self.unreadable(io::Error::other("a thread that read it failed")));
        };
        if let Some(source) = chunks.failed() {
            return Err(self.unreadable(source));
        }
        Ok(self.finish(&chunks))
    }

    fn next(&self, chunks: &mut Chunks<Input<'_>>, chunk: &mut Chunk) -> Result<bool, InputError> {
        let more = chunks.next(chunk);
        match chunks.failed() {
            Some(source) => Err(self.unreadable(source)),
            None => Ok(more),
        }
    }

    fn finish(self, chunks: &Chunks<Input<'_>>) -> Lines {
        let cut = chunks.is_cut().then(|| format!("the compressed stream ends in the middle, after line {}", self.line));
        self.numbering.lines(cut.or_else(|| self.edn.unfinished()))
    }

    fn take_json(&mut self, chunk: &Chunk, op: &mut Op, spare: &mut Spare) -> Result<(), InputError> {
        self.forgive_no_more(chunk)?;
        let Self { numbering, sink, line, reading, .. } = self;
        let first = *line;
        let mut taker = HandsOn { op, numbering, sink: *sink, line, name: reading.name };
        let stop = parse(chunk.bytes(), S::TAKES_PLAIN, &mut taker, spare)?;
        self.stopped(chunk, first, stop)
    }

    /// What a thread parsed of a chunk.
    fn take_batch(&mut self, chunk: &Chunk, batch: &mut Batch) -> Result<(), InputError> {
        self.forgive_no_more(chunk)?;
        let Self { numbering, sink, line, reading, .. } = self;
        let first = *line;
        batch.each(|read, op| {
            let place = *line - first;
            *line += 1;
            let column = || column_of_index(chunk.line(place));
            let handed_on = match read {
                // It is in memory already, and need not be copied.
                Line::Plain(plain) => numbering.number(Some(plain.index), Some(plain.time_ns), column).map(|numbers| {
                    (plain.index, plain.time_ns) = numbers;
                    sink.plain_send(plain);
                }),
                other => hand_on(*other, op, numbering, *sink, column),
            };
            handed_on.map_err(|error| malformed(reading.name, *line, error))
        })?;
        self.stopped(chunk, first, batch.stop())
    }

    /// A line in doubt stands only if nothing follows it.
    fn forgive_no_more(&mut self, chunk: &Chunk) -> Result<(), InputError> {
        if self.numbering.doubt.is_some()
            && !chunk.bytes().iter().all(u8::is_ascii_whitespace)
            && let Some(doubt) = self.numbering.doubt.take()
        {
            return Err(malformed(self.reading.name, doubt.line, doubt.error));
        }
        Ok(())
    }

    fn stopped(&mut self, chunk: &Chunk, first: u64, stop: Option<Stop>) -> Result<(), InputError> {
        if let Some(Stop { line, error, blank, is_followed }) = stop {
            let line = first + line + 1;
            if is_followed {
                return Err(malformed(self.reading.name, line, error));
            }
            // Of several, the first: blank lines that follow a bad one are the end's white space.
            self.numbering.doubt.get_or_insert(Doubt { line, error, blank });
            self.line = first + chunk.lines();
        }
        self.too_long(chunk)
    }

    fn too_long(&self, chunk: &Chunk) -> Result<(), InputError> {
        if !chunk.is_too_long() {
            return Ok(());
        }
        let message = format!("this line is longer than {} MiB", chunks::MAX_LINE_BYTES >> 20);
        Err(malformed(self.reading.name, self.line + 1, OpError { column: chunks::MAX_LINE_BYTES, message }))
    }

    /// Line by line, until it is known what this is; EDN to its end.
    fn take_lines(&mut self, chunk: &Chunk, op: &mut Op, spare: &mut Spare) -> Result<(), InputError> {
        let bytes = chunk.bytes();
        let mut start = 0;
        while start < bytes.len() {
            let end = memchr::memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |length| start + length);
            let line = &bytes[start..end];
            let blank = line.iter().all(u8::is_ascii_whitespace);
            if self.format == Format::Unknown && !blank {
                self.format = if edn::is_like_edn(line) { Format::Edn } else { Format::Json };
                if self.format == Format::Json {
                    return self.take_json(&chunk.rest(start), op, spare);
                }
            }
            self.line += 1;
            if self.format == Format::Edn && !blank {
                self.take_edn(line)?;
            } else if self.format == Format::Unknown {
                let error = OpError { column: 1, message: "an empty line, where an op is expected".to_owned() };
                self.numbering.doubt.get_or_insert(Doubt { line: self.line, error, blank });
            }
            start = end + 1;
        }
        self.too_long(chunk)
    }

    /// The ops before one that does not parse stand: only the rest of the line is in doubt.
    fn take_edn(&mut self, line: &[u8]) -> Result<(), InputError> {
        // Blank lines were in doubt only while it was not known what this is.
        if let Some(doubt) = self.numbering.doubt.take().filter(|doubt| !doubt.blank) {
            return Err(malformed(self.reading.name, doubt.line, doubt.error));
        }
        let line = match std::str::from_utf8(line) {
            Ok(line) => line,
            Err(error) => {
                self.doubt(OpError { column: error.valid_up_to() + 1, message: "not valid UTF-8".to_owned() });
                return Ok(());
            }
        };
        let mut at = 0;
        loop {
            match self.edn.next_op(line, &mut at) {
                Ok(None) => return Ok(()),
                Ok(Some((mut op, index, time_ns))) => {
                    let column = || self.edn.index_column(line);
                    let handed_on = hand_on(Line::Op(index, time_ns), &mut op, &mut self.numbering, self.sink, column);
                    handed_on.map_err(|error| malformed(self.reading.name, self.line, error))?;
                }
                Err(error) => {
                    self.doubt(error);
                    return Ok(());
                }
            }
        }
    }

    fn doubt(&mut self, error: OpError) {
        self.numbering.doubt.get_or_insert(Doubt { line: self.line, error, blank: false });
    }

    fn unreadable(&self, source: io::Error) -> InputError {
        InputError::Unreadable { file: self.reading.name.to_owned(), source }
    }
}

fn column_of_index(line: &[u8]) -> usize {
    memchr::memmem::find(line, b"\"index\"").map_or(1, |at| at + 1)
}

fn malformed(file: &str, line: u64, error: OpError) -> InputError {
    InputError::Malformed { file: file.to_owned(), line, column: error.column, message: error.message }
}

/// `Infallible` has no values: a result with it is one without errors.
pub(crate) fn always<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}
