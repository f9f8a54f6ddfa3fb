//! Saying who we are: SaslHandshake 1 and SaslAuthenticate 0 (KIP-43, KIP-152), with PLAIN or SCRAM.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::error::ProtocolError;
use super::messages::Request;
use super::scram::{self, Hash, Scram};
use super::security::Properties;
use super::wire::{Decoder, Encoder, WireError};
use crate::secret::Secret;

const UNSUPPORTED_MECHANISM: i16 = 33;
const ILLEGAL_STATE: i16 = 34;
const NOT_AUTHENTICATED: i16 = 58;

#[derive(Debug)]
pub(super) struct Sasl {
    mechanism: Mechanism,
    user: String,
    password: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    Plain,
    Scram(Hash),
}

const MECHANISMS: &[(&str, Mechanism)] =
    &[("PLAIN", Mechanism::Plain), ("SCRAM-SHA-256", Mechanism::Scram(Hash::Sha256)), ("SCRAM-SHA-512", Mechanism::Scram(Hash::Sha512))];

impl Mechanism {
    fn name(self) -> &'static str {
        MECHANISMS.iter().find(|(_, mechanism)| *mechanism == self).map_or("", |(name, _)| *name)
    }
}

struct SaslHandshakeRequest {
    mechanism: &'static str,
}

struct SaslHandshake {
    error: i16,
    /// What the broker takes.
    mechanisms: Vec<String>,
}

impl Request for SaslHandshakeRequest {
    const KEY: i16 = 17;
    const VERSION: i16 = 1;
    const NAME: &'static str = "SaslHandshake";
    type Response = SaslHandshake;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.string(self.mechanism);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<SaslHandshake, WireError> {
        Ok(SaslHandshake { error: decoder.i16()?, mechanisms: decoder.array(Decoder::string)? })
    }
}

/// Its bytes are a password, or are made from one: it has no `Debug`.
struct SaslAuthenticateRequest<'a> {
    bytes: &'a [u8],
}

struct SaslAuthenticate {
    error: i16,
    message: Option<String>,
    bytes: Vec<u8>,
}

impl Request for SaslAuthenticateRequest<'_> {
    const KEY: i16 = 36;
    const VERSION: i16 = 0;
    const NAME: &'static str = "SaslAuthenticate";
    type Response = SaslAuthenticate;

    fn encode(&self, encoder: &mut Encoder) {
        encoder.blob(self.bytes);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<SaslAuthenticate, WireError> {
        Ok(SaslAuthenticate { error: decoder.i16()?, message: decoder.nullable_string()?, bytes: decoder.blob()?.to_vec() })
    }
}

impl Sasl {
    pub(super) fn read(properties: &Properties<'_>) -> Result<Self, String> {
        let missing = |name: &str| format!("kafka.properties.{name} is missing, and security.protocol asks for SASL");
        let named = properties.get("sasl.mechanism").or_else(|| properties.get("sasl.mechanisms"));
        let named = named.ok_or_else(|| missing("sasl.mechanism"))?;
        let known = MECHANISMS.iter().find(|(name, _)| *name == named);
        let Some((_, mechanism)) = known else {
            let names: Vec<&str> = MECHANISMS.iter().map(|(name, _)| *name).collect();
            return Err(format!("kafka.properties.sasl.mechanism is {named:?}: the view and the observer know {}", names.join(", ")));
        };
        let user = properties.get("sasl.username").ok_or_else(|| missing("sasl.username"))?.to_owned();
        let password = properties.secret("sasl.password").ok_or_else(|| missing("sasl.password"))?.clone();
        Ok(Self { mechanism: *mechanism, user, password })
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// Before anything else but ApiVersions.
    pub(super) async fn authenticate<S>(&self, connection: &mut Connection<S>, limit: Duration) -> Result<(), ProtocolError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mechanism = self.mechanism.name();
        let answer = connection.call(&SaslHandshakeRequest { mechanism }, limit).await?;
        match answer.error {
            0 => {}
            UNSUPPORTED_MECHANISM => {
                let takes = answer.mechanisms.join(", ");
                return Err(connection.unwelcome(
                    format!("takes {takes}, and not {mechanism}"),
                    "set kafka.properties.sasl.mechanism to one that it takes, or sasl.enabled.mechanisms there".to_owned(),
                ));
            }
            ILLEGAL_STATE => {
                let what = "has a listener without SASL there".to_owned();
                return Err(
                    connection.unwelcome(what, "take SASL_ out of kafka.properties.security.protocol, or name another port".to_owned())
                );
            }
            code => return Err(connection.refused(SaslHandshakeRequest::NAME.to_owned(), code)),
        }
        match self.mechanism {
            Mechanism::Plain => {
                let words = scram::Wiped::new([b"\0", self.user.as_bytes(), b"\0", self.password.reveal().as_bytes()].concat());
                self.step(connection, &words, limit).await.map(drop)
            }
            Mechanism::Scram(hash) => {
                let scram = Scram::new(hash, &self.user, &scram::nonce().map_err(|reason| connection.unwelcome(reason, String::new()))?);
                let first = self.step(connection, scram.first().as_bytes(), limit).await?;
                let malformed = |connection: &Connection<S>, reason: String| {
                    connection.unwelcome(format!("speaks no {mechanism}: {reason}"), "see the broker's log".to_owned())
                };
                let last = scram.last(&first, self.password.reveal()).map_err(|reason| malformed(connection, reason))?;
                let signature = self.step(connection, last.message.as_bytes(), limit).await?;
                last.check(&signature).map_err(|reason| malformed(connection, reason))
            }
        }
    }

    async fn step<S>(&self, connection: &mut Connection<S>, bytes: &[u8], limit: Duration) -> Result<Vec<u8>, ProtocolError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let answer = connection.call(&SaslAuthenticateRequest { bytes }, limit).await?;
        match answer.error {
            0 => Ok(answer.bytes),
            NOT_AUTHENTICATED => {
                let why = answer.message.map_or_else(String::new, |message| format!(": {message}"));
                let what = format!("does not let user {} in ({}){why}", self.user, self.mechanism.name());
                Err(connection
                    .unwelcome(what, "see kafka.properties.sasl.username and sasl.password, and whether the user exists there".to_owned()))
            }
            code => Err(connection.refused(SaslAuthenticateRequest::NAME.to_owned(), code)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::messages::bytes;
    use super::*;

    #[test]
    fn requests_are_written_byte_by_byte_as_the_protocol_says() {
        assert_eq!(bytes(&SaslHandshakeRequest { mechanism: "PLAIN" }), [0, 5, b'P', b'L', b'A', b'I', b'N']);
        assert_eq!(bytes(&SaslAuthenticateRequest { bytes: &[0, b'u', 0, b'p'] }), [0, 0, 0, 4, 0, b'u', 0, b'p']);
    }

    proptest! {
        #[test]
        fn no_answer_makes_them_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = SaslHandshakeRequest::decode(&mut Decoder::new(&bytes));
            let _ = SaslAuthenticateRequest::decode(&mut Decoder::new(&bytes));
        }
    }
}
