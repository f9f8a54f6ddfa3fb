//! One SSH connection: how it is made, and how it ends.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use russh::client::{AuthResult, Config, DisconnectReason, Handle, Handler};
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelOpenFailure, Disconnect};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::hostkey::{self, Refusal};
use super::pump::Open;
use super::{Endpoint, ProvenKey};
use crate::remote::RemoteError;

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVES_MAX: usize = 3;
/// How long the kernel tries to deliver what was written: as long as the keepalives would take to find out.
const TCP_USER_TIMEOUT_MS: libc::c_int = 20_000;
/// How often a connection that sshd drops before the key exchange is tried again.
const CONNECT_ATTEMPTS: u32 = 6;
/// The greatest wait before the first of these attempts; later ones wait longer.
const CONNECT_JITTER: Duration = Duration::from_millis(150);

pub(super) struct Connection {
    handle: Handle<Client>,
    channels: Arc<Semaphore>,
    shared: Arc<Shared>,
    proven_key: ProvenKey,
    connect_timeout: Duration,
}

/// What came of asking for a channel.
pub(super) enum Opening {
    Opened(Open),
    /// No place became free in time.
    Full,
    /// sshd said no; the connection lives.
    Refused(String),
    /// The connection is no longer of use.
    Dead(String),
}

/// What russh's task tells us.
#[derive(Default)]
struct Shared {
    proven_key: Mutex<Option<ProvenKey>>,
    refusal: Mutex<Option<Refusal>>,
    end: Mutex<Option<String>>,
}

struct Client {
    endpoint: Arc<Endpoint>,
    shared: Arc<Shared>,
}

impl Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        match hostkey::judge(&self.endpoint, shown) {
            Ok(proven) => {
                *lock(&self.shared.proven_key) = Some(proven);
                Ok(true)
            }
            Err(refusal) => {
                *lock(&self.shared.refusal) = Some(refusal);
                Ok(false)
            }
        }
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        let (text, result) = match reason {
            DisconnectReason::ReceivedDisconnect(info) => (format!("sshd said: {}", info.message), Ok(())),
            DisconnectReason::Error(error) => (error.to_string(), Err(error)),
        };
        *lock(&self.shared.end) = Some(text);
        result
    }
}

impl Connection {
    /// TCP, key exchange, host key, authentication: each within its timeout.
    pub(super) async fn open(endpoint: Arc<Endpoint>) -> Result<Self, RemoteError> {
        let deadline = Instant::now() + endpoint.connect_timeout;
        let shared = Arc::new(Shared::default());
        let mut handle = handshake(&endpoint, &shared, deadline).await?;
        let authenticated = timeout(endpoint.connect_timeout, authenticate(&mut handle, &endpoint, &shared));
        authenticated.await.unwrap_or_else(|_| Err(endpoint.unreachable(format!("no answer to the login {}", within(&endpoint)))))?;
        let Some(proven_key) = lock(&shared.proven_key).clone() else {
            return Err(endpoint.unreachable("the key exchange ended without a host key".to_owned()));
        };
        let channels = Arc::new(Semaphore::new(endpoint.channels_max));
        Ok(Self { handle, channels, shared, proven_key, connect_timeout: endpoint.connect_timeout })
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.handle.is_closed()
    }

    pub(super) fn proven_key(&self) -> &ProvenKey {
        &self.proven_key
    }

    /// Why the connection ended, as far as it is known.
    pub(super) fn end(&self) -> String {
        lock(&self.shared.end).clone().unwrap_or_else(|| "the connection was closed".to_owned())
    }

    pub(super) async fn disconnect(&self) {
        let said = self.handle.disconnect(Disconnect::ByApplication, "done", "en");
        // One that can no longer be told is already gone.
        let _ = timeout(Duration::from_secs(1), said).await;
    }

    /// A channel, once there is a place for it.
    pub(super) async fn open_channel(&self, deadline: Instant) -> Opening {
        let place = tokio::time::timeout_at(deadline.into(), Arc::clone(&self.channels).acquire_owned());
        let Ok(Ok(permit)) = place.await else { return Opening::Full };
        match timeout(self.connect_timeout, self.handle.channel_open_session()).await {
            Ok(Ok(channel)) => Opening::Opened(Open { channel, permit }),
            Ok(Err(russh::Error::ChannelOpenFailure(failure))) => Opening::Refused(in_words(&failure)),
            Ok(Err(error)) => Opening::Dead(format!("the connection has ended ({error}; {})", self.end())),
            Err(_) => Opening::Dead(format!("no channel was opened within {} ms", self.connect_timeout.as_millis())),
        }
    }
}

/// TCP and key exchange; again, at a random moment, if sshd drops the connection before the exchange is done.
async fn handshake(endpoint: &Arc<Endpoint>, shared: &Arc<Shared>, deadline: Instant) -> Result<Handle<Client>, RemoteError> {
    let config = Arc::new(Config {
        keepalive_interval: Some(KEEPALIVE_INTERVAL),
        keepalive_max: KEEPALIVES_MAX,
        nodelay: true,
        preferred: hostkey::preferred(endpoint),
        ..Config::default()
    });
    let mut attempt = 0;
    loop {
        attempt += 1;
        let stream = tcp(endpoint, deadline).await?;
        let client = Client { endpoint: Arc::clone(endpoint), shared: Arc::clone(shared) };
        let exchange = russh::client::connect_stream(Arc::clone(&config), stream, client);
        let error = match tokio::time::timeout_at(deadline.into(), exchange).await {
            Ok(Ok(handle)) => return Ok(handle),
            Ok(Err(error)) => error,
            Err(_) => {
                return Err(endpoint.unreachable(format!("the TCP port answers, but no SSH key exchange was done {}", within(endpoint))));
            }
        };
        if let Some(Refusal { reason, hint }) = lock(&shared.refusal).take() {
            let address = format!("{} port {}", endpoint.address, endpoint.port);
            return Err(RemoteError::HostKey { host: endpoint.host.clone(), address, reason, hint });
        }
        if !is_drop(&error) {
            return Err(endpoint.unreachable(format!("no SSH key exchange: {error}")));
        }
        let pause = jitter(CONNECT_JITTER * attempt);
        if attempt == CONNECT_ATTEMPTS || Instant::now() + pause >= deadline {
            let times = if attempt == 1 { "once".to_owned() } else { format!("{attempt} times") };
            return Err(endpoint.unreachable(format!(
                "sshd closed the connection before the key exchange, {times} ({error}); MaxStartups, PerSourcePenalties or hosts.deny?"
            )));
        }
        tokio::time::sleep(pause).await;
    }
}

async fn tcp(endpoint: &Endpoint, deadline: Instant) -> Result<TcpStream, RemoteError> {
    let connecting = TcpStream::connect((endpoint.address.as_str(), endpoint.port));
    let stream = match tokio::time::timeout_at(deadline.into(), connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(endpoint.unreachable("connection refused: nothing listens there; is sshd running?".to_owned()));
        }
        Ok(Err(error)) => return Err(endpoint.unreachable(error.to_string())),
        Err(_) => return Err(endpoint.unreachable(format!("no TCP connection {}", within(endpoint)))),
    };
    // Both only make waiting shorter; a kernel that cannot is no reason to fail.
    let _ = stream.set_nodelay(true);
    let value = TCP_USER_TIMEOUT_MS;
    // SAFETY: the descriptor is open, and the kernel copies `size_of` bytes from a value that lives through the call.
    let _ = unsafe {
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, (&raw const value).cast(), size)
    };
    Ok(stream)
}

async fn authenticate(handle: &mut Handle<Client>, endpoint: &Endpoint, shared: &Shared) -> Result<(), RemoteError> {
    let lost = |error: russh::Error| endpoint.unreachable(format!("the connection ended during the login: {error}"));
    let hash = if endpoint.key.private.algorithm().is_rsa() {
        // A server that does not say what it takes is taken to know RFC 8332, as ssh does: SHA-1 is refused nearly everywhere.
        handle.best_supported_rsa_hash().await.map_err(lost)?.unwrap_or(Some(HashAlg::Sha512))
    } else {
        None
    };
    let key = PrivateKeyWithHashAlg::new(Arc::clone(&endpoint.key.private), hash);
    let AuthResult::Failure { remaining_methods, .. } = handle.authenticate_publickey(&endpoint.user, key).await.map_err(lost)? else {
        return Ok(());
    };
    if handle.is_closed() {
        let reason = lock(&shared.end).clone().unwrap_or_else(|| "sshd closed it".to_owned());
        return Err(endpoint.unreachable(format!("the connection ended during the login: {reason}")));
    }
    let methods: Vec<&str> = remaining_methods.iter().map(<&str>::from).collect();
    Err(RemoteError::Authentication {
        host: endpoint.host.clone(),
        user: endpoint.user.clone(),
        reason: format!(
            "the key {} was not accepted (sshd takes: {}); is its public half in the user's authorized_keys?",
            endpoint.key.path.display(),
            methods.join(", ")
        ),
    })
}

/// `true` for the errors of a connection that was closed from the other side, as `MaxStartups` does.
fn is_drop(error: &russh::Error) -> bool {
    let is_closed = |kind: io::ErrorKind| {
        matches!(
            kind,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe
        )
    };
    match error {
        russh::Error::Disconnect | russh::Error::HUP => true,
        russh::Error::IO(error) => is_closed(error.kind()),
        _ => false,
    }
}

/// A random part of `longest`: enough to keep many connections apart, and no part of a run's seeded choices.
pub(super) fn jitter(longest: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    longest.mul_f64(f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX))
}

fn in_words(failure: &ChannelOpenFailure) -> String {
    match failure {
        ChannelOpenFailure::Other { reason, .. } => reason.clone(),
        other => format!("{other:?}"),
    }
}

fn within(endpoint: &Endpoint) -> String {
    format!("within {} ms", endpoint.connect_timeout.as_millis())
}

/// What stands behind these locks is whole after every statement, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
