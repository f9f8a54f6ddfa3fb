//! Bodies for what reads bytes: lines, EDN, blocks of columns, inventories.

use arbitrary::Unstructured;
use kchaos_columns::{ColumnsError, Ops, Reader, Writer};
use kchaos_core::{Op, Spare};

use crate::invent::{Limits, sound_history};

/// Lines one after the other: the reader that uses an op again and the one that makes it anew agree on each, and what they read is written so
/// that it is read again.
pub fn jsonl(bytes: &[u8]) {
    let (mut used, mut spare) = (Op::default(), Spare::default());
    for line in bytes.split(|byte| *byte == b'\n') {
        let made = Op::read_json(line);
        let filled = used.read_json_into(line, &mut spare);
        match made {
            Ok((op, index, time_ns)) => {
                assert_eq!(filled, Ok((index, time_ns)));
                assert_eq!(used, op);
                comes_back(&op);
            }
            Err(error) => assert_eq!(filled, Err(error)),
        }
    }
}

fn comes_back(op: &Op) {
    let mut line = String::new();
    op.write_json(&mut line);
    let again = Op::read_json(line.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{line}"));
    let mut twice = String::new();
    again.0.write_json(&mut twice);
    assert_eq!(line, twice, "{op:?}");
}

/// Text as EDN: read or refused, and what is read can be written as a line.
pub fn edn(bytes: &[u8]) {
    let read = kchaos_checkers::read_ops(bytes, "fuzz.edn", comes_back);
    if let Err(error) = read {
        assert!(!error.to_string().is_empty());
    }
}

/// By the first byte: a file as it is, one block behind checksums that are right, or ops that are written, read back, and then damaged.
pub fn columns(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    match how % 3 {
        0 => drop(read_columns(rest)),
        1 => drop(read_columns(&framed(rest))),
        _ => there_and_back(rest),
    }
}

fn read_columns(bytes: &[u8]) -> Result<Vec<Op>, ColumnsError> {
    let mut reader = Reader::new(bytes)?;
    let (mut all, mut ops) = (Vec::new(), Ops::new());
    // Blocks that say much in few bytes are read, and not kept.
    let kept_max = 1 << 14;
    while reader.next_block(&mut ops)? {
        let room = kept_max - all.len().min(kept_max);
        all.extend_from_slice(&ops[..ops.len().min(room)]);
    }
    Ok(all)
}

const FILE_HEAD: &[u8] = b"\xabKCHAOS\x01";
const BLOCK_HEAD_BYTES: usize = 12;

/// A file of one block with this body, without its end (`docs/columns.md`).
pub fn framed(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let head = [length, crc32c::crc32c(body).to_le_bytes()].concat();
    let check = crc32c::crc32c_append(crc32c::crc32c(&head), &0_u64.to_le_bytes());
    [FILE_HEAD, &head, &check.to_le_bytes(), body].concat()
}

fn there_and_back(bytes: &[u8]) {
    let mut bytes = Unstructured::new(bytes);
    let damages: Vec<(u16, u8)> = (0..4).filter_map(|_| bytes.arbitrary().ok()).collect();
    let ops = sound_history(&mut bytes, Limits::SHORT);
    let mut writer = Writer::new(Vec::new()).unwrap();
    ops.iter().for_each(|op| writer.write(op).unwrap());
    let file = writer.finish().unwrap();
    let back = read_columns(&file).unwrap();
    assert_eq!(back.len(), ops.len());
    for (back, op) in back.iter().zip(&ops) {
        assert_eq!(back, op);
    }
    let from = FILE_HEAD.len() + BLOCK_HEAD_BYTES;
    let Some(body) = file.get(from..file.len() - BLOCK_HEAD_BYTES).filter(|body| !body.is_empty()) else { return };
    let mut body = body.to_vec();
    for (at, byte) in damages {
        let at = usize::from(at) % body.len();
        body[at] = byte;
    }
    drop(read_columns(&framed(&body)));
}
