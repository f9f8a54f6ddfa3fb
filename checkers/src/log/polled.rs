//! What a poll says of the log.

use kchaos_core::{Offset, Value};

use crate::pages::{Page, Spot, place};

use super::written::DONE;
use super::{KeyLog, PollOp};

impl KeyLog {
    pub(crate) fn polled(&mut self, records: &[(Offset, Value)], poll: PollOp) {
        let mut rest = records;
        loop {
            rest = &rest[self.polled_while_known(rest, poll)..];
            let Some(((offset, value), others)) = rest.split_first() else { break };
            self.polled_elsewhere(*offset, *value, poll);
            rest = others;
        }
        self.read_on(records, poll);
    }

    /// The same if all records stand where an acknowledgement or another reader has shown them. `false`: they do not, and some may be marked as read,
    /// which does no harm to [`KeyLog::polled`].
    #[inline]
    pub(crate) fn polled_as_known(&mut self, records: &[(Offset, Value)], poll: PollOp) -> bool {
        let all = self.polled_while_known(records, poll) == records.len();
        if all {
            self.read_on(records, poll);
        }
        all
    }

    /// How many of the records, from the first on, stand as is known. Most do.
    #[inline]
    fn polled_while_known(&mut self, records: &[(Offset, Value)], poll: PollOp) -> usize {
        let mut at = 0;
        while let Some(rest) = records.get(at..).filter(|rest| !rest.is_empty()) {
            let light = self.polled_light(rest, poll);
            if light > 0 {
                at += light;
                continue;
            }
            let (known, full) = self.polled_where_it_is(rest, poll);
            at += known;
            if let Some(spot) = full.filter(|_| !self.never_packs) {
                self.pack(spot);
            } else if known == 0 {
                break;
            }
        }
        at
    }

    #[inline]
    fn read_on(&mut self, records: &[(Offset, Value)], poll: PollOp) {
        if let Some((last, _)) = records.last().filter(|_| poll.ok) {
            self.read_to = self.read_to.max(*last);
        }
    }

    /// How many of the records, from the first on, stand on one page as is known; and a slot of that page, if now all of it may be packed.
    #[inline]
    fn polled_where_it_is(&mut self, records: &[(Offset, Value)], poll: PollOp) -> (usize, Option<Spot>) {
        let first = records[0].0;
        let (number, written) = (place(first).0, &mut self.written);
        let known = match self.pages.page(first) {
            _ if first < 0 => 0,
            Page::None | Page::Light => 0,
            Page::Packed(page) => records
                .iter()
                .take_while(|(offset, value)| place(*offset).0 == number && page.value(place(*offset).1) == Some(*value))
                .count(),
            Page::Live(mut page) => {
                let mut known = 0;
                for (offset, value) in records.iter().take_while(|(offset, _)| place(*offset).0 == number) {
                    let slot = place(*offset).1;
                    let Some(one) = written.get_mut(page.id(slot) as usize).filter(|one| one.value == *value) else { break };
                    known += 1;
                    one.polled(poll);
                    page.mark_seen(slot, poll.isolation);
                    let done = one.may_be_packed();
                    if done != one.has(DONE) {
                        one.flags ^= DONE;
                        if page.set_done(done) && done {
                            return (known, Some(page.spot(slot)));
                        }
                    }
                }
                known
            }
        };
        (known, None)
    }

    fn polled_elsewhere(&mut self, offset: Offset, value: Value, poll: PollOp) {
        let id = self.id(value);
        self.written[id as usize].polled(poll);
        if offset >= 0 {
            let spot = self.place(id, offset, poll.op);
            self.pages.mark_seen(spot, poll.isolation);
        }
        self.settle_where_it_is(id);
    }
}
