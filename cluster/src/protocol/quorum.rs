//! The quorum of KRaft's controllers, as one of them tells: DescribeQuorum 1.
//!
//! Asked of a controller on its own listener (KIP-919; every release whose KRaft is meant for use answers there). Only the leader of the quorum
//! tells; another one answers NOT_LEADER_OR_FOLLOWER, which says that it serves and does not lead. Version 1 is the first with the times at which
//! each replica was heard of (KIP-836, Kafka 3.3); it is flexible, as all of them are.

use super::messages::Request;
use super::wire::{Decoder, Encoder, WireError};

/// The log of the cluster's metadata, whose one partition is what the controllers replicate.
const METADATA_TOPIC: &str = "__cluster_metadata";
pub(super) const NOT_LEADER_OR_FOLLOWER: i16 = 6;

pub(crate) struct DescribeQuorumRequest;

/// What a leader of the quorum says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quorum {
    pub(crate) error: i16,
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub high_watermark: i64,
    pub voters: Vec<QuorumReplica>,
    /// Brokers that are no voters, as long as they were heard of lately.
    pub observers: Vec<QuorumReplica>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuorumReplica {
    pub id: i32,
    pub log_end_offset: i64,
    pub last_fetch_ms: i64,
    pub last_caught_up_ms: i64,
}

/// What one controller answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumAnswer {
    Leads(Quorum),
    /// It serves, and another one leads, or nobody.
    Follows,
}

impl Request for DescribeQuorumRequest {
    const KEY: i16 = 55;
    const VERSION: i16 = 1;
    const NAME: &'static str = "DescribeQuorum";
    const IS_FLEXIBLE: bool = true;
    type Response = Quorum;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.compact_array(&[()], |encoder, ()| {
            encoder.compact_string(METADATA_TOPIC);
            encoder.compact_array(&[()], |encoder, ()| {
                encoder.i32(0);
                encoder.no_tags();
            });
            encoder.no_tags();
        });
        encoder.no_tags();
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Quorum, WireError> {
        let error = decoder.i16()?;
        let topics = decoder.compact_array(|decoder| {
            let _topic = decoder.compact_nullable_string()?;
            let partitions = decoder.compact_array(|decoder| {
                let (_partition, error) = (decoder.i32()?, decoder.i16()?);
                let (leader, leader_epoch, high_watermark) = (decoder.i32()?, decoder.i32()?, decoder.i64()?);
                let leader = (leader >= 0).then_some(leader);
                let (voters, observers) = (decoder.compact_array(replica)?, decoder.compact_array(replica)?);
                decoder.tags()?;
                Ok(Quorum { error, leader, leader_epoch, high_watermark, voters, observers })
            })?;
            decoder.tags()?;
            Ok(partitions)
        })?;
        decoder.tags()?;
        let quorum = topics.into_iter().flatten().next().unwrap_or_default();
        Ok(if error == 0 { quorum } else { Quorum { error, ..quorum } })
    }
}

fn replica(decoder: &mut Decoder<'_>) -> Result<QuorumReplica, WireError> {
    let (id, log_end_offset) = (decoder.i32()?, decoder.i64()?);
    let (last_fetch_ms, last_caught_up_ms) = (decoder.i64()?, decoder.i64()?);
    decoder.tags()?;
    Ok(QuorumReplica { id, log_end_offset, last_fetch_ms, last_caught_up_ms })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_quorum_is_asked_for_and_read_byte_by_byte() {
        let mut encoder = Encoder::default();
        DescribeQuorumRequest.encode(&mut encoder);
        let expect = [&[2, 19][..], b"__cluster_metadata", &[2, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert_eq!(encoder.bytes, expect);

        let mut answer = Encoder::default();
        answer.i16(0);
        answer.compact_array(&[()], |answer, ()| {
            answer.compact_string(METADATA_TOPIC);
            answer.compact_array(&[()], |answer, ()| {
                answer.i32(0);
                answer.i16(0);
                answer.i32(101);
                answer.i32(3);
                answer.i64(40);
                for ids in [&[101_i32][..], &[1]] {
                    answer.compact_array(ids, |answer, id| {
                        answer.i32(*id);
                        answer.i64(41);
                        answer.i64(-1);
                        answer.i64(7);
                        answer.no_tags();
                    });
                }
                answer.no_tags();
            });
            answer.no_tags();
        });
        answer.no_tags();
        let quorum = DescribeQuorumRequest::decode(&mut Decoder::new(&answer.bytes)).unwrap();
        let replica = |id| QuorumReplica { id, log_end_offset: 41, last_fetch_ms: -1, last_caught_up_ms: 7 };
        let (voters, observers) = (vec![replica(101)], vec![replica(1)]);
        assert_eq!(quorum, Quorum { error: 0, leader: Some(101), leader_epoch: 3, high_watermark: 40, voters, observers });
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = DescribeQuorumRequest::decode(&mut Decoder::new(&bytes));
        }
    }
}
