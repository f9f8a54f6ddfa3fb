//! What clients ask of the cluster itself: changes, and what one broker tells. By ways that librdkafka has not, so whoever knows the cluster hands
//! them in ([`Context::admin`](crate::Context)); and the one table that says what a broker's answer to a change means.

use std::collections::BTreeMap;

use kchaos_core::{OpType, mutant};
use serde_json::{Value as Json, json};

/// A change of the cluster. It states what is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The preferred leader is to lead.
    Elect {
        topic: String,
        partition: i32,
    },
    /// Which brokers are to hold the replicas, the preferred leader first.
    Reassign {
        topic: String,
        partition: i32,
        replicas: Vec<i32>,
    },
    /// `None` takes the setting away.
    Setting {
        topic: String,
        name: String,
        value: Option<String>,
    },
    Create {
        topic: String,
        partitions: i32,
        replication_factor: i16,
        /// Others are the brokers' defaults.
        settings: Vec<(String, String)>,
    },
    Delete {
        topic: String,
    },
    /// To this number of partitions.
    Grow {
        topic: String,
        partitions: i32,
    },
    /// All records below this offset.
    DeleteRecords {
        leader: i32,
        topic: String,
        partition: i32,
        before: i64,
    },
}

/// Why a change was not answered with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotDone {
    /// `false`: it certainly never left.
    pub is_sent: bool,
    /// The broker's error code, where one answered.
    pub code: Option<i16>,
    pub text: String,
}

/// A topic as one broker tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenTopic {
    pub topic: String,
    pub partitions: Vec<SeenPartition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenPartition {
    pub partition: i32,
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
}

/// What a leader says of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenOffset {
    /// -1: there is none.
    pub offset: i64,
    /// Of the record there, -1 where that was not asked.
    pub timestamp_ms: i64,
    /// Of the record there; -1 if it is not known.
    pub leader_epoch: i32,
}

/// These block; they are called from threads of the workload's own.
pub trait Admin: Send + Sync {
    fn brokers(&self) -> Vec<i32>;
    /// Asks once, whatever comes of it.
    fn change(&self, change: &Change) -> Result<(), NotDone>;
    /// What this broker (or the first that answers) believes of these topics. One that it does not know is left out.
    fn topics(&self, broker: Option<i32>, names: &[String]) -> Result<Vec<SeenTopic>, String>;
    /// The settings of the topic itself, as this broker tells them; `None` if it knows no such topic.
    fn settings(&self, broker: i32, topic: &str) -> Result<Option<BTreeMap<String, String>>, String>;
    /// ListOffsets, asked of this broker as the leader at this epoch; `timestamp_ms` -1 is the high watermark, -2 the log's start.
    fn list_offset(&self, broker: i32, topic: &str, partition: i32, leader_epoch: i32, timestamp_ms: i64) -> Result<SeenOffset, NotDone>;
}

impl Change {
    /// As it stands in a history (docs/history.md).
    pub(crate) fn to_json(&self) -> Json {
        match self {
            Change::Elect { topic, partition } => json!({"change": "elect", "topic": topic, "partition": partition}),
            Change::Reassign { topic, partition, replicas } => {
                json!({"change": "reassign", "topic": topic, "partition": partition, "replicas": replicas})
            }
            Change::Setting { topic, name, value } => json!({"change": "setting", "topic": topic, "name": name, "to": value}),
            Change::Create { topic, partitions, .. } => json!({"change": "create", "topic": topic, "partitions": partitions}),
            Change::Delete { topic } => json!({"change": "delete", "topic": topic}),
            Change::Grow { topic, partitions } => json!({"change": "grow", "topic": topic, "partitions": partitions}),
            Change::DeleteRecords { topic, partition, before, leader } => {
                json!({"change": "delete-records", "topic": topic, "partition": partition, "before": before, "leader": leader})
            }
        }
    }
}

/// Whether an error code can mean "certainly not done".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Never,
    Perhaps,
}

/// By error code of Kafka's protocol. What is missing here is info.
pub const TABLE: &[(i16, Done, &str)] = &[
    // Refused before anything is done. A change is asked once, so nothing that came before can have been it.
    (3, Done::Never, "UNKNOWN_TOPIC_OR_PARTITION: there is nothing to be changed"),
    (17, Done::Never, "INVALID_TOPIC_EXCEPTION: the request is refused"),
    (29, Done::Never, "TOPIC_AUTHORIZATION_FAILED: the request is refused"),
    (31, Done::Never, "CLUSTER_AUTHORIZATION_FAILED: the request is refused"),
    (35, Done::Never, "UNSUPPORTED_VERSION: the request is refused"),
    (36, Done::Never, "TOPIC_ALREADY_EXISTS: somebody else made it"),
    (37, Done::Never, "INVALID_PARTITIONS: the request is refused"),
    (38, Done::Never, "INVALID_REPLICATION_FACTOR: fewer brokers are there"),
    (39, Done::Never, "INVALID_REPLICA_ASSIGNMENT: one of the brokers is not there"),
    (40, Done::Never, "INVALID_CONFIG: the value is refused"),
    (42, Done::Never, "INVALID_REQUEST: the request is refused"),
    (44, Done::Never, "POLICY_VIOLATION: the request is refused"),
    (73, Done::Never, "TOPIC_DELETION_DISABLED: the request is refused"),
    (80, Done::Never, "PREFERRED_LEADER_NOT_AVAILABLE: the preferred replica cannot lead"),
    (60, Done::Never, "REASSIGNMENT_IN_PROGRESS: another change of the replicas is under way"),
    // Nobody knows.
    (-1, Done::Perhaps, "UNKNOWN_SERVER_ERROR: the broker itself does not know"),
    (1, Done::Perhaps, "OFFSET_OUT_OF_RANGE: of several replicas, some may have deleted"),
    (6, Done::Perhaps, "NOT_LEADER_OR_FOLLOWER: deposed, perhaps after it began"),
    (7, Done::Perhaps, "REQUEST_TIMED_OUT: begun, and not finished in time"),
    (41, Done::Perhaps, "NOT_CONTROLLER: deposed, perhaps after it began"),
    (56, Done::Perhaps, "KAFKA_STORAGE_ERROR: the disk failed, perhaps after the change"),
];

/// ELECTION_NOT_NEEDED: it is as it was asked to be.
const ELECTION_NOT_NEEDED: i16 = 84;

/// The other way round where that row is wrong on purpose (docs/mutants.md).
fn is_never(code: i16, done: Done) -> bool {
    (done == Done::Never) != mutant::is("class", &format_args!("admin/{code}"))
}

/// The class of a change, and what stands beside it as its error.
pub(crate) fn classify(answer: &Result<(), NotDone>) -> (OpType, Option<String>) {
    match answer {
        Err(NotDone { code: Some(ELECTION_NOT_NEEDED), text, .. }) if mutant::is("class", &"admin/84") => {
            (OpType::Info, Some(text.clone()))
        }
        Err(NotDone { is_sent: false, text, .. }) if mutant::is("class", &"admin/unsent") => (OpType::Info, Some(text.clone())),
        Ok(()) | Err(NotDone { code: Some(ELECTION_NOT_NEEDED), .. }) => (OpType::Ok, None),
        Err(NotDone { is_sent: false, text, .. }) => (OpType::Fail, Some(text.clone())),
        Err(NotDone { code, text, .. }) => {
            let row = code.and_then(|code| TABLE.iter().find(|(of, ..)| *of == code));
            let is_never = row.map_or_else(|| mutant::is("class", &"admin/unlisted"), |(code, done, _)| is_never(*code, *done));
            let op_type = if is_never { OpType::Fail } else { OpType::Info };
            (op_type, Some(text.clone()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_a_change_is_classified_by_the_table_and_what_is_not_in_it_is_info() {
        let answered = |is_sent, code| classify(&Err(NotDone { is_sent, code, text: "t".into() })).0;
        assert_eq!(classify(&Ok(())), (OpType::Ok, None));
        assert_eq!(answered(true, Some(84)), OpType::Ok, "it is as it was asked to be");
        assert_eq!(answered(false, None), OpType::Fail, "it never left");
        for (code, expect) in [(36, OpType::Fail), (39, OpType::Fail), (7, OpType::Info), (41, OpType::Info), (999, OpType::Info)] {
            assert_eq!(answered(true, Some(code)), expect, "{code}");
        }
        assert_eq!(answered(true, None), OpType::Info, "no answer");
    }

    /// Written out once more by hand, so that a row that slips to the other side is seen.
    #[test]
    fn exactly_these_codes_are_a_refusal() {
        const REFUSALS: &[i16] = &[3, 17, 29, 31, 35, 36, 37, 38, 39, 40, 42, 44, 60, 73, 80];
        for code in TABLE.iter().map(|(code, ..)| *code).chain(REFUSALS.iter().copied()) {
            let expected = if REFUSALS.contains(&code) { OpType::Fail } else { OpType::Info };
            assert_eq!(classify(&Err(NotDone { is_sent: true, code: Some(code), text: "t".into() })).0, expected, "{code}");
        }
    }

    #[test]
    fn every_code_has_one_row() {
        let mut codes: Vec<i16> = TABLE.iter().map(|(code, ..)| *code).collect();
        codes.sort_unstable();
        assert!(codes.windows(2).all(|pair| pair[0] != pair[1]), "{codes:?}");
    }
}
