//! The micro-operations of a transaction.

use super::Quick;
use crate::{MicroOp, Polled, Send};

impl Quick<'_> {
    /// A transaction's sends and polls, after its first bracket. Its vectors are not used again: their shapes differ too much.
    pub(super) fn micro_ops(&mut self) -> Option<Vec<MicroOp>> {
        let mut parts = Vec::with_capacity(4);
        loop {
            if self.literal(b"[\"send\",") {
                self.blank();
                let key = self.short()? as i64;
                self.comma()?;
                let (offset, value) = if self.eat(b'[') { self.offset_and_value()? } else { (None, self.integer()?) };
                self.eat(b']').then_some(())?;
                parts.push(MicroOp::Send(Send { key, value, offset }));
            } else {
                self.literal(b"[\"poll\"").then_some(())?;
                parts.push(MicroOp::Poll(self.polled()?));
            }
            if self.eat(b']') {
                return Some(parts);
            }
            self.comma()?;
        }
    }

    /// What one poll of a transaction returned, after its name.
    pub(super) fn polled(&mut self) -> Option<Option<Polled>> {
        if self.eat(b']') {
            return Some(None);
        }
        self.comma()?;
        self.eat(b'{').then_some(())?;
        let mut batches = Vec::new();
        if !self.eat(b'}') {
            loop {
                self.eat(b'"').then_some(())?;
                let key = self.short()? as i64;
                self.literal(b"\":").then(|| self.blank())?;
                let mut records = Vec::new();
                self.records(&mut records)?;
                batches.push((key, records));
                if self.eat(b'}') {
                    break;
                }
                self.comma()?;
            }
        }
        self.eat(b']').then_some(Some(Polled(batches)))
    }
}
