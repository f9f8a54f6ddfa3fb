//! What stands beside the value of a line.

use super::{Quick, Spare};
use crate::Op;

impl Quick<'_> {
    /// What stands beside the value.
    pub(super) fn beside(&mut self, op: &mut Op, spare: &mut Spare) -> Option<()> {
        loop {
            if self.eat(b'}') {
                return (self.at == self.bytes.len()).then_some(());
            }
            self.comma()?;
            // The letter after the quote tells them apart, but for two.
            match self.bytes.get(self.at + 1)? {
                b'c' if self.literal(b"\"commit-time\":") => {
                    self.blank();
                    op.extra.commit_time_ns = Some(self.number()?);
                }
                b'c' => {
                    op.client = Some(self.client()?);
                }
                b'i' if self.literal(b"\"intended\":") => {
                    self.blank();
                    op.extra.intended_ns = Some(self.number()?);
                }
                b'i' => {
                    op.extra.isolation = Some(self.named_text(b"\"isolation\":")?.to_owned());
                }
                b'l' => {
                    self.name(b"\"leader-epochs\":")?;
                    self.leader_epochs(op)?;
                }
                b'n' => {
                    let told = self.named_text(b"\"node\":")?;
                    let text = op.node.get_or_insert_with(|| spare.texts.pop().unwrap_or_default());
                    text.clear();
                    text.push_str(told);
                }
                b'f' => {
                    self.name(b"\"final\":")?;
                    op.extra.is_final = self.literal(b"true").then_some(true)?;
                }
                _ => return None,
            }
        }
    }

    #[inline(always)]
    pub(super) fn client(&mut self) -> Option<u32> {
        self.name(b"\"client\":")?;
        u32::try_from(self.short()?).ok()
    }

    #[inline(always)]
    pub(super) fn named_text<const N: usize>(&mut self, name: &[u8; N]) -> Option<&str> {
        self.name(name)?;
        self.eat(b'"').then_some(())?;
        self.text()
    }

    /// The rest of a string without escapes, and its quote.
    fn text(&mut self) -> Option<&str> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\'))?;
        self.at += length;
        self.eat(b'"').then_some(())?;
        std::str::from_utf8(&rest[..length]).ok()
    }

    fn leader_epochs(&mut self, op: &mut Op) -> Option<()> {
        self.eat(b'{').then_some(())?;
        op.extra.leader_epochs.clear();
        if self.eat(b'}') {
            return Some(());
        }
        loop {
            self.eat(b'"').then_some(())?;
            let key = self.integer()?;
            self.literal(b"\":").then(|| self.blank())?;
            op.extra.leader_epochs.insert(key, i32::try_from(self.number()?).ok()?);
            if self.eat(b'}') {
                return Some(());
            }
            self.comma()?;
        }
    }
}
