//! How to come in: what librdkafka's own properties (`[kafka.properties]`) mean for this client, so that one set of words lets every client in.
//!
//! A property of security that this client cannot honour is refused by name. To pass over it would be to look at a cluster by another door than
//! the clients' own.

use std::collections::BTreeMap;

use super::error::ProtocolError;
use super::sasl::Sasl;
use super::tls;
use crate::inventory::Inventory;
use crate::secret::Secret;
use crate::tls::Tls;

/// What stands between a socket and Kafka's protocol.
#[derive(Debug, Default)]
pub struct Security {
    pub(super) tls: Option<Tls>,
    pub(super) sasl: Option<Sasl>,
}

/// Of librdkafka, for every client. What else begins with `ssl.` or `sasl.` is refused.
const KNOWN: &[&str] = &[
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.pem",
    "ssl.key.password",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.endpoint.identification.algorithm",
    "ssl.cipher.suites",
    "enable.ssl.certificate.verification",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
];

/// The values that a property has, by its name.
pub(super) struct Properties<'a>(pub(super) &'a BTreeMap<String, Secret>);

impl<'a> Properties<'a> {
    /// An empty value is none, as for librdkafka.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(Secret::reveal).filter(|value| !value.is_empty())
    }

    pub(super) fn secret(&self, name: &str) -> Option<&'a Secret> {
        self.0.get(name)
    }
}

impl Security {
    /// Follows the inventory's references to secrets.
    pub fn of(inventory: &Inventory) -> Result<Self, ProtocolError> {
        let properties = inventory.kafka_properties().map_err(|error| ProtocolError::Security { reason: error.to_string() })?;
        Self::from_properties(&properties)
    }

    pub fn from_properties(properties: &BTreeMap<String, Secret>) -> Result<Self, ProtocolError> {
        Self::read(&Properties(properties)).map_err(|reason| ProtocolError::Security { reason })
    }

    fn read(properties: &Properties<'_>) -> Result<Self, String> {
        let (has_tls, has_sasl) = protocol(properties)?;
        let is_of_ours = |name: &&String| name.starts_with("ssl.") || name.starts_with("sasl.");
        if let Some(name) = properties.0.keys().filter(is_of_ours).find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(format!(
                "kafka.properties.{name} is not known to the view and the observer, which look at brokers by a client of their own; known are {}",
                KNOWN.join(", ")
            ));
        }
        let tls = if has_tls { Some(tls::of_properties(properties)?) } else { None };
        let sasl = if has_sasl { Some(Sasl::read(properties)?) } else { None };
        Ok(Self { tls, sasl })
    }

    /// For people, as `security.protocol` says it.
    pub fn name(&self) -> &'static str {
        match (&self.tls, &self.sasl) {
            (None, None) => "PLAINTEXT",
            (Some(_), None) => "SSL",
            (None, Some(_)) => "SASL_PLAINTEXT",
            (Some(_), Some(_)) => "SASL_SSL",
        }
    }

    /// Who we say that we are.
    pub fn user(&self) -> Option<&str> {
        self.sasl.as_ref().map(Sasl::user)
    }
}

/// With TLS? With SASL?
fn protocol(properties: &Properties<'_>) -> Result<(bool, bool), String> {
    let protocol = properties.get("security.protocol").unwrap_or("plaintext");
    match protocol.to_ascii_lowercase().as_str() {
        "plaintext" => Ok((false, false)),
        "ssl" => Ok((true, false)),
        "sasl_plaintext" => Ok((false, true)),
        "sasl_ssl" => Ok((true, true)),
        _ => Err(format!("kafka.properties.security.protocol is {protocol:?}: it is one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(properties: &[(&str, &str)], expect: Result<&str, &str>) {
        let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect();
        match (Security::from_properties(&properties), expect) {
            (Ok(security), Ok(name)) => assert_eq!(security.name(), name),
            (Err(error), Err(part)) => {
                assert!(error.to_string().contains(part), "{error} lacks {part:?}");
                assert!(!error.to_string().contains("hunter2"), "{error}");
            }
            (got, expect) => panic!("got {got:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn librdkafka_s_words_say_how_to_come_in() {
        check(&[], Ok("PLAINTEXT"));
        check(&[("security.protocol", "ssl")], Ok("SSL"));
        let sasl =
            [("security.protocol", "SASL_SSL"), ("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.username", "u"), ("sasl.password", "hunter2")];
        check(&sasl, Ok("SASL_SSL"));
        check(&[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanisms", "PLAIN"), sasl[2], sasl[3]], Ok("SASL_PLAINTEXT"));
        // Of no use without SASL, and no harm either.
        check(&[("sasl.username", "u")], Ok("PLAINTEXT"));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_property_and_never_with_a_secret() {
        check(&[("security.protocol", "TLS")], Err("security.protocol is \"TLS\": it is one of PLAINTEXT, SSL"));
        check(&[("security.protocol", "sasl_ssl")], Err("sasl.mechanism is missing"));
        let scram = |mechanism| [("security.protocol", "sasl_ssl"), ("sasl.mechanism", mechanism), ("sasl.password", "hunter2")];
        check(&scram("GSSAPI"), Err("sasl.mechanism is \"GSSAPI\": the view and the observer know PLAIN"));
        check(&scram("PLAIN"), Err("sasl.username is missing"));
        check(&[("security.protocol", "ssl"), ("ssl.crl.location", "/x")], Err("ssl.crl.location is not known"));
        check(&[("security.protocol", "ssl"), ("ssl.ca.location", "/nonexistent/ca.pem")], Err("ssl.ca.location: /nonexistent/ca.pem"));
        check(&[("security.protocol", "ssl"), ("ssl.ca.pem", "hunter2")], Err("ssl.ca.pem"));
    }
}
