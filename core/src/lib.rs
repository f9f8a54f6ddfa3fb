//! The words of kchaos.
//!
//! Why this crate exists: checkers, workloads, nemeses and reports must mean the same thing when they say *op*, *fault* or *invalid*,
//! and must be able to say it without knowing one another. So the words stand here, and nothing else does.
//!
//! **Invariant of absence:** no IO, no clock, no thread, no Kafka. Whoever needs the time takes a [`Clock`], whoever writes ops takes a [`Recorder`].

mod checker;
mod clock;
mod evidence;
mod fault;
pub mod mutant;
mod op;
mod op_json;
mod plain;
mod plan;
mod recorder;
mod target;
mod timeline;
mod verdict;

pub use checker::Checker;
pub use clock::{Clock, Interval};
pub use evidence::{Evidence, Held, LeaderSeen, LineOffset, LineRead, LineReader, OffsetLine, Outcome, Sent, ShownOp};
pub use fault::{Chosen, Effect, FaultEvent, FaultMoment, Proof};
pub use op::{Body, Extra, Key, MicroOp, OPEN, Offset, Op, OpType, Polled, Process, RebalanceEvent, RebalanceType, Send, Value};
pub use op_json::{Line, OpError, Spare};
pub use plain::{EachOp, OpSink, PlainPoll, PlainSend, PollBegin};
pub use plan::{KeyEntry, Plan, PlannedFault, PlannedStep};
pub use recorder::{Draft, Recorder, Stamp};
pub use target::{NemesisName, Target};
pub use timeline::{Observation, Observed};
pub use verdict::{Example, Finding, REASONS, Reason, Validity, Verdict};
