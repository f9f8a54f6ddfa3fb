//! Records as they lie in a log: batches of version 2 (since Kafka 0.11), taken apart and unpacked.
//!
//! Behind what [`crate::segments`] reads of a batch (up to the last offset delta): base and maximum timestamp (8, 8), producer id (8), its epoch
//! (2), base sequence (4), count (4), and the records, packed as the attributes say. Outside input: every read is bounded and checked.

use std::io::{Read, Write as _};

use serde::Serialize;

use crate::protocol::wire::{Decoder, WireError};

/// Base offset and length, which do not count themselves.
const PREFIX: usize = 12;
/// What the checksum does not cover: epoch, magic, and itself.
const BEFORE_CRC: usize = 9;
const MAGIC: i8 = 2;
/// No batch that a broker takes unpacks to more.
const UNPACKED_MAX: u64 = 512 << 20;
/// Of snappy-java's stream, which Kafka's own clients write: magic and two version numbers.
const XERIAL: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error("the batch at offset {base_offset} is malformed: {source}")]
    Malformed { base_offset: i64, source: WireError },
    #[error("the batch at offset {base_offset} has the checksum {found:08x}, and says {told:08x}")]
    Checksum { base_offset: i64, told: u32, found: u32 },
    #[error(
        "the batch at offset {base_offset} has version {magic} of Kafka's format: only 2 is read (a broker of 0.11 or later wrote that)"
    )]
    Version { base_offset: i64, magic: i8 },
    #[error("the batch at offset {base_offset}, packed by {codec}, cannot be unpacked: {reason}")]
    Packed { base_offset: i64, codec: &'static str, reason: String },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Batch {
    pub first_offset: i64,
    pub last_offset: i64,
    /// Of the leader that appended it.
    pub leader_epoch: i32,
    /// `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub codec: &'static str,
    /// The broker's own time, not the producer's.
    pub is_log_append_time: bool,
    pub is_transactional: bool,
    /// Of markers, which consumers are not given.
    pub is_control: bool,
    /// -1: a producer without idempotence.
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub first_sequence: i32,
    #[serde(skip)]
    pub records: Vec<Record>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// In their order; a name may come twice.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What a marker says of its producer's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Marker {
    Commit,
    Abort,
    Other,
}

impl Record {
    /// Of a batch of control: version (2) and kind (2) are its key.
    pub fn marker(&self) -> Marker {
        match self.key.as_deref() {
            Some([_, _, 0, 0, ..]) => Marker::Abort,
            Some([_, _, 0, 1, ..]) => Marker::Commit,
            _ => Marker::Other,
        }
    }
}

/// The whole batches, up to one that the broker cut.
pub fn batches(bytes: &[u8]) -> Result<Vec<Batch>, RecordsError> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some((base_offset, length)) = front(rest) {
        let Some(body) = rest.get(PREFIX..PREFIX + length) else { break };
        found.push(batch(base_offset, body)?);
        rest = &rest[PREFIX + length..];
    }
    Ok(found)
}

fn front(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut decoder = Decoder::new(bytes);
    let (base_offset, length) = (decoder.i64().ok()?, decoder.i32().ok()?);
    Some((base_offset, usize::try_from(length).ok().filter(|length| *length > 0)?))
}

fn batch(base_offset: i64, body: &[u8]) -> Result<Batch, RecordsError> {
    let malformed = |source| RecordsError::Malformed { base_offset, source };
    let mut decoder = Decoder::new(body);
    let leader_epoch = decoder.i32().map_err(malformed)?;
    let magic = decoder.i8().map_err(malformed)?;
    if magic != MAGIC {
        return Err(RecordsError::Version { base_offset, magic });
    }
    let told = decoder.i32().map_err(malformed)?.cast_unsigned();
    let found = crc32c::crc32c(&body[BEFORE_CRC..]);
    if told != found {
        return Err(RecordsError::Checksum { base_offset, told, found });
    }
    let head = head(&mut decoder).map_err(malformed)?;
    let Head { attributes, last_delta, base_timestamp, max_timestamp, producer_id, producer_epoch, first_sequence, count } = head;
    let packed = decoder.take(decoder.remaining(), "records").map_err(malformed)?;
    let (codec, unpacked) = unpack(attributes, packed).map_err(|(codec, reason)| RecordsError::Packed { base_offset, codec, reason })?;
    let is_log_append_time = attributes & 0x08 != 0;
    let mut batch = Batch {
        first_offset: base_offset,
        last_offset: base_offset.saturating_add(i64::from(last_delta)),
        leader_epoch,
        codec,
        is_log_append_time,
        is_transactional: attributes & 0x10 != 0,
        is_control: attributes & 0x20 != 0,
        producer_id,
        producer_epoch,
        first_sequence,
        records: Vec::new(),
    };
    let mut records = Decoder::new(&unpacked);
    for _ in 0..count {
        let mut record = record(&mut records, base_offset, base_timestamp).map_err(malformed)?;
        if is_log_append_time {
            record.timestamp_ms = max_timestamp;
        }
        batch.records.push(record);
    }
    Ok(batch)
}

struct Head {
    attributes: i16,
    last_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    first_sequence: i32,
    count: i32,
}

fn head(decoder: &mut Decoder<'_>) -> Result<Head, WireError> {
    Ok(Head {
        attributes: decoder.i16()?,
        last_delta: decoder.i32()?,
        base_timestamp: decoder.i64()?,
        max_timestamp: decoder.i64()?,
        producer_id: decoder.i64()?,
        producer_epoch: decoder.i16()?,
        first_sequence: decoder.i32()?,
        count: decoder.i32()?,
    })
}

fn record(decoder: &mut Decoder<'_>, base_offset: i64, base_timestamp: i64) -> Result<Record, WireError> {
    let _length = decoder.varlong()?;
    let _attributes = decoder.i8()?;
    let (timestamp_delta, offset_delta) = (decoder.varlong()?, decoder.varlong()?);
    let key = decoder.varint_bytes()?.map(<[u8]>::to_vec);
    let value = decoder.varint_bytes()?.map(<[u8]>::to_vec);
    let mut headers = Vec::new();
    for _ in 0..decoder.varlong()? {
        let name = String::from_utf8_lossy(decoder.varint_bytes()?.unwrap_or_default()).into_owned();
        headers.push((name, decoder.varint_bytes()?.map(<[u8]>::to_vec)));
    }
    let (offset, timestamp_ms) = (base_offset.saturating_add(offset_delta), base_timestamp.saturating_add(timestamp_delta));
    Ok(Record { offset, timestamp_ms, key, value, headers })
}

fn unpack(attributes: i16, packed: &[u8]) -> Result<(&'static str, Vec<u8>), (&'static str, String)> {
    let codec = match attributes & 7 {
        0 => return Ok(("none", packed.to_vec())),
        1 => "gzip",
        2 => "snappy",
        3 => "lz4",
        4 => "zstd",
        _ => return Err(("an unknown codec", format!("its number is {}", attributes & 7))),
    };
    let unpacked = match codec {
        "gzip" => read_all(flate2::read::MultiGzDecoder::new(packed)),
        "lz4" => read_all(lz4_flex::frame::FrameDecoder::new(packed)),
        "zstd" => zstd::Decoder::new(packed).map_err(|error| error.to_string()).and_then(read_all),
        _ => unpack_snappy(packed),
    };
    unpacked.map(|bytes| (codec, bytes)).map_err(|reason| (codec, reason))
}

fn read_all(reader: impl Read) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = reader.take(UNPACKED_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if read as u64 > UNPACKED_MAX { Err(format!("it is more than {UNPACKED_MAX} bytes")) } else { Ok(bytes) }
}

/// One block, or snappy-java's stream of blocks, each behind its length.
fn unpack_snappy(packed: &[u8]) -> Result<Vec<u8>, String> {
    let block = |block: &[u8]| {
        let length = snap::raw::decompress_len(block).map_err(|error| error.to_string())?;
        if length as u64 > UNPACKED_MAX {
            return Err(format!("it is more than {UNPACKED_MAX} bytes"));
        }
        snap::raw::Decoder::new().decompress_vec(block).map_err(|error| error.to_string())
    };
    if !packed.starts_with(XERIAL) {
        return block(packed);
    }
    let mut decoder = Decoder::new(packed.get(XERIAL_HEADER..).unwrap_or_default());
    let mut unpacked = Vec::new();
    while decoder.remaining() > 0 {
        let part = decoder.nullable_bytes().map_err(|error| error.to_string())?.unwrap_or_default();
        unpacked.write_all(&block(part)?).map_err(|error| error.to_string())?;
        if unpacked.len() as u64 > UNPACKED_MAX {
            return Err(format!("it is more than {UNPACKED_MAX} bytes"));
        }
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests;
