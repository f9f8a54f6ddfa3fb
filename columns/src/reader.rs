//! A file into ops.

use std::io::Read;

use kchaos_core::OpSink;

use crate::ColumnsError;
use crate::block::Fault;
use crate::decode::Decoder;
use crate::frame::{Frame, Frames};
use crate::ops::Ops;

/// Reads a compact history.
///
/// Memory: a block's bytes, packed and unpacked ([`crate::BLOCK_BYTES_MAX`] each), its tables, and the ops of one portion, which hold no more than the
/// block may ([`crate::BLOCK_RECORDS_MAX`], [`crate::BLOCK_TEXT_MAX`]): below 1 GiB for the worst file, 5 MB for what a [`crate::Writer`] makes of a
/// healthy run.
pub struct Reader<R: Read> {
    frames: Frames<R>,
    decoder: Decoder,
    truncated: Option<String>,
    is_over: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the mark and the version.
    pub fn new(input: R) -> Result<Self, ColumnsError> {
        let decoder = Decoder::new().map_err(ColumnsError::Unreadable)?;
        Ok(Self { frames: Frames::open(input)?, decoder, truncated: None, is_over: false })
    }

    /// The next ops, in order: some dozens, since those of a whole block would not stay in a cache. `false` at the end, with no ops.
    ///
    /// `ops` may be any: its lists are used again. After an error it is empty, and nothing more can be read.
    pub fn next_block(&mut self, ops: &mut Ops) -> Result<bool, ColumnsError> {
        ops.length = 0;
        if !self.open()? {
            return Ok(false);
        }
        let filled = self.decoder.portion(ops);
        if filled.is_err() {
            ops.length = 0;
        }
        self.known(filled)?;
        Ok(true)
    }

    /// Tells a listener of the next ops, in order; `false` at the end. `ops` is as for [`Reader::next_block`].
    ///
    /// What was told before an error is not to be believed.
    pub fn tell_block<S: OpSink>(&mut self, ops: &mut Ops, sink: &mut S) -> Result<bool, ColumnsError> {
        if !S::TAKES_PLAIN {
            let more = self.next_block(ops)?;
            ops.iter().for_each(|op| sink.op(op));
            return Ok(more);
        }
        ops.length = 0;
        if !self.open()? {
            return Ok(false);
        }
        let told = self.decoder.tell(ops, sink);
        self.known(told)?;
        Ok(true)
    }

    /// How many ops were read.
    pub fn ops(&self) -> u64 {
        self.decoder.ops()
    }

    /// Goes on to a block that is not read to its end; `false` if there is none.
    fn open(&mut self) -> Result<bool, ColumnsError> {
        if self.decoder.is_exhausted() && !self.is_over {
            match self.frames.next(self.decoder.ops(), &mut self.decoder.block.bytes)? {
                Frame::Block => {
                    let opened = self.decoder.open();
                    self.known(opened)?;
                }
                Frame::End => self.is_over = true,
                Frame::Cut(how) => (self.truncated, self.is_over) = (Some(how), true),
            }
        }
        Ok(!self.is_over)
    }

    /// Why the end is missing, once it was reached.
    pub fn truncated(&self) -> Option<&str> {
        self.truncated.as_deref()
    }

    fn known(&mut self, result: Result<(), Fault>) -> Result<(), ColumnsError> {
        self.is_over |= result.is_err();
        result.map_err(|message| self.frames.corrupt(message))
    }
}
