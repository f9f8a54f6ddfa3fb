//! Ops into a file.

use std::io::{self, Write};

use kchaos_core::Op;

use crate::encode::{Encoder, records};
use crate::frame;
use crate::layout::{
    BLOCK_BYTES_MAX, BLOCK_OPS_MAX, BLOCK_RECORDS_MAX, BLOCK_TEXT_MAX, CODEC_SIGNED, CODEC_ZSTD, FLAG_OFFSETS_BY_VALUE,
    FLAG_VALUES_TOGETHER, Id, MAGIC, VERSION, push_varint,
};
use crate::pack::{Widths, pack};

const ZSTD_LEVEL: i32 = 1;
/// A block ends here at the latest, but for a single op that is larger.
const RECORDS: usize = 1 << 19;
const TEXT_BYTES: usize = 4 << 20;
/// Less than this is not worth a compressor's frame.
const SMALL_BYTES: usize = 64;

/// Writes a compact history. Ops are kept until their block is full; [`Writer::flush`] ends it earlier.
///
/// A file that was not finished by [`Writer::finish`] is read as one that was cut.
pub struct Writer<W: Write> {
    output: W,
    encoder: Encoder,
    compressor: zstd::bulk::Compressor<'static>,
    /// Blocks and ops that were written.
    blocks: u64,
    ops: u64,
    body: Vec<u8>,
    data: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(mut output: W) -> io::Result<Self> {
        output.write_all(&MAGIC)?;
        output.write_all(&[VERSION])?;
        let compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
        Ok(Self { output, encoder: Encoder::new(), compressor, blocks: 0, ops: 0, body: Vec::new(), data: Vec::new() })
    }

    /// Adds an op. Its index must be its place in the file, from 0: whoever has ops with gaps numbers them first.
    pub fn write(&mut self, op: &Op) -> io::Result<()> {
        let waiting = self.encoder.head.ops;
        let place = self.ops + waiting;
        if op.index != place {
            return Err(invalid(format!("op {place} has the index {}: a compact history is dense", op.index)));
        }
        let records = records(op);
        if records > BLOCK_RECORDS_MAX {
            return Err(invalid(format!("op {place} has {records} records: a compact history takes {BLOCK_RECORDS_MAX} in one op")));
        }
        let is_full = waiting as usize >= BLOCK_OPS_MAX
            || self.encoder.head.records as usize + records > RECORDS
            || self.encoder.json.len() + self.encoder.texts.bytes.len() > TEXT_BYTES;
        if waiting > 0 && is_full {
            self.end_block()?;
        }
        self.encoder.push(op);
        Ok(())
    }

    /// Ops that wait for their block.
    pub fn waiting(&self) -> u64 {
        self.encoder.head.ops
    }

    /// Ends the block, so that a reader can see all ops so far. Small blocks are less compact.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.encoder.head.ops > 0 {
            self.end_block()?;
        }
        self.output.flush()
    }

    /// Ends the file.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.output.write_all(&frame::end(self.blocks, self.ops))?;
        self.output.flush()?;
        Ok(self.output)
    }

    pub fn get_ref(&self) -> &W {
        &self.output
    }

    fn end_block(&mut self) -> io::Result<()> {
        self.choose_predictions();
        let (body, data, encoder) = (&mut self.body, &mut self.data, &mut self.encoder);
        body.clear();
        data.clear();
        let head = encoder.head;
        let ops = head.ops;
        for number in [ops, head.first_index, head.first_time_ns, head.flags, head.first_value as u64, head.first_intended_ns, head.records]
        {
            push_varint(body, number);
        }
        std::mem::swap(&mut encoder.columns[Id::TextLengths as usize], &mut encoder.texts.lengths);
        let mut unpacked = 0;
        for id in Id::ALL {
            let values = &mut encoder.columns[id as usize];
            if is_table(id) {
                as_differences(values);
            }
            unpacked += column(values, &mut self.compressor, body, data)?;
        }
        std::mem::swap(&mut encoder.columns[Id::TextLengths as usize], &mut encoder.texts.lengths);
        for bytes in [&encoder.texts.bytes, &encoder.json] {
            unpacked += blob(bytes, &mut self.compressor, body, data)?;
        }
        let is_too_long = [&encoder.texts.bytes, &encoder.json].iter().any(|text| text.len() > BLOCK_TEXT_MAX);
        if is_too_long || unpacked > BLOCK_BYTES_MAX || body.len() + data.len() > BLOCK_BYTES_MAX {
            return Err(invalid(format!("ops {} to {} do not fit a block", head.first_index, head.first_index + ops - 1)));
        }
        body.extend_from_slice(data);
        self.output.write_all(&frame::head(self.blocks, body))?;
        self.output.write_all(body)?;
        self.blocks += 1;
        self.ops += ops;
        encoder.clear();
        Ok(())
    }

    /// Of two ways to predict values, and offsets, the one that leaves less over.
    fn choose_predictions(&mut self) {
        let encoder = &mut self.encoder;
        let mut cost = |values: &[i64]| {
            self.data.clear();
            pack(values, is_signed(values), Widths::Bits, &mut self.data);
            self.data.len()
        };
        if cost(&encoder.values_together) < cost(&encoder.columns[Id::Value as usize]) {
            encoder.head.flags |= FLAG_VALUES_TOGETHER;
            std::mem::swap(&mut encoder.columns[Id::Value as usize], &mut encoder.values_together);
            encoder.columns[Id::KeyValue as usize].fill(0);
        }
        if cost(&encoder.offsets_by_value) < cost(&encoder.columns[Id::Offset as usize]) {
            encoder.head.flags |= FLAG_OFFSETS_BY_VALUE;
            std::mem::swap(&mut encoder.columns[Id::Offset as usize], &mut encoder.offsets_by_value);
            std::mem::swap(&mut encoder.columns[Id::KeyAck as usize], &mut encoder.key_shift);
        }
    }
}

/// Whether rows are told by how they differ from the row before.
pub(crate) fn is_table(id: Id) -> bool {
    (Id::ActorProcess as usize..=Id::KeyPolledValue as usize).contains(&(id as usize))
}

fn as_differences(values: &mut [i64]) {
    let mut last = 0;
    for value in values {
        (last, *value) = (*value, value.wrapping_sub(last));
    }
}

fn is_signed(values: &[i64]) -> bool {
    values.iter().fold(0, |all, value| all | value) < 0
}

/// A row of the directory into `body`, the numbers into `data`. Gives the bytes that a reader unpacks.
fn column(values: &[i64], compressor: &mut zstd::bulk::Compressor<'_>, body: &mut Vec<u8>, data: &mut Vec<u8>) -> io::Result<usize> {
    if values.is_empty() {
        body.extend_from_slice(&[0, 0]);
        return Ok(0);
    }
    let signed = is_signed(values);
    let start = data.len();
    pack(values, signed, Widths::Bits, data);
    let plain_bytes = data.len() - start;
    let mut unpacked = None;
    if plain_bytes > SMALL_BYTES {
        let mut in_bytes = Vec::with_capacity(plain_bytes);
        pack(values, signed, Widths::Bytes, &mut in_bytes);
        // Half as many bytes again at the most: what a compressor gains it must not spend on reading.
        let candidates = [compressor.compress(&data[start..])?, compressor.compress(&in_bytes)?];
        let lengths = [plain_bytes, in_bytes.len()];
        let best = usize::from(candidates[1].len() < candidates[0].len());
        // A gain below a third is not worth the time of every reader: it is half a byte a send at the most.
        if candidates[best].len() < plain_bytes - plain_bytes / 3 {
            data.truncate(start);
            data.extend_from_slice(&candidates[best]);
            unpacked = Some(lengths[best]);
        }
    }
    body.push(if unpacked.is_some() { CODEC_ZSTD } else { 0 } | if signed { CODEC_SIGNED } else { 0 });
    push_varint(body, values.len() as u64);
    lengths(unpacked, data.len() - start, body);
    Ok(unpacked.unwrap_or(0))
}

fn blob(bytes: &[u8], compressor: &mut zstd::bulk::Compressor<'_>, body: &mut Vec<u8>, data: &mut Vec<u8>) -> io::Result<usize> {
    let packed = if bytes.len() > SMALL_BYTES { Some(compressor.compress(bytes)?) } else { None };
    let (stored, unpacked) = match &packed {
        Some(packed) if packed.len() < bytes.len() => (packed.as_slice(), Some(bytes.len())),
        _ => (bytes, None),
    };
    body.push(if unpacked.is_some() { CODEC_ZSTD } else { 0 });
    lengths(unpacked, stored.len(), body);
    data.extend_from_slice(stored);
    Ok(unpacked.unwrap_or(0))
}

fn lengths(unpacked: Option<usize>, stored: usize, body: &mut Vec<u8>) {
    if let Some(unpacked) = unpacked {
        push_varint(body, unpacked as u64);
    }
    push_varint(body, stored as u64);
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
