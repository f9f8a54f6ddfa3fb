//! Ops: what clients and the nemesis did, and when. The JSON shapes are FORMATS.md's and stand in `op_json`.

use std::collections::BTreeMap;

/// A Kafka partition (or a register), as an integer; `plan.json` maps it to topic and partition.
pub type Key = i64;
/// A Kafka offset.
pub type Offset = i64;
/// What was written: an integer, unique for its key.
pub type Value = i64;

/// Names of ops of clients whose values are open data: what they ask of the cluster itself (docs/history.md).
pub const OPEN: &[&str] = &["admin", "list-offsets"];

/// One line of a history.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Dense from 0.
    pub index: u64,
    /// Nanoseconds since the run's start, on one monotonic clock.
    pub time_ns: u64,
    pub process: Process,
    pub op_type: OpType,
    pub body: Body,
    pub error: Option<String>,
    /// The producer or consumer instance, so that per-producer order can be judged across lanes; a restarted one is new.
    pub client: Option<u32>,
    pub node: Option<String>,
    pub extra: Extra,
}

/// A logical client, which does one thing at a time. (What the kernel runs is a *daemon*.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Process {
    Client(u32),
    Nemesis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpType {
    /// About to be tried.
    Invoke,
    /// It took effect.
    Ok,
    /// It certainly did not.
    Fail,
    /// Nobody knows.
    Info,
}

/// What was done. Closed: checkers match it exhaustively.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Send(Vec<Send>),
    /// `None` while invoked.
    Poll(Option<Polled>),
    Txn(Vec<MicroOp>),
    Assign {
        keys: Vec<Key>,
        seek_to_beginning: bool,
    },
    Subscribe {
        keys: Vec<Key>,
    },
    /// Offsets are the next to read.
    Commit(BTreeMap<Key, Offset>),
    /// The keys asked for while invoked; the offsets once completed.
    Committed {
        keys: Vec<Key>,
        offsets: BTreeMap<Key, Offset>,
    },
    Crash,
    Read {
        key: Key,
        value: Option<Value>,
    },
    Write {
        key: Key,
        value: Value,
    },
    Cas {
        key: Key,
        old: Value,
        new: Value,
    },
    /// What a nemesis was asked or did, what an observer saw, and (by a client) what is in [`OPEN`]: open data.
    Nemesis {
        f: String,
        value: serde_json::Value,
    },
    /// An `f` that this version does not know: skipped, counted and reported.
    Unknown {
        f: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    pub key: Key,
    pub value: Value,
    /// Where it landed. `None` while invoked, and in a success that carried no offset (an idempotent retry's).
    pub offset: Option<Offset>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum MicroOp {
    Send(Send),
    Poll(Option<Polled>),
}

/// What one poll returned, by key, in the order of delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polled(pub Vec<(Key, Vec<(Offset, Value)>)>);

/// What may stand beside an op; a reader ignores what it does not know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra {
    /// When an open-model generator meant to start it: latency is counted from here, not from when a lane was free.
    pub intended_ns: Option<u64>,
    /// When the commit of a transaction was invoked.
    pub commit_time_ns: Option<u64>,
    pub group: Option<String>,
    /// `read_committed` or `read_uncommitted`.
    pub isolation: Option<String>,
    pub rebalance_log: Vec<RebalanceEvent>,
    /// Where a group begins that has committed nothing: `earliest`, `latest` or `none`.
    pub reset: Option<String>,
    /// Leader epochs by key: in a poll, of its last record; in what only sends, of the leader that acknowledged.
    pub leader_epochs: BTreeMap<Key, i32>,
    /// Values whose checksum, key, partition or headers were not what was sent: (key, offset, what was wrong).
    pub corrupt: Vec<(Key, Offset, String)>,
    pub version: Option<i64>,
    pub zxid: Option<i64>,
    /// `true` on the ops of the finale, whose polls reread every key from the start.
    pub is_final: bool,
}

impl Extra {
    /// As new. Writes less than making it anew: nearly always there is nothing to clear.
    pub fn clear(&mut self) {
        (self.intended_ns, self.commit_time_ns, self.version, self.zxid, self.is_final) = (None, None, None, None, false);
        if self.group.is_some() {
            self.group = None;
        }
        if self.isolation.is_some() {
            self.isolation = None;
        }
        if self.reset.is_some() {
            self.reset = None;
        }
        if !(self.rebalance_log.is_empty() && self.leader_epochs.is_empty() && self.corrupt.is_empty()) {
            self.rebalance_log.clear();
            self.leader_epochs.clear();
            self.corrupt.clear();
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebalanceEvent {
    pub event: RebalanceType,
    pub keys: Vec<Key>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalanceType {
    Assigned,
    Revoked,
    Lost,
}

impl Default for Op {
    /// An op that says nothing, to be filled.
    fn default() -> Self {
        Self {
            index: 0,
            time_ns: 0,
            process: Process::Nemesis,
            op_type: OpType::Info,
            body: Body::Crash,
            error: None,
            client: None,
            node: None,
            extra: Extra::default(),
        }
    }
}

impl Body {
    /// The name under which this stands in a history's `f`.
    pub fn f(&self) -> &str {
        match self {
            Body::Send(_) => "send",
            Body::Poll(_) => "poll",
            Body::Txn(_) => "txn",
            Body::Assign { .. } => "assign",
            Body::Subscribe { .. } => "subscribe",
            Body::Commit(_) => "commit",
            Body::Committed { .. } => "committed",
            Body::Crash => "crash",
            Body::Read { .. } => "read",
            Body::Write { .. } => "write",
            Body::Cas { .. } => "cas",
            Body::Nemesis { f, .. } | Body::Unknown { f } => f,
        }
    }

    /// Adds what it sends, in order: of a transaction the sends alone.
    #[inline]
    pub fn collect_sends(&self, sends: &mut Vec<Send>) {
        match self {
            Body::Send(all) => sends.extend_from_slice(all),
            Body::Txn(parts) => sends.extend(parts.iter().filter_map(|part| match part {
                MicroOp::Send(send) => Some(*send),
                MicroOp::Poll(_) => None,
            })),
            _ => {}
        }
    }
}

impl OpType {
    pub fn name(self) -> &'static str {
        match self {
            OpType::Invoke => "invoke",
            OpType::Ok => "ok",
            OpType::Fail => "fail",
            OpType::Info => "info",
        }
    }

    pub fn is_completion(self) -> bool {
        self != OpType::Invoke
    }
}
