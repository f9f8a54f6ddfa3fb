//! Lines of plain sends, into no op.

use super::{Kind, Quick};
use crate::{PlainSend, PollBegin, Send};

impl Quick<'_> {
    /// A line of a plain send, after its head.
    #[inline(always)]
    pub(super) fn plain(&mut self, (index, time_ns, process, kind): (u64, u64, u64, Kind)) -> Option<PlainSend> {
        self.blank();
        let key = self.short()? as i64;
        self.comma()?;
        let (offset, value) = if self.eat(b'[') { self.offset_and_value()? } else { (None, self.integer()?) };
        self.literal(b"]]").then_some(())?;
        let process = u32::try_from(process).ok()?;
        let send = Send { key, value, offset };
        let mut plain = PlainSend { index, time_ns, start_ns: time_ns, send, process, client: None, op_type: kind.op_type };
        self.beside_plain(&mut plain)?;
        Some(plain)
    }

    #[inline(always)]
    fn beside_plain(&mut self, plain: &mut PlainSend) -> Option<()> {
        loop {
            if self.eat(b'}') {
                return (self.at == self.bytes.len()).then_some(());
            }
            self.comma()?;
            match self.bytes.get(self.at + 1)? {
                b'c' => {
                    plain.client = Some(self.client()?);
                }
                b'i' => {
                    self.name(b"\"intended\":")?;
                    plain.start_ns = self.number()?;
                }
                b'n' => {
                    self.named_text(b"\"node\":")?;
                }
                b'f' => {
                    self.name(b"\"final\":")?;
                    self.literal(b"true").then_some(())?;
                }
                _ => return None,
            }
        }
    }

    /// The rest of the invocation of a poll.
    pub(super) fn poll_begin(&mut self, (index, time_ns, process, _): (u64, u64, u64, Kind)) -> Option<PollBegin> {
        self.literal(b"]]").then_some(())?;
        let process = u32::try_from(process).ok()?;
        while !self.eat(b'}') {
            self.comma()?;
            match self.bytes.get(self.at + 1)? {
                b'c' => {
                    self.client()?;
                }
                b'i' => {
                    self.named_text(b"\"isolation\":")?;
                }
                b'n' => {
                    self.named_text(b"\"node\":")?;
                }
                _ => return None,
            }
        }
        (self.at == self.bytes.len()).then_some(PollBegin { index, time_ns, process })
    }
}
