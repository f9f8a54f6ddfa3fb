//! From a channel's log to its blocks: what one orderer does with what it reads. Nothing but the log decides, so that all who read the same
//! cut the same.
//!
//! The rules are Fabric's. Envelopes gather; a block is cut when it has enough of them, when the next would make it too large (it is cut
//! before that one), around one that is too large by itself, and by the first TTC-n while block n gathers. A TTC of a block that was cut
//! is passed over. No orderer sends TTC-n before it has cut block n-1 and holds an envelope of block n, both read from the log: so the log
//! has neither a TTC of a later block nor one that finds nothing to cut.

use kchaos_core::{Offset, Value};

/// After a time-to-cut was sent, another is sent if the block is still not cut then.
const SEND_AGAIN_NS: u64 = 5_000_000_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) messages: u32,
    pub(super) bytes: u64,
    pub(super) timeout_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Envelope {
        value: Value,
        bytes: u64,
    },
    /// Of the block of this number.
    TimeToCut(u64),
}

/// Blocks count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) number: u64,
    pub(super) first: Offset,
    /// Where a reader goes on who has this block.
    pub(super) next: Offset,
    pub(super) envelopes: u32,
    /// Of the offsets and values in it.
    pub(super) digest: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) first: Offset,
    pub(super) envelopes: u32,
    pub(super) digest: u64,
    bytes: u64,
    since_ns: u64,
}

/// One orderer in one channel.
#[derive(Clone, Debug, Default)]
pub(super) struct Cutter {
    next: Offset,
    height: u64,
    pending: Option<Pending>,
    /// It has not read all, and cannot know the blocks.
    is_lost: bool,
    /// The block whose time-to-cut was sent, and when.
    told: Option<(u64, u64)>,
}

impl Cutter {
    pub(super) fn height(&self) -> u64 {
        self.height
    }

    pub(super) fn next(&self) -> Offset {
        self.next
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// What it holds that is in no block yet.
    pub(super) fn rest(&self) -> Option<(Offset, u32, u64)> {
        self.pending.map(|pending| (pending.first, pending.envelopes, pending.digest))
    }

    /// Reading begins anew at `next`, behind block `height`; `None`: it is behind no block.
    pub(super) fn begin(&mut self, next: Offset, height: Option<u64>) {
        *self = Self { next, height: height.unwrap_or(0), is_lost: height.is_none(), ..Self::default() };
    }

    /// Takes what stands at an offset. The blocks that are cut by it, and what cannot be.
    pub(super) fn hear(&mut self, rules: &Rules, offset: Offset, message: Message, now_ns: u64) -> (Vec<Block>, Option<String>) {
        let mut blocks = Vec::new();
        self.is_lost |= offset != self.next;
        self.next = offset + 1;
        if self.is_lost {
            return (blocks, None);
        }
        let wrong = match message {
            Message::Envelope { value, bytes } => {
                self.envelope(rules, (offset, value, bytes), now_ns, &mut blocks);
                None
            }
            Message::TimeToCut(number) => self.time_to_cut(number, offset, &mut blocks),
        };
        (blocks, wrong)
    }

    fn envelope(&mut self, rules: &Rules, (offset, value, bytes): (Offset, Value, u64), now_ns: u64, blocks: &mut Vec<Block>) {
        if self.pending.is_some_and(|pending| pending.bytes + bytes > rules.bytes) {
            blocks.extend(self.cut(offset));
        }
        let new = Pending { first: offset, envelopes: 0, digest: 0xcbf2_9ce4_8422_2325, bytes: 0, since_ns: now_ns };
        let pending = self.pending.get_or_insert(new);
        pending.envelopes += 1;
        pending.bytes += bytes;
        for part in [offset, value] {
            pending.digest = (pending.digest ^ part as u64).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        if pending.envelopes >= rules.messages || pending.bytes > rules.bytes {
            blocks.extend(self.cut(offset + 1));
        }
    }

    fn time_to_cut(&mut self, number: u64, offset: Offset, blocks: &mut Vec<Block>) -> Option<String> {
        let expected = self.height + 1;
        if number < expected {
            return None;
        }
        if number > expected {
            return Some(format!("the time to cut block {number} stands at offset {offset} where block {expected} is the next to be cut"));
        }
        match self.cut(offset + 1) {
            Some(block) => {
                blocks.push(block);
                None
            }
            None => Some(format!("the time to cut block {number} stands at offset {offset} where no envelope waits for it")),
        }
    }

    fn cut(&mut self, next: Offset) -> Option<Block> {
        let Pending { first, envelopes, digest, .. } = self.pending.take()?;
        self.height += 1;
        Some(Block { number: self.height, first, next, envelopes, digest })
    }

    /// The block whose time it is to say so; whoever asks says so.
    pub(super) fn due(&mut self, rules: &Rules, now_ns: u64) -> Option<u64> {
        let pending = self.pending.filter(|pending| now_ns.saturating_sub(pending.since_ns) >= rules.timeout_ns)?;
        let number = self.height + 1;
        let is_told = self.told.is_some_and(|(told, at_ns)| told == number && now_ns < at_ns + SEND_AGAIN_NS.max(rules.timeout_ns));
        if self.is_lost || is_told || pending.envelopes == 0 {
            return None;
        }
        self.told = Some((number, now_ns));
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules { messages: 3, bytes: 100, timeout_ns: 10 };

    /// Envelopes by their size, times to cut by their number.
    #[derive(Clone, Copy, Debug)]
    enum Said {
        E(u64),
        Ttc(u64),
    }
    use Said::{E, Ttc};

    fn message(offset: usize, said: Said) -> Message {
        match said {
            E(bytes) => Message::Envelope { value: offset as Value + 100, bytes },
            Ttc(number) => Message::TimeToCut(number),
        }
    }

    fn read(cutter: &mut Cutter, log: &[Said], from: usize) -> (Vec<Block>, Vec<String>) {
        let (mut blocks, mut wrongs) = (Vec::new(), Vec::new());
        for (offset, said) in log.iter().enumerate().skip(from) {
            let (cut, wrong) = cutter.hear(&RULES, offset as Offset, message(offset, *said), 0);
            blocks.extend(cut);
            wrongs.extend(wrong);
        }
        (blocks, wrongs)
    }

    fn bounds(log: &[Said]) -> Vec<(Offset, Offset, u32)> {
        let (blocks, wrongs) = read(&mut Cutter::default(), log, 0);
        assert!(wrongs.is_empty(), "{wrongs:?}");
        blocks.iter().map(|block| (block.first, block.next, block.envelopes)).collect()
    }

    #[test]
    fn a_block_is_cut_when_it_is_full_or_its_time_is_over() {
        assert_eq!(bounds(&[E(1), E(1), E(1), E(1)]), [(0, 3, 3)]);
        assert_eq!(bounds(&[E(60), E(60), E(10), E(31)]), [(0, 1, 1), (1, 3, 2)], "before what would make it too large");
        assert_eq!(bounds(&[E(10), E(500), E(10)]), [(0, 1, 1), (1, 2, 1)], "what is too large by itself stands alone");
        assert_eq!(bounds(&[E(1), Ttc(1), Ttc(1), E(1), Ttc(1), Ttc(2)]), [(0, 2, 1), (3, 6, 1)], "the first of them cuts");
    }

    #[test]
    fn a_time_to_cut_that_nobody_can_have_sent_is_wrong() {
        let wrong = |log: &[Said]| read(&mut Cutter::default(), log, 0).1;
        assert!(wrong(&[E(1), Ttc(2)])[0].contains("the time to cut block 2 stands at offset 1 where block 1 is the next"));
        assert!(wrong(&[E(1), Ttc(1), Ttc(2)])[0].contains("where no envelope waits for it"));
    }

    #[test]
    fn a_time_to_cut_is_sent_once_the_timeout_is_over_and_again_if_it_does_not_come() {
        let mut cutter = Cutter::default();
        assert_eq!(cutter.due(&RULES, 100), None, "there is nothing to cut");
        cutter.hear(&RULES, 0, message(0, E(1)), 100);
        assert_eq!((cutter.due(&RULES, 109), cutter.due(&RULES, 110), cutter.due(&RULES, 111)), (None, Some(1), None));
        assert_eq!(cutter.due(&RULES, 110 + SEND_AGAIN_NS), Some(1));
        cutter.hear(&RULES, 1, Message::TimeToCut(1), 200);
        cutter.hear(&RULES, 2, message(2, E(1)), 300);
        assert_eq!(cutter.due(&RULES, 310), Some(2));
    }

    #[test]
    fn who_has_not_read_all_cuts_nothing() {
        let mut cutter = Cutter::default();
        cutter.hear(&RULES, 1, message(1, E(500)), 0);
        assert!(cutter.is_lost() && cutter.height() == 0 && cutter.due(&RULES, 1_000).is_none());
        cutter.begin(7, None);
        assert!(cutter.is_lost());
        cutter.begin(0, Some(0));
        assert!(!cutter.is_lost());
    }

    proptest! {
        /// Times to cut as orderers send them: of the block that is gathering, or of an earlier one.
        #[test]
        fn reading_again_from_behind_any_block_cuts_the_same_blocks(
            log in prop::collection::vec((0..5_u8, 1..130_u64), 0..80), back in any::<prop::sample::Index>(),
        ) {
            let mut first = Cutter::default();
            let (mut said, mut blocks) = (Vec::new(), Vec::new());
            for (offset, (kind, bytes)) in log.iter().enumerate() {
                let is_time = *kind == 0 && first.rest().is_some();
                let next = if is_time { Ttc(first.height() + 1) } else if *kind == 1 { Ttc(first.height()) } else { E(*bytes) };
                said.push(next);
                let (cut, wrong) = first.hear(&RULES, offset as Offset, message(offset, next), 0);
                prop_assert_eq!(wrong, None);
                blocks.extend(cut);
            }
            let kept = back.index(blocks.len() + 1);
            let from = if kept == 0 { 0 } else { blocks[kept - 1].next };
            let mut again = Cutter::default();
            again.begin(from, Some(kept as u64));
            let (cut, wrongs) = read(&mut again, &said, from as usize);
            prop_assert!(wrongs.is_empty());
            prop_assert_eq!(&cut[..], &blocks[kept..]);
            prop_assert_eq!((again.height(), again.next(), again.rest()), (first.height(), first.next().max(from), first.rest()));
        }
    }
}
