//! What an op looks like, in a few bits: which columns hold it.

use kchaos_core::OpType;

/// Bits 0 and 1 are the op's type, bits 2 to 4 its shape, the rest say what stands beside it. A block lists the kinds it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind(pub(crate) u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A `send` of one value.
    Send,
    /// A `send` of none or several.
    Sends,
    Poll,
    Txn,
    /// Anything else, as JSON.
    Json,
}

/// How a listener who takes plain ops is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Way {
    SendBegins,
    SendEnds,
    PollBegins,
    PollEnds,
    /// As an op.
    Long,
}

impl Way {
    pub(crate) const SENDS: u32 = Self::SendBegins.bit() | Self::SendEnds.bit();
    pub(crate) const POLLS: u32 = Self::PollBegins.bit() | Self::PollEnds.bit();

    #[inline(always)]
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl Kind {
    /// The send has an offset; the poll returned.
    pub(crate) const DONE: u32 = 1 << 5;
    /// Keys and values are those of the actor's open op.
    pub(crate) const AS_OPEN: u32 = 1 << 6;
    pub(crate) const INTENDED: u32 = 1 << 7;
    /// The same as the actor's last.
    pub(crate) const INTENDED_AS_OPEN: u32 = 1 << 8;
    pub(crate) const NODE: u32 = 1 << 9;
    pub(crate) const FINAL: u32 = 1 << 10;
    pub(crate) const COMMIT_TIME: u32 = 1 << 11;
    pub(crate) const ERROR: u32 = 1 << 12;
    /// There is a leader epoch for each polled key.
    pub(crate) const EPOCHS: u32 = 1 << 13;
    /// What else stands beside it, as JSON.
    pub(crate) const BESIDE: u32 = 1 << 14;
    /// Everything that is not in the op's body.
    pub(crate) const DECORATED: u32 =
        Self::INTENDED | Self::INTENDED_AS_OPEN | Self::NODE | Self::FINAL | Self::COMMIT_TIME | Self::ERROR | Self::EPOCHS | Self::BESIDE;

    /// But for what stands beside them.
    pub(crate) const INVOKED_SEND: u32 = 0;
    pub(crate) const ACKNOWLEDGED_SEND: u32 = 1 | Self::DONE | Self::AS_OPEN;
    pub(crate) const INVOKED_POLL: u32 = (Shape::Poll as u32) << 2;
    pub(crate) const OK_POLL: u32 = 1 | Self::INVOKED_POLL | Self::DONE;

    pub(crate) fn new(op_type: OpType, shape: Shape, flags: u32) -> Self {
        let op_type = match op_type {
            OpType::Invoke => 0,
            OpType::Ok => 1,
            OpType::Fail => 2,
            OpType::Info => 3,
        };
        Self(op_type | (shape as u32) << 2 | flags)
    }

    /// `None` if these bits are no kind that this version writes.
    pub(crate) fn checked(bits: i64) -> Option<Self> {
        let bits = u32::try_from(bits).ok().filter(|bits| *bits < Self::BESIDE << 1)?;
        (bits >> 2 & 7 <= Shape::Json as u32).then_some(Self(bits))
    }

    pub(crate) fn way(self) -> Way {
        let (decorated, beside_send) = (self.0 & Self::DECORATED, Self::INTENDED | Self::INTENDED_AS_OPEN | Self::NODE);
        match self.0 & !Self::DECORATED {
            Self::INVOKED_SEND if decorated & !beside_send == 0 => Way::SendBegins,
            Self::ACKNOWLEDGED_SEND if decorated & !beside_send == 0 => Way::SendEnds,
            Self::INVOKED_POLL if decorated == 0 => Way::PollBegins,
            Self::OK_POLL if decorated == 0 => Way::PollEnds,
            _ => Way::Long,
        }
    }

    #[inline(always)]
    pub(crate) fn op_type(self) -> OpType {
        match self.0 & 3 {
            0 => OpType::Invoke,
            1 => OpType::Ok,
            2 => OpType::Fail,
            _ => OpType::Info,
        }
    }

    #[inline(always)]
    pub(crate) fn shape(self) -> Shape {
        match self.0 >> 2 & 7 {
            0 => Shape::Send,
            1 => Shape::Sends,
            2 => Shape::Poll,
            3 => Shape::Txn,
            _ => Shape::Json,
        }
    }

    #[inline(always)]
    pub(crate) fn has(self, flags: u32) -> bool {
        self.0 & flags != 0
    }
}
