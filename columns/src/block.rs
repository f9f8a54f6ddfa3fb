//! A block's bytes as columns that can be read.

use std::ops::Range;

use kchaos_core::Process;

use crate::kind::{Kind, Way};
use crate::layout::{
    BLOBS, BLOCK_BYTES_MAX, BLOCK_OPS_MAX, BLOCK_RECORDS_MAX, BLOCK_TEXT_MAX, CODEC_SIGNED, CODEC_ZSTD, COLUMNS, FLAG_VALUES_TOGETHER,
    FLAGS, Head, Id, KINDS_MAX, KeyState, take_varint,
};
use crate::pack::{Column, GROUP, SLACK};
use crate::writer::is_table;

/// What is wrong with a block, but not where it stands.
/// Boxed, so that what is returned for every op stays small.
pub(crate) type Fault = Box<str>;

/// An actor's flag beside those of a kind: it has an isolation or a group.
pub(crate) const ACTOR_TEXTS: u32 = 1 << 20;

/// A block while its ops are read.
pub(crate) struct Block {
    pub(crate) head: Head,
    /// The body as it came, then the columns that were compressed, then some slack.
    pub(crate) bytes: Vec<u8>,
    pub(crate) columns: Box<[Column; COLUMNS]>,
    pub(crate) kinds: Vec<(Kind, Way)>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) keys: Vec<KeyState>,
    pub(crate) texts: Vec<Range<usize>>,
    pub(crate) text: String,
    /// What is left of the JSON texts, in `bytes`.
    pub(crate) json: Range<usize>,
    decompressor: zstd::bulk::Decompressor<'static>,
}

#[derive(Clone)]
pub(crate) struct Actor {
    pub(crate) process: Process,
    pub(crate) client: Option<u32>,
    pub(crate) flags: u32,
    /// Which of its ops are plain, and of which process: [`Way::bit`]s.
    pub(crate) plain: (u32, u32),
    /// Texts' numbers and one, or 0.
    pub(crate) isolation: u32,
    pub(crate) group: u32,
    /// What it is doing: the key's number, the value, when it was meant to start.
    pub(crate) open_key: u32,
    pub(crate) open_value: i64,
    pub(crate) intended_ns: u64,
    /// Where in the open sends, if it is doing several.
    pub(crate) open_sends: (u32, u32),
}

/// A row of the directory.
struct Entry {
    codec: u8,
    count: u64,
    range: Range<usize>,
}

impl Block {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            head: Head::default(),
            bytes: Vec::new(),
            columns: Box::new(std::array::from_fn(|_| Column::new())),
            kinds: Vec::new(),
            actors: Vec::new(),
            keys: Vec::new(),
            texts: Vec::new(),
            text: String::new(),
            json: 0..0,
            decompressor: zstd::bulk::Decompressor::new()?,
        })
    }

    /// Reads what comes before the ops. `bytes` hold the body.
    pub(crate) fn open(&mut self) -> Result<(), Fault> {
        let mut rest = self.bytes.as_slice();
        self.head = head(&mut rest)?;
        let mut entries = Vec::with_capacity(COLUMNS + BLOBS);
        for number in 0..COLUMNS + BLOBS {
            entries.push(entry(&mut rest, number >= COLUMNS).ok_or_else(|| format!("the directory breaks off at column {number}"))?);
        }
        let mut at = self.bytes.len() - rest.len();
        for (number, (entry, _)) in entries.iter_mut().enumerate() {
            let length = entry.range.end;
            if length > self.bytes.len() - at {
                return Err(format!("column {number} has {length} bytes, more than the block").into());
            }
            entry.range = at..at + length;
            at += length;
        }
        if at != self.bytes.len() {
            return Err(format!("{} bytes belong to no column", self.bytes.len() - at).into());
        }
        self.decompress(&mut entries)?;
        self.start(&entries.into_iter().map(|(entry, _)| entry).collect::<Vec<_>>())
    }

    /// Appends what was compressed, and lets its rows point there.
    fn decompress(&mut self, entries: &mut [(Entry, u64)]) -> Result<(), Fault> {
        let all = entries.iter().fold(0_u64, |all, (_, unpacked)| all.saturating_add(*unpacked));
        if all > BLOCK_BYTES_MAX as u64 {
            return Err(format!("it would unpack to {all} bytes, more than the {BLOCK_BYTES_MAX} that a block may have").into());
        }
        for (entry, unpacked) in &entries[COLUMNS..] {
            if (*unpacked).max(entry.range.len() as u64) > BLOCK_TEXT_MAX as u64 {
                return Err(format!("its texts or its JSON are longer than {BLOCK_TEXT_MAX} bytes").into());
            }
        }
        let stored = self.bytes.len();
        self.bytes.reserve_exact(all as usize + SLACK);
        self.bytes.resize(stored + all as usize + SLACK, 0);
        let (stored, unpacked) = self.bytes.split_at_mut(stored);
        let mut at = 0;
        for (number, (entry, length)) in entries.iter_mut().enumerate().filter(|(_, (entry, _))| entry.codec & CODEC_ZSTD != 0) {
            let end = at + *length as usize;
            match self.decompressor.decompress_to_buffer(&stored[entry.range.clone()], &mut unpacked[at..end]) {
                Ok(count) if count as u64 == *length => {}
                Ok(count) => return Err(format!("column {number} unpacks to {count} bytes, not {length}").into()),
                Err(error) => return Err(format!("column {number} does not unpack: {error}").into()),
            }
            entry.range = stored.len() + at..stored.len() + end;
            at = end;
        }
        Ok(())
    }

    fn start(&mut self, entries: &[Entry]) -> Result<(), Fault> {
        for (number, (column, entry)) in self.columns.iter_mut().zip(entries).enumerate() {
            // A group has a byte at least: no table is longer than what was read allows.
            if entry.count > entry.range.len() as u64 * GROUP as u64 {
                return Err(format!("column {number} has {} numbers in {} bytes", entry.count, entry.range.len()).into());
            }
            column.start(entry.range.clone(), entry.count, entry.codec & CODEC_SIGNED != 0);
        }
        let rows = |id: Id| entries[id as usize].count;
        let Head { ops, records, .. } = self.head;
        for (id, most) in [
            (Id::Kinds, KINDS_MAX as u64),
            (Id::ActorProcess, ops),
            (Id::Keys, records),
            (Id::TextLengths, 4 * ops),
            // A text for a whole op, or for what stands beside it.
            (Id::JsonLengths, ops),
        ] {
            if rows(id) > most {
                return Err(format!("column {} has {} rows, more than the ops can use", id as usize, rows(id)).into());
            }
        }
        self.tables(rows(Id::Kinds), rows(Id::ActorProcess), rows(Id::Keys))?;
        self.texts(rows(Id::TextLengths), entries[COLUMNS].range.clone())?;
        self.json = entries[COLUMNS + 1].range.clone();
        Ok(())
    }

    fn tables(&mut self, kinds: u64, actors: u64, keys: u64) -> Result<(), Fault> {
        self.kinds.clear();
        for _ in 0..kinds {
            let bits = self.columns[Id::Kinds as usize].next(&self.bytes);
            let kind = Kind::checked(bits).ok_or_else(|| format!("{bits} is no kind of op"))?;
            self.kinds.push((kind, kind.way()));
        }
        let Self { columns, bytes, .. } = self;
        let mut table = Table { columns, bytes, last: [0; COLUMNS] };
        self.actors.clear();
        self.actors.reserve_exact(actors as usize);
        for _ in 0..actors {
            let process = table.next(Id::ActorProcess);
            let client = table.next(Id::ActorClient);
            let [isolation, group] = [table.next(Id::ActorIsolation), table.next(Id::ActorGroup)].map(u32::try_from);
            let process = if process == -1 { Ok(Process::Nemesis) } else { u32::try_from(process).map(Process::Client) };
            let client = if client == 0 { Ok(None) } else { u32::try_from(client.wrapping_sub(1)).map(Some) };
            let (Ok(process), Ok(client), Ok(isolation), Ok(group)) = (process, client, isolation, group) else {
                return Err(format!("actor {} is none", self.actors.len()).into());
            };
            let flags = if isolation | group != 0 { ACTOR_TEXTS } else { 0 };
            let plain = match process {
                Process::Client(number) if flags == 0 => (Way::SENDS | Way::POLLS, number),
                Process::Client(number) if group == 0 => (Way::POLLS, number),
                // What a group was given, the rules want to know.
                Process::Client(number) => (Way::PollBegins.bit(), number),
                Process::Nemesis => (0, 0),
            };
            let (open_key, open_value, intended_ns, open_sends) = (0, 0, 0, (0, 0));
            self.actors.push(Actor { process, client, flags, plain, isolation, group, open_key, open_value, intended_ns, open_sends });
        }
        self.keys.clear();
        self.keys.reserve_exact(keys as usize);
        let together = (self.head.flags & FLAG_VALUES_TOGETHER != 0).then_some(self.head.first_value);
        for _ in 0..keys {
            let key = table.next(Id::Keys);
            let value = table.next(Id::KeyValue);
            let ack = table.next(Id::KeyAck);
            let poll = table.next(Id::KeyPoll);
            let polled_value = table.next(Id::KeyPolledValue);
            self.keys.push(KeyState { key, value: together.map_or(value, |_| 0), ack, poll, polled_value, node: 0 });
        }
        Ok(())
    }

    fn texts(&mut self, count: u64, range: Range<usize>) -> Result<(), Fault> {
        self.texts.clear();
        self.text.clear();
        let text = std::str::from_utf8(&self.bytes[range]).map_err(|_| "its texts are not UTF-8")?;
        self.text.push_str(text);
        let mut at = 0_usize;
        for number in 0..count {
            let length = usize::try_from(self.columns[Id::TextLengths as usize].next(&self.bytes)).unwrap_or(usize::MAX);
            let range = at..at.saturating_add(length);
            if self.text.get(range.clone()).is_none() {
                return Err(format!("text {number} goes beyond the texts").into());
            }
            at = range.end;
            self.texts.push(range);
        }
        if at == self.text.len() { Ok(()) } else { Err("texts are left over".into()) }
    }

    /// After the last op: everything was used, and nothing was missing.
    pub(crate) fn close(&self) -> Result<(), Fault> {
        match self.columns.iter().position(|column| !column.is_finished()) {
            Some(number) => Err(format!("column {number} does not have as many numbers as the ops need").into()),
            None if !self.json.is_empty() => Err("JSON is left over".into()),
            None => Ok(()),
        }
    }
}

/// Rows that are told by how they differ from the row before.
struct Table<'a> {
    columns: &'a mut [Column; COLUMNS],
    bytes: &'a [u8],
    last: [i64; COLUMNS],
}

impl Table<'_> {
    fn next(&mut self, id: Id) -> i64 {
        debug_assert!(is_table(id));
        let last = &mut self.last[id as usize];
        *last = last.wrapping_add(self.columns[id as usize].next(self.bytes));
        *last
    }
}

fn head(rest: &mut &[u8]) -> Result<Head, Fault> {
    let mut numbers = [0; 7];
    for number in &mut numbers {
        *number = take_varint(rest).ok_or("it breaks off in its first numbers")?;
    }
    let [ops, first_index, first_time_ns, flags, first_value, first_intended_ns, records] = numbers;
    if ops == 0 || ops > BLOCK_OPS_MAX as u64 || records > BLOCK_RECORDS_MAX as u64 || flags > FLAGS {
        return Err(format!("{ops} ops with {records} records, flags {flags}: beyond what a block may have").into());
    }
    Ok(Head { ops, first_index, first_time_ns, flags, first_value: first_value as i64, first_intended_ns, records })
}

/// An entry, whose range is its length still, and the bytes that it unpacks to.
fn entry(rest: &mut &[u8], is_blob: bool) -> Option<(Entry, u64)> {
    let (codec, after) = rest.split_first()?;
    *rest = after;
    let count = if is_blob { 0 } else { take_varint(rest)? };
    if *codec > CODEC_ZSTD | CODEC_SIGNED {
        return None;
    }
    if count == 0 && !is_blob {
        return Some((Entry { codec: 0, count: 0, range: 0..0 }, 0));
    }
    let unpacked = if codec & CODEC_ZSTD != 0 { take_varint(rest)? } else { 0 };
    let stored = usize::try_from(take_varint(rest)?).ok()?;
    Some((Entry { codec: *codec, count, range: 0..stored }, unpacked))
}
