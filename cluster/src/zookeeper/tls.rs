//! ZooKeeper's port of TLS (`secureClientPort`): by zookeeper-client's rustls for sessions, and by OpenSSL for `srvr`, which says what is the matter
//! where a session only says that none came about.

use std::path::Path;
use std::sync::Arc;

use openssl::ssl::SslVerifyMode;
use tokio::net::TcpStream;
use zeroize::Zeroizing;
use zookeeper_client as zk;

use crate::inventory::ZooKeeperTls;
use crate::tls::{self, Tls, TlsError, Words};

pub(super) const WORDS: &Words = &Words {
    daemon: "server",
    ca: "name the file of the CA that signed it: zookeeper.tls.ca_file",
    name: "reach the server by a name of its certificate (zookeeper.connect), or have the certificate made for this one",
    identity: "name a certificate that it trusts: zookeeper.tls.certificate_file and zookeeper.tls.key_file",
    door: "is this its secureClientPort? see zookeeper.connect; without one leave [zookeeper.tls] out",
    settings: "[zookeeper.tls]",
};

/// Where a server of TLS is met without it.
pub(super) const SPEAKS_TLS: (&str, &str) =
    ("speaks TLS, and we do not", "write [zookeeper.tls] with ca_file, or name its port in the clear in zookeeper.connect");

/// Both ways in, of the same files.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) tls: Arc<Tls>,
    pub(super) options: zk::TlsOptions,
}

impl Door {
    pub(super) fn of(section: &ZooKeeperTls) -> Result<Self, String> {
        let mut builder = tls::builder()?;
        let ca = read("ca_file", &section.ca_file)?;
        tls::trusting(&mut builder, ca.as_bytes()).map_err(|reason| wrong("ca_file", &section.ca_file, &reason))?;
        let refused = |name: &str, path: &Path, error: &zk::Error| wrong(name, path, &error.to_string());
        let mut options = zk::TlsOptions::new().with_pem_ca(&ca).map_err(|error| refused("ca_file", &section.ca_file, &error))?;
        if let (Some(certificate_file), Some(key_file)) = (&section.certificate_file, &section.key_file) {
            let (certificate, key) = (read("certificate_file", certificate_file)?, read("key_file", key_file)?);
            let set = tls::set_certificate(&mut builder, certificate.as_bytes());
            set.map_err(|reason| wrong("certificate_file", certificate_file, &reason))?;
            tls::set_key(&mut builder, key.as_bytes(), "").map_err(|reason| wrong("key_file", key_file, &reason))?;
            options = options.with_pem_identity(&certificate, &key).map_err(|error| refused("key_file", key_file, &error))?;
        }
        let trust = section.ca_file.display().to_string();
        let tls = Tls { connector: builder.build(), is_verified: true, is_name_checked: true, trust, words: WORDS };
        Ok(Self { tls: Arc::new(tls), options })
    }
}

/// Whether a server answers a handshake, whoever it is: asked where it did not answer in the clear.
pub(super) async fn speaks_tls(address: &str) -> bool {
    let Ok(mut builder) = tls::builder() else { return false };
    builder.set_verify(SslVerifyMode::NONE);
    let tls = Tls { connector: builder.build(), is_verified: false, is_name_checked: false, trust: String::new(), words: WORDS };
    match TcpStream::connect(address).await {
        Ok(stream) => match tls.handshake(stream, address).await {
            Ok(_) => true,
            // What it has against us it says by TLS.
            Err(TlsError::Unwelcome { mend, .. }) => mend != WORDS.door,
            Err(TlsError::OpenSsl(_)) => false,
        },
        Err(_) => false,
    }
}

fn read(name: &str, path: &Path) -> Result<Zeroizing<String>, String> {
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| wrong(name, path, &error.to_string()))
}

fn wrong(name: &str, path: &Path, reason: &str) -> String {
    format!("zookeeper.tls.{name}: {}: {reason}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_of_no_use_is_named_with_its_key_and_not_with_its_content() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("ca.pem");
        let section = ZooKeeperTls { ca_file: path.clone(), certificate_file: None, key_file: None };
        let said = || Door::of(&section).err().unwrap();
        assert!(said().contains("zookeeper.tls.ca_file") && said().contains("ca.pem"), "{}", said());
        std::fs::write(&path, "hunter2").unwrap();
        assert!(said().contains("zookeeper.tls.ca_file") && !said().contains("hunter2"), "{}", said());
    }
}
