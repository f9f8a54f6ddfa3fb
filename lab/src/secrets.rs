//! The files of a secured lab: keys, certificates, passwords. Written before any host starts.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use kchaos_cluster::inventory::DaemonKind;

use crate::LabError;
use crate::certificates::{Authority, Subject};
use crate::commands;
use crate::layout::HostPlan;
use crate::security::{ADMIN, STRANGER, TlsKind, USER, directory, password_file};
use crate::state::{Lock, State};

/// As a host sees them: each daemon's own, readable by its user alone.
pub(crate) const KEY_STORE: &str = "/etc/kafka/tls/keystore.p12";
pub(crate) const TRUST_STORE: &str = "/etc/kafka/tls/truststore.p12";
pub(crate) const ZOOKEEPER_KEY_STORE: &str = "/etc/zookeeper/tls/keystore.p12";
pub(crate) const ZOOKEEPER_TRUST_STORE: &str = "/etc/zookeeper/tls/truststore.p12";

/// The users' passwords.
pub(crate) struct Passwords {
    pub(crate) admin: String,
    pub(crate) user: String,
    pub(crate) stranger: String,
}

impl Passwords {
    pub(crate) fn read(state: &State) -> Result<Self, LabError> {
        let read = |user| {
            let path = password_file(&directory(state), user);
            fs::read_to_string(&path).map(|text| text.trim_end().to_owned()).map_err(LabError::io("cannot read", &path))
        };
        Ok(Self { admin: read(ADMIN)?, user: read(USER)?, stranger: read(STRANGER)? })
    }
}

/// Everything on the machine; hosts get theirs by [`write_host`].
pub(crate) fn make(state: &State, lock: &Lock) -> Result<(), LabError> {
    let directory = directory(state);
    fs::create_dir_all(&directory).map_err(LabError::io("cannot make", &directory))?;
    for user in [ADMIN, USER, STRANGER] {
        write_secret(&password_file(&directory, user), format!("{}\n", random_word()?).as_bytes())?;
    }
    if !state.security.has_certificates() {
        return Ok(());
    }
    let failed = |error: openssl::error::ErrorStack| LabError::State { path: directory.clone(), reason: format!("OpenSSL: {error}") };
    let authority = Authority::new(&format!("CA of {}", state.name)).map_err(failed)?;
    let ca = directory.join("ca.pem");
    fs::write(&ca, authority.certificate_pem().map_err(failed)?).map_err(LabError::io("cannot write", &ca))?;
    write_secret(&directory.join("ca.key"), &authority.key_pem().map_err(failed)?)?;
    let passwords = Passwords::read(state)?;
    let make = |file: String, subject: &Subject<'_>, password: &str| {
        let store = authority.key_store(subject, password).map_err(failed)?;
        write_secret(&directory.join(file), &store)
    };
    make(format!("{ADMIN}.p12"), &Subject { common_name: ADMIN, host: None }, &passwords.admin)?;
    make(format!("{USER}.p12"), &Subject { common_name: USER, host: None }, &passwords.user)?;
    make(format!("{STRANGER}.p12"), &Subject { common_name: STRANGER, host: None }, &passwords.stranger)?;
    // In PEM for ZooKeeper's clients, and for clients on hosts, which cannot be given a key store.
    let is_mutual = [state.security.tls, state.security.zookeeper_tls].contains(&Some(TlsKind::Mutual));
    for user in [ADMIN, USER].into_iter().filter(|_| is_mutual) {
        let (certificate, key) = authority.pem(&Subject { common_name: user, host: None }).map_err(failed)?;
        write_secret(&directory.join(format!("{user}.pem")), &certificate)?;
        write_secret(&directory.join(format!("{user}.key")), &key)?;
    }
    for host in &state.layout.hosts {
        // All brokers are one user, whatever their hosts are called.
        let subject = Subject { common_name: ADMIN, host: Some((&host.name, host.address)) };
        make(format!("{}.p12", host.name), &subject, &passwords.admin)?;
    }
    // By keytool: Java trusts an entry of PKCS#12 that bears its own mark alone, and 2.5 reads no PEM.
    let trust_store = directory.join("truststore.p12").display().to_string();
    let password = password_file(&directory, ADMIN).display().to_string();
    let arguments = ["-importcert", "-noprompt", "-alias", "ca", "-storetype", "PKCS12", "-file", &ca.display().to_string()];
    let rest = ["-keystore", &trust_store, "-storepass:file", &password];
    commands::run("keytool", &[&arguments[..], &rest[..]].concat(), "", lock.file()).map(drop)
}

/// A host's own key store, and whom it trusts.
pub(crate) fn write_host(state: &State, host: &HostPlan, host_dir: &Path) -> Result<(), LabError> {
    let on_machine = |path: &str| host_dir.join(path.trim_start_matches('/'));
    if state.security.has_zookeeper_sasl {
        let Passwords { admin, user, .. } = Passwords::read(state)?;
        const DIGEST: &str = "org.apache.zookeeper.server.auth.DigestLoginModule required";
        let server = format!("Server {{ {DIGEST} user_{ADMIN}=\"{admin}\" user_{USER}=\"{user}\"; }};\n");
        write_secret(&on_machine("/etc/zookeeper/jaas.conf"), server.as_bytes())?;
        let client = format!("Client {{ {DIGEST} username=\"{ADMIN}\" password=\"{admin}\"; }};\n");
        write_secret(&on_machine("/etc/kafka/jaas.conf"), client.as_bytes())?;
    }
    let has = |is_zookeeper: bool| host.daemons.iter().any(|daemon| (daemon.kind == DaemonKind::Zookeeper) == is_zookeeper);
    let of_kafka = [(format!("{}.p12", host.name), KEY_STORE), ("truststore.p12".to_owned(), TRUST_STORE)];
    let of_zookeeper = of_kafka.clone().map(|(from, _)| from).into_iter().zip([ZOOKEEPER_KEY_STORE, ZOOKEEPER_TRUST_STORE]);
    let for_kafka = of_kafka.into_iter().filter(|_| state.security.has_certificates() && has(false));
    let for_zookeeper = of_zookeeper.filter(|_| state.security.zookeeper_tls.is_some() && has(true));
    for (from, to) in for_kafka.chain(for_zookeeper) {
        let (from, to) = (directory(state).join(from), on_machine(to));
        let bytes = fs::read(&from).map_err(LabError::io("cannot read", &from))?;
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(LabError::io("cannot make", parent))?;
        }
        write_secret(&to, &bytes)?;
    }
    Ok(())
}

/// Made so that nobody else can open it, not even for a moment.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), LabError> {
    let open = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    open.and_then(|mut file| file.write_all(bytes)).map_err(LabError::io("cannot write", path))
}

fn random_word() -> Result<String, LabError> {
    let mut bytes = [0; 18];
    openssl::rand::rand_bytes(&mut bytes)
        .map_err(|error| LabError::State { path: "/dev/urandom".into(), reason: format!("OpenSSL: {error}") })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
