//! A lab whose brokers do not let everybody in: TLS with a CA made for this lab alone, SASL, ACLs.
//!
//! Brokers talk to each other as they talk to clients, over the one listener there is. Two users: [`ADMIN`], as whom brokers come to each other
//! and who may do everything, and [`USER`], who is kchaos' and, with ACLs, may do what docs/security.md lists and no more.
//!
//! Every key and password is made anew for each lab and lies below its directory, readable by its owner alone. The CA's key lies there too: who
//! tries what an expired certificate does can make one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kchaos_cluster::inventory::ZooKeeperTls;
use serde::{Deserialize, Serialize};

use crate::LabError;
use crate::state::State;

/// The brokers' own user.
pub(crate) const ADMIN: &str = "admin";
/// kchaos' own.
pub(crate) const USER: &str = "kchaos";
/// Somebody whom brokers know, and whom no ACL allows anything: for who wants to see what that looks like.
pub(crate) const STRANGER: &str = "stranger";

/// What `--security` takes, several together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityWord {
    Plaintext,
    Tls,
    MutualTls,
    SaslPlain,
    ScramSha256,
    ScramSha512,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabSecurity {
    #[serde(default)]
    pub(crate) tls: Option<TlsKind>,
    #[serde(default)]
    pub(crate) sasl: Option<SaslKind>,
    #[serde(default)]
    pub(crate) has_acls: bool,
    /// Brokers and kchaos come to ZooKeeper by SASL with DIGEST-MD5; from ZooKeeper 3.6 on (Kafka 3.0) nobody else is let in.
    #[serde(default)]
    pub(crate) has_zookeeper_sasl: bool,
    /// ZooKeepers have certificates and no port in the clear; with the second kind brokers and kchaos need certificates there as well.
    #[serde(default)]
    pub(crate) zookeeper_tls: Option<TlsKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TlsKind {
    /// Brokers have certificates.
    Tls,
    /// Clients need one too.
    Mutual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SaslKind {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl SaslKind {
    pub(crate) fn mechanism(self) -> &'static str {
        match self {
            SaslKind::Plain => "PLAIN",
            SaslKind::ScramSha256 => "SCRAM-SHA-256",
            SaslKind::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl LabSecurity {
    pub fn new(words: &[SecurityWord], has_acls: bool, has_zookeeper_sasl: bool) -> Result<Self, LabError> {
        let usage = |text: &str| Err(LabError::Usage(text.to_owned()));
        let mut security = Self { has_acls, has_zookeeper_sasl, ..Self::default() };
        for word in words {
            let (tls, sasl) = match word {
                SecurityWord::Plaintext => continue,
                SecurityWord::Tls => (Some(TlsKind::Tls), None),
                SecurityWord::MutualTls => (Some(TlsKind::Mutual), None),
                SecurityWord::SaslPlain => (None, Some(SaslKind::Plain)),
                SecurityWord::ScramSha256 => (None, Some(SaslKind::ScramSha256)),
                SecurityWord::ScramSha512 => (None, Some(SaslKind::ScramSha512)),
            };
            if (tls.is_some() && security.tls.is_some()) || (sasl.is_some() && security.sasl.is_some()) {
                return usage(
                    "--security: at most one of tls and mutual-tls, and at most one of sasl-plain, scram-sha-256 and scram-sha-512",
                );
            }
            (security.tls, security.sasl) = (security.tls.or(tls), security.sasl.or(sasl));
        }
        if words.contains(&SecurityWord::Plaintext) && security.is_on() {
            return usage("--security plaintext stands alone");
        }
        if has_acls && security.sasl.is_none() && security.tls != Some(TlsKind::Mutual) {
            return usage("--acls: rights are users', and nobody says who he is; add --security mutual-tls or one of SASL");
        }
        Ok(security)
    }

    /// ZooKeepers by TLS, and whether clients need certificates there.
    pub fn with_zookeeper_tls(self, is_mutual: Option<bool>) -> Self {
        let zookeeper_tls = is_mutual.map(|is_mutual| if is_mutual { TlsKind::Mutual } else { TlsKind::Tls });
        Self { zookeeper_tls, ..self }
    }

    pub(crate) fn has_certificates(self) -> bool {
        self.tls.is_some() || self.zookeeper_tls.is_some()
    }

    /// What is asked of the ZooKeepers.
    pub(crate) fn is_of_zookeeper(self) -> bool {
        self.has_zookeeper_sasl || self.zookeeper_tls.is_some()
    }

    pub(crate) fn is_on(self) -> bool {
        self.tls.is_some() || self.sasl.is_some()
    }

    /// Whether there is anything to be kept secret.
    pub(crate) fn has_secrets(self) -> bool {
        self.is_on() || self.is_of_zookeeper()
    }

    /// `security.protocol`
    pub(crate) fn protocol(self) -> &'static str {
        match (self.tls, self.sasl) {
            (None, None) => "PLAINTEXT",
            (Some(_), None) => "SSL",
            (None, Some(_)) => "SASL_PLAINTEXT",
            (Some(_), Some(_)) => "SASL_SSL",
        }
    }

    /// As whom Kafka knows a user.
    pub(crate) fn principal(self, user: &str) -> String {
        if self.sasl.is_some() { format!("User:{user}") } else { format!("User:CN={user}") }
    }

    /// For the report.
    pub(crate) fn note(self) -> Option<String> {
        let sasl = self.sasl.map_or_else(String::new, |sasl| format!(" with {}", sasl.mechanism()));
        let mutual = if self.tls == Some(TlsKind::Mutual) { ", clients with certificates" } else { "" };
        let acls = if self.has_acls { "; ACLs" } else { "" };
        let zookeeper = if self.has_zookeeper_sasl { "; ZooKeeper with SASL (DIGEST-MD5)" } else { "" };
        let zookeeper_tls = match self.zookeeper_tls {
            None => "",
            Some(TlsKind::Tls) => "; ZooKeeper by TLS",
            Some(TlsKind::Mutual) => "; ZooKeeper by TLS, clients with certificates",
        };
        let protocol = self.protocol();
        self.has_secrets()
            .then(|| format!("listeners and brokers among themselves: {protocol}{sasl}{mutual}{acls}{zookeeper}{zookeeper_tls}"))
    }
}

/// Where keys and passwords are, on the machine.
pub(crate) fn directory(state: &State) -> PathBuf {
    state.base_dir.join("keys/kafka")
}

pub(crate) fn password_file(directory: &Path, user: &str) -> PathBuf {
    directory.join(format!("{user}.password"))
}

pub(crate) fn password_reference(state: &State, user: &str) -> String {
    format!("file:{}", password_file(&directory(state), user).display())
}

/// How a user comes to ZooKeepers by TLS.
pub(crate) fn zookeeper_tls(state: &State, user: &str) -> Option<ZooKeeperTls> {
    let (kind, directory) = (state.security.zookeeper_tls?, directory(state));
    let own = |suffix: &str| (kind == TlsKind::Mutual).then(|| directory.join(format!("{user}.{suffix}")));
    Some(ZooKeeperTls { ca_file: directory.join("ca.pem"), certificate_file: own("pem"), key_file: own("key") })
}

/// librdkafka's properties of one of the users; secrets by reference.
pub(crate) fn client_properties(state: &State, user: &str) -> BTreeMap<String, String> {
    let (security, directory) = (state.security, directory(state));
    let mut properties = BTreeMap::new();
    let mut set = |name: &str, value: String| properties.insert(name.to_owned(), value);
    if !security.is_on() {
        return properties;
    }
    set("security.protocol", security.protocol().to_owned());
    let password = password_reference(state, user);
    if security.tls.is_some() {
        set("ssl.ca.location", directory.join("ca.pem").display().to_string());
    }
    if security.tls == Some(TlsKind::Mutual) {
        set("ssl.keystore.location", directory.join(format!("{user}.p12")).display().to_string());
        set("ssl.keystore.password", password.clone());
    }
    if let Some(sasl) = security.sasl {
        set("sasl.mechanism", sasl.mechanism().to_owned());
        set("sasl.username", user.to_owned());
        set("sasl.password", password);
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_and_sasl_combine_and_two_of_a_kind_do_not() {
        use SecurityWord::*;
        let check = |words: &[SecurityWord], expect: Result<&str, &str>| match (LabSecurity::new(words, false, false), expect) {
            (Ok(security), Ok(protocol)) => assert_eq!(security.protocol(), protocol),
            (Err(error), Err(part)) => assert!(error.is_usage() && error.to_string().contains(part), "{error}"),
            (got, expect) => panic!("got {got:?}, expected {expect:?}"),
        };
        check(&[], Ok("PLAINTEXT"));
        check(&[Plaintext], Ok("PLAINTEXT"));
        check(&[Tls], Ok("SSL"));
        check(&[ScramSha512, MutualTls], Ok("SASL_SSL"));
        check(&[SaslPlain], Ok("SASL_PLAINTEXT"));
        check(&[Tls, MutualTls], Err("at most one"));
        check(&[SaslPlain, ScramSha256], Err("at most one"));
        check(&[Plaintext, Tls], Err("stands alone"));
        assert!(LabSecurity::new(&[Tls], true, false).unwrap_err().to_string().contains("nobody says who he is"));
        assert_eq!(LabSecurity::new(&[MutualTls], true, false).unwrap().principal(USER), "User:CN=kchaos");
    }
}
