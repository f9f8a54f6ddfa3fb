//! What changes a cluster: ElectLeaders 1, AlterPartitionReassignments 0, IncrementalAlterConfigs 0, DeleteRecords 1.
//!
//! Versions: each is the lowest that Kafka 4.0 still knows, so all brokers from 2.4 on do. AlterPartitionReassignments is flexible from its
//! version 0 on (KIP-455). Every one of these states what is to be, not what is to be done to it: asked twice, it is as if asked once.

use super::client::Client;
use super::error::{Peer, ProtocolError};
use super::messages::{Request, Resource};
use super::wire::{Decoder, Encoder, WireError};

/// How long a broker may take over a change before it answers; below the client's own request timeout.
const CHANGE_TIMEOUT_MS: i32 = 4_000;
const NOT_CONTROLLER: i16 = 41;
const ELECTION_NOT_NEEDED: i16 = 84;
/// The controller may just have moved.
const CONTROLLER_TRIES: u32 = 3;

/// An answer that is one error code, the worst of all that it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) error: i16,
}

pub(super) fn worst(codes: impl IntoIterator<Item = i16>) -> Verdict {
    Verdict { error: codes.into_iter().find(|code| *code != 0).unwrap_or(0) }
}

/// Of one partition, to its preferred replica.
pub(super) struct ElectLeadersRequest<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
}

impl Request for ElectLeadersRequest<'_> {
    const KEY: i16 = 43;
    const VERSION: i16 = 1;
    const NAME: &'static str = "ElectLeaders";
    type Response = Verdict;

    fn encode(&self, encoder: &mut Encoder) {
        // Preferred; 1 would be unclean.
        encoder.i8(0);
        encoder.array(&[()], |encoder, ()| {
            encoder.string(self.topic);
            encoder.array(&[self.partition], |encoder, partition| encoder.i32(*partition));
        });
        encoder.i32(CHANGE_TIMEOUT_MS);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Verdict, WireError> {
        let _throttle_ms = decoder.i32()?;
        let error = decoder.i16()?;
        let results = decoder.array(|decoder| {
            let _topic = decoder.string()?;
            decoder.array(|decoder| {
                let (_partition, error, _message) = (decoder.i32()?, decoder.i16()?, decoder.nullable_string()?);
                Ok(error)
            })
        })?;
        Ok(worst(std::iter::once(error).chain(results.into_iter().flatten())))
    }
}

pub(super) struct AlterReassignmentRequest<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) replicas: &'a [i32],
}

impl Request for AlterReassignmentRequest<'_> {
    const KEY: i16 = 45;
    const VERSION: i16 = 0;
    const NAME: &'static str = "AlterPartitionReassignments";
    const IS_FLEXIBLE: bool = true;
    type Response = Verdict;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.i32(CHANGE_TIMEOUT_MS);
        encoder.compact_array(&[()], |encoder, ()| {
            encoder.compact_string(self.topic);
            encoder.compact_array(&[()], |encoder, ()| {
                encoder.i32(self.partition);
                encoder.compact_array(self.replicas, |encoder, replica| encoder.i32(*replica));
                encoder.no_tags();
            });
            encoder.no_tags();
        });
        encoder.no_tags();
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Verdict, WireError> {
        let _throttle_ms = decoder.i32()?;
        let (error, _message) = (decoder.i16()?, decoder.compact_nullable_string()?);
        let results = decoder.compact_array(|decoder| {
            let _topic = decoder.compact_nullable_string()?;
            let codes = decoder.compact_array(|decoder| {
                let (_partition, error, _message) = (decoder.i32()?, decoder.i16()?, decoder.compact_nullable_string()?);
                decoder.tags()?;
                Ok(error)
            })?;
            decoder.tags()?;
            Ok(codes)
        })?;
        decoder.tags()?;
        Ok(worst(std::iter::once(error).chain(results.into_iter().flatten())))
    }
}

/// One setting; `None` takes it away, so that the default holds again.
pub(super) struct AlterConfigRequest<'a> {
    pub(super) resource: Resource<'a>,
    pub(super) name: &'a str,
    pub(super) value: Option<&'a str>,
}

impl Request for AlterConfigRequest<'_> {
    const KEY: i16 = 44;
    const VERSION: i16 = 0;
    const NAME: &'static str = "IncrementalAlterConfigs";
    type Response = Verdict;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.array(&[()], |encoder, ()| {
            self.resource.encode(encoder);
            encoder.array(&[()], |encoder, ()| {
                encoder.string(self.name);
                encoder.i8(i8::from(self.value.is_none()));
                encoder.nullable_string(self.value);
            });
        });
        encoder.bool(false);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Verdict, WireError> {
        let _throttle_ms = decoder.i32()?;
        let codes = decoder.array(|decoder| {
            let (error, _message) = (decoder.i16()?, decoder.nullable_string()?);
            let (_kind, _name) = (decoder.i8()?, decoder.string()?);
            Ok(error)
        })?;
        Ok(worst(codes))
    }
}

/// All records below this offset of one partition.
pub(super) struct DeleteRecordsRequest<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) before: i64,
}

impl Request for DeleteRecordsRequest<'_> {
    const KEY: i16 = 21;
    const VERSION: i16 = 1;
    const NAME: &'static str = "DeleteRecords";
    type Response = Verdict;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.array(&[()], |encoder, ()| {
            encoder.string(self.topic);
            encoder.array(&[()], |encoder, ()| {
                encoder.i32(self.partition);
                encoder.i64(self.before);
            });
        });
        encoder.i32(CHANGE_TIMEOUT_MS);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Verdict, WireError> {
        let _throttle_ms = decoder.i32()?;
        let codes = decoder.array(|decoder| {
            let _topic = decoder.string()?;
            decoder.array(|decoder| {
                let (_partition, _low, error) = (decoder.i32()?, decoder.i64()?, decoder.i16()?);
                Ok(error)
            })
        })?;
        Ok(worst(codes.into_iter().flatten()))
    }
}

impl Client {
    /// Elects the preferred leader. One that leads already is no error.
    pub async fn elect_preferred(&self, topic: &str, partition: i32) -> Result<(), ProtocolError> {
        let what = format!("the election of the preferred leader of {topic}-{partition}");
        match self.ask_controller(&ElectLeadersRequest { topic, partition }, &what).await {
            Err(error) if error.code() == Some(ELECTION_NOT_NEEDED) => Ok(()),
            other => other,
        }
    }

    /// States which brokers are to hold the replicas, the preferred leader first. Returns when that is accepted, not when it is done.
    pub async fn reassign(&self, topic: &str, partition: i32, replicas: &[i32]) -> Result<(), ProtocolError> {
        let what = format!("the reassignment of {topic}-{partition} to {replicas:?}");
        self.ask_controller(&AlterReassignmentRequest { topic, partition, replicas }, &what).await
    }

    /// Sets a topic's setting, or takes it away.
    pub async fn set_topic_config(&self, topic: &str, name: &str, value: Option<&str>) -> Result<(), ProtocolError> {
        let what = format!("setting {name} of topic {topic}");
        self.ask_controller(&AlterConfigRequest { resource: Resource::Topic(topic), name, value }, &what).await
    }

    /// Sets a broker's dynamic setting, or takes it away: asked of that broker.
    pub async fn set_broker_config(&self, broker: i32, name: &str, value: Option<&str>) -> Result<(), ProtocolError> {
        let peer = self.peer(broker).await?;
        let answer = self.call(&peer, &AlterConfigRequest { resource: Resource::Broker(broker), name, value }).await?;
        accepted(peer, &format!("setting {name} of broker {broker}"), answer.error)
    }

    /// Sets the dynamic default of all brokers, or takes it away.
    pub async fn set_brokers_config(&self, name: &str, value: Option<&str>) -> Result<(), ProtocolError> {
        let what = format!("setting {name} of all brokers");
        self.ask_controller(&AlterConfigRequest { resource: Resource::AllBrokers, name, value }, &what).await
    }

    /// Deletes all records below an offset: asked of the partition's leader.
    pub async fn delete_records(&self, leader: i32, topic: &str, partition: i32, before: i64) -> Result<(), ProtocolError> {
        let peer = self.peer(leader).await?;
        let answer = self.call(&peer, &DeleteRecordsRequest { topic, partition, before }).await?;
        accepted(peer, &format!("the deletion of records of {topic}-{partition} below {before}"), answer.error)
    }

    pub(super) async fn ask_controller<R: Request<Response = Verdict>>(&self, request: &R, what: &str) -> Result<(), ProtocolError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let metadata = self.metadata_from_any(Some(&[])).await?;
            let broker = metadata.controller.ok_or(ProtocolError::NoController)?;
            let peer = self.peer(broker).await?;
            let answer = self.call(&peer, request).await?;
            if answer.error != NOT_CONTROLLER || tries >= CONTROLLER_TRIES {
                return accepted(peer, what, answer.error);
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
}

pub(super) fn accepted(peer: Peer, what: &str, code: i16) -> Result<(), ProtocolError> {
    if code == 0 { Ok(()) } else { Err(ProtocolError::Refused { peer, what: what.to_owned(), code }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::messages::bytes;
    use super::*;

    #[test]
    fn requests_are_written_byte_by_byte_as_the_protocol_says() {
        let elect = ElectLeadersRequest { topic: "t", partition: 2 };
        assert_eq!(bytes(&elect), [0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0x0f, 0xa0]);
        let reassign = AlterReassignmentRequest { topic: "t", partition: 2, replicas: &[3] };
        assert_eq!(bytes(&reassign), [0, 0, 0x0f, 0xa0, 2, 2, b't', 2, 0, 0, 0, 2, 2, 0, 0, 0, 3, 0, 0, 0]);
        let set = |value| bytes(&AlterConfigRequest { resource: Resource::Broker(1), name: "n", value });
        assert_eq!(set(Some("v")), [0, 0, 0, 1, 4, 0, 1, b'1', 0, 0, 0, 1, 0, 1, b'n', 0, 0, 1, b'v', 0]);
        assert_eq!(set(None), [0, 0, 0, 1, 4, 0, 1, b'1', 0, 0, 0, 1, 0, 1, b'n', 1, 0xff, 0xff, 0]);
        let delete = DeleteRecordsRequest { topic: "t", partition: 0, before: 5 };
        assert_eq!(bytes(&delete)[..15], [0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn an_answer_is_the_first_error_in_it() {
        // Accepted as a whole, refused for the one partition.
        let answer = [0, 0, 0, 0, 0, 0, 0, 2, 2, b't', 2, 0, 0, 0, 2, 0, 39, 4, b'w', b'h', b'y', 0, 0, 0];
        assert_eq!(AlterReassignmentRequest::decode(&mut Decoder::new(&answer)), Ok(Verdict { error: 39 }));
        let answer = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 2, 0, 84, 0xff, 0xff];
        assert_eq!(ElectLeadersRequest::decode(&mut Decoder::new(&answer)), Ok(Verdict { error: 84 }));
    }

    proptest! {
        #[test]
        fn no_answer_makes_them_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = ElectLeadersRequest::decode(&mut Decoder::new(&bytes));
            let _ = AlterReassignmentRequest::decode(&mut Decoder::new(&bytes));
            let _ = AlterConfigRequest::decode(&mut Decoder::new(&bytes));
            let _ = DeleteRecordsRequest::decode(&mut Decoder::new(&bytes));
        }
    }
}
