//! What a block consists of. `docs/columns.md` says it for other readers; both must change together, with the version.

/// The first bytes of a file; the version follows them.
pub(crate) const MAGIC: [u8; 7] = *b"\xabKCHAOS";
pub(crate) const VERSION: u8 = 1;

/// Ops in a block.
pub const BLOCK_OPS_MAX: usize = 1 << 16;
/// Sends, polls, batches and records in a block, counted together. A writer ends a block long before; a single op may be as large.
pub const BLOCK_RECORDS_MAX: usize = 1 << 21;
/// Bytes of a block, packed and unpacked each.
pub const BLOCK_BYTES_MAX: usize = 128 << 20;
/// Bytes of a block's texts, and of its JSON: what a byte of JSON becomes can be 40 times as large.
pub const BLOCK_TEXT_MAX: usize = 8 << 20;
/// Kinds in a block: an op of yet another one is written as JSON.
pub(crate) const KINDS_MAX: usize = 255;

/// Values count up by one for all keys together, not for each.
pub(crate) const FLAG_VALUES_TOGETHER: u64 = 1;
/// An acknowledged offset is predicted from the value, not from the offset before.
pub(crate) const FLAG_OFFSETS_BY_VALUE: u64 = 2;
pub(crate) const FLAGS: u64 = 3;

/// A column's codec: a set of these.
pub(crate) const CODEC_ZSTD: u8 = 1;
pub(crate) const CODEC_SIGNED: u8 = 2;

/// Columns of integers, in the file's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    /// Tables, one row a kind, an actor, a key, a text, a JSON text.
    Kinds,
    ActorProcess,
    ActorClient,
    ActorIsolation,
    ActorGroup,
    Keys,
    KeyValue,
    KeyAck,
    KeyPoll,
    KeyPolledValue,
    TextLengths,
    JsonLengths,
    /// One row an op.
    Kind,
    Actor,
    Time,
    /// One row for each op that has it.
    Intended,
    CommitTime,
    Node,
    Error,
    /// One row for each op with a list.
    Parts,
    /// One row for each of its parts.
    Part,
    /// One row for each send that is not told by the open op, and so on.
    Key,
    Value,
    Offset,
    /// One row for each poll that returned.
    Batches,
    /// One row a batch.
    BatchKey,
    Length,
    First,
    FirstValue,
    Epoch,
    /// One row for each record but the first of a batch.
    Gap,
    PolledValue,
}

pub(crate) const COLUMNS: usize = Id::PolledValue as usize + 1;
/// Then two of bytes: texts, and JSON.
pub(crate) const BLOBS: usize = 2;

impl Id {
    pub(crate) const ALL: [Id; COLUMNS] = {
        use Id::*;
        [
            Kinds,
            ActorProcess,
            ActorClient,
            ActorIsolation,
            ActorGroup,
            Keys,
            KeyValue,
            KeyAck,
            KeyPoll,
            KeyPolledValue,
            TextLengths,
            JsonLengths,
            Kind,
            Actor,
            Time,
            Intended,
            CommitTime,
            Node,
            Error,
            Parts,
            Part,
            Key,
            Value,
            Offset,
            Batches,
            BatchKey,
            Length,
            First,
            FirstValue,
            Epoch,
            Gap,
            PolledValue,
        ]
    };
}

/// The numbers at the head of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) ops: u64,
    pub(crate) first_index: u64,
    pub(crate) first_time_ns: u64,
    pub(crate) flags: u64,
    pub(crate) first_value: i64,
    pub(crate) first_intended_ns: u64,
    pub(crate) records: u64,
}

/// What is known of a key while a block goes by, on both sides alike.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyState {
    pub(crate) key: i64,
    /// The next value, if values count up by key.
    pub(crate) value: i64,
    /// The next acknowledged offset, or how far offsets are from values.
    pub(crate) ack: i64,
    /// The next polled offset, and its value.
    pub(crate) poll: i64,
    pub(crate) polled_value: i64,
    /// Its last node: a text's number and one.
    pub(crate) node: i64,
}

impl KeyState {
    /// The value that a send names; `together` is the next of all keys, where values count up for all.
    #[inline(always)]
    pub(crate) fn sent(&self, left_over: i64, together: Option<i64>) -> i64 {
        together.unwrap_or(self.value).wrapping_add(left_over)
    }

    /// The offset of an acknowledged value.
    #[inline(always)]
    pub(crate) fn acknowledged(&mut self, value: i64, left_over: i64, by_value: bool) -> i64 {
        let ack = self.ack.wrapping_add(left_over);
        if by_value {
            self.ack = ack;
            return value.wrapping_add(ack);
        }
        self.ack = ack.wrapping_add(1);
        ack
    }
}

pub(crate) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number from the start of `bytes`.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (shift < 63 || *byte < 2).then_some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_the_order_of_their_numbers() {
        assert!(Id::ALL.iter().enumerate().all(|(position, id)| *id as usize == position));
    }

    #[test]
    fn numbers_of_any_size_come_back_and_longer_ones_are_refused() {
        for value in [0, 1, 127, 128, 1 << 35, u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            assert_eq!(take_varint(&mut bytes.as_slice()), Some(value));
            assert_eq!(take_varint(&mut &bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(take_varint(&mut [0xff; 11].as_slice()), None);
        assert_eq!(take_varint(&mut [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2].as_slice()), None);
    }
}
