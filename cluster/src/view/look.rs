//! Looking.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::{BrokerView, PartitionView, View, ZooKeeperView, kraft};
use crate::inventory::{DaemonKind, Inventory};
use crate::protocol::{Client, ConfigMap, ProtocolError, Timeouts};
use crate::zookeeper::{Access, Session, Srvr, SrvrError, ZooKeeperError, first_session, servers, srvr};

const SRVR_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Of a session, and of each read over it.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(2_000);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    #[error(transparent)]
    ZooKeeper(#[from] ZooKeeperError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("no broker of the inventory says what it knows of the cluster: {}", .0.join("; "))]
    NoBroker(Vec<String>),
    #[error("/cluster/id is not in ZooKeeper (chroot {chroot:?}): no broker of a cluster has ever started there")]
    NoClusterId { chroot: String },
    #[error("still lacking after {waited_ms} ms: {lacking}")]
    Lacking { waited_ms: u64, lacking: String },
}

/// Looks again and again over one session.
pub struct Viewer {
    inventory: Arc<Inventory>,
    session: Mutex<Option<Session>>,
    /// Of a cluster without ZooKeeper.
    client: Mutex<Option<Arc<Client>>>,
}

impl Viewer {
    pub fn new(inventory: Arc<Inventory>) -> Self {
        Self { inventory, session: Mutex::default(), client: Mutex::default() }
    }

    /// One look. `topics: None` shows all; a topic that is not there has no partitions in the view.
    pub async fn look(&self, topics: Option<&[String]>) -> Result<View, ViewError> {
        if self.inventory.is_kraft() {
            let client = self.client().await?;
            return kraft::look(&self.inventory, &client, topics).await;
        }
        if self.inventory.is_migrating() {
            return self.look_at_both(topics).await;
        }
        let modes = modes(&self.inventory);
        let (view, zookeepers) = tokio::join!(self.read(topics), modes);
        Ok(View { zookeepers: zookeepers?, ..view? })
    }

    /// Looks until `lacking` finds nothing, for at most `limit`; what was lacking last is in the error.
    ///
    /// A look that fails is waited over like a thing that lacks: the cluster may be in the middle of a ZooKeeper election.
    pub async fn wait_for(
        &self,
        topics: Option<&[String]>,
        limit: Duration,
        lacking: impl Fn(&View) -> Vec<String>,
    ) -> Result<View, ViewError> {
        let started = Instant::now();
        loop {
            let last = match self.look(topics).await {
                Ok(view) => match lacking(&view) {
                    lacks if lacks.is_empty() => return Ok(view),
                    lacks => lacks.join("; "),
                },
                Err(error) => error.to_string(),
            };
            if started.elapsed() + POLL_INTERVAL > limit {
                return Err(ViewError::Lacking { waited_ms: started.elapsed().as_millis() as u64, lacking: last });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// A cluster on its way to KRaft: brokers and partitions by the brokers' own word, which holds before, while and after ZooKeeper's does. The
    /// controller is the one that stands in ZooKeeper as long as that is a broker, and the quorum's from then on.
    async fn look_at_both(&self, topics: Option<&[String]>) -> Result<View, ViewError> {
        let client = self.client().await?;
        let (view, zookeepers, in_zookeeper) =
            tokio::join!(kraft::look(&self.inventory, &client, topics), modes(&self.inventory), self.controller_in_zookeeper());
        let mut view = View { zookeepers: zookeepers?, ..view? };
        if let Some((controller, epoch)) = in_zookeeper.filter(|(controller, _)| self.inventory.broker(*controller).is_some()) {
            (view.controller, view.controller_epoch) = (Some(controller), epoch);
        }
        Ok(view)
    }

    async fn controller_in_zookeeper(&self) -> Option<(i32, Option<i32>)> {
        let mut slot = self.session.lock().await;
        let session = match slot.take() {
            Some(session) => session,
            None => connect(&self.inventory).await.ok()?,
        };
        let (controller, epoch) = tokio::try_join!(session.controller(), session.controller_epoch()).ok()?;
        *slot = Some(session);
        controller.map(|controller| (controller, epoch))
    }

    async fn client(&self) -> Result<Arc<Client>, ViewError> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref() {
            return Ok(Arc::clone(client));
        }
        Ok(Arc::clone(slot.insert(Arc::new(Client::new(&self.inventory, kraft::TIMEOUTS)?))))
    }

    /// From the session at hand, or else from a new one.
    async fn read(&self, topics: Option<&[String]>) -> Result<View, ViewError> {
        let mut slot = self.session.lock().await;
        if let Some(session) = slot.take()
            && let Ok(view) = read(&session, &self.inventory, topics).await
        {
            *slot = Some(session);
            return Ok(view);
        }
        let session = connect(&self.inventory).await?;
        let view = read(&session, &self.inventory, topics).await?;
        *slot = Some(session);
        Ok(view)
    }
}

/// One look over a session of its own; who looks more than once uses a [`Viewer`].
pub async fn look(inventory: &Inventory, topics: Option<&[String]>) -> Result<View, ViewError> {
    Viewer::new(Arc::new(inventory.clone())).look(topics).await
}

/// The id in ZooKeeper's `/cluster/id`, or the one that the brokers of KRaft tell: what `expect_cluster_id` is compared with.
pub async fn cluster_id(inventory: &Inventory) -> Result<String, ViewError> {
    if inventory.is_kraft() {
        return Ok(look(inventory, Some(&[])).await?.cluster_id);
    }
    let session = connect(inventory).await?;
    session.cluster_id().await?.ok_or_else(|| ViewError::NoClusterId { chroot: inventory.zookeeper.chroot.clone() })
}

/// The settings in force in one broker, asked of itself.
pub async fn effective_config(inventory: &Inventory, broker: i32) -> Result<ConfigMap, ViewError> {
    Ok(Client::new(inventory, Timeouts::default())?.broker_config(broker).await?)
}

/// The settings in force for one topic.
pub async fn topic_config(inventory: &Inventory, topic: &str) -> Result<ConfigMap, ViewError> {
    Ok(Client::new(inventory, Timeouts::default())?.topic_config(topic).await?)
}

async fn connect(inventory: &Inventory) -> Result<Session, ZooKeeperError> {
    first_session(&servers(inventory), &inventory.zookeeper, ANSWER_TIMEOUT).await
}

async fn read(session: &Session, inventory: &Inventory, topics: Option<&[String]>) -> Result<View, ViewError> {
    session.sync().await?;
    let (cluster_id, brokers, controller, controller_epoch, partitions) = tokio::try_join!(
        session.cluster_id(),
        session.brokers(),
        session.controller(),
        session.controller_epoch(),
        read_partitions(session, topics)
    )?;
    let hosts = host_names(inventory);
    let brokers = brokers.into_iter().map(|(id, node)| {
        let view = BrokerView {
            host: hosts.get(&id).cloned(),
            endpoints: node.endpoints,
            rack: node.rack,
            registered_zxid: node.czxid,
            ..BrokerView::default()
        };
        (id, view)
    });
    let cluster_id = cluster_id.ok_or_else(|| ViewError::NoClusterId { chroot: inventory.zookeeper.chroot.clone() })?;
    Ok(View { cluster_id, brokers: brokers.collect(), controller, controller_epoch, partitions, ..View::default() })
}

async fn read_partitions(session: &Session, topics: Option<&[String]>) -> Result<Vec<PartitionView>, ZooKeeperError> {
    let topics = match topics {
        Some(topics) => topics.to_vec(),
        None => session.topics().await?,
    };
    let assignments = session.assignments(&topics).await?;
    let partitions: Vec<(String, i32, Vec<i32>)> = topics
        .iter()
        .zip(assignments)
        .flat_map(|(topic, assignment)| {
            assignment.into_iter().flatten().map(|(partition, replicas)| (topic.clone(), partition, replicas)).collect::<Vec<_>>()
        })
        .collect();
    let names: Vec<(String, i32)> = partitions.iter().map(|(topic, partition, _)| (topic.clone(), *partition)).collect();
    let states = session.states(&names).await?;
    let views = partitions.into_iter().zip(states).map(|((topic, partition, replicas), state)| match state {
        Some(state) => {
            PartitionView { topic, partition, leader: state.known_leader(), leader_epoch: state.leader_epoch, replicas, isr: state.isr }
        }
        None => PartitionView { topic, partition, leader: None, leader_epoch: -1, replicas, isr: Vec::new() },
    });
    Ok(views.collect())
}

/// Each server asked by itself, all at once.
async fn modes(inventory: &Inventory) -> Result<BTreeMap<String, ZooKeeperView>, ZooKeeperError> {
    let access = Access::of(&inventory.zookeeper)?;
    let mut asked = JoinSet::new();
    for server in servers(inventory) {
        let access = access.clone();
        asked.spawn(async move {
            let answer = srvr(&server.address, &access, SRVR_TIMEOUT).await;
            (server.label, zookeeper_view(server.id, answer))
        });
    }
    Ok(asked.join_all().await.into_iter().collect())
}

fn zookeeper_view(id: i32, answer: Result<Srvr, SrvrError>) -> ZooKeeperView {
    match answer {
        Ok(srvr) => ZooKeeperView { id, mode: srvr.mode, zxid: Some(srvr.zxid), version: srvr.version, reason: None },
        Err(error) => ZooKeeperView { id, mode: "none".to_owned(), reason: Some(error.to_string()), ..ZooKeeperView::default() },
    }
}

/// The inventory's hosts of brokers.
pub(super) fn host_names(inventory: &Inventory) -> BTreeMap<i32, String> {
    let daemons = inventory.hosts.iter().flat_map(|host| host.daemons.iter().map(move |daemon| (host, daemon)));
    daemons.filter(|(_, daemon)| daemon.kind == DaemonKind::Kafka).map(|(host, daemon)| (daemon.id, host.name.clone())).collect()
}
