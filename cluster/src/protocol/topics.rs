//! What makes and unmakes topics: CreateTopics 2, DeleteTopics 1, CreatePartitions 0; and any change asked exactly once.
//!
//! Why once: a topic that exists already is a refusal of the first try and the success of an earlier one, so an answer speaks for its request only if
//! there was no other. So a connection of its own is made, nothing is asked a second time, and the caller is told whether anything was sent.

use super::admin::{AlterConfigRequest, AlterReassignmentRequest, DeleteRecordsRequest, ElectLeadersRequest, Verdict, worst};
use super::client::Client;
use super::connection::Connection;
use super::error::ProtocolError;
use super::messages::{Request, Resource};
use super::wire::{Decoder, Encoder, WireError};

/// How long a broker may take over a change before it answers; below the client's own request timeout.
const CHANGE_TIMEOUT_MS: i32 = 4_000;

/// A change of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask<'a> {
    /// The preferred leader.
    Elect {
        topic: &'a str,
        partition: i32,
    },
    /// Which brokers are to hold the replicas, the preferred leader first.
    Reassign {
        topic: &'a str,
        partition: i32,
        replicas: &'a [i32],
    },
    /// A topic's setting; `None` takes it away.
    TopicSetting {
        topic: &'a str,
        name: &'a str,
        value: Option<&'a str>,
    },
    Create {
        topic: &'a str,
        partitions: i32,
        replication_factor: i16,
        /// Others are the brokers' defaults.
        settings: &'a [(String, String)],
    },
    Delete {
        topic: &'a str,
    },
    /// To this number of partitions.
    Grow {
        topic: &'a str,
        partitions: i32,
    },
    /// All records below this offset, asked of the leader.
    DeleteRecords {
        leader: i32,
        topic: &'a str,
        partition: i32,
        before: i64,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct Unanswered {
    /// `false`: the request certainly never left.
    pub is_sent: bool,
    pub source: ProtocolError,
}

struct CreateTopicRequest<'a> {
    topic: &'a str,
    partitions: i32,
    replication_factor: i16,
    settings: &'a [(String, String)],
}

impl Request for CreateTopicRequest<'_> {
    const KEY: i16 = 19;
    const VERSION: i16 = 2;
    const NAME: &'static str = "CreateTopics";
    type Response = Verdict;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.array(&[()], |encoder, ()| {
            encoder.string(self.topic);
            encoder.i32(self.partitions);
            encoder.i16(self.replication_factor);
            // Brokers choose who holds what.
            encoder.array(&[], |_, ()| {});
            encoder.array(self.settings, |encoder, (name, value)| {
                encoder.string(name);
                encoder.string(value);
            });
        });
        encoder.i32(CHANGE_TIMEOUT_MS);
        encoder.bool(false);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Verdict, WireError> {
        let _throttle_ms = decoder.i32()?;
        decoder.array(named_code_with_message).map(worst)
    }
}

struct DeleteTopicRequest<'a> {
    topic: &'a str,
}

impl Request for DeleteTopicRequest<'_> {
    const KEY: i16 = 20;
    const VERSION: i16 = 1;
    const NAME: &'static str = "DeleteTopics";
    type Response = Verdict;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.array(&[self.topic], |encoder, topic| encoder.string(topic));
        encoder.i32(CHANGE_TIMEOUT_MS);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Verdict, WireError> {
        let _throttle_ms = decoder.i32()?;
        let codes = decoder.array(|decoder| {
            let (_topic, error) = (decoder.string()?, decoder.i16()?);
            Ok(error)
        })?;
        Ok(worst(codes))
    }
}

struct CreatePartitionsRequest<'a> {
    topic: &'a str,
    partitions: i32,
}

impl Request for CreatePartitionsRequest<'_> {
    const KEY: i16 = 37;
    const VERSION: i16 = 0;
    const NAME: &'static str = "CreatePartitions";
    type Response = Verdict;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.array(&[()], |encoder, ()| {
            encoder.string(self.topic);
            encoder.i32(self.partitions);
            encoder.null_array();
        });
        encoder.i32(CHANGE_TIMEOUT_MS);
        encoder.bool(false);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Verdict, WireError> {
        let _throttle_ms = decoder.i32()?;
        decoder.array(named_code_with_message).map(worst)
    }
}

fn named_code_with_message(decoder: &mut Decoder<'_>) -> Result<i16, WireError> {
    let (_topic, error, _message) = (decoder.string()?, decoder.i16()?, decoder.nullable_string()?);
    Ok(error)
}

impl Client {
    /// Asks for a change once, and gives the answer's error code; 0 is none.
    pub async fn ask_once(&self, ask: Ask<'_>) -> Result<i16, Unanswered> {
        match ask {
            Ask::Elect { topic, partition } => self.of_controller(&ElectLeadersRequest { topic, partition }).await,
            Ask::Reassign { topic, partition, replicas } => {
                self.of_controller(&AlterReassignmentRequest { topic, partition, replicas }).await
            }
            Ask::TopicSetting { topic, name, value } => {
                self.of_controller(&AlterConfigRequest { resource: Resource::Topic(topic), name, value }).await
            }
            Ask::Create { topic, partitions, replication_factor, settings } => {
                self.of_controller(&CreateTopicRequest { topic, partitions, replication_factor, settings }).await
            }
            Ask::Delete { topic } => self.of_controller(&DeleteTopicRequest { topic }).await,
            Ask::Grow { topic, partitions } => self.of_controller(&CreatePartitionsRequest { topic, partitions }).await,
            Ask::DeleteRecords { leader, topic, partition, before } => {
                self.of_broker(leader, &DeleteRecordsRequest { topic, partition, before }).await
            }
        }
    }

    async fn of_controller<R: Request<Response = Verdict>>(&self, request: &R) -> Result<i16, Unanswered> {
        let unsent = |source| Unanswered { is_sent: false, source };
        let metadata = self.metadata_from_any(Some(&[])).await.map_err(unsent)?;
        let broker = metadata.controller.ok_or(ProtocolError::NoController).map_err(unsent)?;
        self.of_broker(broker, request).await
    }

    async fn of_broker<R: Request<Response = Verdict>>(&self, broker: i32, request: &R) -> Result<i16, Unanswered> {
        let unsent = |source| Unanswered { is_sent: false, source };
        let peer = self.peer(broker).await.map_err(unsent)?;
        let timeouts = self.timeouts();
        let mut connection = Connection::open(peer, self.security(), timeouts.connect, timeouts.request).await.map_err(unsent)?;
        let answer = connection.call(request, timeouts.request).await;
        let answer = answer.map_err(|source| Unanswered { is_sent: !matches!(source, ProtocolError::Version { .. }), source })?;
        Ok(answer.error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::messages::bytes;
    use super::*;

    #[test]
    fn requests_are_written_byte_by_byte_as_the_protocol_says() {
        let create = |settings| bytes(&CreateTopicRequest { topic: "t", partitions: 2, replication_factor: 3, settings });
        let expect = [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0f, 0xa0, 0];
        assert_eq!(create(&[]), expect);
        let expect = [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b'a', 0, 1, b'b', 0, 0, 0x0f, 0xa0, 0];
        assert_eq!(create(&[("a".to_owned(), "b".to_owned())]), expect);
        assert_eq!(bytes(&DeleteTopicRequest { topic: "t" }), [0, 0, 0, 1, 0, 1, b't', 0, 0, 0x0f, 0xa0]);
        let grow = CreatePartitionsRequest { topic: "t", partitions: 5 };
        let expect = [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x0f, 0xa0, 0];
        assert_eq!(bytes(&grow), expect);
    }

    #[test]
    fn an_answer_is_the_first_error_in_it() {
        let exists = [0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 36, 0, 1, b'!'];
        assert_eq!(CreateTopicRequest::decode(&mut Decoder::new(&exists)), Ok(Verdict { error: 36 }));
        let unknown = [0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 3];
        assert_eq!(DeleteTopicRequest::decode(&mut Decoder::new(&unknown)), Ok(Verdict { error: 3 }));
        let done = [0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0xff, 0xff];
        assert_eq!(CreatePartitionsRequest::decode(&mut Decoder::new(&done)), Ok(Verdict { error: 0 }));
    }

    proptest! {
        #[test]
        fn no_answer_makes_them_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = CreateTopicRequest::decode(&mut Decoder::new(&bytes));
            let _ = DeleteTopicRequest::decode(&mut Decoder::new(&bytes));
            let _ = CreatePartitionsRequest::decode(&mut Decoder::new(&bytes));
        }
    }
}
