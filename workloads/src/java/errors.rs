//! The table that turns a Java producer's exceptions into fail or info.
//!
//! Why it is not librdkafka's: the Java client tells neither whether a batch may have been written nor how often it was sent, and since KIP-951 it sends
//! again at once when the leader changed, so that no time proves a report to be about the first attempt. A batch's exception is that of its last
//! attempt alone. So what a *report* says is never definite. Definite is what `send()` itself refused before the record was kept to be sent; and
//! even of those exceptions some come after that (`TransactionManager.maybeAddPartition` is called behind the append to the accumulator).

use kchaos_core::{OpType, mutant};

use crate::worker::protocol::Stage;

/// One row of the table.
struct Row {
    class: &'static str,
    /// When it comes before `send()` has returned, the record was not kept.
    is_definite_at_send: bool,
    /// When it comes then, the client will take no record any more.
    ends_client: bool,
    why: &'static str,
    source: &'static str,
}

const DO_SEND: &str = "KafkaProducer.doSend";
const FAIL: &str = "TransactionManager.maybeFailWithError";
const PROTOCOL: &str = "Kafka protocol guide, error codes";

const fn refused(class: &'static str, why: &'static str, source: &'static str) -> Row {
    Row { class, is_definite_at_send: true, ends_client: false, why, source }
}

const fn doubtful(class: &'static str, why: &'static str, source: &'static str) -> Row {
    Row { class, is_definite_at_send: false, ends_client: false, why, source }
}

const fn fatal(class: &'static str, why: &'static str, source: &'static str) -> Row {
    Row { class, is_definite_at_send: false, ends_client: true, why, source }
}

impl Row {
    /// As the table says it; the other way round where that row is wrong on purpose (docs/mutants.md).
    fn is_definite_at_send(&self) -> bool {
        self.is_definite_at_send != mutant::is("class", &format_args!("java/{}", self.class))
    }

    fn ends_client(&self) -> bool {
        self.ends_client != mutant::is("class", &format_args!("java-ends/{}", self.class))
    }
}

/// What is missing here is info.
const TABLE: &[Row] = &[
    // Before the record is kept.
    refused(
        "TimeoutException",
        "no metadata in time; of a batch, that it may be out",
        "KafkaProducer.waitOnMetadata, Sender.getExpiredInflightBatches",
    ),
    refused("BufferExhaustedException", "no room for the record in time", "BufferPool.allocate"),
    refused(
        "RecordTooLargeException",
        "over max.request.size; of a batch, the broker's word for its last attempt",
        "KafkaProducer.ensureValidRecordSize",
    ),
    refused("SerializationException", "the record cannot be made", DO_SEND),
    refused("InvalidTopicException", "not a topic that may be written", "KafkaProducer.waitOnMetadata"),
    refused(
        "TopicAuthorizationException",
        "metadata is refused; of a batch, an earlier attempt may have been allowed",
        "Metadata.maybeThrowExceptionForTopic",
    ),
    refused("SaslAuthenticationException", "no connection for metadata", "Metadata.maybeThrowAnyException"),
    refused("SslAuthenticationException", "no connection for metadata", "Metadata.maybeThrowAnyException"),
    // Perhaps behind it.
    fatal("KafkaException", "an idempotent producer in its error state, noticed after the record was kept", FAIL),
    fatal("ProducerFencedException", "the same", FAIL),
    fatal("InvalidProducerEpochException", "the same", FAIL),
    fatal("IllegalStateException", "the same, or a closed client", FAIL),
    fatal("ClusterAuthorizationException", "idempotent writes are refused; the client stops", "Sender.maybeAbortBatches"),
    doubtful("InterruptException", "interrupted on the way", DO_SEND),
    // Of reports alone.
    doubtful(
        "NotLeaderOrFollowerException",
        "a leader deposed while the append waits for its replicas answers this after it appended",
        "KAFKA-13574; Kafka DelayedProduce, case B",
    ),
    doubtful("UnknownTopicOrPartitionException", "the same doubt: a broker that gives a partition up answers this too", "KAFKA-13574"),
    doubtful("NotEnoughReplicasException", "before the append, but perhaps of a later attempt", "KAFKA-1555"),
    doubtful("NotEnoughReplicasAfterAppendException", "appended, and then the ISR was found too small", "KAFKA-1555"),
    doubtful("NetworkException", "the connection broke with the request out", PROTOCOL),
    doubtful("DisconnectException", "the connection broke with the request out", PROTOCOL),
    doubtful("KafkaStorageException", "the disk failed, perhaps after the write", "KIP-112"),
    doubtful("CorruptRecordException", "the batch arrived damaged; an earlier attempt may not have", PROTOCOL),
    doubtful("OutOfOrderSequenceException", "an earlier batch of this producer is missing or in doubt", "KIP-98"),
    doubtful("UnknownProducerIdException", "the broker forgot the producer; an earlier attempt may be in the log", "KIP-360"),
    doubtful("DuplicateSequenceException", "an earlier attempt was written", "KIP-98"),
    doubtful("InvalidRecordException", "validation refuses the batch; perhaps a later attempt", "KIP-467"),
    doubtful("UnknownServerException", "the broker itself does not know", PROTOCOL),
];

#[cfg(feature = "mutants")]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.class)
}

fn row(class: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.class == class)
}

pub(super) fn classify(class: &str, stage: Stage) -> OpType {
    let is_at_send = stage == Stage::Send || mutant::is("class", &"java/report");
    let is_definite = row(class).map_or_else(|| mutant::is("class", &"java/unlisted"), Row::is_definite_at_send);
    if is_at_send && is_definite { OpType::Fail } else { OpType::Info }
}

pub(super) fn ends_client(class: &str, stage: Stage) -> bool {
    stage == Stage::Send && row(class).is_some_and(Row::ends_client)
}

/// An op's `error`. The exception's message goes to the client's log: it is another one each time.
pub(super) fn describe(class: &str, stage: Stage, is_retriable: bool) -> String {
    let known = match (classify(class, stage), stage) {
        (OpType::Fail, _) => "refused by send()",
        (_, Stage::Send) => "thrown by send()",
        (_, Stage::Report) => "reported",
    };
    format!("{class} ({known}{})", if is_retriable { ", retriable" } else { "" })
}

/// The section of `docs/errors.md`.
pub(crate) fn document() -> String {
    let mut text = String::from(
        "\n## Of the Java client (`--client java`)\n\n\
         Generated from the table in `workloads/src/java/errors.rs`. A send is **ok** if it is called back without an exception. The Java client says\n\
         neither whether a batch may have been written nor how often it was sent (since KIP-951 it sends again at once when the leader has changed),\n\
         so what it *reports* of a batch is always **info**. It is **fail** if `send()` itself threw it, or called back with it before it returned,\n\
         and the table says that this comes before the record is kept to be sent. Unlisted exceptions are **info**. An exception that ends the client\n\
         has it replaced by a new one, after a `crash`.\n\n\
         | exception | by `send()` | ends the client | why | source |\n|---|---|---|---|---|\n",
    );
    for row in TABLE {
        let at_send = if row.is_definite_at_send { "fail" } else { "info" };
        let ends = if row.ends_client { "yes" } else { "" };
        text.push_str(&format!("| `{}` | {at_send} | {ends} | {} | {} |\n", row.class, row.why, row.source));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reported_of_a_batch_is_never_definite() {
        for row in TABLE {
            assert_eq!(classify(row.class, Stage::Report), OpType::Info, "{}", row.class);
            assert!(!ends_client(row.class, Stage::Report), "{}", row.class);
        }
    }

    #[test]
    fn what_send_refuses_before_the_record_is_kept_fails() {
        for class in ["TimeoutException", "BufferExhaustedException", "RecordTooLargeException", "SerializationException"] {
            assert_eq!(classify(class, Stage::Send), OpType::Fail, "{class}");
        }
        assert_eq!(describe("TimeoutException", Stage::Send, true), "TimeoutException (refused by send(), retriable)");
    }

    #[test]
    fn what_send_may_throw_after_the_record_is_kept_is_info_and_ends_the_client() {
        for class in ["KafkaException", "ProducerFencedException", "InvalidProducerEpochException", "IllegalStateException"] {
            assert_eq!((classify(class, Stage::Send), ends_client(class, Stage::Send)), (OpType::Info, true), "{class}");
        }
    }

    /// Written out once more by hand, so that a row that slips to the other side is seen.
    #[test]
    fn exactly_these_exceptions_are_a_refusal_by_send_and_exactly_those_end_the_client() {
        const REFUSALS: &[&str] = &[
            "TimeoutException",
            "BufferExhaustedException",
            "RecordTooLargeException",
            "SerializationException",
            "InvalidTopicException",
            "TopicAuthorizationException",
            "SaslAuthenticationException",
            "SslAuthenticationException",
        ];
        const ENDS: &[&str] = &[
            "KafkaException",
            "ProducerFencedException",
            "InvalidProducerEpochException",
            "IllegalStateException",
            "ClusterAuthorizationException",
        ];
        for class in TABLE.iter().map(|row| row.class).chain(REFUSALS.iter().copied()).chain(ENDS.iter().copied()) {
            let expected = if REFUSALS.contains(&class) { OpType::Fail } else { OpType::Info };
            assert_eq!((classify(class, Stage::Send), ends_client(class, Stage::Send)), (expected, ENDS.contains(&class)), "{class}");
        }
    }

    #[test]
    fn an_unlisted_exception_is_info() {
        assert_eq!(classify("SomethingNewException", Stage::Send), OpType::Info);
    }

    #[test]
    fn no_exception_stands_in_the_table_twice() {
        for (position, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..position].iter().all(|earlier| earlier.class != row.class), "{}", row.class);
        }
    }
}
