//! Features of a cluster, such as `metadata.version`: which level is finalized (ApiVersions 3), and asking for another (UpdateFeatures 1).
//!
//! ApiVersions 3 is the first that tells of features (KIP-584); UpdateFeatures 1 is the first that says upgrade or downgrade (Kafka 3.3).

use std::collections::BTreeMap;

use super::client::Client;
use super::error::ProtocolError;
use super::messages::Request;
use super::wire::{Decoder, Encoder, WireError};

const UPDATE_TIMEOUT_MS: i32 = 4_000;
const UPGRADE: i8 = 1;
const FINALIZED_TAG: u32 = 2;
const SUPPORTED_TAG: u32 = 0;

/// What one broker says of features.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    pub error: i16,
    /// The highest level that it could do.
    pub supported: BTreeMap<String, i16>,
    /// The level that is in force in the cluster.
    pub finalized: BTreeMap<String, i16>,
}

struct FeaturesRequest;

impl Request for FeaturesRequest {
    const KEY: i16 = 18;
    const VERSION: i16 = 3;
    const NAME: &'static str = "ApiVersions";
    const IS_FLEXIBLE: bool = true;
    const HAS_TAGS_BEFORE_ANSWER: bool = false;
    type Response = Features;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.compact_string("kchaos");
        encoder.compact_string(env!("CARGO_PKG_VERSION"));
        encoder.no_tags();
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Features, WireError> {
        let mut features = Features { error: decoder.i16()?, ..Features::default() };
        if features.error != 0 {
            // Of a broker that does not know this version the rest is an older one's.
            return Ok(features);
        }
        decoder.compact_array(|decoder| {
            let _range = (decoder.i16()?, decoder.i16()?, decoder.i16()?);
            decoder.tags()
        })?;
        let _throttle_ms = decoder.i32()?;
        for _ in 0..decoder.uvarint()? {
            let (tag, length) = (decoder.uvarint()?, decoder.uvarint()? as usize);
            let mut field = Decoder::new(decoder.take(length, "a tagged field")?);
            match tag {
                SUPPORTED_TAG => features.supported = levels(&mut field, |_min, max| max)?,
                FINALIZED_TAG => features.finalized = levels(&mut field, |max, _min| max)?,
                _ => {}
            }
        }
        Ok(features)
    }
}

/// By name. Supported ones have their lowest level first, finalized ones their highest.
fn levels(decoder: &mut Decoder<'_>, pick: fn(i16, i16) -> i16) -> Result<BTreeMap<String, i16>, WireError> {
    let all = decoder.compact_array(|decoder| {
        let name = decoder.compact_nullable_string()?.unwrap_or_default();
        let level = pick(decoder.i16()?, decoder.i16()?);
        decoder.tags()?;
        Ok((name, level))
    })?;
    Ok(all.into_iter().collect())
}

struct UpdateFeatureRequest<'a> {
    feature: &'a str,
    level: i16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Updated {
    error: i16,
    message: Option<String>,
}

impl Request for UpdateFeatureRequest<'_> {
    const KEY: i16 = 57;
    const VERSION: i16 = 1;
    const NAME: &'static str = "UpdateFeatures";
    const IS_FLEXIBLE: bool = true;
    type Response = Updated;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.i32(UPDATE_TIMEOUT_MS);
        encoder.compact_array(&[()], |encoder, ()| {
            encoder.compact_string(self.feature);
            encoder.i16(self.level);
            encoder.i8(UPGRADE);
            encoder.no_tags();
        });
        // In earnest, not to be validated alone.
        encoder.bool(false);
        encoder.no_tags();
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Updated, WireError> {
        let _throttle_ms = decoder.i32()?;
        let mut all = vec![Updated { error: decoder.i16()?, message: decoder.compact_nullable_string()? }];
        all.extend(decoder.compact_array(|decoder| {
            let _feature = decoder.compact_nullable_string()?;
            let one = Updated { error: decoder.i16()?, message: decoder.compact_nullable_string()? };
            decoder.tags()?;
            Ok(one)
        })?);
        decoder.tags()?;
        Ok(all.into_iter().find(|one| one.error != 0).unwrap_or_default())
    }
}

impl Client {
    /// What this broker says of features.
    pub async fn features(&self, broker: i32) -> Result<Features, ProtocolError> {
        let peer = self.peer(broker).await?;
        let answer = self.call(&peer, &FeaturesRequest).await?;
        if answer.error != 0 {
            return Err(ProtocolError::Refused { peer, what: "ApiVersions of features".to_owned(), code: answer.error });
        }
        Ok(answer)
    }

    /// Asks for a higher level of a feature; a broker hands it on to the controller.
    pub async fn raise_feature(&self, broker: i32, feature: &str, level: i16) -> Result<(), ProtocolError> {
        let peer = self.peer(broker).await?;
        let answer = self.call(&peer, &UpdateFeatureRequest { feature, level }).await?;
        if answer.error == 0 {
            return Ok(());
        }
        let why = answer.message.map_or_else(String::new, |message| format!(" ({message})"));
        Err(ProtocolError::Refused { peer, what: format!("raising {feature} to level {level}{why}"), code: answer.error })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::messages::bytes;
    use super::*;

    #[test]
    fn requests_are_written_byte_by_byte_as_the_protocol_says() {
        assert_eq!(bytes(&UpdateFeatureRequest { feature: "f", level: 27 }), [0, 0, 0x0f, 0xa0, 2, 2, b'f', 0, 27, 1, 0, 0, 0]);
        assert_eq!(bytes(&FeaturesRequest)[..7], [7, b'k', b'c', b'h', b'a', b'o', b's']);
    }

    #[test]
    fn features_are_read_from_the_tagged_fields_and_others_are_passed_over() {
        let answer = [
            0, 0, 2, 0, 18, 0, 0, 0, 4, 0, 0, 0, 0, 0, // no error, one range, no throttling
            3, 0, 8, 2, 2, b'm', 0, 1, 0, 27, 0, 1, 8, 0, 0, 0, 0, 0, 0, 0, 9, 2, 8, 2, 2, b'm', 0, 21, 0, 21, 0,
        ];
        let features = FeaturesRequest::decode(&mut Decoder::new(&answer)).unwrap();
        assert_eq!((features.supported.get("m"), features.finalized.get("m")), (Some(&27), Some(&21)));
        // UNSUPPORTED_VERSION, and then a body of version 0.
        assert_eq!(FeaturesRequest::decode(&mut Decoder::new(&[0, 35, 0, 0, 0, 0])).unwrap().error, 35);
    }

    #[test]
    fn an_answer_is_the_first_error_in_it_with_its_words() {
        let answer = [0, 0, 0, 0, 0, 0, 0, 2, 2, b'f', 0, 95, 3, b'n', b'o', 0, 0];
        let updated = UpdateFeatureRequest::decode(&mut Decoder::new(&answer)).unwrap();
        assert_eq!(updated, Updated { error: 95, message: Some("no".to_owned()) });
    }

    proptest! {
        #[test]
        fn no_answer_makes_them_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = FeaturesRequest::decode(&mut Decoder::new(&bytes));
            let _ = UpdateFeatureRequest::decode(&mut Decoder::new(&bytes));
        }
    }
}
