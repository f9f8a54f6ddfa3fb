//! The one table that turns what a client was told into ok, fail or info.
//!
//! Why a table: a wrong class makes a wrong verdict. A send called *fail* that is in the log after all accuses Kafka of showing aborted
//! data; one called *ok* that is not accuses it of losing data. So *fail* needs proof, and what is not listed is *info*.
//!
//! Three things decide together:
//! - the **status** of the message in its delivery report, which librdkafka never takes back from "possibly persisted";
//! - the **code**, by its row: may it be a definite refusal at all?
//! - the **attempt**: a code is definite on the first attempt only. librdkafka answers NOT_LEADER and its kin by retrying in silence,
//!   without counting and with the status left at "not persisted", although a broker may answer NOT_LEADER after it appended (leadership
//!   moved while the append waited for its replicas). So a later definite code, or a timeout in the queue, may hide an attempt that was
//!   written. A retry waits at least 0.8 × `retry.backoff.ms` (librdkafka: `rd_kafka_retry_msgq`, jitter 20 %), so a report that comes
//!   sooner than that is about the first attempt. A record that is itself over the limit of its topic (which is read back from the cluster) is
//!   refused for its size at every attempt, so that this refusal is definite whenever it comes.
//!
//! Limit: a message that timed out in the queue and truly never left it is info too. librdkafka shows nothing that would prove it.

use kchaos_core::{OpType, mutant};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::raw;

/// Of a message, in its delivery report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    NotPersisted,
    PossiblyPersisted,
    Persisted,
}

/// Which attempt a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// `produce()` itself refused: nothing was queued.
    Refused,
    /// Proved to be the first, by its time.
    First,
    /// Perhaps not the first.
    Any,
    /// Which one does not matter: the record alone is over its topic's limit, so that no broker takes it, however often it is tried.
    Oversize,
}

/// Whether a code can mean "certainly not written".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definite {
    OnFirstAttempt,
    Never,
}

impl Definite {
    /// As a table says it; the other way round where that row is wrong on purpose (docs/mutants.md).
    pub(crate) fn of(table: &str, row: &ErrorRow) -> Self {
        match (row.definite, mutant::is("class", &format_args!("{table}/{:?}", row.code))) {
            (definite, false) => definite,
            (Definite::OnFirstAttempt, true) => Definite::Never,
            (Definite::Never, true) => Definite::OnFirstAttempt,
        }
    }
}

/// One row of the table.
pub struct ErrorRow {
    pub code: Code,
    pub definite: Definite,
    /// In one sentence.
    pub why: &'static str,
    /// Where to read it up.
    pub source: &'static str,
}

pub(crate) const fn definite(code: Code, why: &'static str, source: &'static str) -> ErrorRow {
    ErrorRow { code, definite: Definite::OnFirstAttempt, why, source }
}

pub(crate) const fn never(code: Code, why: &'static str, source: &'static str) -> ErrorRow {
    ErrorRow { code, definite: Definite::Never, why, source }
}

const LIBRDKAFKA: &str = "librdkafka rdkafka_request.c, rd_kafka_handle_Produce_error";
const PROTOCOL: &str = "Kafka protocol guide, error codes";

/// Every code a send is known to end with. What is missing here is info.
pub const TABLE: &[ErrorRow] = &[
    // Refused by the client.
    definite(Code::QueueFull, "the client's own queue is full", LIBRDKAFKA),
    definite(Code::UnknownPartition, "the client knows the topic and it has no such partition", LIBRDKAFKA),
    definite(Code::UnknownTopic, "the client knows of no such topic", LIBRDKAFKA),
    definite(Code::InvalidArgument, "the client refuses the record", LIBRDKAFKA),
    definite(Code::PurgeQueue, "taken back from the client's queue", "librdkafka rd_kafka_purge"),
    // Refused by the broker before it appends.
    definite(Code::NotEnoughReplicas, "the broker counts the ISR before it appends", "KAFKA-1555"),
    definite(Code::MessageSizeTooLarge, "checked before the append", PROTOCOL),
    definite(Code::MessageBatchTooLarge, "checked before the append", PROTOCOL),
    definite(Code::InvalidMessageSize, "checked before the append", PROTOCOL),
    definite(Code::InvalidTimestamp, "checked before the append", "KIP-32"),
    definite(Code::InvalidRecord, "the whole batch is refused by validation", "KIP-467"),
    definite(Code::InvalidTopic, "not a topic that may be written", PROTOCOL),
    definite(Code::InvalidRequiredAcks, "the request is refused", PROTOCOL),
    definite(Code::UnsupportedForMessageFormat, "checked before the append", PROTOCOL),
    definite(Code::UnsupportedVersion, "the request is refused", PROTOCOL),
    definite(Code::PolicyViolation, "checked before the append", PROTOCOL),
    definite(Code::TopicAuthorizationFailed, "checked before the append", "KIP-11"),
    definite(Code::ClusterAuthorizationFailed, "checked before the append (idempotent writes need it)", "KIP-98"),
    definite(Code::TransactionalIdAuthorizationFailed, "checked before the append", "KIP-98"),
    definite(Code::InvalidProducerEpoch, "a fenced producer's batch is refused", "KIP-98"),
    definite(Code::InvalidTransactionalState, "checked before the append", "KIP-98"),
    definite(Code::InvalidProducerIdMapping, "checked before the append", "KIP-98"),
    // Nobody knows, although librdkafka says "not persisted".
    never(
        Code::NotLeaderForPartition,
        "a leader deposed while the append waits for its replicas answers this after it appended",
        "KAFKA-13574; Kafka DelayedProduce, case B",
    ),
    never(Code::LeaderNotAvailable, "the same doubt as NOT_LEADER_FOR_PARTITION", "KAFKA-13574"),
    never(Code::UnknownTopicOrPartition, "the same doubt: a broker that gives a partition up answers this too", "KAFKA-13574"),
    never(Code::ReplicaNotAvailable, "the same doubt as NOT_LEADER_FOR_PARTITION", "KAFKA-13574"),
    never(Code::BrokerNotAvailable, "the same doubt as NOT_LEADER_FOR_PARTITION", "KAFKA-13574"),
    never(Code::FencedLeaderEpoch, "leadership moved", "KIP-320"),
    never(Code::UnknownLeaderEpoch, "leadership moved", "KIP-320"),
    never(Code::KafkaStorageError, "the disk failed, perhaps after the write", "KIP-112"),
    never(Code::InvalidMessage, "the batch arrived damaged and is retried", LIBRDKAFKA),
    // Nobody knows.
    never(
        Code::MessageTimedOut,
        "the same code for a message in flight and one in the queue, which may have had an earlier attempt",
        LIBRDKAFKA,
    ),
    never(Code::TimedOutQueue, "a request timed out in the queue; its messages may have had an earlier attempt", LIBRDKAFKA),
    never(Code::OperationTimedOut, "no answer in time", LIBRDKAFKA),
    never(Code::RequestTimedOut, "the leader appended, and its replicas did not confirm in time", PROTOCOL),
    never(Code::NotEnoughReplicasAfterAppend, "appended, and then the ISR was found too small", "KAFKA-1555"),
    never(Code::BrokerTransportFailure, "the connection broke with the request out", LIBRDKAFKA),
    never(Code::NetworkException, "the connection broke with the request out", PROTOCOL),
    never(Code::SSL, "the connection broke with the request out", LIBRDKAFKA),
    never(Code::AllBrokersDown, "the connections broke", LIBRDKAFKA),
    never(Code::PurgeInflight, "given up with the request out", "librdkafka rd_kafka_purge"),
    never(Code::BadMessage, "the answer could not be read", LIBRDKAFKA),
    never(Code::OutOfOrderSequenceNumber, "an earlier batch of this producer is missing or in doubt", "KIP-98"),
    never(Code::DuplicateSequenceNumber, "an earlier attempt was written", "KIP-98"),
    never(Code::UnknownProducerId, "the broker forgot the producer; an earlier attempt may be in the log", "KIP-360"),
    never(Code::GaplessGuarantee, "the client stops because of a gap", "KIP-98"),
    never(Code::Fatal, "the client stops; what it had sent is in doubt", "KIP-98"),
    never(Code::Fenced, "another producer took over; what this one had sent is in doubt", "KIP-98"),
    never(Code::BrokerDestroy, "the client is going away", LIBRDKAFKA),
    never(Code::DestroyBroker, "the client dropped the broker with the request out", LIBRDKAFKA),
    never(Code::Unknown, "the broker itself does not know", PROTOCOL),
];

/// The class of a send. `code` is `None` for a report without an error.
pub fn classify(code: Option<Code>, status: Status, attempt: Attempt) -> OpType {
    let (status, attempt) = crate::mutants::misheard(status, attempt);
    match (code, status, attempt) {
        (_, Status::Persisted, _) => OpType::Ok,
        // acks=0: sent, and nobody said that it arrived.
        (None, _, _) => {
            if mutant::is("class", &"sends/silence") {
                OpType::Ok
            } else {
                OpType::Info
            }
        }
        (Some(_), _, Attempt::Refused) => OpType::Fail,
        (Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge), _, Attempt::Oversize) => OpType::Fail,
        (Some(_), Status::PossiblyPersisted, _) | (Some(_), _, Attempt::Any | Attempt::Oversize) => OpType::Info,
        (Some(code), Status::NotPersisted, Attempt::First) => match row(code).map(|row| Definite::of("sends", row)) {
            Some(Definite::OnFirstAttempt) => OpType::Fail,
            None if mutant::is("class", &"sends/unlisted") => OpType::Fail,
            Some(Definite::Never) | None => OpType::Info,
        },
    }
}

pub fn row(code: Code) -> Option<&'static ErrorRow> {
    TABLE.iter().find(|row| row.code == code)
}

/// An op's `error`: the code as librdkafka and Kafka name it, and what is known of the message.
pub(crate) fn describe(code: Code, status: Status, attempt: Attempt) -> String {
    let known = match (status, attempt) {
        (_, Attempt::Refused) => "refused by the client",
        (Status::NotPersisted, _) => "not persisted",
        (Status::PossiblyPersisted, _) => "possibly persisted",
        (Status::Persisted, _) => "persisted",
    };
    format!("{} ({known})", raw::code_name(code))
}

/// `docs/errors.md`, from the table.
pub fn document() -> String {
    let mut text = String::from(
        "# What a send's error means\n\n\
         Generated from the table in `workloads/src/errors.rs`; a test compares them.\n\n\
         A send is **ok** if its delivery report says *persisted*. It is **fail** if `produce()` itself refused it, whatever the code;\n\
         or if the report says *not persisted*, the code is definite below, and the report came so soon (less than 0.8 ×\n\
         `retry.backoff.ms`) that it must be about the first attempt. A record that alone is over its topic's `max.message.bytes` (the\n\
         workload `order` sends some) is **fail** if it is refused for its size, at whichever attempt: no broker takes it. Everything\n\
         else, unlisted codes included, is **info**: nobody knows. With `acks=0` every send is info.\n\n\
         | code | number | definite | why | source |\n|---|---|---|---|---|\n",
    );
    for row in TABLE {
        let definite = match row.definite {
            Definite::OnFirstAttempt => "on the first attempt",
            Definite::Never => "never",
        };
        text.push_str(&table_row(row.code, definite, row.why, row.source));
    }
    text.push_str(&crate::java::errors::document());
    text.push_str(&crate::transactions::document());
    text.push_str(&crate::queue::document());
    text.push_str(&crate::register::document());
    text
}

/// A line of the tables in `docs/errors.md`.
pub(crate) fn table_row(code: Code, answer: &str, why: &str, source: &str) -> String {
    format!("| `{}` | {} | {answer} | {why} | {source} |\n", raw::code_name(code), code as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Attempt::{Any, First, Oversize, Refused};
    use Status::{NotPersisted, Persisted, PossiblyPersisted};

    fn check(code: Option<Code>, status: Status, attempt: Attempt, expected: OpType) {
        assert_eq!(classify(code, status, attempt), expected, "{code:?} {status:?} {attempt:?}");
    }

    #[test]
    fn persisted_is_ok_whatever_else_is_said() {
        for attempt in [First, Any] {
            check(None, Persisted, attempt, OpType::Ok);
            check(Some(Code::MessageTimedOut), Persisted, attempt, OpType::Ok);
        }
    }

    #[test]
    fn no_error_without_an_acknowledgement_is_info() {
        check(None, PossiblyPersisted, First, OpType::Info);
        check(None, NotPersisted, First, OpType::Info);
    }

    #[test]
    fn what_produce_refuses_fails_whatever_the_code() {
        for code in [Code::QueueFull, Code::Fatal, Code::NotLeaderForPartition] {
            check(Some(code), NotPersisted, Refused, OpType::Fail);
        }
    }

    #[test]
    fn possibly_persisted_is_info_for_every_code() {
        for row in TABLE {
            check(Some(row.code), PossiblyPersisted, First, OpType::Info);
            check(Some(row.code), PossiblyPersisted, Any, OpType::Info);
        }
    }

    #[test]
    fn a_definite_code_fails_on_the_first_attempt_only() {
        for row in TABLE.iter().filter(|row| Definite::of("sends", row) == Definite::OnFirstAttempt) {
            check(Some(row.code), NotPersisted, First, OpType::Fail);
            check(Some(row.code), NotPersisted, Any, OpType::Info);
        }
    }

    #[test]
    fn what_is_over_the_limit_fails_by_the_word_for_its_size_alone_and_at_any_attempt() {
        for status in [NotPersisted, PossiblyPersisted] {
            check(Some(Code::MessageSizeTooLarge), status, Oversize, OpType::Fail);
            check(Some(Code::MessageTimedOut), status, Oversize, OpType::Info);
            check(Some(Code::NotEnoughReplicas), status, Oversize, OpType::Info);
        }
        check(None, Persisted, Oversize, OpType::Ok);
        check(Some(Code::MessageSizeTooLarge), NotPersisted, Any, OpType::Info);
    }

    #[test]
    fn what_is_never_definite_is_info_even_if_not_persisted_on_the_first_attempt() {
        for row in TABLE.iter().filter(|row| Definite::of("sends", row) == Definite::Never) {
            check(Some(row.code), NotPersisted, First, OpType::Info);
        }
        for code in [Code::NotLeaderForPartition, Code::LeaderNotAvailable, Code::UnknownTopicOrPartition, Code::KafkaStorageError] {
            assert_eq!(row(code).map(|row| Definite::of("sends", row)), Some(Definite::Never), "{code:?}");
        }
    }

    /// Written out once more by hand, so that a row that slips to the other side is seen.
    #[test]
    fn exactly_these_codes_are_a_refusal_on_the_first_attempt() {
        const REFUSALS: &[Code] = &[
            Code::QueueFull,
            Code::UnknownPartition,
            Code::UnknownTopic,
            Code::InvalidArgument,
            Code::PurgeQueue,
            Code::NotEnoughReplicas,
            Code::MessageSizeTooLarge,
            Code::MessageBatchTooLarge,
            Code::InvalidMessageSize,
            Code::InvalidTimestamp,
            Code::InvalidRecord,
            Code::InvalidTopic,
            Code::InvalidRequiredAcks,
            Code::UnsupportedForMessageFormat,
            Code::UnsupportedVersion,
            Code::PolicyViolation,
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::TransactionalIdAuthorizationFailed,
            Code::InvalidProducerEpoch,
            Code::InvalidTransactionalState,
            Code::InvalidProducerIdMapping,
        ];
        for code in TABLE.iter().map(|row| row.code).chain(REFUSALS.iter().copied()) {
            let expected = if REFUSALS.contains(&code) { OpType::Fail } else { OpType::Info };
            check(Some(code), NotPersisted, First, expected);
        }
    }

    #[test]
    fn every_timeout_is_never_definite() {
        for code in [Code::MessageTimedOut, Code::TimedOutQueue, Code::OperationTimedOut, Code::RequestTimedOut] {
            check(Some(code), NotPersisted, First, OpType::Info);
        }
    }

    #[test]
    fn an_unlisted_code_is_info() {
        assert!(row(Code::StaleControllerEpoch).is_none());
        check(Some(Code::StaleControllerEpoch), NotPersisted, First, OpType::Info);
    }

    #[test]
    fn no_code_stands_in_the_table_twice() {
        for (position, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..position].iter().all(|earlier| earlier.code != row.code), "{:?}", row.code);
        }
    }

    #[test]
    fn the_document_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
        if std::env::var_os("KCHAOS_UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).unwrap();
            std::fs::write(path, document()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == document(),
            "docs/errors.md is not what the table says: run KCHAOS_UPDATE_DOCS=1 cargo test -p kchaos-workloads errors"
        );
    }
}
