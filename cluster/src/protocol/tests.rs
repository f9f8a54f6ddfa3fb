//! A fake broker on the other end of an in-memory stream, and properties of the decoders.

use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::messages::{ApiVersionsRequest, DescribeConfigsRequest, LATEST, ListOffsetsRequest, MetadataRequest, Request, Resource};
use super::wire::{Decoder, Encoder};
use super::{ConfigSource, Connection, Metadata, MetadataPartition, MetadataTopic, Peer, ProtocolError};

const LIMIT: Duration = Duration::from_millis(200);

fn peer() -> Peer {
    Peer { broker: Some(1), address: "10.0.0.1:9092".to_owned() }
}

/// What the fake broker sends back to one request, given the correlation id that it read.
type Answer = Box<dyn Fn(i32) -> Vec<u8> + Send>;

/// Answers one request after the other; falls silent, with the stream open, when it has no more answers.
fn broker(answers: Vec<Answer>) -> DuplexStream {
    let (near, mut far) = duplex(1 << 16);
    tokio::spawn(async move {
        for answer in answers {
            let Ok(length) = far.read_i32().await else { return };
            let mut request = vec![0; length as usize];
            far.read_exact(&mut request).await.unwrap();
            let correlation = i32::from_be_bytes(request[4..8].try_into().unwrap());
            far.write_all(&answer(correlation)).await.unwrap();
        }
        std::future::pending::<()>().await;
    });
    near
}

fn framed(correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.i32(body.len() as i32 + 4);
    encoder.i32(correlation);
    encoder.bytes.extend_from_slice(body);
    encoder.bytes
}

fn versions(ranges: &'static [(i16, i16, i16)]) -> Answer {
    let mut body = Encoder::default();
    body.i16(0);
    body.array(ranges, |body, (key, min, max)| {
        body.i16(*key);
        body.i16(*min);
        body.i16(*max);
    });
    Box::new(move |correlation| framed(correlation, &body.bytes))
}

const USUAL: &[(i16, i16, i16)] = &[(2, 1, 9), (3, 0, 12), (18, 0, 4), (32, 1, 4)];

fn metadata() -> Metadata {
    let partition = MetadataPartition {
        error: 5,
        partition: 2,
        leader: None,
        leader_epoch: 7,
        replicas: vec![1, 2, 3],
        isr: vec![2],
        offline: vec![1],
    };
    let topic = MetadataTopic { error: 0, topic: "t".to_owned(), is_internal: true, partitions: vec![partition] };
    Metadata { brokers: Vec::new(), cluster_id: Some("id".to_owned()), controller: Some(3), topics: vec![topic] }
}

fn encode_metadata(metadata: &Metadata) -> Vec<u8> {
    let mut body = Encoder::default();
    body.i32(0);
    body.array(&metadata.brokers, |body, broker| {
        body.i32(broker.broker);
        body.string(&broker.host);
        body.i32(broker.port);
        body.i16(-1);
    });
    body.string(metadata.cluster_id.as_deref().unwrap_or_default());
    body.i32(metadata.controller.unwrap_or(-1));
    body.array(&metadata.topics, |body, topic| {
        body.i16(topic.error);
        body.string(&topic.topic);
        body.bool(topic.is_internal);
        body.array(&topic.partitions, |body, partition| {
            body.i16(partition.error);
            body.i32(partition.partition);
            body.i32(partition.leader.unwrap_or(-1));
            body.i32(partition.leader_epoch);
            for brokers in [&partition.replicas, &partition.isr, &partition.offline] {
                body.array(brokers, |body, broker| body.i32(*broker));
            }
        });
    });
    body.bytes
}

/// What a call of Metadata ends with when the broker answers the handshake as usual and then so.
async fn check(answer: Option<Answer>, expect: impl FnOnce(Result<Metadata, ProtocolError>)) {
    let answers = std::iter::once(versions(USUAL)).chain(answer).collect();
    let mut connection = Connection::handshake(broker(answers), peer(), LIMIT).await.unwrap();
    expect(connection.call(&MetadataRequest { topics: None }, LIMIT).await);
}

#[tokio::test]
async fn an_answer_comes_back_as_the_broker_meant_it() {
    let body = encode_metadata(&metadata());
    check(Some(Box::new(move |correlation| framed(correlation, &body))), |answer| assert_eq!(answer.unwrap(), metadata())).await;
}

#[tokio::test]
async fn an_answer_to_another_request_is_an_error() {
    let body = encode_metadata(&metadata());
    let answer: Answer = Box::new(move |correlation| framed(correlation + 1, &body));
    check(Some(answer), |answer| assert!(matches!(answer, Err(ProtocolError::Correlation { want: 2, got: 3, .. })))).await;
}

#[tokio::test]
async fn a_frame_too_large_or_negative_is_refused_unread() {
    for announced in [i32::MAX, -1] {
        let answer: Answer = Box::new(move |_| announced.to_be_bytes().to_vec());
        check(Some(answer), |answer| {
            let error = answer.unwrap_err();
            assert!(matches!(error, ProtocolError::FrameSize { .. }), "{error}");
            assert!(error.to_string().starts_with("broker 1 (10.0.0.1:9092) announced"), "{error}");
        })
        .await;
    }
}

#[tokio::test]
async fn an_answer_cut_short_is_malformed() {
    let mut body = encode_metadata(&metadata());
    body.truncate(body.len() - 3);
    let answer: Answer = Box::new(move |correlation| framed(correlation, &body));
    check(Some(answer), |answer| assert!(matches!(answer, Err(ProtocolError::Malformed { what: "Metadata", .. })))).await;
}

#[tokio::test]
async fn silence_ends_in_a_timeout_and_the_connection_is_not_used_again() {
    let mut connection = Connection::handshake(broker(vec![versions(USUAL)]), peer(), LIMIT).await.unwrap();
    let request = MetadataRequest { topics: None };
    assert!(matches!(connection.call(&request, LIMIT).await, Err(ProtocolError::Timeout { timeout_ms: 200, .. })));
    assert!(!connection.is_usable());
    assert!(matches!(connection.call(&request, LIMIT).await, Err(ProtocolError::Abandoned { .. })));
}

#[tokio::test]
async fn a_broker_that_is_too_old_is_named_with_what_it_offers() {
    let near = broker(vec![versions(&[(3, 0, 5), (18, 0, 1)])]);
    let mut connection = Connection::handshake(near, peer(), LIMIT).await.unwrap();
    let error = connection.call(&MetadataRequest { topics: None }, LIMIT).await.unwrap_err();
    assert_eq!(error.to_string(), "broker 1 (10.0.0.1:9092) does not speak Metadata version 7 (it offers 0 to 5)");
    let error = connection.call(&DescribeConfigsRequest { resource: Resource::Broker(1) }, LIMIT).await.unwrap_err();
    assert_eq!(error.to_string(), "broker 1 (10.0.0.1:9092) does not speak DescribeConfigs version 1 (it offers none)");
}

#[test]
fn the_value_of_a_sensitive_setting_is_never_kept() {
    let mut body = Encoder::default();
    body.i32(0);
    body.array(&[()], |body, ()| {
        body.i16(0);
        body.i16(-1);
        body.i8(4);
        body.string("1");
        body.array(&[("ssl.key.password", 1, true), ("num.io.threads", 5, false)], |body, (name, source, is_sensitive)| {
            body.string(name);
            body.string("secret");
            body.bool(false);
            body.i8(*source);
            body.bool(*is_sensitive);
            body.i32(0);
        });
    });
    let answer = DescribeConfigsRequest::decode(&mut Decoder::new(&body.bytes)).unwrap();
    let [(_, password), (_, threads)] = answer.configs.as_slice() else { panic!("{answer:?}") };
    assert_eq!((password.value.as_deref(), password.is_sensitive), (None, true));
    assert_eq!((threads.value.as_deref(), threads.source, threads.is_default), (Some("secret"), ConfigSource::Default, true));
}

#[test]
fn list_offsets_asks_at_the_epoch_it_was_given() {
    let mut body = Encoder::default();
    ListOffsetsRequest { topic: "t", partition: 3, leader_epoch: 9, timestamp: LATEST, is_committed: false }.encode(&mut body);
    let mut decoder = Decoder::new(&body.bytes);
    assert_eq!((decoder.i32().unwrap(), decoder.i8().unwrap(), decoder.i32().unwrap()), (-1, 0, 1));
    assert_eq!((decoder.string().unwrap().as_str(), decoder.i32().unwrap(), decoder.i32().unwrap()), ("t", 1, 3));
    assert_eq!((decoder.i32().unwrap(), decoder.i64().unwrap(), decoder.remaining()), (9, -1, 0));
}

proptest! {
    #[test]
    fn whatever_a_broker_sends_decoding_ends_and_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = ApiVersionsRequest::decode(&mut Decoder::new(&bytes));
        let _ = MetadataRequest::decode(&mut Decoder::new(&bytes));
        let _ = ListOffsetsRequest::decode(&mut Decoder::new(&bytes));
        let _ = DescribeConfigsRequest::decode(&mut Decoder::new(&bytes));
    }

    /// Nearly right bytes get further into a decoder than random ones.
    #[test]
    fn a_flipped_byte_is_an_error_or_another_answer_but_no_panic(at in 0..200_usize, byte in any::<u8>(), cut in 0..200_usize) {
        let mut bytes = encode_metadata(&metadata());
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut % bytes.len());
        let _ = MetadataRequest::decode(&mut Decoder::new(&bytes));
    }
}
