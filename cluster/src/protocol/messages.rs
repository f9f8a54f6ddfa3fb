//! What is asked and answered: ApiVersions 0, Metadata 7, ListOffsets 4, DescribeConfigs 1.
//!
//! Versions: Metadata 7 is the first with leader epochs and ListOffsets 4 the first that states the epoch it asks at (both KIP-320, Kafka
//! 2.1); DescribeConfigs 1 the first that says where a value came from (KIP-226). Later versions add nothing that is read here.

use serde::{Deserialize, Serialize};

use super::wire::{Decoder, Encoder, WireError};

/// One request and how its answer is read.
pub trait Request {
    const KEY: i16;
    const VERSION: i16;
    /// Kafka's name of it.
    const NAME: &'static str;
    /// Versions since KIP-482: headers end in tagged fields, and strings and arrays are compact.
    const IS_FLEXIBLE: bool = false;
    /// ApiVersions alone is answered without tagged fields in the header, whatever its version: who asks does not know yet what is spoken.
    const HAS_TAGS_BEFORE_ANSWER: bool = Self::IS_FLEXIBLE;
    type Response;

    fn encode(&self, encoder: &mut Encoder);
    fn decode(decoder: &mut Decoder<'_>) -> Result<Self::Response, WireError>;
}

/// A request as it is sent, without its header.
#[cfg(test)]
pub(super) fn bytes(request: &impl Request) -> Vec<u8> {
    let mut encoder = Encoder::default();
    request.encode(&mut encoder);
    encoder.bytes
}

pub struct ApiVersionsRequest;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiVersions {
    pub error: i16,
    pub apis: Vec<ApiRange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRange {
    pub key: i16,
    pub min: i16,
    pub max: i16,
}

/// `topics: None` asks for all.
pub struct MetadataRequest<'a> {
    pub topics: Option<&'a [String]>,
}

/// What one broker believes of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    pub brokers: Vec<BrokerEndpoint>,
    pub cluster_id: Option<String>,
    pub controller: Option<i32>,
    pub topics: Vec<MetadataTopic>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerEndpoint {
    pub broker: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataTopic {
    /// 0 for none.
    pub error: i16,
    pub topic: String,
    pub is_internal: bool,
    pub partitions: Vec<MetadataPartition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataPartition {
    /// 5 (LEADER_NOT_AVAILABLE) is usual in an election; leader and epoch are meaningful beside it.
    pub error: i16,
    pub partition: i32,
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    pub offline: Vec<i32>,
}

/// Where a log starts (`EARLIEST`) or ends for its readers (`LATEST`, the high watermark).
pub struct ListOffsetsRequest<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// The epoch at which we believe the broker leads: one that leads at another answers FENCED or UNKNOWN_LEADER_EPOCH. -1 asks at any.
    pub leader_epoch: i32,
    pub timestamp: i64,
    /// As a reader of committed: `LATEST` is then the last stable offset.
    pub is_committed: bool,
}

pub const LATEST: i64 = -1;
pub const EARLIEST: i64 = -2;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOffsets {
    pub error: i16,
    pub offset: i64,
    /// Of the record there; -1 where a start or an end was asked for.
    pub timestamp_ms: i64,
    pub leader_epoch: i32,
}

pub struct DescribeConfigsRequest<'a> {
    pub resource: Resource<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    Topic(&'a str),
    Broker(i32),
    /// The default of all brokers.
    AllBrokers,
}

impl Resource<'_> {
    pub(super) fn encode(&self, encoder: &mut Encoder) {
        match self {
            Resource::Topic(topic) => {
                encoder.i8(2);
                encoder.string(topic);
            }
            Resource::Broker(broker) => {
                encoder.i8(4);
                encoder.string(&broker.to_string());
            }
            Resource::AllBrokers => {
                encoder.i8(4);
                encoder.string("");
            }
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeConfigs {
    pub error: i16,
    pub message: Option<String>,
    pub configs: Vec<(String, ConfigEntry)>,
}

/// One setting in force. The value of a sensitive one is never kept, whatever the broker sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigEntry {
    pub value: Option<String>,
    pub source: ConfigSource,
    pub is_default: bool,
    pub is_sensitive: bool,
    pub is_read_only: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigSource {
    Topic,
    DynamicBroker,
    /// The cluster-wide dynamic default of brokers.
    DynamicDefaultBroker,
    /// `server.properties`.
    StaticBroker,
    Default,
    Unknown,
}

impl Request for ApiVersionsRequest {
    const KEY: i16 = 18;
    const VERSION: i16 = 0;
    const NAME: &'static str = "ApiVersions";
    type Response = ApiVersions;

    fn encode(&self, _encoder: &mut Encoder) {}

    fn decode(decoder: &mut Decoder<'_>) -> Result<ApiVersions, WireError> {
        let error = decoder.i16()?;
        let apis = decoder.array(|decoder| Ok(ApiRange { key: decoder.i16()?, min: decoder.i16()?, max: decoder.i16()? }))?;
        Ok(ApiVersions { error, apis })
    }
}

impl Request for MetadataRequest<'_> {
    const KEY: i16 = 3;
    const VERSION: i16 = 7;
    const NAME: &'static str = "Metadata";
    type Response = Metadata;

    fn encode(&self, encoder: &mut Encoder) {
        match self.topics {
            Some(topics) => encoder.array(topics, |encoder, topic| encoder.string(topic)),
            None => encoder.null_array(),
        }
        // Looking must not make a topic.
        encoder.bool(false);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Metadata, WireError> {
        let _throttle_ms = decoder.i32()?;
        let brokers = decoder.array(|decoder| {
            let (broker, host) = (decoder.i32()?, decoder.string()?);
            Ok(BrokerEndpoint { broker, host, port: decoder.i32()?, rack: decoder.nullable_string()? })
        })?;
        let cluster_id = decoder.nullable_string()?;
        let controller = known_broker(decoder.i32()?);
        let topics = decoder.array(decode_topic)?;
        Ok(Metadata { brokers, cluster_id, controller, topics })
    }
}

impl Request for ListOffsetsRequest<'_> {
    const KEY: i16 = 2;
    const VERSION: i16 = 4;
    const NAME: &'static str = "ListOffsets";
    type Response = ListOffsets;

    fn encode(&self, encoder: &mut Encoder) {
        // As a consumer (-1).
        encoder.i32(-1);
        encoder.i8(i8::from(self.is_committed));
        encoder.array(&[()], |encoder, ()| {
            encoder.string(self.topic);
            encoder.array(&[()], |encoder, ()| {
                encoder.i32(self.partition);
                encoder.i32(self.leader_epoch);
                encoder.i64(self.timestamp);
            });
        });
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<ListOffsets, WireError> {
        let _throttle_ms = decoder.i32()?;
        let answers = decoder.array(|decoder| {
            let _topic = decoder.string()?;
            decoder.array(|decoder| {
                let _partition = decoder.i32()?;
                let error = decoder.i16()?;
                let timestamp_ms = decoder.i64()?;
                Ok(ListOffsets { error, offset: decoder.i64()?, timestamp_ms, leader_epoch: decoder.i32()? })
            })
        })?;
        only(answers.into_iter().flatten(), "a partition")
    }
}

impl Request for DescribeConfigsRequest<'_> {
    const KEY: i16 = 32;
    const VERSION: i16 = 1;
    const NAME: &'static str = "DescribeConfigs";
    type Response = DescribeConfigs;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.array(&[self.resource], |encoder, resource| {
            resource.encode(encoder);
            encoder.null_array();
        });
        encoder.bool(false);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<DescribeConfigs, WireError> {
        let _throttle_ms = decoder.i32()?;
        let results = decoder.array(|decoder| {
            let (error, message) = (decoder.i16()?, decoder.nullable_string()?);
            let (_kind, _name) = (decoder.i8()?, decoder.string()?);
            Ok(DescribeConfigs { error, message, configs: decoder.array(decode_config)? })
        })?;
        only(results.into_iter(), "a resource")
    }
}

fn decode_topic(decoder: &mut Decoder<'_>) -> Result<MetadataTopic, WireError> {
    let (error, topic, is_internal) = (decoder.i16()?, decoder.string()?, decoder.bool()?);
    let partitions = decoder.array(|decoder| {
        Ok(MetadataPartition {
            error: decoder.i16()?,
            partition: decoder.i32()?,
            leader: known_broker(decoder.i32()?),
            leader_epoch: decoder.i32()?,
            replicas: decoder.array(Decoder::i32)?,
            isr: decoder.array(Decoder::i32)?,
            offline: decoder.array(Decoder::i32)?,
        })
    })?;
    Ok(MetadataTopic { error, topic, is_internal, partitions })
}

fn decode_config(decoder: &mut Decoder<'_>) -> Result<(String, ConfigEntry), WireError> {
    let (name, value) = (decoder.string()?, decoder.nullable_string()?);
    let (is_read_only, source, is_sensitive) = (decoder.bool()?, config_source(decoder.i8()?), decoder.bool()?);
    let _synonyms = decoder.array(|decoder| {
        let _name = decoder.string()?;
        let _value = decoder.nullable_string()?;
        decoder.i8()
    })?;
    let value = value.filter(|_| !is_sensitive);
    let is_default = source == ConfigSource::Default;
    Ok((name, ConfigEntry { value, source, is_default, is_sensitive, is_read_only }))
}

fn config_source(code: i8) -> ConfigSource {
    match code {
        1 => ConfigSource::Topic,
        2 => ConfigSource::DynamicBroker,
        3 => ConfigSource::DynamicDefaultBroker,
        4 => ConfigSource::StaticBroker,
        5 => ConfigSource::Default,
        _ => ConfigSource::Unknown,
    }
}

/// -1 is how Kafka says "none".
fn known_broker(id: i32) -> Option<i32> {
    (id >= 0).then_some(id)
}

/// The one answer to the one thing asked for.
fn only<T>(mut answers: impl Iterator<Item = T>, what: &str) -> Result<T, WireError> {
    match (answers.next(), answers.next()) {
        (Some(answer), None) => Ok(answer),
        (None, _) => Err(WireError { at: 0, reason: format!("an answer without {what}") }),
        (Some(_), Some(_)) => Err(WireError { at: 0, reason: format!("an answer with more than {what}") }),
    }
}
