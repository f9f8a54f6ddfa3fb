//! What librdkafka's properties say of TLS.

use std::path::Path;

use openssl::pkcs12::Pkcs12;
use openssl::ssl::{SslConnectorBuilder, SslVerifyMode};
use zeroize::Zeroizing;

use super::security::Properties;
use crate::tls::{self, Tls, Words};

pub(super) const WORDS: &Words = &Words {
    daemon: "broker",
    ca: "name the file of the CA that signed it: kafka.properties.ssl.ca.location",
    name: "reach the broker by a name of its certificate, or have the certificate made for this one; \
           kafka.properties.ssl.endpoint.identification.algorithm = \"none\" gives the check up",
    identity: "name a certificate that it trusts: kafka.properties.ssl.keystore.location, or ssl.certificate.location and ssl.key.location",
    door: "compare kafka.properties.security.protocol and the port with the broker's listeners",
    settings: "kafka.properties.ssl.*",
};

pub(super) fn of_properties(properties: &Properties<'_>) -> Result<Tls, String> {
    let mut builder = tls::builder()?;
    let trust = trust(properties, &mut builder)?;
    identity(properties, &mut builder)?;
    if let Some(suites) = properties.get("ssl.cipher.suites") {
        builder.set_cipher_list(suites).map_err(|error| wrong("ssl.cipher.suites", &tls::reason(&error)))?;
    }
    let check = properties.get("ssl.endpoint.identification.algorithm").unwrap_or("https");
    let is_name_checked = match check {
        "https" => true,
        "none" => false,
        other => return Err(format!("kafka.properties.ssl.endpoint.identification.algorithm is {other:?}: it is https or none")),
    };
    let is_verified = !matches!(properties.get("enable.ssl.certificate.verification"), Some("false"));
    if !is_verified {
        builder.set_verify(SslVerifyMode::NONE);
    }
    Ok(Tls { connector: builder.build(), is_verified, is_name_checked, trust, words: WORDS })
}

fn trust(properties: &Properties<'_>, builder: &mut SslConnectorBuilder) -> Result<String, String> {
    let (name, pem, trust) = match (properties.get("ssl.ca.pem"), properties.get("ssl.ca.location")) {
        (Some(pem), _) => ("ssl.ca.pem", pem.as_bytes().to_vec(), "kafka.properties.ssl.ca.pem".to_owned()),
        (None, Some(path)) => ("ssl.ca.location", read("ssl.ca.location", path)?.to_vec(), path.to_owned()),
        // The system's, as librdkafka does.
        (None, None) => return Ok("this machine's own CAs, since kafka.properties.ssl.ca.location is not set".to_owned()),
    };
    tls::trusting(builder, &pem).map_err(|reason| wrong(name, &reason))?;
    Ok(trust)
}

/// Our own certificate, if there is one.
fn identity(properties: &Properties<'_>, builder: &mut SslConnectorBuilder) -> Result<(), String> {
    if let Some(path) = properties.get("ssl.keystore.location") {
        return of_key_store(properties, path, builder);
    }
    let Some((name, pem)) = pem_of(properties, "ssl.certificate")? else { return Ok(()) };
    let Some((key_name, key)) = pem_of(properties, "ssl.key")? else {
        return Err(format!("kafka.properties.{name} is there, and its key is not: ssl.key.location is missing"));
    };
    tls::set_certificate(builder, &pem).map_err(|reason| wrong(name, &reason))?;
    let password = properties.get("ssl.key.password").unwrap_or_default();
    tls::set_key(builder, &key, password).map_err(|reason| format!("{} (is ssl.key.password right?)", wrong(key_name, &reason)))
}

fn of_key_store(properties: &Properties<'_>, path: &str, builder: &mut SslConnectorBuilder) -> Result<(), String> {
    let name = "ssl.keystore.location";
    let failed = |error: openssl::error::ErrorStack| wrong(name, &tls::reason(&error));
    let password = properties.get("ssl.keystore.password").unwrap_or_default();
    let store = Pkcs12::from_der(&read(name, path)?).map_err(|error| format!("{}: no PKCS#12 file", failed(error)))?;
    let parsed = store.parse2(password).map_err(|error| format!("{} (is ssl.keystore.password right?)", failed(error)))?;
    let (Some(certificate), Some(key)) = (parsed.cert, parsed.pkey) else {
        return Err(format!("kafka.properties.{name}: {path} holds no certificate with its key"));
    };
    builder.set_certificate(&certificate).map_err(failed)?;
    builder.set_private_key(&key).map_err(failed)?;
    parsed.ca.into_iter().flatten().try_for_each(|certificate| builder.add_extra_chain_cert(certificate)).map_err(failed)
}

type Pem = (&'static str, Zeroizing<Vec<u8>>);

/// `NAME.pem`, or else what is in the file `NAME.location`.
fn pem_of(properties: &Properties<'_>, name: &str) -> Result<Option<Pem>, String> {
    let (pem, location) =
        if name == "ssl.key" { ("ssl.key.pem", "ssl.key.location") } else { ("ssl.certificate.pem", "ssl.certificate.location") };
    match (properties.get(pem), properties.get(location)) {
        (Some(text), _) => Ok(Some((pem, Zeroizing::new(text.as_bytes().to_vec())))),
        (None, Some(path)) => Ok(Some((location, read(location, path)?))),
        (None, None) => Ok(None),
    }
}

fn read(name: &str, path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    std::fs::read(Path::new(path)).map(Zeroizing::new).map_err(|error| format!("kafka.properties.{name}: {path}: {error}"))
}

fn wrong(name: &str, reason: &str) -> String {
    format!("kafka.properties.{name}: {reason}")
}
