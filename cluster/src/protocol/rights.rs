//! What the user may do: Metadata 8, the last non-flexible version and the first that says it (KIP-430). A cluster without an authorizer allows all.

use std::collections::BTreeMap;

use super::acls::operations;
use super::client::Client;
use super::error::ProtocolError;
use super::messages::Request;
use super::wire::{Decoder, Encoder, WireError};

const NOT_ALLOWED: i16 = 29;

/// By their names in Kafka's documents: `Read`, `DescribeConfigs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    pub cluster: Vec<&'static str>,
    /// A topic that may not even be described has none; one that is not there is left out.
    pub topics: BTreeMap<String, Vec<&'static str>>,
}

struct RightsRequest<'a> {
    topics: &'a [String],
}

impl Request for RightsRequest<'_> {
    const KEY: i16 = 3;
    const VERSION: i16 = 8;
    const NAME: &'static str = "Metadata (rights)";
    type Response = Rights;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.array(self.topics, |encoder, topic| encoder.string(topic));
        // Looking must not make a topic.
        encoder.bool(false);
        encoder.bool(true);
        encoder.bool(true);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Rights, WireError> {
        let _throttle_ms = decoder.i32()?;
        decoder.array(|decoder| {
            let (_broker, _host, _port, _rack) = (decoder.i32()?, decoder.string()?, decoder.i32()?, decoder.nullable_string()?);
            Ok(())
        })?;
        let (_cluster, _controller) = (decoder.nullable_string()?, decoder.i32()?);
        let topics = decoder.array(|decoder| {
            let (error, topic, _is_internal) = (decoder.i16()?, decoder.string()?, decoder.bool()?);
            decoder.array(|decoder| {
                let (_error, _partition, _leader, _epoch) = (decoder.i16()?, decoder.i32()?, decoder.i32()?, decoder.i32()?);
                for _ in 0..3 {
                    decoder.array(Decoder::i32)?;
                }
                Ok(())
            })?;
            let bits = decoder.i32()?;
            Ok(match error {
                0 => Some((topic, operations(bits))),
                NOT_ALLOWED => Some((topic, Vec::new())),
                _ => None,
            })
        })?;
        Ok(Rights { cluster: operations(decoder.i32()?), topics: topics.into_iter().flatten().collect() })
    }
}

impl Client {
    /// What whoever we say that we are may do with the cluster and with these topics, by the first bootstrap broker that answers.
    pub async fn rights(&self, topics: &[String]) -> Result<Rights, ProtocolError> {
        self.ask_any(&RightsRequest { topics }).await
    }
}

impl Rights {
    /// What is needed of a topic and not allowed; nothing, of one that nobody knows.
    pub fn lacking(&self, topic: &str, needed: &[&'static str]) -> Vec<&'static str> {
        let Some(has) = self.topics.get(topic) else { return Vec::new() };
        needed.iter().copied().filter(|operation| !has.contains(operation)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::acls::OPERATIONS;
    use super::super::messages::bytes;
    use super::*;

    #[test]
    fn rights_are_asked_for_and_read_byte_by_byte() {
        assert_eq!(bytes(&RightsRequest { topics: &["t".to_owned()] }), [0, 0, 0, 1, 0, 1, b't', 0, 1, 1]);
        let mut answer = Encoder::default();
        answer.i32(0);
        answer.array::<()>(&[], |_, ()| {});
        answer.string("id");
        answer.i32(1);
        answer.array(&[("t", 0_i16, 1 << 3 | 1 << 8), ("u", 29, i32::MIN)], |answer, (topic, error, bits)| {
            answer.i16(*error);
            answer.string(topic);
            answer.bool(false);
            answer.array::<()>(&[], |_, ()| {});
            answer.i32(*bits);
        });
        answer.i32(1 << 10);
        let rights = RightsRequest::decode(&mut Decoder::new(&answer.bytes)).unwrap();
        assert_eq!(rights.cluster, ["DescribeConfigs"]);
        assert_eq!(rights.lacking("t", &["Read", "Write", "Describe"]), ["Write"]);
        assert_eq!(rights.lacking("u", &["Read"]), ["Read"]);
        assert!(rights.lacking("v", &["Read"]).is_empty());
        assert!(OPERATIONS.iter().all(|(name, code)| operations(1 << code) == [*name]));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = RightsRequest::decode(&mut Decoder::new(&bytes));
        }
    }
}
