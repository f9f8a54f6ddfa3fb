//! A cluster that can be reached: the inventory, and the ways to its hosts.
//!
//! Each host has two connections, made when they are needed. Work goes over the one, mending over the other: what clogs the first, a long
//! daemon log or a command that hangs, must not delay the end of a fault.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::contained::Contained;
use crate::daemon::{DockerManager, Manager, ScriptsManager, SystemdManager};
use crate::inventory::{DaemonEntry, Host, Inventory, InventoryError, ManagerKind};
use crate::known_hosts::KnownHosts;
use crate::remote::{Local, Output, Remote, RemoteError};
use crate::ssh::{Endpoint, Key, SshRemote};

mod check;

pub(crate) use check::script as check_script;
pub use check::{DaemonCheck, HostCheck, OptIn, Problem};

pub struct Cluster {
    pub inventory: Arc<Inventory>,
    ways: BTreeMap<String, Ways>,
}

struct Ways {
    work: Arc<dyn Remote>,
    mending: Arc<dyn Remote>,
    /// What both go over; none where the host's engine is on this machine.
    ssh: Option<[Arc<SshRemote>; 2]>,
}

/// Why a cluster cannot even be tried to be reached.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    #[error("known_hosts file {path}: {source}; make it with ssh-keyscan ADDRESS, and compare the fingerprints before you trust it")]
    KnownHosts { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Key(#[from] RemoteError),
}

impl Cluster {
    /// Reads keys and known hosts. Reaches out to nobody yet.
    pub fn new(inventory: Arc<Inventory>) -> Result<Self, ClusterError> {
        let mut ways = BTreeMap::new();
        let by_ssh: Vec<&Host> = inventory.hosts.iter().filter(|host| host.is_reached_by_ssh()).collect();
        for host in inventory.hosts.iter().filter(|host| !host.is_reached_by_ssh()) {
            ways.insert(host.name.clone(), ways_of(host, Arc::new(Local), Arc::new(Local), None));
        }
        if by_ssh.is_empty() {
            return Ok(Self { inventory, ways });
        }
        let path = &inventory.ssh.known_hosts_file;
        let known_hosts = match KnownHosts::load(path) {
            Ok(known_hosts) => Arc::new(known_hosts),
            Err(source) => return Err(ClusterError::KnownHosts { path: path.clone(), source }),
        };
        let passphrase = inventory.key_passphrase()?;
        let mut keys: BTreeMap<PathBuf, Key> = BTreeMap::new();
        for host in by_ssh {
            let path = host.ssh_key_file(&inventory).to_owned();
            let key = match keys.get(&path) {
                Some(key) => key.clone(),
                None => Key::load(path.clone(), passphrase.as_ref())?,
            };
            keys.insert(path, key.clone());
            let endpoint = endpoint(&inventory, host, key, &known_hosts);
            let (work, mending) = (Arc::new(SshRemote::new(endpoint.clone())), Arc::new(SshRemote::new(endpoint)));
            let ssh = Some([Arc::clone(&work), Arc::clone(&mending)]);
            ways.insert(host.name.clone(), ways_of(host, work, mending, ssh));
        }
        Ok(Self { inventory, ways })
    }

    /// For looking and injecting. A host that is not in the inventory gives a way that says so.
    pub fn remote(&self, host: &str) -> Arc<dyn Remote> {
        match self.ways.get(host) {
            Some(ways) => Arc::clone(&ways.work),
            None => Arc::new(Nowhere(host.to_owned())),
        }
    }

    /// For renewing and mending: a connection of its own.
    pub fn mending(&self, host: &str) -> Arc<dyn Remote> {
        match self.ways.get(host) {
            Some(ways) => Arc::clone(&ways.mending),
            None => Arc::new(Nowhere(host.to_owned())),
        }
    }

    /// A connection of its own to a host, for what goes on. Not to a container, which has no sshd.
    pub fn beside(&self, host: &str) -> Result<SshRemote, RemoteError> {
        match self.ways.get(host).filter(|_| self.inventory.host(host).is_some_and(|host| host.container().is_none())) {
            Some(Ways { ssh: Some([work, _]), .. }) => Ok(work.beside()),
            _ => {
                let reason =
                    "it is a container or is not in the inventory: clients can be had on hosts with an sshd of their own".to_owned();
                Err(RemoteError::Unreachable { host: host.to_owned(), address: "?".to_owned(), reason })
            }
        }
    }

    /// How a daemon is driven, by its host's name and its label (`kafka:1`). One that is not in the inventory gives a manager that says so.
    pub fn manager(&self, host: &str, label: &str) -> Box<dyn Manager> {
        let entry = self.inventory.host(host).and_then(|host| host.daemons.iter().find(|daemon| daemon.label() == label));
        match entry {
            Some(entry) => manager_of(entry, self.inventory.command_timeout()),
            None => Box::new(Nobody { host: host.to_owned(), label: label.to_owned() }),
        }
    }

    /// Ends all connections in good order. What still runs on the hosts goes on.
    pub async fn disconnect(&self) {
        let connections = self.ways.values().filter_map(|ways| ways.ssh.as_ref()).flatten();
        futures_util::future::join_all(connections.map(|connection| connection.disconnect())).await;
    }
}

/// A host that is a container is entered on its engine's host.
fn ways_of(host: &Host, work: Arc<dyn Remote>, mending: Arc<dyn Remote>, ssh: Option<[Arc<SshRemote>; 2]>) -> Ways {
    let Some(container) = host.container() else { return Ways { work, mending, ssh } };
    let enter = |engine: Arc<dyn Remote>| -> Arc<dyn Remote> {
        Arc::new(Contained { host: host.name.clone(), container: container.to_owned(), docker_host: host.docker_host.clone(), engine })
    };
    Ways { work: enter(work), mending: enter(mending), ssh }
}

/// The manager that the inventory names for a daemon. `timeout` is for each command.
pub fn manager_of(entry: &DaemonEntry, timeout: Duration) -> Box<dyn Manager> {
    match entry.manager {
        ManagerKind::Scripts => Box::new(ScriptsManager::new(entry, timeout)),
        ManagerKind::Systemd => Box::new(SystemdManager::new(entry, timeout)),
        ManagerKind::Docker => Box::new(DockerManager::new(entry, timeout)),
    }
}

fn endpoint(inventory: &Inventory, host: &Host, key: Key, known_hosts: &Arc<KnownHosts>) -> Endpoint {
    Endpoint {
        host: host.name.clone(),
        address: host.ssh_address().to_owned(),
        port: host.ssh_port(inventory),
        user: host.ssh_user(inventory).to_owned(),
        key,
        known_hosts: Arc::clone(known_hosts),
        connect_timeout: inventory.connect_timeout(),
        channels_max: inventory.ssh.channels_max,
        privilege: inventory.ssh.privilege(),
    }
}

/// The way to a host that is not in the inventory.
struct Nowhere(String);

#[async_trait]
impl Remote for Nowhere {
    fn host(&self) -> &str {
        &self.0
    }

    async fn run(&self, _script: &str, _timeout: Duration) -> Result<Output, RemoteError> {
        let reason = "it is not in the inventory".to_owned();
        Err(RemoteError::Unreachable { host: self.0.clone(), address: "?".to_owned(), reason })
    }
}

/// The manager of a daemon that is not in the inventory.
struct Nobody {
    host: String,
    label: String,
}

impl Nobody {
    fn error(&self) -> RemoteError {
        let reason = format!("it has no daemon {} in the inventory", self.label);
        RemoteError::Unreachable { host: self.host.clone(), address: "?".to_owned(), reason }
    }
}

#[async_trait]
impl Manager for Nobody {
    async fn start(&self, _remote: &dyn Remote) -> Result<(), RemoteError> {
        Err(self.error())
    }

    async fn stop(&self, _remote: &dyn Remote) -> Result<(), RemoteError> {
        Err(self.error())
    }

    async fn state(&self, _remote: &dyn Remote) -> Result<crate::daemon::DaemonState, RemoteError> {
        Err(self.error())
    }

    fn start_script(&self) -> String {
        "exit 1\n".to_owned()
    }

    fn find_script(&self) -> String {
        "exit 1\n".to_owned()
    }
}
