//! How ops get into the history.

use crate::{Body, Extra, OpType, Process};

/// An op before the recorder has given it its index and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub process: Process,
    pub op_type: OpType,
    pub body: Body,
    pub error: Option<String>,
    /// The producer or consumer instance; a restarted one is new.
    pub client: Option<u32>,
    pub node: Option<String>,
    pub extra: Extra,
}

impl Draft {
    pub fn new(process: Process, op_type: OpType, body: Body) -> Self {
        Self { process, op_type, body, error: None, client: None, node: None, extra: Extra::default() }
    }

    /// What is no op of a client, but evidence for the checkers.
    pub fn told(f: &str, value: serde_json::Value) -> Self {
        Self::new(Process::Nemesis, OpType::Info, Body::Nemesis { f: f.to_owned(), value })
    }
}

/// What the recorder gave an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub index: u64,
    pub time_ns: u64,
}

/// The one recorder of a run.
///
/// Index and time are given together under one lock: call it *before* the call to the cluster is made (invoke) and *after* it returned
/// (ok, fail, info). So file order is time order, and "A completed before B was invoked" is sound without comparing clocks.
pub trait Recorder: Send + Sync {
    fn record(&self, draft: Draft) -> Stamp;
}
