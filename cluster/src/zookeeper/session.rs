//! A session with one server, for reading.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zookeeper_client as zk;

use super::nodes::{self, BrokerNode, MigrationNode, NodeError, StateNode};
use super::{Access, Server, srvr};
use crate::inventory::ZooKeeperSection;

/// How long a server is waited for before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(150);

/// Threads for zookeeper-client alone.
const ISOLATED_THREADS: usize = 4;

/// A runtime of its own for the sessions' background tasks.
///
/// Why: when a connection is refused at once (no route: this machine has lost its network), zookeeper-client 0.11.2 tries again for ever without
/// yielding or looking at its deadline, and holds a worker thread until the network is back. Seen: two sessions stopped every timer, signal and
/// mend of a run. Here they hold nobody else; while it lasts it costs CPU.
fn isolation() -> Result<&'static Handle, String> {
    static HANDLE: OnceLock<Result<Handle, String>> = OnceLock::new();
    let made = HANDLE.get_or_init(|| {
        let runtime = Builder::new_multi_thread().worker_threads(ISOLATED_THREADS).enable_all().thread_name("zookeeper").build();
        let runtime = runtime.map_err(|error| format!("cannot start the threads for ZooKeeper: {error}"))?;
        let handle = runtime.handle().clone();
        // It lives as long as the process: nothing waits for a session that spins.
        std::mem::forget(runtime);
        Ok(handle)
    });
    made.as_ref().map_err(Clone::clone)
}

#[derive(Debug, thiserror::Error)]
pub enum ZooKeeperError {
    #[error("no session with ZooKeeper {server} ({address}): {reason}")]
    Connect { server: String, address: String, reason: String },
    #[error("reading {path} from ZooKeeper {server} failed: {reason}")]
    Read { server: String, path: String, reason: String },
    #[error("{reason}")]
    Access { reason: String },
    #[error("ZooKeeper {server} did not answer a read of {path} within {timeout_ms} ms")]
    Timeout { server: String, path: String, timeout_ms: u64 },
    #[error("ZooKeeper {server}: {reason}")]
    Node { server: String, reason: NodeError },
    #[error("no ZooKeeper server serves: {0}")]
    NoneServes(String),
    #[error("[zookeeper] connect names no server")]
    NoServers,
}

/// Reads from one server. A dropped session is closed.
pub struct Session {
    client: zk::Client,
    server: Server,
    read_timeout: Duration,
    access: Access,
}

impl Session {
    /// Within `limit`, connection and handshake together.
    pub async fn connect(server: &Server, section: &ZooKeeperSection, limit: Duration) -> Result<Self, ZooKeeperError> {
        let (chroot, session_timeout) = (section.chroot.as_str(), Duration::from_millis(section.session_timeout_ms));
        let access = Access::of(section)?;
        let failed = |reason: String| ZooKeeperError::Connect { server: server.label.clone(), address: server.address.clone(), reason };
        // Eagerly, or a refused connection would be tried again for the whole session timeout.
        let connector = zk::Client::connector().with_session_timeout(session_timeout).with_connection_timeout(limit).with_fail_eagerly();
        let (address, with) = (server.address.clone(), access.clone());
        let connecting = isolation().map_err(&failed)?.spawn(async move { with.connect(connector, &address).await });
        let client = match timeout(limit, connecting).await {
            Ok(Ok(Ok(client))) => client,
            Ok(Ok(Err(zk::Error::NoHosts))) => {
                // All that the client says of a server that ends the conversation, too.
                let answer = srvr(&server.address, &access, limit).await;
                return Err(failed(access.turned_away(&answer)));
            }
            Ok(Ok(Err(error))) => return Err(failed(access.told(&error))),
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed(format!("no answer within {} ms", limit.as_millis()))),
        };
        let client = if chroot.is_empty() || chroot == "/" {
            client
        } else {
            client.chroot(chroot.to_owned()).map_err(|_| failed(format!("{chroot:?} is not a path")))?
        };
        Ok(Self { client, server: server.clone(), read_timeout: limit, access })
    }

    /// For watches and for requests that are to be sent together.
    pub fn client(&self) -> &zk::Client {
        &self.client
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Makes the reads that follow at least as new as what the leader had committed when this was called (but see ZOOKEEPER-2136: a leader
    /// that was deposed and does not know it yet answers as well).
    pub async fn sync(&self) -> Result<(), ZooKeeperError> {
        self.answer("/", self.client.sync("/")).await.map(|_| ())
    }

    pub async fn cluster_id(&self) -> Result<Option<String>, ZooKeeperError> {
        let bytes = self.get(nodes::CLUSTER_ID).await?;
        self.parsed(bytes.map(|bytes| nodes::parse_cluster_id(&bytes)))
    }

    /// `/controller`: the broker that is the controller.
    pub async fn controller(&self) -> Result<Option<i32>, ZooKeeperError> {
        let bytes = self.get(nodes::CONTROLLER).await?;
        self.parsed(bytes.map(|bytes| nodes::parse_controller(&bytes)))
    }

    pub async fn migration(&self) -> Result<Option<MigrationNode>, ZooKeeperError> {
        let bytes = self.get(nodes::MIGRATION).await?;
        self.parsed(bytes.map(|bytes| nodes::parse_migration(&bytes)))
    }

    pub async fn controller_epoch(&self) -> Result<Option<i32>, ZooKeeperError> {
        let bytes = self.get(nodes::CONTROLLER_EPOCH).await?;
        self.parsed(bytes.map(|bytes| nodes::parse_controller_epoch(&bytes)))
    }

    /// The brokers that are registered. One that goes between the listing and its reading is left out.
    pub async fn brokers(&self) -> Result<BTreeMap<i32, BrokerNode>, ZooKeeperError> {
        let ids: Vec<i32> = self.children(nodes::BROKER_IDS).await?.iter().filter_map(|name| name.parse().ok()).collect();
        let paths: Vec<String> = ids.iter().map(|id| nodes::broker_path(*id)).collect();
        let mut brokers = BTreeMap::new();
        let asked: Vec<_> = paths.iter().map(|path| self.client.get_data(path)).collect();
        for ((id, path), asked) in ids.iter().zip(&paths).zip(asked) {
            let Some((bytes, stat)) = self.answer(path, asked).await? else { continue };
            if let Some(node) = self.parsed(Some(nodes::parse_broker(path, &bytes)))? {
                brokers.insert(*id, BrokerNode { czxid: Some(stat.czxid), ..node });
            }
        }
        Ok(brokers)
    }

    pub async fn topics(&self) -> Result<Vec<String>, ZooKeeperError> {
        let mut topics = self.children(nodes::TOPICS).await?;
        topics.sort_unstable();
        Ok(topics)
    }

    /// Replicas by partition; `None` for a topic that is not there.
    pub async fn assignments(&self, topics: &[String]) -> Result<Vec<Option<BTreeMap<i32, Vec<i32>>>>, ZooKeeperError> {
        let paths: Vec<String> = topics.iter().map(|topic| nodes::topic_path(topic)).collect();
        let answers = self.get_all(&paths).await?;
        answers.into_iter().zip(&paths).map(|(bytes, path)| self.parsed(bytes.map(|bytes| nodes::parse_assignment(path, &bytes)))).collect()
    }

    /// `None` for a partition whose leader has not been elected yet.
    pub async fn states(&self, partitions: &[(String, i32)]) -> Result<Vec<Option<StateNode>>, ZooKeeperError> {
        let paths: Vec<String> = partitions.iter().map(|(topic, partition)| nodes::state_path(topic, *partition)).collect();
        let answers = self.get_all(&paths).await?;
        answers.into_iter().zip(&paths).map(|(bytes, path)| self.parsed(bytes.map(|bytes| nodes::parse_state(path, &bytes)))).collect()
    }

    /// `None` if the node is not there.
    async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, ZooKeeperError> {
        Ok(self.answer(path, self.client.get_data(path)).await?.map(|(bytes, _)| bytes))
    }

    /// All asked at once: the client sends a request when its future is made, not when it is awaited.
    async fn get_all(&self, paths: &[String]) -> Result<Vec<Option<Vec<u8>>>, ZooKeeperError> {
        let asked: Vec<_> = paths.iter().map(|path| self.client.get_data(path)).collect();
        let mut answers = Vec::with_capacity(paths.len());
        for (path, asked) in paths.iter().zip(asked) {
            answers.push(self.answer(path, asked).await?.map(|(bytes, _)| bytes));
        }
        Ok(answers)
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, ZooKeeperError> {
        Ok(self.answer(path, self.client.list_children(path)).await?.unwrap_or_default())
    }

    async fn answer<T>(&self, path: &str, asked: impl Future<Output = Result<T, zk::Error>>) -> Result<Option<T>, ZooKeeperError> {
        let (server, path) = (self.server.label.clone(), path.to_owned());
        match timeout(self.read_timeout, asked).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(zk::Error::NoNode)) => Ok(None),
            Ok(Err(reason)) => Err(ZooKeeperError::Read { server, path, reason: self.access.told(&reason) }),
            Err(_) => Err(ZooKeeperError::Timeout { server, path, timeout_ms: self.read_timeout.as_millis() as u64 }),
        }
    }

    fn parsed<T>(&self, parsed: Option<Result<T, NodeError>>) -> Result<Option<T>, ZooKeeperError> {
        parsed.transpose().map_err(|reason| ZooKeeperError::Node { server: self.server.label.clone(), reason })
    }
}

/// A session with the first server that gives one. Each next server is tried beside those before it, so that one that hangs costs little.
pub async fn first_session(servers: &[Server], section: &ZooKeeperSection, limit: Duration) -> Result<Session, ZooKeeperError> {
    let mut attempts = JoinSet::new();
    for (position, server) in servers.iter().enumerate() {
        let (server, section) = (server.clone(), section.clone());
        attempts.spawn(async move {
            sleep(HEAD_START * position as u32).await;
            Session::connect(&server, &section, limit).await
        });
    }
    let mut reasons = Vec::new();
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(error)) => reasons.push(error.to_string()),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    if reasons.is_empty() { Err(ZooKeeperError::NoServers) } else { Err(ZooKeeperError::NoneServes(reasons.join("; "))) }
}
