//! TLS by the system's OpenSSL, which librdkafka uses too: what lets one in lets the other in.
//!
//! Why so many words about what went wrong: each of these mistakes looks the same from afar ("no broker answered"), and is mended elsewhere.

use std::fmt::Write as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::ssl::{self, SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Ref, X509StoreContextRef};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;
use zeroize::Zeroizing;

use super::error::{Peer, ProtocolError};
use super::security::Properties;

/// OpenSSL's numbers (x509_vfy.h).
const NOT_YET_VALID: i32 = 9;
const EXPIRED: i32 = 10;
const SIGNED_BY_A_STRANGER: &[i32] = &[2, 18, 19, 20, 21];
const OTHER_NAME: &[i32] = &[62, 64];

pub(super) struct Tls {
    connector: SslConnector,
    is_verified: bool,
    is_name_checked: bool,
    /// Who is trusted, for people.
    trust: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls {{ trust: {:?} }}", self.trust)
    }
}

/// Why a certificate was refused.
struct Refusal {
    code: i32,
    reason: String,
    subject: String,
    issuer: String,
    names: String,
    from: String,
    until: String,
}

impl Tls {
    pub(super) fn read(properties: &Properties<'_>) -> Result<Self, String> {
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|error| format!("OpenSSL: {error}"))?;
        let trust = trust(properties, &mut builder)?;
        identity(properties, &mut builder)?;
        if let Some(suites) = properties.get("ssl.cipher.suites") {
            builder.set_cipher_list(suites).map_err(|error| wrong("ssl.cipher.suites", &error))?;
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
        Ok(Self { connector: builder.build(), is_verified, is_name_checked, trust })
    }

    pub(super) async fn handshake(&self, stream: TcpStream, peer: &Peer) -> Result<SslStream<TcpStream>, ProtocolError> {
        let failed = |error: openssl::error::ErrorStack| ProtocolError::Security { reason: format!("OpenSSL: {error}") };
        let host = host_of(&peer.address);
        let mut configuration = self.connector.configure().map_err(failed)?;
        configuration.set_verify_hostname(self.is_name_checked);
        let mut ssl = configuration.into_ssl(host).map_err(failed)?;
        let refusal = Arc::new(Mutex::new(None));
        if self.is_verified {
            let refusal = Arc::clone(&refusal);
            ssl.set_verify_callback(SslVerifyMode::PEER, move |is_good, context| {
                if !is_good {
                    refusal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| Refusal::of(context));
                }
                is_good
            });
        }
        let mut stream = SslStream::new(ssl, stream).map_err(failed)?;
        match Pin::new(&mut stream).connect().await {
            Ok(()) => Ok(stream),
            Err(error) => {
                let refusal = refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (what, mend) = refusal.map_or_else(|| explain(&error), |refusal| self.told(&refusal, host));
                Err(ProtocolError::Unwelcome { peer: peer.clone(), what, mend })
            }
        }
    }

    /// What is wrong with a certificate, and where that is mended.
    fn told(&self, refusal: &Refusal, host: &str) -> (String, String) {
        let Refusal { code, reason, subject, issuer, names, from, until } = refusal;
        match *code {
            EXPIRED => {
                (format!("has a certificate ({subject}) that expired on {until}"), "have the broker's certificate renewed".to_owned())
            }
            NOT_YET_VALID => (
                format!("has a certificate ({subject}) that is valid from {from} on"),
                "see this machine's clock and the broker's certificate".to_owned(),
            ),
            code if SIGNED_BY_A_STRANGER.contains(&code) => (
                format!("has a certificate ({subject}) signed by {issuer}, who is not trusted by {} ({reason})", self.trust),
                "name the file of the CA that signed it: kafka.properties.ssl.ca.location".to_owned(),
            ),
            code if OTHER_NAME.contains(&code) => (
                format!("has a certificate for {names}, and not for {host}"),
                "reach the broker by a name of its certificate, or have the certificate made for this one; \
                 kafka.properties.ssl.endpoint.identification.algorithm = \"none\" gives the check up"
                    .to_owned(),
            ),
            _ => (format!("has a certificate ({subject}) that is refused: {reason}"), "see the broker's certificate".to_owned()),
        }
    }
}

impl Refusal {
    fn of(context: &mut X509StoreContextRef) -> Self {
        let error = context.error();
        let of = |text: fn(&X509Ref) -> String| context.current_cert().map(text).unwrap_or_default();
        Self {
            code: error.as_raw(),
            reason: error.error_string().to_owned(),
            subject: of(|certificate| written(certificate.subject_name())),
            issuer: of(|certificate| written(certificate.issuer_name())),
            names: of(names),
            from: of(|certificate| certificate.not_before().to_string()),
            until: of(|certificate| certificate.not_after().to_string()),
        }
    }
}

/// `CN=kafka1, O=lab`
fn written(name: &openssl::x509::X509NameRef) -> String {
    let mut text = String::new();
    for entry in name.entries() {
        let separator = if text.is_empty() { "" } else { ", " };
        let value = entry.data().to_string().unwrap_or_default();
        let _ = write!(text, "{separator}{}={value}", entry.object().nid().short_name().unwrap_or("?"));
    }
    text
}

fn names(certificate: &X509Ref) -> String {
    let mut names = Vec::new();
    for name in certificate.subject_alt_names().into_iter().flatten() {
        if let Some(name) = name.dnsname() {
            names.push(name.to_owned());
        }
        match name.ipaddress() {
            Some(bytes) if bytes.len() == 4 => names.push(bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(".")),
            Some(bytes) if bytes.len() == 16 => {
                names.extend(<[u8; 16]>::try_from(bytes).map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()));
            }
            _ => {}
        }
    }
    if names.is_empty() { written(certificate.subject_name()) } else { names.join(", ") }
}

/// Of a handshake in which no certificate of theirs was refused.
fn explain(error: &ssl::Error) -> (String, String) {
    let reasons: Vec<&str> = error.ssl_error().into_iter().flat_map(|stack| stack.errors()).filter_map(|error| error.reason()).collect();
    let said = reasons.join("; ");
    if said.contains("alert") {
        return alert(&said);
    }
    let is_no_tls = ["wrong version number", "packet length too long", "record layer failure", "unknown protocol"];
    if is_no_tls.iter().any(|words| said.contains(words)) {
        return ("answers in something that is no TLS".to_owned(), NO_TLS.to_owned());
    }
    if error.ssl_error().is_none() || said.contains("unexpected eof") {
        return ("closed the connection in the TLS handshake, as a listener without TLS does".to_owned(), NO_TLS.to_owned());
    }
    (format!("does not agree on TLS: {said}"), "see the broker's log, and kafka.properties.ssl.*".to_owned())
}

const NO_TLS: &str = "compare kafka.properties.security.protocol and the port with the broker's listeners";

/// What the other side refused. Of TLS 1.3 it comes after the handshake.
fn alert(said: &str) -> (String, String) {
    let mend =
        "name a certificate that it trusts: kafka.properties.ssl.keystore.location, or ssl.certificate.location and ssl.key.location";
    let (what, mend) = if said.contains("handshake failure") || said.contains("certificate required") || said.contains("bad certificate") {
        (format!("wants a certificate of ours that it trusts ({said})"), mend)
    } else if said.contains("unknown ca") || said.contains("certificate unknown") || said.contains("certificate expired") {
        (format!("refused our certificate ({said})"), mend)
    } else if said.contains("protocol version") {
        (format!("speaks other versions of TLS ({said})"), "see ssl.enabled.protocols there")
    } else {
        (format!("ended TLS ({said})"), "see the broker's log")
    };
    (what, mend.to_owned())
}

/// An error on a stream of TLS, if the other side gave a reason.
pub(super) fn alert_of(error: &std::io::Error) -> Option<(String, String)> {
    let error = error.get_ref()?.downcast_ref::<ssl::Error>()?;
    let (what, mend) = explain(error);
    error.ssl_error().map(|_| (what, mend))
}

fn trust(properties: &Properties<'_>, builder: &mut SslConnectorBuilder) -> Result<String, String> {
    let (name, pem, trust) = match (properties.get("ssl.ca.pem"), properties.get("ssl.ca.location")) {
        (Some(pem), _) => ("ssl.ca.pem", pem.as_bytes().to_vec(), "kafka.properties.ssl.ca.pem".to_owned()),
        (None, Some(path)) => ("ssl.ca.location", read("ssl.ca.location", path)?.to_vec(), path.to_owned()),
        // The system's, as librdkafka does.
        (None, None) => return Ok("this machine's own CAs, since kafka.properties.ssl.ca.location is not set".to_owned()),
    };
    let certificates = X509::stack_from_pem(&pem).map_err(|error| wrong(name, &error))?;
    if certificates.is_empty() {
        return Err(format!("kafka.properties.{name} holds no certificate (PEM: -----BEGIN CERTIFICATE-----)"));
    }
    let mut store = X509StoreBuilder::new().map_err(|error| wrong(name, &error))?;
    for certificate in certificates {
        store.add_cert(certificate).map_err(|error| wrong(name, &error))?;
    }
    builder.set_cert_store(store.build());
    Ok(trust)
}

/// Our own certificate, if there is one.
fn identity(properties: &Properties<'_>, builder: &mut SslConnectorBuilder) -> Result<(), String> {
    if let Some(path) = properties.get("ssl.keystore.location") {
        let name = "ssl.keystore.location";
        let password = properties.get("ssl.keystore.password").unwrap_or_default();
        let store = Pkcs12::from_der(&read(name, path)?).map_err(|error| format!("{}: no PKCS#12 file", wrong(name, &error)))?;
        let parsed = store.parse2(password).map_err(|error| format!("{} (is ssl.keystore.password right?)", wrong(name, &error)))?;
        let (Some(certificate), Some(key)) = (parsed.cert, parsed.pkey) else {
            return Err(format!("kafka.properties.{name}: {path} holds no certificate with its key"));
        };
        builder.set_certificate(&certificate).map_err(|error| wrong(name, &error))?;
        builder.set_private_key(&key).map_err(|error| wrong(name, &error))?;
        for certificate in parsed.ca.into_iter().flatten() {
            builder.add_extra_chain_cert(certificate).map_err(|error| wrong(name, &error))?;
        }
        return Ok(());
    }
    let Some((name, pem)) = pem_of(properties, "ssl.certificate")? else { return Ok(()) };
    let Some((key_name, key)) = pem_of(properties, "ssl.key")? else {
        return Err(format!("kafka.properties.{name} is there, and its key is not: ssl.key.location is missing"));
    };
    let mut chain = X509::stack_from_pem(&pem).map_err(|error| wrong(name, &error))?.into_iter();
    let certificate = chain.next().ok_or_else(|| format!("kafka.properties.{name} holds no certificate"))?;
    builder.set_certificate(&certificate).map_err(|error| wrong(name, &error))?;
    for certificate in chain {
        builder.add_extra_chain_cert(certificate).map_err(|error| wrong(name, &error))?;
    }
    let password = properties.get("ssl.key.password").unwrap_or_default();
    let key = PKey::private_key_from_pem_passphrase(&key, password.as_bytes());
    let key = key.map_err(|error| format!("{} (is ssl.key.password right?)", wrong(key_name, &error)))?;
    builder.set_private_key(&key).map_err(|error| wrong(key_name, &error))
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

/// OpenSSL's first reason; it repeats no content.
fn wrong(name: &str, error: &openssl::error::ErrorStack) -> String {
    let reason = error.errors().first().and_then(|error| error.reason()).unwrap_or("it cannot be read");
    format!("kafka.properties.{name}: {reason}")
}

/// Without the port, and without the brackets of an IPv6 address.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_held_against_the_host_alone() {
        assert_eq!(host_of("10.0.0.1:9092"), "10.0.0.1");
        assert_eq!(host_of("[fe80::1]:9092"), "fe80::1");
        assert_eq!(host_of("kafka1.example:9093"), "kafka1.example");
    }
}
