//! The segments of a replica's log as they lie on a broker's disk: which batches there are, without a look at their records.
//!
//! Kafka's record batch, version 2 (since 0.11): base offset (8), length of what follows (4), partition leader epoch (4), magic (1), CRC-32C of
//! all that follows (4), attributes (2), last offset delta (4), … All numbers are big-endian.

/// What stands of a batch at its front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub first: i64,
    pub last: i64,
    pub leader_epoch: i32,
    /// Of the batch's bytes behind it: two batches with one sum hold the same records.
    pub crc: u32,
}

/// Base offset and length, which do not count themselves.
const PREFIX: usize = 12;
/// Up to the last offset delta.
const FRONT: usize = 27;
const LENGTH_MIN: usize = FRONT - PREFIX;
const MAGIC: u8 = 2;

/// The whole batches from the start of a segment up to the first that is not whole, and how many bytes they take. Indexes and preallocated room
/// behind the last batch are zeros, which are no batch.
pub fn batches(segment: &[u8]) -> (Vec<Batch>, usize) {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((batch, length)) = batch(&segment[at..]) {
        found.push(batch);
        at += length;
    }
    (found, at)
}

/// The batch at the front of these bytes, and its length with its prefix.
fn batch(bytes: &[u8]) -> Option<(Batch, usize)> {
    let length = usize::try_from(i32::from_be_bytes(part(bytes, 8)?)).ok().filter(|length| *length >= LENGTH_MIN)?;
    let whole = PREFIX + length;
    if bytes.len() < whole || bytes[16] != MAGIC {
        return None;
    }
    let first = i64::from_be_bytes(part(bytes, 0)?);
    let delta = i32::from_be_bytes(part(bytes, 23)?);
    let last = first.checked_add(i64::from(delta)).filter(|last| *last >= first && first >= 0)?;
    let batch = Batch { first, last, leader_epoch: i32::from_be_bytes(part(bytes, 12)?), crc: u32::from_be_bytes(part(bytes, 17)?) };
    Some((batch, whole))
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The offset that a checkpoint file (`replication-offset-checkpoint`) has for a partition: version, count, then `TOPIC PARTITION OFFSET` lines.
pub fn checkpoint(text: &str, topic: &str, partition: i32) -> Option<i64> {
    text.lines().skip(2).find_map(|line| {
        let mut words = line.split(' ');
        let is_it = words.next() == Some(topic) && words.next().and_then(|number| number.parse().ok()) == Some(partition);
        is_it.then(|| words.next()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(Batch { first, last, leader_epoch, crc }: Batch, records: &[u8]) -> Vec<u8> {
        let mut bytes = first.to_be_bytes().to_vec();
        bytes.extend(i32::try_from(LENGTH_MIN + records.len()).unwrap().to_be_bytes());
        bytes.extend(leader_epoch.to_be_bytes());
        bytes.push(MAGIC);
        bytes.extend(crc.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(i32::try_from(last - first).unwrap().to_be_bytes());
        bytes.extend(records);
        bytes
    }

    fn drawn() -> impl Strategy<Value = Vec<(Batch, Vec<u8>)>> {
        let batch = (0..1_000_i64, 0..50_i64, -1..9_i32, any::<u32>(), prop::collection::vec(any::<u8>(), 0..20));
        let batch =
            batch.prop_map(|(first, more, leader_epoch, crc, records)| (Batch { first, last: first + more, leader_epoch, crc }, records));
        prop::collection::vec(batch, 0..6)
    }

    proptest! {
        #[test]
        fn batches_are_read_as_they_were_written_up_to_the_first_that_is_cut(all in drawn(), cut in 0..400_usize, zeros in 0..60_usize) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            for (batch, records) in &all {
                bytes.extend(written(*batch, records));
                ends.push(bytes.len());
            }
            let cut = cut.min(bytes.len());
            let whole = ends.iter().filter(|end| **end <= cut).count();
            bytes.truncate(cut);
            if ends.get(whole.wrapping_sub(1)).copied().unwrap_or(0) == cut {
                bytes.extend(vec![0; zeros]);
            }
            let (found, used) = batches(&bytes);
            prop_assert_eq!(found, all[..whole].iter().map(|(batch, _)| *batch).collect::<Vec<_>>());
            prop_assert_eq!(used, if whole == 0 { 0 } else { ends[whole - 1] });
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,20}(\n\\PC{0,20}){0,4}") {
            let _ = batches(&bytes);
            let _ = checkpoint(&text, "t", 0);
        }
    }

    #[test]
    fn a_checkpoint_names_partitions_by_topic_and_number() {
        let text = "0\n3\nkchaos-a 1 7\nkchaos-a 0 42\n__consumer_offsets 0 5\n";
        assert_eq!(checkpoint(text, "kchaos-a", 0), Some(42));
        assert_eq!(checkpoint(text, "kchaos-a", 2), None);
        assert_eq!(checkpoint("", "kchaos-a", 0), None);
    }
}
