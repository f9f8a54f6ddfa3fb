//! `replica-divergence`: two replicas' logs differ below the high watermark, in offset, leader epoch or the bytes of a batch.
//!
//! Told by ops of the process "nemesis", from dumps of the log segments on the brokers:
//!
//! - `replica-log` `{"key": 0, "replica": 1, "start": 0, "high_watermark": 12, "batches": [[0, 4, 3, "crc"], [5, 11, 3, "crc"]]}`: what one
//!   replica holds of a key from `start` on, each batch as first offset, last offset, leader epoch and a digest of its bytes (a string or a
//!   number).
//!
//! Below the lower of two replicas' own high watermarks, both must hold the same batches: what lies there was replicated to all in sync
//! before, and a follower gives up nothing of it. Above, a follower may hold what it will truncate. Compared is what both dumps cover (from
//! the later `start`), and only batches that lie in there as a whole. A replica's dump is held against the last of each other replica.
//! Counted: pairs of replicas of a key, each with their first difference.
//!
//! A dump of which any batch has another shape, or whose batches do not rise, is passed over as a whole: it is no picture of a log.
//!
//! What this cannot see: divergence above the watermark (legal for a while), and compacted topics, whose replicas clean at different times;
//! dumps of them should not be told. Two dumps that agree show nothing of what is not on the disk yet.

use std::collections::BTreeMap;

use kchaos_core::{Key, Offset, Op, Verdict};
use serde_json::Value as Json;

use crate::facts::Facts;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};
use crate::told::{number, scalar, told};

pub(crate) const SPEC: Spec = Spec {
    name: "replicas",
    about: "the replicas of a partition hold one log below the high watermark",
    anomalies: &["replica-divergence"],
    stable: true,
    hears: hears::NEMESIS,
    build: || Box::new(Replicas::default()),
};

#[derive(Default)]
struct Replicas {
    /// The last dump of each replica.
    dumps: BTreeMap<(Key, i64), Dump>,
    differences: BTreeMap<(Key, i64, i64), Difference>,
}

struct Dump {
    start: Offset,
    high_watermark: Offset,
    batches: Vec<Batch>,
    op: OpRef,
}

#[derive(Clone, PartialEq, Eq)]
struct Batch {
    first: Offset,
    last: Offset,
    leader_epoch: i64,
    digest: String,
}

struct Difference {
    offset: Offset,
    /// What each of the two holds there.
    held: [String; 2],
    ops: [OpRef; 2],
}

impl Rule for Replicas {
    fn update(&mut self, op: &Op, _: &Facts) {
        let Some(value) = told(op, "replica-log") else { return };
        let (Some(key), Some(replica)) = (number(value, "key"), number(value, "replica")) else { return };
        let Some(dump) = dump(value, op) else { return };
        let others = self.dumps.range((key, i64::MIN)..=(key, i64::MAX)).filter(|((_, other), _)| *other != replica);
        for ((_, other), theirs) in others {
            let (one, two) = if *other < replica { (theirs, &dump) } else { (&dump, theirs) };
            if let Some(difference) = difference(one, two) {
                self.differences.entry((key, replica.min(*other), replica.max(*other))).or_insert(difference);
            }
        }
        self.dumps.insert((key, replica), dump);
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for ((key, one, two), Difference { offset, held, ops }) in &self.differences {
            findings.add("replica-divergence", || {
                let explanation = format!(
                    "at offset {offset} of key {key}, below the high watermark of both, replica {one} holds {}{} and replica {two} {}{}: both \
                     should hold the same",
                    held[0],
                    cite(ops[0]),
                    held[1],
                    cite(ops[1]),
                );
                example(*key, Vec::new(), vec![*offset], ops, explanation)
            });
        }
        findings.verdict()
    }
}

fn dump(value: &Json, op: &Op) -> Option<Dump> {
    let batches: Option<Vec<Batch>> = value.get("batches")?.as_array()?.iter().map(batch).collect();
    let batches = batches?;
    let rises = batches.windows(2).all(|two| two[0].last < two[1].first);
    let (start, high_watermark) = (number(value, "start")?, number(value, "high_watermark")?);
    rises.then_some(Dump { start, high_watermark, batches, op: OpRef::new(op.index) })
}

fn batch(value: &Json) -> Option<Batch> {
    let [first, last, leader_epoch, digest] = value.as_array()?.as_slice() else { return None };
    let batch = Batch { first: first.as_i64()?, last: last.as_i64()?, leader_epoch: leader_epoch.as_i64()?, digest: scalar(digest)? };
    (batch.first <= batch.last).then_some(batch)
}

/// The first place where two dumps differ, in what both cover.
fn difference(one: &Dump, two: &Dump) -> Option<Difference> {
    let (start, end) = (one.start.max(two.start), one.high_watermark.min(two.high_watermark));
    let (ours, theirs) = (one.within(start, end), two.within(start, end));
    let at = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
    let offset = [ours.get(at), theirs.get(at)].into_iter().flatten().map(|batch| batch.first).min()?;
    Some(Difference { offset, held: [one.holds(offset), two.holds(offset)], ops: [one.op, two.op] })
}

impl Dump {
    /// The batches that lie between two offsets as a whole.
    fn within(&self, start: Offset, end: Offset) -> &[Batch] {
        let from = self.batches.partition_point(|batch| batch.first < start);
        let to = self.batches.partition_point(|batch| batch.last < end);
        self.batches.get(from..to).unwrap_or_default()
    }

    fn holds(&self, offset: Offset) -> String {
        match self.batches.iter().find(|batch| (batch.first..=batch.last).contains(&offset)) {
            Some(Batch { first, last, leader_epoch, digest }) => {
                format!("a batch of offsets {first} to {last}, leader epoch {leader_epoch}, digest {digest}")
            }
            None => "none".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// (hole before it, length, digest) of each batch.
    type Drawn = (i64, i64, Vec<(i64, i64, u8)>);

    fn drawn((start, high_watermark, batches): &Drawn, base: Offset) -> Dump {
        let mut next = base;
        let batches = batches.iter().map(|(hole, length, digest)| {
            let first = next + hole;
            next = first + length;
            Batch { first, last: next - 1, leader_epoch: 0, digest: digest.to_string() }
        });
        Dump { start: base + start, high_watermark: base + high_watermark, batches: batches.collect(), op: OpRef::default() }
    }

    fn dumps() -> impl Strategy<Value = Drawn> {
        (0..4_i64, 0..10_i64, prop::collection::vec((0..2_i64, 1..3_i64, 0..2_u8), 0..6))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

        #[test]
        fn the_first_difference_is_that_of_a_look_at_every_offset(
            one in dumps(), two in dumps(), base in prop_oneof![Just(0_i64), Just(1_000_000_000_000)],
        ) {
            let (one, two) = (drawn(&one, base), drawn(&two, base));
            let (start, end) = (one.start.max(two.start), one.high_watermark.min(two.high_watermark));
            let whole = |dump: &Dump, offset: Offset| {
                dump.batches.iter().find(|batch| (batch.first..=batch.last).contains(&offset)).filter(|batch| batch.first >= start && batch.last < end).cloned()
            };
            let expected = (start..end).find(|offset| whole(&one, *offset) != whole(&two, *offset));
            prop_assert_eq!(difference(&one, &two).map(|difference| difference.offset), expected);
        }
    }
}
