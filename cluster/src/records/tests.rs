use proptest::prelude::*;

use super::*;

fn varlong(value: i64, bytes: &mut Vec<u8>) {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while left >= 0x80 {
        bytes.push(left.to_le_bytes()[0] | 0x80);
        left >>= 7;
    }
    bytes.push(left.to_le_bytes()[0]);
}

fn counted(part: Option<&[u8]>, bytes: &mut Vec<u8>) {
    varlong(part.map_or(-1, |part| i64::try_from(part.len()).unwrap()), bytes);
    bytes.extend_from_slice(part.unwrap_or_default());
}

fn packed(codec: i16, plain: &[u8]) -> Vec<u8> {
    match codec {
        0 => plain.to_vec(),
        1 => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        2 => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
        // snappy-java's, in two blocks.
        5 => {
            let mut bytes = [XERIAL, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
            let (first, second) = plain.split_at(plain.len() / 2);
            for part in [first, second] {
                let block = snap::raw::Encoder::new().compress_vec(part).unwrap();
                bytes.extend(i32::try_from(block.len()).unwrap().to_be_bytes());
                bytes.extend(block);
            }
            bytes
        }
        3 => {
            let mut writer = lz4_flex::frame::FrameEncoder::new(Vec::new());
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        _ => zstd::encode_all(plain, 1).unwrap(),
    }
}

fn written(batch: &Batch, codec: i16, flags: i16, base_timestamp: i64) -> Vec<u8> {
    let mut records = Vec::new();
    for record in &batch.records {
        let mut one = vec![0];
        varlong(record.timestamp_ms - base_timestamp, &mut one);
        varlong(record.offset - batch.first_offset, &mut one);
        counted(record.key.as_deref(), &mut one);
        counted(record.value.as_deref(), &mut one);
        varlong(i64::try_from(record.headers.len()).unwrap(), &mut one);
        for (name, value) in &record.headers {
            counted(Some(name.as_bytes()), &mut one);
            counted(value.as_deref(), &mut one);
        }
        counted(Some(&one), &mut records);
    }
    let mut body = ((codec % 5 + if codec == 5 { 2 } else { 0 }) | flags).to_be_bytes().to_vec();
    body.extend(i32::try_from(batch.last_offset - batch.first_offset).unwrap().to_be_bytes());
    body.extend(base_timestamp.to_be_bytes());
    body.extend(9_999_i64.to_be_bytes());
    body.extend(batch.producer_id.to_be_bytes());
    body.extend(batch.producer_epoch.to_be_bytes());
    body.extend(batch.first_sequence.to_be_bytes());
    body.extend(i32::try_from(batch.records.len()).unwrap().to_be_bytes());
    body.extend(packed(codec, &records));
    let mut bytes = batch.first_offset.to_be_bytes().to_vec();
    bytes.extend(i32::try_from(BEFORE_CRC + body.len()).unwrap().to_be_bytes());
    bytes.extend(batch.leader_epoch.to_be_bytes());
    bytes.push(2);
    bytes.extend(crc32c::crc32c(&body).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn a_batch() -> Batch {
    let record = |offset: i64, key: Option<&[u8]>, value: Option<&[u8]>| Record {
        offset,
        timestamp_ms: 5_000 + offset,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: vec![("trace".to_owned(), Some(b"7".to_vec())), ("empty".to_owned(), None)],
    };
    Batch {
        first_offset: 100,
        last_offset: 104,
        leader_epoch: 3,
        codec: "none",
        producer_id: 4_000,
        producer_epoch: 1,
        first_sequence: 17,
        records: vec![record(100, Some(b"k"), Some(b"value")), record(102, None, None), record(104, Some(b""), Some(&[0xff; 300]))],
        ..Batch::default()
    }
}

#[test]
fn a_batch_is_read_as_it_was_written_whatever_packed_it() {
    for (codec, name) in [(0, "none"), (1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd"), (5, "snappy")] {
        let batch = Batch { codec: name, ..a_batch() };
        let bytes = written(&batch, codec, 0, 5_000);
        assert_eq!(batches(&[&bytes[..], &bytes[..40]].concat()).unwrap(), [batch], "{name}");
    }
}

#[test]
fn flags_tell_transactions_their_markers_and_the_brokers_own_time() {
    let mut batch = a_batch();
    batch.records.truncate(1);
    for (key, marker) in [([0, 0, 0, 0], Marker::Abort), ([0, 0, 0, 1], Marker::Commit), ([0, 0, 0, 9], Marker::Other)] {
        batch.records[0].key = Some(key.to_vec());
        let found = batches(&written(&batch, 0, 0x38, 5_000)).unwrap();
        assert!(found[0].is_transactional && found[0].is_control && found[0].is_log_append_time);
        assert_eq!((found[0].records[0].marker(), found[0].records[0].timestamp_ms), (marker, 9_999));
    }
}

#[test]
fn bytes_that_changed_on_the_way_are_told_by_the_checksum() {
    let mut bytes = written(&a_batch(), 0, 0, 5_000);
    *bytes.last_mut().unwrap() ^= 1;
    let error = batches(&bytes).unwrap_err().to_string();
    assert!(error.contains("offset 100") && error.contains("checksum"), "{error}");
    bytes[16] = 1;
    let error = batches(&bytes).unwrap_err().to_string();
    assert!(error.contains("version 1"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), codec in 0..8_i16, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = batches(&bytes);
        let _ = unpack(codec, &body);
        // Behind a checksum that is right.
        let mut whole = 5_i64.to_be_bytes().to_vec();
        whole.extend(i32::try_from(BEFORE_CRC + body.len()).unwrap().to_be_bytes());
        whole.extend([0, 0, 0, 1, 2]);
        whole.extend(crc32c::crc32c(&body).to_be_bytes());
        whole.extend(&body);
        let _ = batches(&whole);
    }
}
