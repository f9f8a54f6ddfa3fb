//! Who may do what: CreateAcls 1 (the first that knows prefixes, KIP-290). For labs, which are made with the least that kchaos needs.

use super::admin::{Verdict, worst};
use super::client::Client;
use super::error::ProtocolError;
use super::messages::Request;
use super::wire::{Decoder, Encoder, WireError};

/// One right: `ALLOW`, from any host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    pub resource: AclResource,
    pub name: String,
    pub pattern: AclPattern,
    /// `User:kchaos`
    pub principal: String,
    /// `Read`, as Kafka's documents write it.
    pub operation: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclResource {
    Topic,
    Group,
    Cluster,
    TransactionalId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclPattern {
    Literal,
    Prefixed,
}

/// `org.apache.kafka.common.acl.AclOperation`
pub(super) const OPERATIONS: &[(&str, i8)] = &[
    ("All", 2),
    ("Read", 3),
    ("Write", 4),
    ("Create", 5),
    ("Delete", 6),
    ("Alter", 7),
    ("Describe", 8),
    ("ClusterAction", 9),
    ("DescribeConfigs", 10),
    ("AlterConfigs", 11),
    ("IdempotentWrite", 12),
];
const ALLOW: i8 = 3;

impl AclResource {
    /// `org.apache.kafka.common.resource.ResourceType`
    fn code(self) -> i8 {
        match self {
            AclResource::Topic => 2,
            AclResource::Group => 3,
            AclResource::Cluster => 4,
            AclResource::TransactionalId => 5,
        }
    }
}

impl AclPattern {
    fn code(self) -> i8 {
        match self {
            AclPattern::Literal => 3,
            AclPattern::Prefixed => 4,
        }
    }
}

/// Of a bit field of them.
pub(super) fn operations(bits: i32) -> Vec<&'static str> {
    // Not described: the least number there is.
    let is_set = |code: i8| bits != i32::MIN && bits >> code & 1 == 1;
    OPERATIONS.iter().filter(|(_, code)| is_set(*code)).map(|(name, _)| *name).collect()
}

struct CreateAclsRequest<'a> {
    acls: &'a [Acl],
}

impl Request for CreateAclsRequest<'_> {
    const KEY: i16 = 30;
    const VERSION: i16 = 1;
    const NAME: &'static str = "CreateAcls";
    type Response = Verdict;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.array(self.acls, |encoder, acl| {
            encoder.i8(acl.resource.code());
            encoder.string(&acl.name);
            encoder.i8(acl.pattern.code());
            encoder.string(&acl.principal);
            encoder.string("*");
            // An operation that is not known is 0, which a broker refuses.
            encoder.i8(OPERATIONS.iter().find(|(name, _)| *name == acl.operation).map_or(0, |(_, code)| *code));
            encoder.i8(ALLOW);
        });
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Verdict, WireError> {
        let _throttle_ms = decoder.i32()?;
        let codes = decoder.array(|decoder| {
            let (error, _message) = (decoder.i16()?, decoder.nullable_string()?);
            Ok(error)
        })?;
        Ok(worst(codes))
    }
}

impl Client {
    /// Grants all of these. What is granted already is no error.
    pub async fn create_acls(&self, acls: &[Acl]) -> Result<(), ProtocolError> {
        self.ask_controller(&CreateAclsRequest { acls }, "the making of ACLs").await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::messages::bytes;
    use super::*;

    #[test]
    fn a_request_is_written_byte_by_byte_as_the_protocol_says() {
        let acl = Acl {
            resource: AclResource::Topic,
            name: "t".to_owned(),
            pattern: AclPattern::Prefixed,
            principal: "U".to_owned(),
            operation: "Write",
        };
        let expect = [0, 0, 0, 1, 2, 0, 1, b't', 4, 0, 1, b'U', 0, 1, b'*', 4, 3];
        assert_eq!(bytes(&CreateAclsRequest { acls: &[acl] }), expect);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = CreateAclsRequest::decode(&mut Decoder::new(&bytes));
        }
    }
}
