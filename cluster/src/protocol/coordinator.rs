//! Who coordinates a consumer group or a transactional id: FindCoordinator 2.
//!
//! Version 2 is the last non-flexible one, and the first whose answer says why it is not at hand (KIP-219 changed only throttling). Asking
//! makes the internal topic (`__consumer_offsets`, `__transaction_state`) where there is none yet, as any client's first request does; so
//! [`super::Client::coordinator`] looks first whether it is there.

use super::messages::{MetadataTopic, Request};
use super::wire::{Decoder, Encoder, WireError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorKind {
    Group,
    Transaction,
}

impl CoordinatorKind {
    pub fn topic(self) -> &'static str {
        match self {
            CoordinatorKind::Group => "__consumer_offsets",
            CoordinatorKind::Transaction => "__transaction_state",
        }
    }
}

pub(super) struct FindCoordinatorRequest<'a> {
    pub(super) kind: CoordinatorKind,
    pub(super) name: &'a str,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FoundCoordinator {
    pub(super) error: i16,
    pub(super) message: Option<String>,
    pub(super) broker: i32,
}

impl Request for FindCoordinatorRequest<'_> {
    const KEY: i16 = 10;
    const VERSION: i16 = 2;
    const NAME: &'static str = "FindCoordinator";
    type Response = FoundCoordinator;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.string(self.name);
        encoder.i8(i8::from(self.kind == CoordinatorKind::Transaction));
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<FoundCoordinator, WireError> {
        let _throttle_ms = decoder.i32()?;
        let (error, message, broker) = (decoder.i16()?, decoder.nullable_string()?, decoder.i32()?);
        let (_host, _port) = (decoder.string()?, decoder.i32()?);
        Ok(FoundCoordinator { error, message, broker })
    }
}

/// `true` if the internal topic is there: asking for a coordinator then makes nothing.
pub(super) fn is_there(topics: &[MetadataTopic], kind: CoordinatorKind) -> bool {
    topics.iter().any(|topic| topic.topic == kind.topic() && topic.error == 0 && !topic.partitions.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_coordinator_is_asked_for_and_read_byte_by_byte() {
        let mut encoder = Encoder::default();
        FindCoordinatorRequest { kind: CoordinatorKind::Transaction, name: "t" }.encode(&mut encoder);
        assert_eq!(encoder.bytes, [0, 1, b't', 1]);
        let answer = [0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 2, 0, 1, b'h', 0, 0, 0x23, 0x84];
        let found = FindCoordinatorRequest::decode(&mut Decoder::new(&answer)).unwrap();
        assert_eq!(found, FoundCoordinator { error: 0, message: None, broker: 2 });
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = FindCoordinatorRequest::decode(&mut Decoder::new(&bytes));
        }
    }
}
