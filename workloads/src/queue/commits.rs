//! Commits whose answer comes later: asynchronous ones, and those of librdkafka's timer.
//!
//! A process does one thing at a time, so each open commit is an op of a process of its own (a lane), with the member's `client` and the
//! group beside it. One commit of one partition, since the timer puts several together as it likes. It is invoked when the offset is handed to
//! librdkafka, *before* that can be sent. Which of several stored offsets the timer took, nobody tells: those that a later one overtook
//! end in info.

use std::collections::BTreeMap;

use kchaos_core::{Key, Offset, OpType, mutant};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::errors::{Definite, ErrorRow, definite, never, table_row};

const DEFERRED: &str = "librdkafka rdkafka_cgrp.c, rd_kafka_cgrp_defer_offset_commit";
const KAFKA: &str = "Kafka GroupMetadataManager.storeOffsets";

/// Every code that a commit is known to end with. What is missing here is info.
///
/// Why brokers' refusals are not definite: a commit whose coordinator went away is kept by librdkafka and sent again to the next one, without a
/// word. So a refusal may be of the second attempt, and the first may have been written.
pub(crate) const TABLE: &[ErrorRow] = &[
    definite(Code::NoOffset, "there is nothing to commit, and nothing is sent", "librdkafka rd_kafka_cgrp_offsets_commit"),
    definite(Code::UnknownGroup, "the client is in no group, and nothing is sent", "librdkafka rd_kafka_commit0"),
    definite(Code::InvalidArgument, "the client refuses the offsets", "librdkafka rd_kafka_offsets_store"),
    definite(Code::State, "the partition is not the member's any more, and its offset is not stored", "librdkafka rd_kafka_offset_store0"),
    definite(Code::UnknownPartition, "the member has no such partition", "librdkafka rd_kafka_offset_store0"),
    never(Code::RebalanceInProgress, "refused, perhaps at a second attempt", DEFERRED),
    never(Code::IllegalGeneration, "refused, perhaps at a second attempt", DEFERRED),
    never(Code::UnknownMemberId, "refused, perhaps at a second attempt", DEFERRED),
    never(Code::FencedInstanceId, "refused, perhaps at a second attempt", DEFERRED),
    never(Code::StaleMemberEpoch, "refused, perhaps at a second attempt", DEFERRED),
    never(Code::FencedMemberEpoch, "refused, perhaps at a second attempt", DEFERRED),
    never(Code::GroupAuthorizationFailed, "refused, perhaps at a second attempt", DEFERRED),
    never(Code::NotCoordinator, "a coordinator deposed while the append waits for its replicas answers this after it appended", KAFKA),
    never(Code::CoordinatorNotAvailable, "appended, and then the ISR was found too small", KAFKA),
    never(Code::CoordinatorLoadInProgress, "refused, perhaps at a second attempt", DEFERRED),
    never(Code::WaitingForCoordinator, "no coordinator was found in time, after an attempt or none", DEFERRED),
    never(Code::RequestTimedOut, "the coordinator appended, and its replicas did not confirm in time", KAFKA),
    never(Code::OperationTimedOut, "no answer in time", "librdkafka rd_kafka_handle_OffsetCommit"),
    never(Code::BrokerTransportFailure, "the connection broke with the request out", "librdkafka rd_kafka_handle_OffsetCommit"),
    never(Code::Fatal, "the client stops; what it had sent is in doubt", "librdkafka rd_kafka_cgrp_offsets_commit"),
    never(Code::BrokerDestroy, "the client is going away", "librdkafka rd_kafka_cgrp_op_handle_OffsetCommit"),
];

/// The class of a commit. `None` for a success: librdkafka reports an error if any partition has one.
pub(crate) fn classify(code: Option<Code>) -> OpType {
    let Some(code) = code else { return OpType::Ok };
    match TABLE.iter().find(|row| row.code == code).map(|row| Definite::of("commits", row)) {
        Some(Definite::OnFirstAttempt) => OpType::Fail,
        None if mutant::is("class", &"commits/unlisted") => OpType::Fail,
        Some(Definite::Never) | None => OpType::Info,
    }
}

/// Its part of `docs/errors.md`.
pub(crate) fn document() -> String {
    let mut text = String::from(
        "\n# What the error of a group's commit means\n\n\
         A group member's commit is **ok** if no partition of it has an error, **fail** if the code is definite below, and else **info**. librdkafka\n\
         keeps a commit whose coordinator went away and sends it again without a word, so that no broker's refusal is definite.\n\n\
         | code | number | definite | why | source |\n|---|---|---|---|---|\n",
    );
    for row in TABLE {
        let definite = if row.definite == Definite::OnFirstAttempt { "yes" } else { "no" };
        text.push_str(&table_row(row.code, definite, row.why, row.source));
    }
    text
}

/// The commits of one client that are open.
#[derive(Default)]
pub(crate) struct Commits {
    open: BTreeMap<Key, Vec<Open>>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    process: u32,
    offset: Offset,
}

/// How a commit ended, to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) process: u32,
    pub(crate) key: Key,
    pub(crate) offset: Offset,
    pub(crate) op_type: OpType,
}

impl Commits {
    /// The process that commits.
    pub(crate) fn begin(&mut self, key: Key, offset: Offset, new_process: impl FnOnce() -> u32) -> u32 {
        let process = self.free.pop().unwrap_or_else(new_process);
        self.open.entry(key).or_default().push(Open { process, offset });
        process
    }

    /// What was told of an offset; earlier ones that are still open were overtaken. One that nobody began is nobody's.
    pub(crate) fn end(&mut self, key: Key, offset: Offset, code: Option<Code>) -> Vec<Ended> {
        let Some(open) = self.open.get_mut(&key) else { return Vec::new() };
        let Some(place) = open.iter().position(|open| open.offset == offset) else { return Vec::new() };
        let class = classify(code);
        // A refusal overtakes nothing.
        let from = if class == OpType::Ok { 0 } else { place };
        let ended: Vec<_> = open.drain(from..=place).collect();
        let last = ended.len() - 1;
        let types = (0..=last).map(|at| if at == last { class } else { OpType::Info });
        let ended: Vec<_> =
            ended.iter().zip(types).map(|(open, op_type)| Ended { process: open.process, key, offset: open.offset, op_type }).collect();
        self.free.extend(ended.iter().filter(|ended| ended.op_type != OpType::Info).map(|ended| ended.process));
        ended
    }

    /// The client is gone: nobody will tell.
    pub(crate) fn give_up(&mut self) -> Vec<Ended> {
        let open = std::mem::take(&mut self.open).into_iter();
        let of = |(key, open): (Key, Vec<Open>)| {
            open.into_iter().map(move |open| Ended { process: open.process, key, offset: open.offset, op_type: OpType::Info })
        };
        open.flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three_open() -> Commits {
        let mut commits = Commits::default();
        for (process, offset) in [(10, 5), (11, 9), (12, 14)] {
            assert_eq!(commits.begin(0, offset, || process), process);
        }
        commits
    }

    fn told(ended: &[Ended]) -> Vec<(u32, Offset, OpType)> {
        ended.iter().map(|ended| (ended.process, ended.offset, ended.op_type)).collect()
    }

    #[test]
    fn what_a_later_commit_overtook_nobody_knows() {
        let mut commits = three_open();
        assert_eq!(told(&commits.end(0, 9, None)), [(10, 5, OpType::Info), (11, 9, OpType::Ok)]);
        assert_eq!(commits.begin(0, 20, || 99), 11, "the lane of a commit that ended well is used again");
        assert_eq!(told(&commits.give_up()), [(12, 14, OpType::Info), (11, 20, OpType::Info)]);
    }

    #[test]
    fn a_refusal_overtakes_nothing_and_an_answer_to_nobody_is_nobodys() {
        let mut commits = three_open();
        assert_eq!(told(&commits.end(0, 14, Some(Code::IllegalGeneration))), [(12, 14, OpType::Info)]);
        assert_eq!(told(&commits.end(0, 9, Some(Code::NoOffset))), [(11, 9, OpType::Fail)]);
        assert!(commits.end(0, 7, None).is_empty() && commits.end(3, 5, None).is_empty());
    }

    /// Written out once more by hand, so that a row that slips to the other side is seen.
    #[test]
    fn exactly_these_codes_are_a_failure() {
        const REFUSALS: &[Code] = &[Code::NoOffset, Code::UnknownGroup, Code::InvalidArgument, Code::State, Code::UnknownPartition];
        for code in TABLE.iter().map(|row| row.code).chain(REFUSALS.iter().copied()) {
            let expected = if REFUSALS.contains(&code) { OpType::Fail } else { OpType::Info };
            assert_eq!(classify(Some(code)), expected, "{code:?}");
        }
    }

    #[test]
    fn only_what_was_never_sent_is_a_failure() {
        for row in TABLE {
            let definite = Definite::of("commits", row);
            let expected = if definite == Definite::OnFirstAttempt { OpType::Fail } else { OpType::Info };
            assert_eq!(classify(Some(row.code)), expected, "{:?}", row.code);
            assert!(definite == Definite::Never || (row.code as i32) < 0, "{:?} is a broker's word", row.code);
        }
        assert_eq!((classify(None), classify(Some(Code::InvalidTimestamp))), (OpType::Ok, OpType::Info));
    }
}
