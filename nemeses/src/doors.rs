//! What this crate needs of a cluster, and no more: so that every fault can be tried on a fake one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::daemon::Manager;
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::protocol::{Client, CoordinatorKind, Timeouts};
use kchaos_cluster::remote::Remote;
use kchaos_cluster::view::{View, Viewer};
use tokio::net::TcpStream;

const CLIENT_TIMEOUT: Duration = Duration::from_secs(1);

/// The ways into a cluster.
#[async_trait]
pub trait Doors: Send + Sync {
    fn inventory(&self) -> &Inventory;
    /// For looking and injecting.
    fn remote(&self, host: &str) -> Arc<dyn Remote>;
    /// For renewing and mending: a connection of its own, so that nothing that clogs the other delays it.
    fn mending(&self, host: &str) -> Arc<dyn Remote>;
    /// By its host's name and its label (`kafka:1`).
    fn manager(&self, host: &str, daemon: &str) -> Box<dyn Manager>;
    /// Whether a connection from where this run's clients are comes about, or is refused (which reaches the host all the same). Within a
    /// second.
    async fn reaches(&self, address: &str, port: u16) -> bool;
    /// One look at the cluster; it must come back in bounded time whatever is broken. `topics` are those whose partitions are shown; none:
    /// all.
    async fn view(&self, topics: &[String]) -> Result<View, DoorError>;
    /// For asking the cluster by Kafka's own protocol.
    fn protocol(&self) -> Result<Client, DoorError> {
        Err(DoorError("nobody speaks Kafka's protocol here".to_owned()))
    }
    /// The broker that coordinates this group or transactional id.
    async fn coordinator(&self, _kind: CoordinatorKind, name: &str) -> Result<i32, DoorError> {
        Err(DoorError(format!("nobody can be asked who coordinates {name}")))
    }
}

/// The cluster could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DoorError(pub String);

/// The doors of a real cluster.
pub fn doors(cluster: Arc<Cluster>) -> Arc<dyn Doors> {
    let viewer = Viewer::new(Arc::clone(&cluster.inventory));
    Arc::new(Real { cluster, viewer })
}

struct Real {
    cluster: Arc<Cluster>,
    /// Keeps its ZooKeeper session between looks; where nobody looks (`kchaos heal`), there is none.
    viewer: Viewer,
}

#[async_trait]
impl Doors for Real {
    fn inventory(&self) -> &Inventory {
        &self.cluster.inventory
    }

    fn remote(&self, host: &str) -> Arc<dyn Remote> {
        self.cluster.remote(host)
    }

    fn mending(&self, host: &str) -> Arc<dyn Remote> {
        self.cluster.mending(host)
    }

    fn manager(&self, host: &str, daemon: &str) -> Box<dyn Manager> {
        self.cluster.manager(host, daemon)
    }

    async fn reaches(&self, address: &str, port: u16) -> bool {
        match tokio::time::timeout(CLIENT_TIMEOUT, TcpStream::connect((address, port))).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => error.kind() == std::io::ErrorKind::ConnectionRefused,
            Err(_) => false,
        }
    }

    async fn view(&self, topics: &[String]) -> Result<View, DoorError> {
        let topics = (!topics.is_empty()).then_some(topics);
        self.viewer.look(topics).await.map_err(|error| DoorError(chain(&error)))
    }

    fn protocol(&self) -> Result<Client, DoorError> {
        Client::new(&self.cluster.inventory, Timeouts::default()).map_err(|error| DoorError(chain(&error)))
    }

    async fn coordinator(&self, kind: CoordinatorKind, name: &str) -> Result<i32, DoorError> {
        self.protocol()?.coordinator(kind, name).await.map_err(|error| DoorError(chain(&error)))
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
