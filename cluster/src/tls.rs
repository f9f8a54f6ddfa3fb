//! TLS by the system's OpenSSL, which librdkafka uses too: what lets one in lets the other in.
//!
//! Why so many words about what went wrong: each of these mistakes looks the same from afar ("nobody answered"), and is mended elsewhere.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{self, SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509Ref, X509StoreContextRef};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

/// OpenSSL's numbers (x509_vfy.h).
const NOT_YET_VALID: i32 = 9;
const EXPIRED: i32 = 10;
const SIGNED_BY_A_STRANGER: &[i32] = &[2, 18, 19, 20, 21];
const OTHER_NAME: &[i32] = &[62, 64];

/// Where each mistake is mended, in the words of those who come in.
pub(crate) struct Words {
    /// Whose certificate it is.
    pub(crate) daemon: &'static str,
    /// A CA that is not trusted.
    pub(crate) ca: &'static str,
    /// A certificate for another name.
    pub(crate) name: &'static str,
    /// A certificate of ours that is missing or refused.
    pub(crate) identity: &'static str,
    /// A door of another kind.
    pub(crate) door: &'static str,
    /// All that there is to set.
    pub(crate) settings: &'static str,
}

/// How to come in by TLS, and whom to trust.
pub(crate) struct Tls {
    pub(crate) connector: SslConnector,
    pub(crate) is_verified: bool,
    pub(crate) is_name_checked: bool,
    /// Who is trusted, for people.
    pub(crate) trust: String,
    pub(crate) words: &'static Words,
}

/// Why no TLS came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TlsError {
    OpenSsl(String),
    /// The other side is there: what is the matter with it, and where that is mended.
    Unwelcome {
        what: String,
        mend: String,
    },
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
    /// `address`: with the port, which no certificate has.
    pub(crate) async fn handshake(&self, stream: TcpStream, address: &str) -> Result<SslStream<TcpStream>, TlsError> {
        let failed = |error: ErrorStack| TlsError::OpenSsl(format!("OpenSSL: {error}"));
        let host = host_of(address);
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
                let (what, mend) = refusal.map_or_else(|| explain(&error, self.words), |refusal| self.told(&refusal, host));
                Err(TlsError::Unwelcome { what, mend })
            }
        }
    }

    /// What is wrong with a certificate, and where that is mended.
    fn told(&self, refusal: &Refusal, host: &str) -> (String, String) {
        let (Refusal { code, reason, subject, issuer, names, from, until }, words) = (refusal, self.words);
        match *code {
            EXPIRED => (
                format!("has a certificate ({subject}) that expired on {until}"),
                format!("have the {}'s certificate renewed", words.daemon),
            ),
            NOT_YET_VALID => (
                format!("has a certificate ({subject}) that is valid from {from} on"),
                format!("see this machine's clock and the {}'s certificate", words.daemon),
            ),
            code if SIGNED_BY_A_STRANGER.contains(&code) => (
                format!("has a certificate ({subject}) signed by {issuer}, who is not trusted by {} ({reason})", self.trust),
                words.ca.to_owned(),
            ),
            code if OTHER_NAME.contains(&code) => (format!("has a certificate for {names}, and not for {host}"), words.name.to_owned()),
            _ => (format!("has a certificate ({subject}) that is refused: {reason}"), format!("see the {}'s certificate", words.daemon)),
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
fn explain(error: &ssl::Error, words: &Words) -> (String, String) {
    let reasons: Vec<&str> = error.ssl_error().into_iter().flat_map(|stack| stack.errors()).filter_map(|error| error.reason()).collect();
    let said = reasons.join("; ");
    if said.contains("alert") {
        return alert(&said, words);
    }
    let is_no_tls = ["wrong version number", "packet length too long", "record layer failure", "unknown protocol"];
    if is_no_tls.iter().any(|phrase| said.contains(phrase)) {
        return ("answers in something that is no TLS".to_owned(), words.door.to_owned());
    }
    if error.ssl_error().is_none() || said.contains("unexpected eof") {
        return ("closed the connection in the TLS handshake, as a listener without TLS does".to_owned(), words.door.to_owned());
    }
    (format!("does not agree on TLS: {said}"), format!("see the {}'s log, and {}", words.daemon, words.settings))
}

/// What the other side refused. Of TLS 1.3 it comes after the handshake.
fn alert(said: &str, words: &Words) -> (String, String) {
    let mend = words.identity;
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
pub(crate) fn alert_of(error: &std::io::Error, words: &Words) -> Option<(String, String)> {
    let error = error.get_ref()?.downcast_ref::<ssl::Error>()?;
    let (what, mend) = explain(error, words);
    error.ssl_error().map(|_| (what, mend))
}

/// A builder that trusts these certificates alone.
pub(crate) fn trusting(builder: &mut SslConnectorBuilder, pem: &[u8]) -> Result<(), String> {
    let certificates = X509::stack_from_pem(pem).map_err(|error| reason(&error))?;
    if certificates.is_empty() {
        return Err("it holds no certificate (PEM: -----BEGIN CERTIFICATE-----)".to_owned());
    }
    let mut store = X509StoreBuilder::new().map_err(|error| reason(&error))?;
    for certificate in certificates {
        store.add_cert(certificate).map_err(|error| reason(&error))?;
    }
    builder.set_cert_store(store.build());
    Ok(())
}

/// Our own certificate with what signed it, in PEM.
pub(crate) fn set_certificate(builder: &mut SslConnectorBuilder, pem: &[u8]) -> Result<(), String> {
    let mut chain = X509::stack_from_pem(pem).map_err(|error| reason(&error))?.into_iter();
    let certificate = chain.next().ok_or("it holds no certificate")?;
    builder.set_certificate(&certificate).map_err(|error| reason(&error))?;
    chain.try_for_each(|certificate| builder.add_extra_chain_cert(certificate)).map_err(|error| reason(&error))
}

/// Its key, in PEM.
pub(crate) fn set_key(builder: &mut SslConnectorBuilder, pem: &[u8], password: &str) -> Result<(), String> {
    let key = PKey::private_key_from_pem_passphrase(pem, password.as_bytes()).map_err(|error| reason(&error))?;
    builder.set_private_key(&key).map_err(|error| reason(&error))
}

pub(crate) fn builder() -> Result<SslConnectorBuilder, String> {
    SslConnector::builder(SslMethod::tls_client()).map_err(|error| format!("OpenSSL: {error}"))
}

/// OpenSSL's first reason; it repeats no content.
pub(crate) fn reason(error: &ErrorStack) -> String {
    error.errors().first().and_then(|error| error.reason()).unwrap_or("it cannot be read").to_owned()
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
