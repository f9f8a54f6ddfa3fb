//! How a history is read: what is forgiven, what is refused, and where.

mod common;

use std::io::{self, Read, Write};

use common::{history, summary};
use kchaos_checkers::{CheckReport, InputError, JudgeOptions, check_reader, read_ops};

const OPS: &str = r#"
    0 invoke send [["send",0,1]]
    0 ok send [["send",0,[0,1]]]
    1 invoke poll [["poll"]]
    1 ok poll [["poll",{"0":[[0,1]]}]]
"#;

fn read(bytes: &[u8]) -> Result<CheckReport, InputError> {
    check_reader(bytes, "h.jsonl", JudgeOptions::default())
}

#[track_caller]
fn reads(bytes: &[u8], expected: &str) -> CheckReport {
    let report = read(bytes).unwrap();
    assert_eq!(summary(&report), expected, "{report:#?}");
    report
}

#[track_caller]
fn refused(bytes: &[u8], place: &str, word: &str) {
    let error = read(bytes).unwrap_err().to_string();
    assert!(error.starts_with(place) && error.contains(word), "{error}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn plain_gzip_and_zstd_are_told_by_their_bytes() {
    let plain = history(OPS).into_bytes();
    let (first, second) = plain.split_at(plain.len() / 2);
    reads(&plain, "valid");
    reads(&gzip(&plain), "valid");
    reads(&zstd::encode_all(&plain[..], 3).unwrap(), "valid");
    // A history that is flushed now and then is several frames.
    reads(&[gzip(first), gzip(second)].concat(), "valid");
    reads(&[zstd::encode_all(first, 3).unwrap(), zstd::encode_all(second, 3).unwrap()].concat(), "valid");
}

#[test]
fn a_compressed_stream_that_ends_in_the_middle_is_truncated() {
    let lines: String =
        (0..2000).map(|value| format!("0 invoke send [[\"send\",0,{value}]]\n0 ok send [[\"send\",0,[{value},{value}]]]\n")).collect();
    let plain = history(&lines).into_bytes();
    for packed in [gzip(&plain), zstd::encode_all(&plain[..], 3).unwrap()] {
        let report = read(&packed[..packed.len() * 9 / 10]).unwrap();
        assert!(report.reasons.iter().any(|reason| reason.name == "history-truncated"), "{:?}", report.reasons);
    }
}

#[test]
fn one_byte_at_a_time_reads_the_same() {
    struct Slow<'a>(&'a [u8]);
    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(1).min(into.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }
    let plain = history(OPS);
    let slow = check_reader(Slow(plain.as_bytes()), "h.jsonl", JudgeOptions::default()).unwrap();
    assert_eq!(slow, read(plain.as_bytes()).unwrap());
}

#[test]
fn lines_longer_than_a_chunk_are_whole() {
    let values: Vec<String> = (0..200_000).map(|value| format!("[\"send\",0,{value}]")).collect();
    let line = format!("0 invoke send [{}]\n", values.join(","));
    assert_eq!(read((history(&line) + &history(OPS)).as_bytes()).unwrap_err().to_string().split(' ').next().unwrap(), "h.jsonl:2:2:");
    assert_eq!(read(history(&line).as_bytes()).unwrap().load[0].sends_invoked, 200_000);
}

#[test]
fn a_last_line_that_does_not_parse_is_dropped_and_reported() {
    let plain = history(OPS);
    let cut = &plain[..plain.len() - 20];
    let report = reads(cut.as_bytes(), "unknown: unseen 1; because: no-final-read, history-truncated");
    assert_eq!(report.ops, 3);
    // Its newline does not make it whole, nor do blank lines after it.
    reads(format!("{cut}\n\n \n").as_bytes(), "unknown: unseen 1; because: no-final-read, history-truncated");
    // One that parses and merely lacks its newline is whole.
    reads(plain.trim_end().as_bytes(), "valid");
    reads((plain + "\n \r\n").as_bytes(), "valid");
}

#[test]
fn any_other_line_that_does_not_parse_is_refused_with_its_place() {
    let lines: Vec<String> = history(OPS).lines().map(str::to_owned).collect();
    let with = |at: usize, line: &str| {
        let mut lines = lines.clone();
        lines[at] = line.to_owned();
        lines.join("\n").into_bytes()
    };
    refused(&with(1, "{\"index\":1,"), "h.jsonl:2:12:", "ends here");
    refused(&with(2, &lines[2].replace("\"poll\"]]", "\"pull\"]]")), "h.jsonl:3:76:", "pull");
    refused(&with(0, ""), "h.jsonl:1:1:", "empty line");
    refused(&with(0, "\u{fffd}"), "h.jsonl:1:1:", "an op");
    refused(b"\xff\xfe\n{}\n", "h.jsonl:1:1:", "UTF-8");
}

#[test]
fn indices_may_be_missing_or_have_gaps_and_must_rise() {
    let plain = history(OPS);
    let report = reads(plain.replace("\"index\":3", "\"index\":30").as_bytes(), "valid");
    assert_eq!(report.notes, ["ops are renumbered from 0: the indices have gaps, the first at 30, which is op 3 here"]);
    let twice = plain.replace("\"index\":2", "\"index\":20").replace("\"index\":3", "\"index\":30");
    assert!(reads(twice.as_bytes(), "valid").notes[0].contains("the first at 20, which is op 2"));
    let bare: String = (0..4).fold(plain.clone(), |plain, index| plain.replace(&format!("\"index\":{index},\"time\":{index}000000,"), ""));
    let report = reads(bare.replace("\"index\":0,\"time\":0,", "").as_bytes(), "valid");
    assert_eq!((report.notes.len(), report.ops), (2, 4), "{:?}", report.notes);
    refused(plain.replace("\"index\":2", "\"index\":1").as_bytes(), "h.jsonl:3:2:", "duplicate index: 1 after 1");
    refused(plain.replace("\"index\":2", "\"index\":0").as_bytes(), "h.jsonl:3:2:", "decreasing index: 0 after 1");
    // The last line too: it parses.
    refused(plain.replace("\"index\":3", "\"index\":2").as_bytes(), "h.jsonl:4:2:", "duplicate");
}

#[test]
fn time_may_go_back_since_the_order_of_the_file_counts() {
    reads(history(OPS).replace("\"time\":3000000", "\"time\":0").as_bytes(), "valid");
    // One that has none gets that of the op before it.
    let mut times = Vec::new();
    let without = history(OPS).replace("\"time\":3000000,", "");
    read_ops(without.as_bytes(), "h.jsonl", |op| times.push((op.index, op.time_ns))).unwrap();
    assert_eq!(times, [(0, 0), (1, 1_000_000), (2, 2_000_000), (3, 2_000_000)]);
}

#[test]
fn evidence_cites_the_place_in_the_file_after_renumbering() {
    let plain = history(&(OPS.to_owned() + "2 ok poll [[\"poll\",{\"0\":[[7,1]]}]]"));
    let shifted = plain.replace("\"index\":", "\"index\":1");
    let report = read(shifted.as_bytes()).unwrap();
    assert_eq!(report.anomalies["duplicate"].examples[0].ops, [0, 1, 4]);
}

#[test]
fn an_input_that_fails_is_unreadable() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let error = check_reader(Broken, "h.jsonl", JudgeOptions::default()).unwrap_err();
    assert!(matches!(error, InputError::Unreadable { .. }), "{error}");
    let mut packed = zstd::encode_all(history(OPS).as_bytes(), 3).unwrap();
    let middle = packed.len() / 2;
    packed[middle] ^= 0x55;
    assert!(read(&packed).is_err());
}
