//! Questions to an inventory.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::{DaemonEntry, DaemonKind, Host, Inventory, InventoryError};
use crate::secret::{self, Secret};

/// What is written in the place of something that must not be seen.
const HIDDEN: &str = "(hidden)";

impl Inventory {
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// Every daemon with its host, in the order of the file.
    pub fn daemons(&self) -> impl Iterator<Item = (&Host, &DaemonEntry)> {
        self.hosts.iter().flat_map(|host| host.daemons.iter().map(move |daemon| (host, daemon)))
    }

    pub fn daemons_of(&self, kind: DaemonKind) -> impl Iterator<Item = (&Host, &DaemonEntry)> {
        self.daemons().filter(move |(_, daemon)| daemon.kind == kind)
    }

    pub fn daemon(&self, kind: DaemonKind, id: i32) -> Option<(&Host, &DaemonEntry)> {
        self.daemons_of(kind).find(|(_, daemon)| daemon.id == id)
    }

    /// A broker by its `broker.id`.
    pub fn broker(&self, id: i32) -> Option<(&Host, &DaemonEntry)> {
        self.daemon(DaemonKind::Kafka, id)
    }

    /// A ZooKeeper server by its `myid`.
    pub fn zookeeper(&self, id: i32) -> Option<(&Host, &DaemonEntry)> {
        self.daemon(DaemonKind::Zookeeper, id)
    }

    /// No ZooKeeper, but controllers.
    pub fn is_kraft(&self) -> bool {
        self.daemons_of(DaemonKind::Zookeeper).next().is_none() && self.controllers().next().is_some()
    }

    /// On its way from ZooKeeper to KRaft (KIP-866): ZooKeepers, and controllers beside them. Who of them decides changes under way.
    pub fn is_migrating(&self) -> bool {
        self.daemons_of(DaemonKind::Zookeeper).next().is_some() && self.controllers().next().is_some()
    }

    /// Every controller of KRaft with the port on which it listens as that: daemons of their own, or brokers that are controllers too.
    pub fn controllers(&self) -> impl Iterator<Item = (&Host, &DaemonEntry, u16)> {
        self.daemons().filter_map(|(host, daemon)| Some((host, daemon, daemon.as_controller()?)))
    }

    /// A controller by its `node.id`.
    pub fn controller(&self, id: i32) -> Option<(&Host, &DaemonEntry)> {
        self.controllers().find(|(_, daemon, _)| daemon.id == id).map(|(host, daemon, _)| (host, daemon))
    }

    /// A daemon by the label that [`DaemonEntry::label`] gives it: `kafka:1`.
    pub fn daemon_by_label(&self, label: &str) -> Option<(&Host, &DaemonEntry)> {
        self.daemons().find(|(_, daemon)| daemon.label() == label)
    }

    pub fn command_timeout(&self) -> Duration {
        Duration::from_millis(self.ssh.command_timeout_ms)
    }

    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.ssh.connect_timeout_ms)
    }

    /// Kafka's client properties with their references followed.
    pub fn kafka_properties(&self) -> Result<BTreeMap<String, Secret>, InventoryError> {
        let resolved = |(name, value): (&String, &String)| match secret::resolve(value) {
            Ok(secret) => Ok((name.clone(), secret)),
            Err(source) => Err(InventoryError::Secret { key: format!("kafka.properties.{name}"), source }),
        };
        self.kafka.properties.iter().map(resolved).collect()
    }

    /// The passphrase of the SSH keys, if one is referred to.
    pub fn key_passphrase(&self) -> Result<Option<Secret>, InventoryError> {
        let Some(reference) = &self.ssh.key_passphrase else { return Ok(None) };
        match secret::resolve(reference) {
            Ok(secret) => Ok(Some(secret)),
            Err(source) => Err(InventoryError::Secret { key: "ssh.key_passphrase".to_owned(), source }),
        }
    }

    /// Of `zookeeper.user`, if there is one.
    pub fn zookeeper_password(&self) -> Result<Option<Secret>, InventoryError> {
        let Some(reference) = &self.zookeeper.password else { return Ok(None) };
        let key = || "zookeeper.password".to_owned();
        secret::resolve(reference).map(Some).map_err(|source| InventoryError::Secret { key: key(), source })
    }

    /// For `plan.json` and reports. References stay, since they say where a secret is and not what it is.
    pub fn without_secrets(&self) -> serde_json::Value {
        let mut shown = self.clone();
        let hide = |value: &mut String| {
            if !secret::is_reference(value) {
                HIDDEN.clone_into(value);
            }
        };
        shown.ssh.key_passphrase.as_mut().map(hide);
        shown.zookeeper.password.as_mut().map(hide);
        for (name, value) in &mut shown.kafka.properties {
            if is_secret_property(name) {
                hide(value);
            }
        }
        // A value that cannot be written (a path that is not UTF-8, say) is no reason to lose a run's plan.
        serde_json::to_value(&shown).unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }))
    }
}

/// `true` for properties of librdkafka and settings of brokers whose value is a secret.
pub fn is_secret_property(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passphrase", "secret", "key.pem", "keystore.key", "jaas", "oauthbearer.config"].iter().any(|word| name.contains(word))
}

impl Host {
    /// The container that this host is, if it is one: all its daemons are then that container's.
    pub fn container(&self) -> Option<&str> {
        self.daemons.iter().find_map(|daemon| daemon.container.as_deref())
    }

    /// Not if its container's engine is on this machine.
    pub fn is_reached_by_ssh(&self) -> bool {
        self.docker_host.is_none()
    }

    /// The address at which SSH reaches it.
    pub fn ssh_address(&self) -> &str {
        self.ssh.address.as_deref().unwrap_or(&self.address)
    }

    pub fn ssh_port(&self, inventory: &Inventory) -> u16 {
        self.ssh.port.unwrap_or(inventory.ssh.port)
    }

    pub fn ssh_user<'a>(&'a self, inventory: &'a Inventory) -> &'a str {
        self.ssh.user.as_deref().unwrap_or(&inventory.ssh.user)
    }

    pub fn ssh_key_file<'a>(&'a self, inventory: &'a Inventory) -> &'a Path {
        self.ssh.key_file.as_deref().unwrap_or(&inventory.ssh.key_file)
    }

    pub fn daemon(&self, kind: DaemonKind) -> Option<&DaemonEntry> {
        self.daemons.iter().find(|daemon| daemon.kind == kind)
    }
}
