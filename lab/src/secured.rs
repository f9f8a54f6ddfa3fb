//! What the brokers and controllers of a secured lab are set to.
//!
//! Brokers come to each other, and to controllers, by a door like their clients'. Controllers cannot know a user of SCRAM before they have elected one of
//! themselves, since such users stand in the metadata that they keep: so where there is SASL, nodes come to controllers by PLAIN, and the
//! controllers take the clients' mechanism too.

use crate::LabError;
use crate::secrets::{self, Passwords};
use crate::security::{ADMIN, LabSecurity, STRANGER, SaslKind, TlsKind, USER};
use crate::state::State;

type Settings = Vec<(String, String)>;

fn own(settings: &[(&str, &str)]) -> Settings {
    settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn settings(state: &State) -> Result<Settings, LabError> {
    let (security, mut settings) = (state.security, Settings::new());
    if !security.has_secrets() {
        return Ok(settings);
    }
    let passwords = Passwords::read(state)?;
    if security.has_zookeeper_sasl {
        settings.extend(own(&[("zookeeper.set.acl", "true")]));
    }
    if let Some(kind) = security.zookeeper_tls {
        settings.extend(to_zookeeper(kind, &passwords.admin));
    }
    if security.is_on() {
        settings.extend(own(&[("security.inter.broker.protocol", security.protocol())]));
    }
    if let Some(kind) = security.tls {
        settings.extend(tls(kind, &passwords.admin));
    }
    if let Some(kind) = security.sasl {
        settings.extend(sasl(security, kind, &passwords));
        if state.kraft.is_some() {
            settings.extend(sasl_of_controllers(kind, &passwords));
        }
    }
    if security.has_acls {
        let authorizer = if state.kraft.is_some() {
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        } else {
            "kafka.security.authorizer.AclAuthorizer"
        };
        let admin = security.principal(ADMIN);
        settings.extend(own(&[
            ("authorizer.class.name", authorizer),
            ("super.users", &admin),
            ("allow.everyone.if.no.acl.found", "false"),
        ]));
    }
    Ok(settings)
}

fn tls(kind: TlsKind, password: &str) -> Settings {
    own(&[
        ("ssl.keystore.type", "PKCS12"),
        ("ssl.keystore.location", secrets::KEY_STORE),
        ("ssl.keystore.password", password),
        ("ssl.key.password", password),
        ("ssl.truststore.type", "PKCS12"),
        ("ssl.truststore.location", secrets::TRUST_STORE),
        ("ssl.truststore.password", password),
        ("ssl.client.auth", if kind == TlsKind::Mutual { "required" } else { "none" }),
    ])
}

/// From Kafka 2.5 on (KIP-515).
fn to_zookeeper(kind: TlsKind, password: &str) -> Settings {
    let identity = own(&[
        ("zookeeper.ssl.keystore.location", secrets::KEY_STORE),
        ("zookeeper.ssl.keystore.password", password),
        ("zookeeper.ssl.keystore.type", "PKCS12"),
    ]);
    let trust = own(&[
        ("zookeeper.ssl.client.enable", "true"),
        ("zookeeper.clientCnxnSocket", "org.apache.zookeeper.ClientCnxnSocketNetty"),
        ("zookeeper.ssl.truststore.location", secrets::TRUST_STORE),
        ("zookeeper.ssl.truststore.password", password),
        ("zookeeper.ssl.truststore.type", "PKCS12"),
    ]);
    if kind == TlsKind::Mutual { [trust, identity].concat() } else { trust }
}

/// How the node itself comes by a mechanism, and whom it lets in.
fn login(kind: SaslKind, Passwords { admin, user, stranger }: &Passwords) -> String {
    let (module, users) = match kind {
        SaslKind::Plain => {
            ("plain.PlainLoginModule", format!(" user_{ADMIN}=\"{admin}\" user_{USER}=\"{user}\" user_{STRANGER}=\"{stranger}\""))
        }
        SaslKind::ScramSha256 | SaslKind::ScramSha512 => ("scram.ScramLoginModule", String::new()),
    };
    format!("org.apache.kafka.common.security.{module} required username=\"{ADMIN}\" password=\"{admin}\"{users};")
}

fn login_key(listener: &str, kind: SaslKind) -> String {
    let (listener, mechanism) = (listener.to_lowercase(), kind.mechanism().to_lowercase());
    format!("listener.name.{listener}.{mechanism}.sasl.jaas.config")
}

fn sasl(security: LabSecurity, kind: SaslKind, passwords: &Passwords) -> Settings {
    let mechanism = kind.mechanism();
    let mut settings: Settings = own(&[("sasl.enabled.mechanisms", mechanism), ("sasl.mechanism.inter.broker.protocol", mechanism)]);
    settings.push((login_key(security.protocol(), kind), login(kind, passwords)));
    settings
}

fn sasl_of_controllers(kind: SaslKind, passwords: &Passwords) -> Settings {
    let plain = SaslKind::Plain.mechanism();
    let mechanisms = if kind == SaslKind::Plain { plain.to_owned() } else { format!("{plain},{}", kind.mechanism()) };
    let mut settings: Settings =
        own(&[("sasl.mechanism.controller.protocol", plain), ("listener.name.controller.sasl.enabled.mechanisms", &mechanisms)]);
    settings.push((login_key("controller", SaslKind::Plain), login(SaslKind::Plain, passwords)));
    if kind != SaslKind::Plain {
        settings.push((login_key("controller", kind), login(kind, passwords)));
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::SecurityWord;

    fn passwords() -> Passwords {
        Passwords { admin: "a".to_owned(), user: "u".to_owned(), stranger: "s".to_owned() }
    }

    fn value(settings: &Settings, key: &str) -> String {
        settings.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    #[test]
    fn nodes_come_to_controllers_by_plain_and_clients_by_their_own_mechanism() {
        let settings = sasl_of_controllers(SaslKind::ScramSha512, &passwords());
        assert_eq!(value(&settings, "sasl.mechanism.controller.protocol"), "PLAIN");
        assert_eq!(value(&settings, "listener.name.controller.sasl.enabled.mechanisms"), "PLAIN,SCRAM-SHA-512");
        assert!(value(&settings, "listener.name.controller.plain.sasl.jaas.config").contains("user_kchaos=\"u\""));
        assert!(value(&settings, "listener.name.controller.scram-sha-512.sasl.jaas.config").contains("ScramLoginModule"));
        assert_eq!(sasl_of_controllers(SaslKind::Plain, &passwords()).len(), 3);
    }

    #[test]
    fn a_listener_s_login_stands_under_its_name_and_mechanism() {
        let security = LabSecurity::new(&[SecurityWord::Tls, SecurityWord::ScramSha256], false, false).unwrap();
        let settings = sasl(security, SaslKind::ScramSha256, &passwords());
        assert!(value(&settings, "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config").contains("username=\"admin\" password=\"a\";"));
    }

    #[test]
    fn a_certificate_is_shown_to_zookeepers_that_want_one() {
        let has_key = |kind| to_zookeeper(kind, "a").iter().any(|(key, _)| key == "zookeeper.ssl.keystore.location");
        assert!(has_key(TlsKind::Mutual) && !has_key(TlsKind::Tls));
        assert_eq!(value(&to_zookeeper(TlsKind::Tls, "a"), "zookeeper.ssl.client.enable"), "true");
    }
}
