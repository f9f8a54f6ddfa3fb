//! What can go wrong between us and one broker. Every variant names the broker and its address.

use std::fmt;

use super::wire::WireError;

/// The broker at the other end, as far as we know it: its id is unknown at a bootstrap address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub broker: Option<i32>,
    /// `host:port`.
    pub address: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    #[error("{peer} cannot be reached: {reason}")]
    Connect { peer: Peer, reason: std::io::Error },
    #[error("no answer to {what} from {peer} within {timeout_ms} ms")]
    Timeout { peer: Peer, what: &'static str, timeout_ms: u64 },
    #[error("the connection to {peer} failed during {what}: {reason}")]
    Io { peer: Peer, what: &'static str, reason: std::io::Error },
    #[error("{peer} sent a malformed answer to {what}: {reason}")]
    Malformed { peer: Peer, what: &'static str, reason: WireError },
    #[error("{peer} announced an answer to {what} of {bytes} bytes; at most {max_bytes} are taken")]
    FrameSize { peer: Peer, what: &'static str, bytes: i64, max_bytes: usize },
    #[error("{peer} answered request {got} where {want} was asked ({what})")]
    Correlation { peer: Peer, what: &'static str, want: i32, got: i32 },
    /// A call was dropped before its answer came, so the stream's place is unknown.
    #[error("the connection to {peer} was left in the middle of a call and cannot be used again")]
    Abandoned { peer: Peer },
    #[error("{peer} does not speak {what} version {wants} (it offers {offers})")]
    Version { peer: Peer, what: &'static str, wants: i16, offers: String },
    /// The broker's own refusal.
    #[error("{peer} answered {what} with {} ({code}){}", error_name(*code), error_hint(*code))]
    Refused { peer: Peer, what: String, code: i16 },
    #[error("broker {broker} is neither in the inventory nor in the metadata of the bootstrap brokers")]
    UnknownBroker { broker: i32 },
    /// What the inventory says of security is of no use; nobody was asked.
    #[error("{reason}")]
    Security { reason: String },
    /// The broker is there, and we do not come in: what is the matter, and where it is mended.
    #[error("{peer} {what} ({mend})")]
    Unwelcome { peer: Peer, what: String, mend: String },
    #[error("there is no topic {topic}, so nobody coordinates anything yet: start a consumer group or a transaction first")]
    NoCoordinators { topic: String },
    #[error("the cluster has no controller at this moment")]
    NoController,
    #[error("the partition has no leader at this moment")]
    NoLeader,
    #[error("there is no partition {topic}-{partition}")]
    NoPartition { topic: String, partition: i32 },
    #[error("[kafka] bootstrap names no broker")]
    NoBootstrap,
    #[error("no broker answered {what}; the last one: {last}")]
    NoneAnswered { what: &'static str, last: Box<ProtocolError> },
}

impl ProtocolError {
    /// The broker's error code, where the broker refused; of a partition that it does not know, UNKNOWN_TOPIC_OR_PARTITION.
    pub fn code(&self) -> Option<i16> {
        match self {
            ProtocolError::Refused { code, .. } => Some(*code),
            ProtocolError::NoPartition { .. } => Some(3),
            _ => None,
        }
    }

    /// Whether it lies in how we come in, which does not mend itself.
    pub fn is_of_security(&self) -> bool {
        match self {
            ProtocolError::Security { .. } | ProtocolError::Unwelcome { .. } => true,
            ProtocolError::Refused { code, .. } => !error_hint(*code).is_empty(),
            ProtocolError::NoneAnswered { last, .. } => last.is_of_security(),
            _ => false,
        }
    }

    /// The stream ended under us: with a connection that had been idle, worth one more try on a new one.
    pub(super) fn is_closed_stream(&self) -> bool {
        matches!(self, ProtocolError::Io { .. } | ProtocolError::Abandoned { .. })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.broker {
            Some(broker) => write!(f, "broker {broker} ({})", self.address),
            None => write!(f, "the broker at {}", self.address),
        }
    }
}

/// What to do about a code that does not say it by its name.
fn error_hint(code: i16) -> &'static str {
    match code {
        29..=31 | 53 => "; the user lacks an ACL: docs/security.md lists those that kchaos needs",
        34 | 58 => "; see kafka.properties.security.protocol and sasl.*",
        _ => "",
    }
}

/// Kafka's name of an error code, as in `org.apache.kafka.common.protocol.Errors`; those that the calls made here can meet.
pub fn error_name(code: i16) -> &'static str {
    match code {
        -1 => "UNKNOWN_SERVER_ERROR",
        0 => "NONE",
        1 => "OFFSET_OUT_OF_RANGE",
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        5 => "LEADER_NOT_AVAILABLE",
        6 => "NOT_LEADER_OR_FOLLOWER",
        7 => "REQUEST_TIMED_OUT",
        8 => "BROKER_NOT_AVAILABLE",
        9 => "REPLICA_NOT_AVAILABLE",
        14 => "COORDINATOR_LOAD_IN_PROGRESS",
        15 => "COORDINATOR_NOT_AVAILABLE",
        16 => "NOT_COORDINATOR",
        13 => "NETWORK_EXCEPTION",
        17 => "INVALID_TOPIC_EXCEPTION",
        29 => "TOPIC_AUTHORIZATION_FAILED",
        30 => "GROUP_AUTHORIZATION_FAILED",
        31 => "CLUSTER_AUTHORIZATION_FAILED",
        33 => "UNSUPPORTED_SASL_MECHANISM",
        34 => "ILLEGAL_SASL_STATE",
        19 => "NOT_ENOUGH_REPLICAS",
        35 => "UNSUPPORTED_VERSION",
        36 => "TOPIC_ALREADY_EXISTS",
        37 => "INVALID_PARTITIONS",
        38 => "INVALID_REPLICATION_FACTOR",
        39 => "INVALID_REPLICA_ASSIGNMENT",
        40 => "INVALID_CONFIG",
        41 => "NOT_CONTROLLER",
        42 => "INVALID_REQUEST",
        44 => "POLICY_VIOLATION",
        73 => "TOPIC_DELETION_DISABLED",
        43 => "UNSUPPORTED_FOR_MESSAGE_FORMAT",
        53 => "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        54 => "SECURITY_DISABLED",
        56 => "KAFKA_STORAGE_ERROR",
        58 => "SASL_AUTHENTICATION_FAILED",
        60 => "REASSIGNMENT_IN_PROGRESS",
        72 => "LISTENER_NOT_FOUND",
        74 => "FENCED_LEADER_EPOCH",
        75 => "UNKNOWN_LEADER_EPOCH",
        78 => "OFFSET_NOT_AVAILABLE",
        80 => "PREFERRED_LEADER_NOT_AVAILABLE",
        83 => "ELIGIBLE_LEADERS_NOT_AVAILABLE",
        84 => "ELECTION_NOT_NEEDED",
        85 => "NO_REASSIGNMENT_IN_PROGRESS",
        _ => "an error without a name here",
    }
}
