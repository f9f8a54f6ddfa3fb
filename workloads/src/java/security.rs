//! How a Java client comes in, from librdkafka's properties. CAs and keys in PEM need kafka-clients 2.7 or later (KIP-651).

use std::collections::BTreeMap;

/// What of the user's and the inventory's properties is said here.
pub(super) const KNOWN: &[&str] = &[
    "security.protocol",
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
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
];

/// Beside all others.
pub(super) fn properties(all: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    let mut java = BTreeMap::new();
    let get = |name: &str| all.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let Some(protocol) = get("security.protocol") else { return Ok(java) };
    let mut set = |name: &str, value: String| java.insert(name.to_owned(), value);
    set("security.protocol", protocol.to_ascii_uppercase());
    if let Some(pem) = pem(all, "ssl.ca")? {
        set("ssl.truststore.type", "PEM".to_owned());
        set("ssl.truststore.certificates", pem);
    }
    if let Some(path) = get("ssl.keystore.location") {
        let password = get("ssl.keystore.password").unwrap_or_default();
        set("ssl.keystore.type", "PKCS12".to_owned());
        set("ssl.keystore.location", path.to_owned());
        set("ssl.keystore.password", password.to_owned());
        set("ssl.key.password", password.to_owned());
    } else if let (Some(certificate), Some(key)) = (pem(all, "ssl.certificate")?, pem(all, "ssl.key")?) {
        set("ssl.keystore.type", "PEM".to_owned());
        set("ssl.keystore.certificate.chain", certificate);
        set("ssl.keystore.key", key);
        if let Some(password) = get("ssl.key.password") {
            set("ssl.key.password", password.to_owned());
        }
    }
    if let Some(check) = get("ssl.endpoint.identification.algorithm") {
        set("ssl.endpoint.identification.algorithm", if check == "none" { String::new() } else { check.to_owned() });
    }
    if let Some(mechanism) = get("sasl.mechanism").or_else(|| get("sasl.mechanisms")) {
        set("sasl.mechanism", mechanism.to_owned());
        let module = if mechanism == "PLAIN" { "plain.PlainLoginModule" } else { "scram.ScramLoginModule" };
        let quoted = |name: &str| get(name).unwrap_or_default().replace('\\', "\\\\").replace('"', "\\\"");
        let (user, password) = (quoted("sasl.username"), quoted("sasl.password"));
        let login = format!("org.apache.kafka.common.security.{module} required username=\"{user}\" password=\"{password}\";");
        set("sasl.jaas.config", login);
    }
    Ok(java)
}

fn pem(all: &BTreeMap<String, String>, name: &str) -> Result<Option<String>, String> {
    crate::properties::pem(all, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_java_client_comes_in_by_librdkafka_s_words() {
        let all = [
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.pem", "-----BEGIN"),
            ("sasl.mechanisms", "SCRAM-SHA-512"),
            ("sasl.username", "u"),
            ("sasl.password", "a\"b\\c"),
            ("ssl.endpoint.identification.algorithm", "none"),
        ];
        let all = all.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let java = properties(&all).unwrap();
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.certificates", "-----BEGIN"),
            ("ssl.endpoint.identification.algorithm", ""),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.jaas.config", r#"org.apache.kafka.common.security.scram.ScramLoginModule required username="u" password="a\"b\\c";"#),
        ] {
            assert_eq!(java.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(properties(&BTreeMap::new()).unwrap().is_empty());
    }
}
