//! Reading records as they lie in a leader's log: Fetch 11, the last one before KIP-482's tagged fields; every broker from 2.3 to 4.x has it.
//!
//! Why not librdkafka: it hands on records, not batches, so who appended them, in which transaction, and the markers of transactions are not to be seen.

use super::client::Client;
use super::error::ProtocolError;
use super::messages::Request;
use super::wire::{Decoder, Encoder, WireError};

const WAIT_MAX_MS: i32 = 500;
/// Of a consumer.
const NO_REPLICA: i32 = -1;
/// Neither a session nor the wish to begin one.
const NO_SESSION_EPOCH: i32 = -1;

/// Batches from an offset on. A broker returns one batch at least, however large (KIP-74), and may cut the last one.
pub struct FetchRequest<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// The epoch at which we believe the broker leads; -1 asks at any.
    pub leader_epoch: i32,
    pub offset: i64,
    pub bytes_max: i32,
}

/// What a leader has from there on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    pub error: i16,
    pub high_watermark: i64,
    pub last_stable: i64,
    pub log_start: i64,
    /// Batches as they lie on the disk; the last one may be cut.
    pub batches: Vec<u8>,
}

impl Request for FetchRequest<'_> {
    const KEY: i16 = 1;
    const VERSION: i16 = 11;
    const NAME: &'static str = "Fetch";
    type Response = Fetched;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.i32(NO_REPLICA);
        encoder.i32(WAIT_MAX_MS);
        encoder.i32(1);
        encoder.i32(self.bytes_max);
        // Everything up to the high watermark, whatever became of its transactions.
        encoder.i8(0);
        encoder.i32(0);
        encoder.i32(NO_SESSION_EPOCH);
        encoder.array(&[()], |encoder, ()| {
            encoder.string(self.topic);
            encoder.array(&[()], |encoder, ()| {
                encoder.i32(self.partition);
                encoder.i32(self.leader_epoch);
                encoder.i64(self.offset);
                encoder.i64(-1);
                encoder.i32(self.bytes_max);
            });
        });
        encoder.array(&[(); 0], |_, ()| {});
        encoder.string("");
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Fetched, WireError> {
        let _throttle_ms = decoder.i32()?;
        let error = decoder.i16()?;
        let _session = decoder.i32()?;
        let topics = decoder.array(|decoder| {
            let _topic = decoder.string()?;
            decoder.array(partition)
        })?;
        let fetched = topics.into_iter().flatten().next().unwrap_or_default();
        Ok(if error == 0 { fetched } else { Fetched { error, ..fetched } })
    }
}

fn partition(decoder: &mut Decoder<'_>) -> Result<Fetched, WireError> {
    let _partition = decoder.i32()?;
    let (error, high_watermark, last_stable, log_start) = (decoder.i16()?, decoder.i64()?, decoder.i64()?, decoder.i64()?);
    decoder.array(|decoder| {
        let (_producer, _first) = (decoder.i64()?, decoder.i64()?);
        Ok(())
    })?;
    let _preferred_replica = decoder.i32()?;
    let batches = decoder.nullable_bytes()?.unwrap_or_default().to_vec();
    Ok(Fetched { error, high_watermark, last_stable, log_start, batches })
}

impl Client {
    /// Asks `broker`, as the leader at `leader_epoch`.
    pub async fn fetch(&self, broker: i32, request: FetchRequest<'_>) -> Result<Fetched, ProtocolError> {
        let peer = self.peer(broker).await?;
        let answer = self.call(&peer, &request).await?;
        if answer.error != 0 {
            let what = format!("Fetch of {}-{} from offset {}", request.topic, request.partition, request.offset);
            return Err(ProtocolError::Refused { peer, what, code: answer.error });
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::messages::bytes;
    use super::*;

    #[test]
    fn a_request_is_written_byte_by_byte_as_the_protocol_says() {
        let request = FetchRequest { topic: "t", partition: 2, leader_epoch: 5, offset: 7, bytes_max: 9 };
        let expect = [
            &[0xff; 4][..],
            &[0, 0, 1, 0xf4, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
            &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 7],
            &[0xff; 8],
            &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(bytes(&request), expect.concat());
    }

    #[test]
    fn an_answer_tells_where_the_log_ends_and_holds_the_batches_as_they_are() {
        let mut answer = Encoder::default();
        answer.i32(0);
        answer.i16(0);
        answer.i32(0);
        answer.array(&["t"], |answer, topic| {
            answer.string(topic);
            answer.array(&[2], |answer, partition| {
                answer.i32(*partition);
                answer.i16(0);
                answer.i64(11);
                answer.i64(10);
                answer.i64(3);
                answer.null_array();
                answer.i32(-1);
                answer.i32(3);
                answer.bytes.extend_from_slice(b"abc");
            });
        });
        let fetched = FetchRequest::decode(&mut Decoder::new(&answer.bytes)).unwrap();
        assert_eq!(fetched, Fetched { error: 0, high_watermark: 11, last_stable: 10, log_start: 3, batches: b"abc".to_vec() });
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = FetchRequest::decode(&mut Decoder::new(&bytes));
        }
    }
}
