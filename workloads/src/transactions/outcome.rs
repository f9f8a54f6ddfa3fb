//! What became of a transaction: the table for what `commit_transaction()` answers.
//!
//! Why a table of its own: a transaction is all or nothing, and only its coordinator decides which. So there are two questions. Was the
//! coordinator ever asked to commit? And if it was, did it certainly refuse?
//!
//! - **Nobody asked**: the only thing that commits a transaction is its producer's own EndTxn(commit). One whose commit was never invoked is
//!   aborted, by its own abort, by the next producer's `init_transactions()` or by its timeout; it is *fail*, whatever the abort answered.
//!   (If its values show after all, they were committed without being asked for: KAFKA-17754.) To make this the rule, every send of a
//!   transaction is acknowledged before its commit is invoked; one with a send that failed is aborted.
//! - **Asked after another took over**: `init_transactions()` of a second producer with the same transactional id returns when the first one's
//!   transaction is aborted and its epoch fenced (KIP-98). A commit that is invoked after that is refused, whenever it arrives: *fail*.
//! - **Asked**: *ok* if librdkafka says so. A timeout is no answer: the call is resumable (librdkafka `rd_kafka_commit_transaction`: call it
//!   again), so it is repeated until the transaction's own timeout is well over, and then *info*. Aborting instead would be
//!   the hazard of KAFKA-17754. Errors are *info* but for the rows below.
//!
//! A refusal is definite on the first attempt only, as with sends: librdkafka sends EndTxn again by itself after a timeout, a broken
//! connection or a coordinator that moved, and an earlier one may have been heard. It waits at least 0.8 × `retry.backoff.ms` before it does.
//!
//! After *info* and after every fatal error the producer is dropped and a new one takes over the transactional id, which completes what was
//! prepared and aborts what was not.

use kchaos_core::{OpType, mutant};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::errors::{Attempt, table_row};

/// Whether a code can mean that the coordinator certainly did not commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// librdkafka found out before it sent EndTxn, and says that the transaction must be aborted.
    BeforeAsking,
    OnFirstAttempt,
    Never,
}

impl Refusal {
    /// As the table says it; another where that row is wrong on purpose (docs/mutants.md).
    fn of(row: &CommitRow) -> Self {
        match (row.refusal, mutant::is("class", &format_args!("transactions/{:?}", row.code))) {
            (refusal, false) => refusal,
            (Refusal::BeforeAsking | Refusal::OnFirstAttempt, true) => Refusal::Never,
            (Refusal::Never, true) => Refusal::OnFirstAttempt,
        }
    }
}

pub(crate) struct CommitRow {
    pub(crate) code: Code,
    pub(crate) refusal: Refusal,
    pub(crate) why: &'static str,
    pub(crate) source: &'static str,
}

const fn row_of(code: Code, refusal: Refusal, why: &'static str, source: &'static str) -> CommitRow {
    CommitRow { code, refusal, why, source }
}

const LIBRDKAFKA: &str = "librdkafka rdkafka_txnmgr.c, rd_kafka_txn_handle_EndTxn";

/// Every code a commit is known to end with. What is missing here is info.
pub(crate) const TABLE: &[CommitRow] = &[
    row_of(
        Code::Inconsistent,
        Refusal::BeforeAsking,
        "a message of the transaction failed: EndTxn is not sent",
        "librdkafka rdkafka_txnmgr.c, rd_kafka_txn_op_commit_transaction",
    ),
    row_of(
        Code::Fenced,
        Refusal::OnFirstAttempt,
        "PRODUCER_FENCED or INVALID_PRODUCER_EPOCH: the epoch was bumped by another producer or by the timeout's abort, which aborted the \
         transaction first",
        "KIP-98, KIP-360, KIP-588",
    ),
    row_of(Code::TransactionalIdAuthorizationFailed, Refusal::OnFirstAttempt, "checked before the coordinator looks", "KIP-98"),
    row_of(Code::ClusterAuthorizationFailed, Refusal::OnFirstAttempt, "checked before the coordinator looks", "KIP-98"),
    row_of(
        Code::InvalidTransactionalState,
        Refusal::Never,
        "the transaction has ended already, perhaps by an earlier EndTxn(commit) that was late",
        "KAFKA-17754, KAFKA-20785",
    ),
    row_of(Code::OperationTimedOut, Refusal::Never, "no answer in time; the commit goes on", LIBRDKAFKA),
    row_of(Code::RequestTimedOut, Refusal::Never, "the coordinator's log did not confirm in time", "Kafka protocol guide, error codes"),
    row_of(Code::BrokerTransportFailure, Refusal::Never, "the connection broke with the request out", LIBRDKAFKA),
    row_of(Code::CoordinatorNotAvailable, Refusal::Never, "sent again to whoever comes next", LIBRDKAFKA),
    row_of(Code::NotCoordinator, Refusal::Never, "sent again to whoever comes next", LIBRDKAFKA),
    row_of(Code::CoordinatorLoadInProgress, Refusal::Never, "sent again; an earlier one may be in what is loaded", LIBRDKAFKA),
    row_of(Code::ConcurrentTransactions, Refusal::Never, "an end is under way, perhaps this one", LIBRDKAFKA),
    row_of(
        Code::InvalidProducerIdMapping,
        Refusal::Never,
        "the coordinator forgot the producer; an earlier one may have been heard",
        "KIP-360",
    ),
    row_of(Code::UnknownProducerId, Refusal::Never, "the coordinator forgot the producer; an earlier one may have been heard", "KIP-360"),
    row_of(Code::Outdated, Refusal::Never, "an answer to what is no longer asked", LIBRDKAFKA),
    row_of(Code::State, Refusal::Never, "the client is in another state than we believe", LIBRDKAFKA),
    row_of(Code::Fatal, Refusal::Never, "the client stops", LIBRDKAFKA),
    row_of(Code::Unknown, Refusal::Never, "the coordinator itself does not know", "Kafka protocol guide, error codes"),
];

pub(crate) fn row(code: Code) -> Option<&'static CommitRow> {
    TABLE.iter().find(|row| row.code == code)
}

/// What a commit was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// `None`: it succeeded.
    pub(crate) code: Option<Code>,
    pub(crate) requires_abort: bool,
    pub(crate) attempt: Attempt,
    /// Another producer had taken the transactional id over before the commit was invoked.
    pub(crate) is_superseded: bool,
}

/// The class of a transaction whose commit was invoked.
pub(crate) fn classify(answer: Answer) -> OpType {
    let answer = crate::mutants::misheard_commit(answer);
    let Some(code) = answer.code else { return OpType::Ok };
    match row(code).map_or(Refusal::Never, Refusal::of) {
        _ if answer.is_superseded => OpType::Fail,
        Refusal::BeforeAsking if answer.requires_abort => OpType::Fail,
        Refusal::OnFirstAttempt if answer.attempt == Attempt::First => OpType::Fail,
        _ => OpType::Info,
    }
}

/// The part of `docs/errors.md` that tells of transactions.
pub(crate) fn document() -> String {
    let mut text = String::from(
        "\n# What the error of a transaction's commit means\n\n\
         A transaction whose commit was never invoked is **fail**: nobody asked for it, whatever became of its abort. So is one whose commit\n\
         was invoked after another producer had taken its transactional id over. Every send of a transaction is acknowledged before its commit\n\
         is invoked. The commit is **ok** if it succeeds. A timeout is no answer: the commit is invoked again until its transaction's timeout\n\
         is well over. It is **fail** if the code is a refusal below; on the first attempt means that the answer came so soon (less than 0.8 ×\n\
         `retry.backoff.ms`) that EndTxn cannot have been sent twice. Everything else, unlisted codes included, is **info**.\n\n\
         | code | number | refusal | why | source |\n|---|---|---|---|---|\n",
    );
    for row in TABLE {
        let refusal = match row.refusal {
            Refusal::BeforeAsking => "before it is asked",
            Refusal::OnFirstAttempt => "on the first attempt",
            Refusal::Never => "never",
        };
        text.push_str(&table_row(row.code, refusal, row.why, row.source));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: Option<Code>, requires_abort: bool, attempt: Attempt, is_superseded: bool, expected: OpType) {
        let answer = Answer { code, requires_abort, attempt, is_superseded };
        assert_eq!(classify(answer), expected, "{answer:?}");
    }

    #[test]
    fn a_commit_that_succeeds_is_ok_even_for_one_that_was_superseded() {
        check(None, false, Attempt::Any, false, OpType::Ok);
        check(None, false, Attempt::First, true, OpType::Ok);
    }

    #[test]
    fn a_refusal_is_definite_on_the_first_attempt_only() {
        for row in TABLE.iter().filter(|row| Refusal::of(row) == Refusal::OnFirstAttempt) {
            check(Some(row.code), false, Attempt::First, false, OpType::Fail);
            check(Some(row.code), false, Attempt::Any, false, OpType::Info);
        }
    }

    /// Written out once more by hand, so that a row that slips to another side is seen.
    #[test]
    fn exactly_these_codes_are_a_refusal_on_the_first_attempt() {
        const REFUSALS: &[Code] = &[Code::Fenced, Code::TransactionalIdAuthorizationFailed, Code::ClusterAuthorizationFailed];
        for code in TABLE.iter().map(|row| row.code).chain(REFUSALS.iter().copied()) {
            let expected = if REFUSALS.contains(&code) { OpType::Fail } else { OpType::Info };
            check(Some(code), false, Attempt::First, false, expected);
        }
    }

    #[test]
    fn what_was_found_before_asking_is_definite_if_the_client_wants_an_abort() {
        check(Some(Code::Inconsistent), true, Attempt::Any, false, OpType::Fail);
        check(Some(Code::Inconsistent), false, Attempt::First, false, OpType::Info);
    }

    #[test]
    fn timeouts_lost_coordinators_and_ended_transactions_are_info() {
        for row in TABLE.iter().filter(|row| Refusal::of(row) == Refusal::Never) {
            check(Some(row.code), true, Attempt::First, false, OpType::Info);
        }
        for code in [Code::OperationTimedOut, Code::NotCoordinator, Code::InvalidTransactionalState, Code::ConcurrentTransactions] {
            assert_eq!(row(code).map(Refusal::of), Some(Refusal::Never), "{code:?}");
        }
        check(Some(Code::PolicyViolation), true, Attempt::First, false, OpType::Info);
    }

    #[test]
    fn whatever_a_superseded_producer_is_answered_it_did_not_commit() {
        for code in [Code::OperationTimedOut, Code::Fenced, Code::Fatal, Code::PolicyViolation] {
            check(Some(code), false, Attempt::Any, true, OpType::Fail);
        }
    }

    #[test]
    fn no_code_stands_in_the_table_twice() {
        for (position, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..position].iter().all(|earlier| earlier.code != row.code), "{:?}", row.code);
        }
    }
}
