//! What stands in a record, and whether what was read is what was written.
//!
//! Why so much: a value alone cannot tell a record of this run from another's, one delivered to the wrong topic or partition (KAFKA-19012
//! did that), or one whose bytes changed on the way. So each record names its run, topic, partition, key, producer and sequence, and a
//! CRC-32C covers all of it, the padding and the record's key bytes.
//!
//! The value's bytes, big-endian, then padding up to `value_bytes`: magic `KCH1` (4) · CRC-32C of the record key and of all that follows
//! (4) · run hash (8) · topic hash (8) · client (4) · sequence (8) · partition (4) · key (8) · value (8) · record key number (4). What a workload
//! has to say beside it stands before the padding ([`content`]).

use kchaos_core::{Key, KeyEntry, Value};

const MAGIC: [u8; 4] = *b"KCH1";
const CRC_AT: usize = 4;
const BODY_AT: usize = 8;
/// The least `value_bytes`.
pub const HEADER_BYTES: usize = 60;

/// What one record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) client: u32,
    /// Counts this client's records, over all keys.
    pub(crate) sequence: u64,
    pub(crate) value: Value,
    /// Which of the `key_count` record keys.
    pub(crate) record_key: u32,
}

/// Where a record belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    run_hash: u64,
    topic_hash: u64,
    partition: i32,
    key: Key,
}

impl Place {
    pub(crate) fn new(run_id: &str, entry: &KeyEntry) -> Self {
        Self { run_hash: hash(run_id.as_bytes()), topic_hash: hash(entry.topic.as_bytes()), partition: entry.partition, key: entry.key }
    }
}

/// FNV-1a: no secret depends on it.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Record keys from here on are no envelopes': they say which block it is time to cut (workload `order`).
pub(crate) const TIME_TO_CUT: u32 = 1 << 31;

/// The record's key, as people see it: `k7`, or `ttc-7`.
pub(crate) fn record_key_bytes(number: u32, buffer: &mut Vec<u8>) {
    use std::io::Write;
    buffer.clear();
    // Writing to a Vec cannot fail.
    let _ = match number.checked_sub(TIME_TO_CUT) {
        Some(block) => write!(buffer, "ttc-{block}"),
        None => write!(buffer, "k{number}"),
    };
}

/// Fills `payload`; `value_bytes` below the header's size counts as the header's size.
pub(crate) fn encode(place: &Place, record: &Record, record_key: &[u8], value_bytes: usize, payload: &mut Vec<u8>) {
    encode_with(place, record, record_key, &[], value_bytes, payload);
}

/// The same with what a workload has to say, which follows the header; a value that is too small for it is as large as need be.
pub(crate) fn encode_with(place: &Place, record: &Record, record_key: &[u8], content: &[u8], value_bytes: usize, payload: &mut Vec<u8>) {
    payload.clear();
    payload.extend_from_slice(&MAGIC);
    payload.extend_from_slice(&[0; 4]);
    payload.extend_from_slice(&place.run_hash.to_be_bytes());
    payload.extend_from_slice(&place.topic_hash.to_be_bytes());
    payload.extend_from_slice(&record.client.to_be_bytes());
    payload.extend_from_slice(&record.sequence.to_be_bytes());
    payload.extend_from_slice(&place.partition.to_be_bytes());
    payload.extend_from_slice(&place.key.to_be_bytes());
    payload.extend_from_slice(&record.value.to_be_bytes());
    payload.extend_from_slice(&record.record_key.to_be_bytes());
    // Padding that does not compress away, so that sizes on the wire and on disk are the asked ones.
    let mut state = place.run_hash ^ record.sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    payload.extend_from_slice(content);
    let padding_at = payload.len();
    payload.resize(value_bytes.max(padding_at), 0);
    for part in payload[padding_at..].chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        part.copy_from_slice(&state.to_be_bytes()[..part.len()]);
    }
    let crc = checksum(record_key, &payload[BODY_AT..]).to_be_bytes();
    payload[CRC_AT..BODY_AT].copy_from_slice(&crc);
}

fn checksum(record_key: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(record_key), body)
}

/// What a workload said beside the header of a record that was decoded, and padding.
pub(crate) fn content(payload: &[u8]) -> &[u8] {
    payload.get(HEADER_BYTES..).unwrap_or_default()
}

/// Reads a record back, or says in a sentence what is wrong with it.
pub(crate) fn decode(place: &Place, record_key: Option<&[u8]>, payload: Option<&[u8]>) -> Result<Record, String> {
    let record_key = record_key.unwrap_or_default();
    let payload = payload.unwrap_or_default();
    if payload.len() < HEADER_BYTES || payload[..CRC_AT] != MAGIC {
        return Err(format!("not a record of kchaos ({} bytes)", payload.len()));
    }
    let (found, expected) = (u32::from_be_bytes(array(payload, CRC_AT)), checksum(record_key, &payload[BODY_AT..]));
    if found != expected {
        return Err(format!("checksum is {expected:08x}, the record says {found:08x}"));
    }
    let record = Record {
        client: u32::from_be_bytes(array(payload, 24)),
        sequence: u64::from_be_bytes(array(payload, 28)),
        value: Value::from_be_bytes(array(payload, 48)),
        record_key: u32::from_be_bytes(array(payload, 56)),
    };
    let theirs = Place {
        run_hash: u64::from_be_bytes(array(payload, 8)),
        topic_hash: u64::from_be_bytes(array(payload, 16)),
        partition: i32::from_be_bytes(array(payload, 36)),
        key: Key::from_be_bytes(array(payload, 40)),
    };
    if theirs.run_hash != place.run_hash {
        return Err(format!("written by another run (client {}, sequence {})", record.client, record.sequence));
    }
    if theirs.topic_hash != place.topic_hash {
        return Err(format!("written to another topic (client {}, sequence {})", record.client, record.sequence));
    }
    if (theirs.partition, theirs.key) != (place.partition, place.key) {
        return Err(format!(
            "written to partition {} (key {}), read from partition {} (key {})",
            theirs.partition, theirs.key, place.partition, place.key
        ));
    }
    let mut asked = Vec::with_capacity(12);
    record_key_bytes(record.record_key, &mut asked);
    if asked != record_key {
        let [found, asked] = [record_key, &asked].map(String::from_utf8_lossy);
        return Err(format!("record key is {found:?}, written with {asked}"));
    }
    Ok(record)
}

/// What a record of kchaos says of itself, wherever it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Described {
    /// The history's.
    pub key: Key,
    pub value: Value,
    /// Who wrote it: the client's number, and which of its records it is.
    pub client: u32,
    pub sequence: u64,
    pub partition: i32,
    /// Its bytes are those that were written, and the record's key is its own.
    pub is_intact: bool,
}

/// Reads a record as one of kchaos, of whatever run; `None` if it is none.
pub fn describe(record_key: Option<&[u8]>, payload: &[u8]) -> Option<Described> {
    if payload.len() < HEADER_BYTES || payload[..CRC_AT] != MAGIC {
        return None;
    }
    Some(Described {
        key: Key::from_be_bytes(array(payload, 40)),
        value: Value::from_be_bytes(array(payload, 48)),
        client: u32::from_be_bytes(array(payload, 24)),
        sequence: u64::from_be_bytes(array(payload, 28)),
        partition: i32::from_be_bytes(array(payload, 36)),
        is_intact: u32::from_be_bytes(array(payload, CRC_AT)) == checksum(record_key.unwrap_or_default(), &payload[BODY_AT..]),
    })
}

/// `N` bytes from `at`; the caller has checked the length.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(run: &str, topic: &str, partition: i32) -> Place {
        Place::new(run, &KeyEntry { key: i64::from(partition), topic: topic.into(), partition })
    }

    fn written(place: &Place, record: &Record, value_bytes: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut key, mut payload) = (Vec::new(), Vec::new());
        record_key_bytes(record.record_key, &mut key);
        encode(place, record, &key, value_bytes, &mut payload);
        (key, payload)
    }

    const RECORD: Record = Record { client: 3, sequence: 77, value: 1234, record_key: 9 };

    fn check_refused(reader: &Place, key: &[u8], payload: &[u8], expected: &str) {
        let error = decode(reader, Some(key), Some(payload)).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_record_in_the_wrong_place_is_refused_with_what_is_wrong() {
        let (key, payload) = written(&place("run", "topic", 1), &RECORD, 200);
        assert_eq!(payload.len(), 200);
        check_refused(&place("other", "topic", 1), &key, &payload, "another run");
        check_refused(&place("run", "other", 1), &key, &payload, "another topic");
        check_refused(&place("run", "topic", 2), &key, &payload, "partition 1 (key 1), read from partition 2");
        check_refused(&place("run", "topic", 1), b"k8", &payload, "checksum");
        check_refused(&place("run", "topic", 1), &key, b"hello", "not a record of kchaos");
    }

    #[test]
    fn a_record_is_described_without_knowing_whose_it_is_and_says_whether_it_is_intact() {
        let (key, mut payload) = written(&place("run", "topic", 1), &RECORD, 90);
        let described = describe(Some(&key), &payload).unwrap();
        let expect = Described { key: 1, value: 1234, client: 3, sequence: 77, partition: 1, is_intact: true };
        assert_eq!(described, expect);
        payload[70] ^= 1;
        assert_eq!(describe(Some(&key), &payload), Some(Described { is_intact: false, ..expect }));
        assert_eq!(describe(None, b"hello"), None);
    }

    #[test]
    fn the_header_is_as_long_as_it_says() {
        assert_eq!(written(&place("run", "topic", 0), &RECORD, 0).1.len(), HEADER_BYTES);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            client: u32, sequence: u64, value: i64, record_key: u32, partition in 0..1000_i32, value_bytes in 0..600_usize,
        ) {
            let place = place("run", "topic", partition);
            let record = Record { client, sequence, value, record_key };
            let (key, payload) = written(&place, &record, value_bytes);
            prop_assert_eq!(decode(&place, Some(&key), Some(&payload)), Ok(record));
        }

        #[test]
        fn any_changed_byte_is_detected(at: prop::sample::Index, flip in 1..=255_u8, value_bytes in 0..300_usize) {
            let place = place("run", "topic", 5);
            let (mut key, mut payload) = written(&place, &RECORD, value_bytes);
            let at = at.index(key.len() + payload.len());
            match at.checked_sub(key.len()) {
                None => key[at] ^= flip,
                Some(at) => payload[at] ^= flip,
            }
            prop_assert!(decode(&place, Some(&key), Some(&payload)).is_err());
        }

        #[test]
        fn a_cut_record_is_detected(length in 0..200_usize) {
            let place = place("run", "topic", 5);
            let (key, payload) = written(&place, &RECORD, 200);
            prop_assert!(decode(&place, Some(&key), Some(&payload[..length])).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(key: Option<Vec<u8>>, payload: Option<Vec<u8>>) {
            let _ = decode(&place("run", "topic", 0), key.as_deref(), payload.as_deref());
        }
    }
}
