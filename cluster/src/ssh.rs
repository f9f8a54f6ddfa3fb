//! The way to a host by SSH.
//!
//! Why so careful: this connection starts, stops and mends daemons while the network around it is being broken on purpose. So it never
//! waits without a limit, never calls a lost answer a failure, and never sends a command twice.
//!
//! What russh does not do by itself, and where it is done here:
//! - it has no timeout of its own: connecting and key exchange, authentication, opening a channel and the command each have one; keepalives
//!   (5 s, 3 of them) end a connection whose host went silent, and `TCP_USER_TIMEOUT` one that can no longer be written to;
//! - one channel that is not read stops the whole connection: a task per channel reads it to its end, whoever waits for it (`pump`);
//! - a dropped channel stays open, and sshd allows 10 (`MaxSessions`): channels are closed, and a semaphore bounds them;
//! - its check of host keys is weaker than `ssh`'s: [`crate::known_hosts`] judges, and says which types to ask for;
//! - sshd drops logins that come at once (`MaxStartups`): such a connection is tried again, at a random moment.
//!
//! A connection is made when it is needed and again when it has died. A command is sent again only if its channel was never opened: then it
//! certainly did not run. A connection on which a command timed out is not used for later ones, since sshd counts the channel of a command
//! that still runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use russh::keys::PrivateKey;
use tokio::sync::Mutex;

use crate::helper;
use crate::inventory::Privilege;
use crate::known_hosts::KnownHosts;
use crate::remote::{Means, Output, Remote, RemoteError, framed};
use crate::secret::Secret;

mod connection;
mod hostkey;
mod pump;
mod talk;

use connection::{Connection, Opening};
use pump::Ended;
pub use talk::{Heard, Talk};

/// Beyond this a command is cut off: daemon logs are fetched in parts.
pub const OUTPUT_MAX_BYTES: usize = 64 * 1024 * 1024;
/// How often a channel that sshd refuses is asked for again.
const OPENING_ATTEMPTS: u32 = 5;

/// A host and all that is needed to be let in.
#[derive(Clone)]
pub struct Endpoint {
    /// The host's name in the inventory.
    pub host: String,
    pub address: String,
    pub port: u16,
    pub user: String,
    pub key: Key,
    pub known_hosts: Arc<KnownHosts>,
    /// For TCP and key exchange together, for authentication, and for opening a channel: each.
    pub connect_timeout: Duration,
    /// Channels open at once on the connection.
    pub channels_max: usize,
    /// How commands become root's.
    pub privilege: Privilege,
}

/// A private key, read.
#[derive(Clone)]
pub struct Key {
    path: PathBuf,
    private: Arc<PrivateKey>,
}

/// The host key by which a host proved itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ProvenKey {
    pub key_type: String,
    /// `SHA256:…`
    pub fingerprint: String,
    /// Where it is known from: `FILE:LINE`.
    pub known_from: String,
}

/// One connection to one host, made when it is needed.
pub struct SshRemote {
    endpoint: Arc<Endpoint>,
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    connection: Option<Arc<Connection>>,
    /// When the last attempt to connect failed, and how: whoever waited for that attempt is told the same.
    failed: Option<(Instant, RemoteError)>,
}

impl Key {
    /// Reads a private key: OpenSSH's own format or PEM; Ed25519, ECDSA or RSA; with or without a passphrase.
    pub fn load(path: PathBuf, passphrase: Option<&Secret>) -> Result<Self, RemoteError> {
        let unusable = |reason: String| RemoteError::PrivateKey { path: path.display().to_string(), reason };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => zeroize::Zeroizing::new(text),
            Err(error) => return Err(unusable(error.to_string())),
        };
        match russh::keys::decode_secret_key(&text, passphrase.map(Secret::reveal)) {
            Ok(private) => Ok(Self { path, private: Arc::new(private) }),
            Err(russh::keys::Error::KeyIsEncrypted) if passphrase.is_none() => {
                Err(unusable("it is encrypted: give its passphrase by ssh.key_passphrase = \"env:NAME\" or \"file:PATH\"".to_owned()))
            }
            Err(_) if passphrase.is_some() => Err(unusable("it cannot be read with this passphrase, or is no private key".to_owned())),
            Err(error) => Err(unusable(format!("is no private key that can be read ({error}); ssh-keygen -t ed25519 makes one"))),
        }
    }
}

impl SshRemote {
    /// Does not connect yet.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint: Arc::new(endpoint), slot: Mutex::default() }
    }

    /// Connects, if there is no connection, and says by which key the host proved itself.
    pub async fn prove(&self) -> Result<ProvenKey, RemoteError> {
        Ok(self.connection().await?.proven_key().clone())
    }

    /// Another connection to the same host, not made yet.
    pub fn beside(&self) -> Self {
        Self { endpoint: Arc::clone(&self.endpoint), slot: Mutex::default() }
    }

    /// Starts a command that goes on, by root where kchaos is root. It takes this connection with it: the connection ends when the command does.
    pub async fn talk(&self, command: &str) -> Result<Talk, RemoteError> {
        let command = match self.endpoint.privilege {
            Privilege::Root => command.to_owned(),
            Privilege::SudoSh => format!("sudo -n {command}"),
            Privilege::Helper => return Err(RemoteError::NotForHelper { host: self.endpoint.host.clone() }),
        };
        self.connection().await?;
        let (connection, open) = self.open(Instant::now() + self.endpoint.connect_timeout).await?;
        talk::start(connection, open, command).await.map_err(|reason| self.unreachable(reason))
    }

    /// Ends the connection. The next command makes a new one.
    pub async fn disconnect(&self) {
        if let Some(connection) = self.slot.lock().await.connection.take() {
            connection.disconnect().await;
        }
    }

    async fn connection(&self) -> Result<Arc<Connection>, RemoteError> {
        let asked = Instant::now();
        let mut slot = self.slot.lock().await;
        if let Some(connection) = slot.connection.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(Arc::clone(connection));
        }
        if let Some((when, error)) = &slot.failed
            && *when >= asked
        {
            return Err(error.clone());
        }
        slot.connection = None;
        match Connection::open(Arc::clone(&self.endpoint)).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                slot.connection = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                slot.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// No later command uses this connection; those that run on it go on.
    async fn retire(&self, connection: &Arc<Connection>) {
        let mut slot = self.slot.lock().await;
        if slot.connection.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            slot.connection = None;
        }
    }

    /// A channel on a live connection. Nothing has been run when this fails.
    async fn open(&self, deadline: Instant) -> Result<(Arc<Connection>, pump::Open), RemoteError> {
        let mut reconnected = false;
        let mut refused = 0;
        loop {
            let connection = self.connection().await?;
            let reason = match connection.open_channel(deadline).await {
                Opening::Opened(open) => return Ok((connection, open)),
                Opening::Full => return Err(self.unreachable(format!("all {} channels were busy", self.endpoint.channels_max))),
                Opening::Refused(reason) => {
                    refused += 1;
                    if refused < OPENING_ATTEMPTS && Instant::now() < deadline {
                        tokio::time::sleep(connection::jitter(Duration::from_millis(100)) * refused).await;
                        continue;
                    }
                    format!("sshd refused another channel ({reason}); is ssh.channels_max above its MaxSessions?")
                }
                Opening::Dead(reason) => {
                    self.retire(&connection).await;
                    if !std::mem::replace(&mut reconnected, true) {
                        continue;
                    }
                    reason
                }
            };
            return Err(self.unreachable(reason));
        }
    }

    fn unreachable(&self, reason: String) -> RemoteError {
        self.endpoint.unreachable(reason)
    }

    /// What sshd is asked to run, and its standard input.
    fn command(&self, script: &str, means: &Means) -> Result<(String, String), RemoteError> {
        match (self.endpoint.privilege, means) {
            (Privilege::Helper, Means::Helper { words, input }) => Ok((helper::command(words), input.clone())),
            (Privilege::Helper, Means::Root) => Err(RemoteError::NotForHelper { host: self.endpoint.host.clone() }),
            (Privilege::SudoSh, Means::Root | Means::Helper { .. }) => Ok(("sudo -n sh -s".to_owned(), framed(script))),
            (Privilege::Root, _) | (_, Means::Anybody) => Ok(("sh -s".to_owned(), framed(script))),
        }
    }
}

#[async_trait]
impl Remote for SshRemote {
    fn host(&self) -> &str {
        &self.endpoint.host
    }

    async fn run(&self, script: &str, timeout: Duration) -> Result<Output, RemoteError> {
        self.run_as(script, &Means::Root, timeout).await
    }

    async fn run_as(&self, script: &str, means: &Means, timeout: Duration) -> Result<Output, RemoteError> {
        let (command, input) = self.command(script, means)?;
        // Before there is a connection, its own timeouts hold; the command's begins when it could be sent.
        self.connection().await?;
        let deadline = Instant::now() + timeout;
        let (connection, open) = self.open(deadline).await?;
        let ended = pump::start(Arc::clone(&connection), open, command, input.into_bytes(), deadline).await;
        let host = self.endpoint.host.clone();
        match ended {
            Ended::Output(output) => Ok(output),
            Ended::Refused => Err(self.unreachable("sshd does not let this user run commands".to_owned())),
            Ended::TooMuch => Err(RemoteError::TooMuchOutput { host, limit_bytes: OUTPUT_MAX_BYTES }),
            Ended::Unknown(reason) => Err(RemoteError::Unknown { host, reason }),
            Ended::Timeout => {
                self.retire(&connection).await;
                Err(RemoteError::Timeout { host, timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) })
            }
        }
    }
}

impl Endpoint {
    fn unreachable(&self, reason: String) -> RemoteError {
        RemoteError::Unreachable { host: self.host.clone(), address: format!("{} port {}", self.address, self.port), reason }
    }
}
