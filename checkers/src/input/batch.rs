//! The lines of a chunk, on their way from the thread that parsed them to the one that hands them on.
//!
//! A line stays where it was read to, and is numbered there. (Packed into 48 bytes in the place of 80 they took longer by a fiftieth.)

use std::convert::Infallible;

use kchaos_core::{Line, Op, Spare};

use super::chunks::Chunk;
use super::{Stop, TakesLines, always, parse};

/// What was read from a chunk. Kept when it is done, so that the next is filled into the same memory.
#[derive(Default)]
pub(super) struct Batch {
    lines: Vec<Line>,
    /// Of the lines that are ops, in their order.
    ops: Vec<Op>,
    stop: Option<Stop>,
    spare: Spare,
}

impl Batch {
    #[inline]
    pub(super) fn each<E>(&mut self, mut each: impl FnMut(&mut Line, &mut Op) -> Result<(), E>) -> Result<(), E> {
        let (mut ops, mut none) = (self.ops.iter_mut(), Op::default());
        for line in &mut self.lines {
            let op = if matches!(line, Line::Op(..)) { ops.next().unwrap_or(&mut none) } else { &mut none };
            each(line, op)?;
        }
        Ok(())
    }

    pub(super) fn stop(&mut self) -> Option<Stop> {
        self.stop.take()
    }

    pub(super) fn fill(&mut self, chunk: &Chunk, plain: bool) {
        let Self { lines, ops, stop, spare } = self;
        lines.clear();
        *stop = always(parse(chunk.bytes(), plain, &mut Keeps { lines, ops, next: 0 }, spare));
    }
}

/// Keeps the lines of a chunk, each op where it was read to.
struct Keeps<'a> {
    lines: &'a mut Vec<Line>,
    ops: &'a mut Vec<Op>,
    /// Which of the ops is not taken yet.
    next: usize,
}

impl TakesLines<Infallible> for Keeps<'_> {
    #[inline]
    fn op(&mut self) -> &mut Op {
        if self.next == self.ops.len() {
            self.ops.push(Op::default());
        }
        &mut self.ops[self.next]
    }

    #[inline]
    fn line(&mut self, read: Line, _: &[u8]) -> Result<(), Infallible> {
        self.next += usize::from(matches!(read, Line::Op(..)));
        self.lines.push(read);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_in_their_order_with_their_ops() {
        let text = concat!(
            r#"{"index":0,"time":1,"process":0,"type":"invoke","f":"send","value":[["send",70000,1]]}"#,
            "\n",
            r#"{"index":1,"time":1,"process":1,"type":"invoke","f":"poll","value":[["poll"]]}"#,
            "\n",
            r#"{"process":2,"type":"invoke","f":"poll","value":[["poll"]]}"#,
            "\n",
            r#"{"index":3,"time":5,"process":0,"type":"ok","f":"send","value":[["send",2,[8,1]]],"client":4}"#,
            "\n",
            r#"{"index":4,"time":6,"process":1,"type":"ok","f":"poll","value":[["poll",{"2":[[8,1]]}]]}"#,
            "\n",
        );
        let mut chunks = super::super::chunks::Chunks::new(text.as_bytes());
        let (mut chunk, mut batch) = (Chunk::default(), Batch::default());
        assert!(chunks.next(&mut chunk));
        for plain in [true, false] {
            batch.fill(&chunk, plain);
            let mut told = Vec::new();
            always(batch.each(|line, op| {
                let whole = match *line {
                    Line::Plain(send) => (Some(send.index), Some(send.time_ns), send.to_op()),
                    Line::PollBegin(begin) => (Some(begin.index), Some(begin.time_ns), begin.to_op()),
                    Line::Op(index, time_ns) => (index, time_ns, op.clone()),
                };
                told.push((whole.0, whole.1, whole.2.process, whole.2.op_type, whole.2.body));
                Ok(())
            }));
            let expect: Vec<_> = text.lines().map(|line| Op::read_json(line.as_bytes()).unwrap()).collect();
            let expect: Vec<_> = expect.into_iter().map(|(op, index, time_ns)| (index, time_ns, op.process, op.op_type, op.body)).collect();
            assert_eq!(told, expect, "plain: {plain}");
        }
    }
}
