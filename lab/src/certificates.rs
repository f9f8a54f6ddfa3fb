//! A CA for one lab, and the certificates that it signs: elliptic keys, PKCS#12 files as brokers have them.

use std::net::Ipv4Addr;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Name, X509NameRef};

/// A lab lives for hours. Yesterday's clocks are no reason to refuse it.
const VALID_DAYS: u32 = 30;

pub(crate) struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// Whose certificate.
pub(crate) struct Subject<'a> {
    pub(crate) common_name: &'a str,
    /// Where it is reached, of a server.
    pub(crate) host: Option<(&'a str, Ipv4Addr)>,
}

fn key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

fn name(common_name: &str) -> Result<X509Name, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, common_name)?;
    Ok(name.build())
}

fn certificate(
    subject: &X509NameRef,
    issuer: &X509NameRef,
    (key, signer): (&PKey<Private>, &PKey<Private>),
    host: Option<(&str, Ipv4Addr)>,
    is_authority: bool,
) -> Result<X509, ErrorStack> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let serial = serial.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(subject)?;
    builder.set_issuer_name(issuer)?;
    builder.set_pubkey(key)?;
    let (from, until) = (Asn1Time::from_unix(unix_s() - 86_400)?, Asn1Time::days_from_now(VALID_DAYS)?);
    builder.set_not_before(&from)?;
    builder.set_not_after(&until)?;
    if is_authority {
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
    } else {
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        builder.append_extension(ExtendedKeyUsage::new().server_auth().client_auth().build()?)?;
    }
    if let Some((name, address)) = host {
        let names = SubjectAlternativeName::new().dns(name).ip(&address.to_string()).build(&builder.x509v3_context(None, None))?;
        builder.append_extension(names)?;
    }
    builder.sign(signer, MessageDigest::sha256())?;
    Ok(builder.build())
}

fn unix_s() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(0)
}

impl Authority {
    pub(crate) fn new(common_name: &str) -> Result<Self, ErrorStack> {
        let (key, name) = (key()?, name(common_name)?);
        let certificate = certificate(&name, &name, (&key, &key), None, true)?;
        Ok(Self { certificate, key })
    }

    pub(crate) fn certificate_pem(&self) -> Result<Vec<u8>, ErrorStack> {
        self.certificate.to_pem()
    }

    pub(crate) fn key_pem(&self) -> Result<Vec<u8>, ErrorStack> {
        self.key.private_key_to_pem_pkcs8()
    }

    fn identity(&self, subject: &Subject<'_>) -> Result<(PKey<Private>, X509), ErrorStack> {
        let key = key()?;
        let certificate =
            certificate(&*name(subject.common_name)?, self.certificate.subject_name(), (&key, &self.key), subject.host, false)?;
        Ok((key, certificate))
    }

    /// A certificate and its key, in PEM.
    pub(crate) fn pem(&self, subject: &Subject<'_>) -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
        let (key, certificate) = self.identity(subject)?;
        Ok((certificate.to_pem()?, key.private_key_to_pem_pkcs8()?))
    }

    /// Key, certificate and chain in one file, under a password.
    pub(crate) fn key_store(&self, subject: &Subject<'_>, password: &str) -> Result<Vec<u8>, ErrorStack> {
        let (key, certificate) = self.identity(subject)?;
        let mut chain = Stack::new()?;
        chain.push(self.certificate.clone())?;
        Pkcs12::builder().name(subject.common_name).pkey(&key).cert(&certificate).ca(chain).build2(password)?.to_der()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_store_holds_a_certificate_that_its_authority_signed_for_its_host() {
        let authority = Authority::new("a lab").unwrap();
        let subject = Subject { common_name: "admin", host: Some(("kafka1", Ipv4Addr::new(10, 99, 0, 11))) };
        let store = authority.key_store(&subject, "word").unwrap();
        let parsed = Pkcs12::from_der(&store).unwrap().parse2("word").unwrap();
        let certificate = parsed.cert.unwrap();
        assert!(certificate.verify(&authority.key).unwrap());
        let names: Vec<Vec<u8>> =
            certificate.subject_alt_names().unwrap().iter().filter_map(|name| name.ipaddress().map(<[u8]>::to_vec)).collect();
        assert_eq!(names, [[10, 99, 0, 11]]);
        assert!(parsed.pkey.unwrap().public_eq(&*certificate.public_key().unwrap()));
    }
}
